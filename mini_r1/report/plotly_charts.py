"""A panel of a figure as a plotly chart, for the page. Ink and grid get their colours in the page (page.js)."""

import json

import numpy as np
import plotly.graph_objects as go

from mini_r1.report.figures import GREY, Panel, Series

TITLE = {"font": {"size": 14}, "x": 0, "xref": "paper", "y": 0.98, "yanchor": "top"}
LEVEL = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "line": {"dash": "dot", "width": 1.2, "color": GREY}}
LEVEL_LABEL = {"xref": "paper", "x": 1, "yanchor": "bottom", "showarrow": False, "font": {"size": 11}}
SYMBOLS = {"points": "circle", "open points": "circle-open", "crosses": "x-thin-open"}


def chart(panel: Panel) -> dict:
    """`{"data": [...], "layout": {...}}` as plotly.js takes it, ready for JSON."""
    axis = {"zeroline": False, "automargin": True, "showline": True, "linewidth": 1}
    x_axis = axis | {"title": {"text": panel.x_label, "standoff": 6}, "showgrid": False}
    y_axis = axis | {"title": {"text": panel.y_label, "standoff": 8}, "showgrid": True, "range": panel.y_range}
    if panel.ticks:
        x_axis |= {"tickvals": list(panel.ticks), "ticktext": [_plain(text) for text in panel.ticks.values()]}
        x_axis |= {"range": [min(panel.ticks) - 0.5, max(panel.ticks) + 0.5], "tickfont": {"size": 11}}
        x_axis |= {"tickangle": 0 if len(panel.ticks) <= 7 else -45}
    layout = {
        "template": "none",  # plotly's own would put a white background and 7 kB into each chart
        "margin": {"l": 52, "r": 12, "t": 34, "b": 40},
        "title": TITLE | {"text": _plain(panel.title)},
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "legend": {"orientation": "h", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom", "itemwidth": 30},
        "showlegend": sum(s.in_legend for s in panel.series) > 1,
        "hovermode": "closest" if panel.ticks else "x unified",
        "dragmode": False,  # on a phone, a finger on a chart scrolls the page
        "xaxis": x_axis,
        "yaxis": y_axis,
        "shapes": [LEVEL | {"y0": y, "y1": y} for y, _ in panel.levels],
        "annotations": [LEVEL_LABEL | {"y": y, "text": label} for y, label in panel.levels],
    }
    traces = [trace for series in panel.series for trace in _traces(series)]
    return json.loads(go.Figure(traces, layout).to_json())


def _traces(series: Series) -> list[go.Scatter]:
    x, y = _short(series.x), _short(series.y)
    common = {"name": _plain(series.name), "legendgroup": _plain(series.name), "showlegend": series.in_legend}
    if series.kind in SYMBOLS:
        size = 9 if series.kind == "crosses" else 8
        marker = {
            "symbol": SYMBOLS[series.kind],
            "size": size,
            "color": series.colour,
            "line": {"width": 1.6, "color": series.colour},
        }
        errors = None
        if series.low is not None:
            errors = {"array": _short(series.high - series.y), "arrayminus": _short(series.y - series.low)}
            errors |= {"width": 3, "thickness": 1.3, "color": series.colour}
        return [go.Scatter(x=x, y=y, mode="markers", marker=marker, error_y=errors, **common)]
    line = {"color": series.colour, "width": series.width, "dash": series.dash}
    if series.kind == "area":
        return [go.Scatter(x=x, y=y, mode="lines", line=line, stackgroup="one", **common)]
    hidden = common | {"showlegend": False, "hoverinfo": "skip", "mode": "lines"}
    behind = []
    if series.low is not None:
        nothing, fill = {"width": 0, "color": series.colour}, _see_through(series.colour, 0.2)
        behind.append(go.Scatter(x=x, y=_short(series.low), line=nothing, **hidden))
        behind.append(go.Scatter(x=x, y=_short(series.high), line=nothing, fill="tonexty", fillcolor=fill, **hidden))
    if series.faint is not None:
        raw_x, raw_y = map(_short, series.faint)
        pale = {"color": _see_through(series.colour, 0.35), "width": 1}
        behind.append(go.Scatter(x=raw_x, y=raw_y, line=pale, **hidden))
    mode = "lines+markers" if len(x) < 3 else "lines"
    return [*behind, go.Scatter(x=x, y=y, mode=mode, line=line, **common)]


def _short(values: np.ndarray) -> np.ndarray:
    """Four bytes a value; plotly writes them as base64."""
    return np.asarray(values, dtype=np.float32)


def _see_through(colour: str, share: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{share})"


def _plain(text: str) -> str:
    """Text that plotly draws as it is: it would read tags in it otherwise."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\n", "<br>")
