"""Draws the figures of the report with matplotlib: panels as SVG inside the page, figures as PNG files.

Lengths are SVG units, i.e. points. One drawing of a panel serves two columns on a desktop, scaled by 1.25, and the one
column of a phone, scaled by 0.9. A panel of the page's full width is drawn twice, and page.css shows what fits.
"""

import io
import re
import textwrap
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from mini_r1.report.figures import GREY, Figure, Panel, Series
from mini_r1.report.learning import training_figure
from mini_r1.report.runs import group_runs

WIDTH, BROAD = 400, 820  # of a panel in one column, and over both
HEIGHT, LINE, SLANTED = 250, 15, 34  # of a panel; further height for each further line of legend, and for slanted ticks
LETTER = 6.3  # width of a letter of a tick label, about, in a wide font
LEGEND_SIGN = 40  # width of the sign before a name in the legend, and of the gap behind it
TARGETS = 60  # steps of a panel, at most, at which the page shows the values
VARIABLES = {"#1d2127": "var(--ink)", "#5b6470": "var(--soft)", "#dfe2e6": "var(--line)", "#e8eaed": "var(--grid)"}
INK, SOFT, RULE, GRID = VARIABLES  # the page's colours in the light, see page.css
STYLE = {
    "text.parse_math": False,  # a run's name may contain $
    "text.color": INK, "font.size": 10.5, "figure.titlesize": 11.5,
    "axes.titlesize": 10, "axes.titlelocation": "left", "axes.titlecolor": SOFT, "axes.titlepad": 7,
    "axes.labelcolor": SOFT, "axes.edgecolor": RULE, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": GRID, "axes.axisbelow": True,
    "xtick.color": RULE, "ytick.color": RULE, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.major.pad": 6,
    "legend.frameon": False, "legend.borderaxespad": 0, "legend.columnspacing": 1.4, "legend.handlelength": 1.9,
    "errorbar.capsize": 2.5, "lines.markersize": 6, "axes.ymargin": 0.06,
    "svg.fonttype": "none",  # text stays text, in the page's font
}  # fmt: skip
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ET.register_namespace("", SVG)
ET.register_namespace("xlink", XLINK)


def plot_runs(folders: list[Path], title: str, output: Path) -> None:
    """Draws the results of finished runs, seeds of one recipe, as a PNG; see `learning.training_figure`."""
    draw_figure(training_figure(group_runs(folders, []), title), output)


def draw_figure(figure: Figure, output: Path) -> None:
    """Draws a figure as a PNG: up to three panels in one row, more in rows of two.

    Args:
        output: the file; its folder is made.
    """
    across = len(figure.panels) if len(figure.panels) <= 3 else 2
    rows = [figure.panels[i : i + across] for i in range(0, len(figure.panels), across)]
    width = {1: 640, 2: 420, 3: 330}[across]
    heights = [max(_height(panel, width) for panel in row) for row in rows]
    with matplotlib.rc_context(STYLE):
        drawing = Drawing(figsize=(across * width / 72, (sum(heights) + 34) / 72), dpi=72, layout="constrained")
        drawing.get_layout_engine().set(w_pad=0.1, h_pad=0.05)
        drawing.suptitle(_wrapped(figure.title, across * width / 1.3), fontsize=13.5)
        places = drawing.subfigures(len(rows), across, squeeze=False, wspace=0.04, hspace=0.04, height_ratios=heights)
        for place, panel in zip(places.flat, figure.panels, strict=False):
            _draw_panel(place, panel, width)
        output.parent.mkdir(parents=True, exist_ok=True)
        drawing.savefig(output, dpi=130)


def svg(panel: Panel, name: str, broad: bool = False) -> str:
    """Draws a panel as SVG for use inside HTML: in the page's font and colours, with its values for page.js.

    Args:
        name: unique in the page, as SVG inside HTML shares the page's ids.
        broad: whether it takes the full width of the page; then a second drawing is for a phone.
    """
    if broad:
        return _svg(panel, f"{name}-broad", BROAD, "broad") + _svg(panel, name, WIDTH, "narrow")
    return _svg(panel, name, WIDTH, "")


def _svg(panel: Panel, name: str, width: int, kind: str) -> str:
    height = _height(panel, width)
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        drawing = Drawing(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        axis = _draw_panel(drawing, panel, width)
        file = io.StringIO()
        drawing.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    root = ET.fromstring(file.getvalue())
    for useless in ("metadata", "defs"):  # the first defs has style rules, which would hold for the whole page
        root.remove(root.find(f"{{{SVG}}}{useless}"))
    for key in ("width", "height", "version"):
        del root.attrib[key]
    root.set("class", kind)
    used = set(re.findall(r"#([\w.]+)", file.getvalue()))
    for attributes in (node.attrib for node in root.iter()):
        if attributes.get("id") not in used:
            attributes.pop("id", None)
        if attributes.get("transform", "").startswith("rotate(-0 "):
            del attributes["transform"]
        for key in attributes.keys() & {"d", "x", "y", "transform"}:
            attributes[key] = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}", attributes[key])
        if "style" in attributes:
            attributes["style"] = re.sub(r"font-family:[^;]*;? ?", "", attributes["style"])
    root.append(_targets(panel, axis, height))
    text = re.sub(r"\s*\n\s*", " ", ET.tostring(root, encoding="unicode"))
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def _draw_panel(place: FigureBase, panel: Panel, width: int) -> Axes:
    """Draws a panel into `place`, a figure or a part of one, `width` units wide."""
    axis = place.subplots()
    signs = {}
    areas = [series for series in panel.series if series.kind == "area"]
    if areas:
        drawn = axis.stackplot(areas[0].x, [s.y for s in areas], colors=[s.colour for s in areas], linewidth=0)
        signs |= {series.name: area for series, area in zip(areas, drawn, strict=True)}
        axis.margins(x=0)
    for series in panel.series:
        if series.kind != "area":
            sign = _draw_line(axis, series) if series.kind == "line" else _draw_points(axis, series)
            signs.setdefault(series.name, sign)
    for y, label in panel.levels:
        axis.axhline(y, color=GREY, linestyle=":", linewidth=1.2)
        ends = panel.series[0].y[[0, -1]]
        x, side = (
            (0, "left") if abs(ends[0] - y) > abs(ends[1] - y) else (1, "right")
        )  # where the first curve is farther
        place_of = {"xycoords": ("axes fraction", "data"), "xytext": (3 - 3 * x, 2), "textcoords": "offset points"}
        axis.annotate(label, (x, y), ha=side, va="bottom", fontsize=9, color=SOFT, **place_of)
    place.suptitle(_wrapped(panel.title, width), x=3 / width, ha="left")
    if panel.y_label.lower() != panel.title.lower():
        axis.set_title(panel.y_label)
    axis.set_xlabel(panel.x_label)
    if panel.y_range:
        axis.set_ylim(*panel.y_range)
    if panel.ticks:
        axis.set_xlim(min(panel.ticks) - 0.5, max(panel.ticks) + 0.5)
        slanted = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if _slanted(panel, width) else {}
        axis.set_xticks(list(panel.ticks), list(panel.ticks.values()), fontsize=9.5, **slanted)
    else:
        axis.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    if len(signs) > 1:
        columns = _legend_columns(list(signs), width)
        place.legend(signs.values(), signs.keys(), loc="outside lower left", ncols=columns, fontsize=10)
    return axis


def _draw_line(axis: Axes, series: Series) -> Artist:
    if series.low is not None:
        axis.fill_between(series.x, series.low, series.high, color=series.colour, alpha=0.2, linewidth=0)
    if series.faint is not None:
        axis.plot(*series.faint, color=series.colour, alpha=0.35, linewidth=0.8)
    style = {"color": series.colour, "linestyle": series.dash, "linewidth": 0.8 * series.width}
    marker = "o" if len(series.x) < 3 else ""
    (line,) = axis.plot(series.x, series.y, marker=marker, solid_capstyle="round", **style)
    return line


def _draw_points(axis: Axes, series: Series) -> Artist:
    style = {"color": series.colour, "linestyle": "none", "clip_on": False, "zorder": 3}
    style["marker"] = "x" if series.kind == "crosses" else "o"
    style["fillstyle"] = "none" if series.kind == "open points" else "full"
    ends = None if series.low is None else [series.y - series.low, series.high - series.y]
    return axis.errorbar(series.x, series.y, yerr=ends, elinewidth=1.1, **style)


def _targets(panel: Panel, axis: Axes, height: int) -> ET.Element:
    """Invisible rectangles over the curves and points, with the values that page.js shows."""
    group = ET.Element(f"{{{SVG}}}g", {"class": "targets"})

    def target(left: float, right: float, top: float, bottom: float, *lines: str) -> None:
        sides = {"x": left, "y": height - top, "width": right - left, "height": top - bottom}
        says = {"data-says": "\n".join(lines)}
        ET.SubElement(group, f"{{{SVG}}}rect", {key: f"{value:.1f}" for key, value in sides.items()} | says)

    lines = [series for series in panel.series if series.kind in ("line", "area")]
    steps = np.unique(np.concatenate([s.x[np.isfinite(s.y)] for s in lines])) if lines else np.array([])
    steps = steps[:: -(-len(steps) // TARGETS) or 1]
    if len(steps):
        middles = (steps[1:] + steps[:-1]) / 2
        edges = axis.transData.transform([(x, 0) for x in (steps[0], *middles, steps[-1])])[:, 0]
        edges[0], edges[-1] = axis.bbox.x0, axis.bbox.x1
        for step, left, right in zip(steps, edges, edges[1:], strict=False):
            at = [(series, series.y[series.x == step]) for series in lines]
            values = [f"{series.name}: {y[0]:.4g}" for series, y in at if len(y) and np.isfinite(y[0])]
            target(left, right, axis.bbox.y1, axis.bbox.y0, f"{panel.x_label} {step:g}", *values)
    dots = [series for series in panel.series if series not in lines and panel.ticks]
    places = [axis.transData.transform(np.column_stack([series.x, series.y])) for series in dots]
    every = np.concatenate(places) if places else np.empty((0, 2))
    for series, centres in zip(dots, places, strict=True):
        for i, (x, y) in enumerate(centres):
            apart = np.sort(np.abs(every - (x, y)).max(axis=1))[1:2]  # to the nearest other point
            half = max(1.5, min([9.0, *apart / 2]))  # so that no target covers another's point
            place = panel.ticks[min(panel.ticks, key=lambda tick: abs(tick - series.x[i]))].replace("\n", " ")
            ends = f" ({series.low[i]:.3f} to {series.high[i]:.3f})" if series.low is not None else ""
            target(x - half, x + half, y + half, y - half, f"{place}, {series.name}", f"{series.y[i]:.3f}{ends}")
    return group


def _height(panel: Panel, width: int) -> int:
    names = list({series.name for series in panel.series})
    rows = -(-len(names) // _legend_columns(names, width)) if len(names) > 1 else 1
    return HEIGHT + LINE * (rows - 1) + SLANTED * _slanted(panel, width)


def _legend_columns(names: list[str], width: int) -> int:
    widths = [LETTER * len(name) + LEGEND_SIGN for name in names]
    return len(names) if sum(widths) <= width else max(1, int(width / max(widths)))


def _slanted(panel: Panel, width: int) -> bool:
    """Whether the tick labels are too long to stand side by side."""
    longest = max((len(line) for text in panel.ticks.values() for line in text.split("\n")), default=0)
    return len(panel.ticks) * (longest + 1) * LETTER > 0.92 * width


def _wrapped(text: str, width: float) -> str:
    return "\n".join(textwrap.wrap(text, max(20, int(width / (1.1 * LETTER)))))
