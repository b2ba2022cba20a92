"""Figures of runs, drawn with matplotlib from what the run directories hold."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from mini_r1.rewards import FORMAT_REWARDS

LENGTH = "completions/mean_length"
LEGEND_LETTERS = 80  # in one line below a panel


def read_history(folder: Path) -> dict[str, tuple[list[int], list[float]]]:
    """metric -> (steps, values) of a run's `trainer_state.json`."""
    history: dict[str, tuple[list, list]] = {}
    for entry in json.loads((folder / "trainer_state.json").read_text())["log_history"]:
        for name, value in entry.items():
            if name != "step" and isinstance(value, int | float):
                steps, values = history.setdefault(name, ([], []))
                steps.append(entry["step"])
                values.append(value)
    return history


def plot_runs(folders: list[Path], title: str, output: Path) -> None:
    """Mean rewards and completion length of the rollouts over steps, and the held-out measurement before and after.

    Several runs (seeds) are drawn as their mean, with a band from the lowest to the highest.
    """
    histories = [read_history(folder) for folder in folders]
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    means = [name for name in histories[0] if name.startswith("rewards/") and name.endswith("/mean")]
    means.sort(key=lambda name: (name.split("/")[1] in FORMAT_REWARDS, name))  # the same colours for every task
    rewards = {name: name.split("/")[1] for name in means}
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    for name, label in rewards.items():
        _draw(left, histories, name, label)
    _draw(right, histories, LENGTH, "mean length")
    last = histories[0][LENGTH][0][-1]
    for axis, key in ((left, "pass@1"), (right, "mean_length")):
        for i, summary in enumerate(summaries):
            label = f"held-out {key.replace('_', ' ')}, before and after" if i == 0 else None
            axis.plot([0, last], [summary[when][key] for when in ("before", "after")], "k^", label=label, clip_on=False)
        axis.set_xlim(0, last)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("GRPO step")
        axis.grid(alpha=0.3)
    left.set_ylim(0, max(1.0, left.get_ylim()[1]))
    left.set_ylabel("mean reward of the rollouts")
    right.set_ylim(0, 1.1 * right.get_ylim()[1])
    right.set_ylabel("tokens per completion")
    for axis in (left, right):
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False, fontsize="small")
    several = f", {len(folders)} seeds: mean, and band from lowest to highest" if len(folders) > 1 else ""
    figure.suptitle(title + several)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=120)
    plt.close(figure)


def _draw(axis, histories: list[dict], metric: str, label: str) -> None:
    steps = min((history[metric][0] for history in histories), key=len)
    values = np.array([history[metric][1][: len(steps)] for history in histories])
    (line,) = axis.plot(steps, values.mean(axis=0), label=label, linewidth=1.8)
    if len(histories) > 1:
        axis.fill_between(steps, values.min(axis=0), values.max(axis=0), color=line.get_color(), alpha=0.2)


STAGE_PANELS = {
    "pass@1": "share right (pass@1)",
    "format": "share in the right format",
    "language": "words in the target language",
    "mean_length": "tokens of a completion",
}


def plot_stages(measured: dict[str, list[dict]], title: str, output: Path) -> None:
    """What was measured after each stage of a pipeline: four panels, of a mixed run a colour for each task.

    No lines, as a stage need not follow the one beside it.

    Args:
        measured: stage -> what each seed's `summary.json` has as `after`. Points are means, bars go from the lowest to
            the highest seed.
        output: the file; its folder is made.
    """
    figure, axes = plt.subplots(2, 2, figsize=(12, 7), constrained_layout=True)
    stages = list(measured)
    tasks = list(dict.fromkeys(task for runs in measured.values() for run in runs for task in run.get("by_task") or {}))
    for axis, (key, label) in zip(axes.flat, STAGE_PANELS.items(), strict=True):
        for number, task in enumerate(tasks or [None]):
            beside = 0.15 * (number - (len(tasks or [None]) - 1) / 2)
            points = []
            for place, runs in enumerate(measured.values()):
                own = [(run.get("by_task") or {}).get(task, {}) if task else run for run in runs]
                values = [one[key] for one in own if one.get(key) is not None]
                points += [(place, sum(values) / len(values), min(values), max(values))] if values else []
            if points:
                x, mean, low, high = (np.array(column) for column in zip(*points, strict=True))
                axis.errorbar(x + beside, mean, yerr=[mean - low, high - mean], fmt="o", capsize=3, label=task)
        axis.set_title(label, loc="left", fontsize="medium")
        axis.set_xticks(range(len(stages)), stages, rotation=30, ha="right")
        axis.set_xlim(-0.4, len(stages) - 0.6)
        axis.set_ylim(0, None if key == "mean_length" else 1.02)
        axis.grid(alpha=0.3)
    if tasks:
        axes.flat[0].legend(frameon=False, fontsize="small")
    figure.suptitle(title)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)
    plt.close(figure)


def draw_figure(figure, output: Path) -> None:
    """A figure of the report (`mini_r1.report.figures.Figure`) as a PNG: up to three panels in a row, else rows of two.

    Args:
        output: the file; its folder is made.
    """
    across = len(figure.panels) if len(figure.panels) <= 3 else 2
    down = -(-len(figure.panels) // across)
    size = ({1: 8, 2: 11, 3: 14}[across], 3.5 * down)
    drawing, axes = plt.subplots(down, across, figsize=size, constrained_layout=True, squeeze=False)
    for axis in axes.flat[len(figure.panels) :]:
        axis.set_visible(False)
    for axis, panel in zip(axes.flat, figure.panels, strict=False):
        _draw_panel(axis, panel)
    drawing.suptitle(_no_math(figure.title))
    output.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(output, dpi=120)
    plt.close(drawing)


def _draw_panel(axis, panel) -> None:
    areas = [series for series in panel.series if series.kind == "area"]
    if areas:
        colours, labels = [s.colour for s in areas], [_no_math(s.name) for s in areas]
        axis.stackplot(areas[0].x, [s.y for s in areas], colors=colours, labels=labels)
    for series in panel.series:
        label = _no_math(series.name) if series.in_legend else None
        if series.kind == "line":
            style = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}[series.dash]
            axis.plot(series.x, series.y, style, color=series.colour, linewidth=1.8, label=label)
            if series.low is not None:
                axis.fill_between(series.x, series.low, series.high, color=series.colour, alpha=0.2, linewidth=0)
            if series.faint is not None:
                axis.plot(*series.faint, color=series.colour, alpha=0.35, linewidth=0.8)
        elif series.kind != "area":
            marker, inside = ("x", None) if series.kind == "crosses" else ("o", "none")
            settings = {"color": series.colour, "label": label, "linestyle": "none", "marker": marker, "markersize": 5}
            if series.kind == "open points":
                settings["markerfacecolor"] = inside
            reach = None if series.low is None else [series.y - series.low, series.high - series.y]
            axis.errorbar(series.x, series.y, yerr=reach, capsize=2, elinewidth=1, **settings)
    for y, _ in panel.levels:
        axis.axhline(y, color="grey", linestyle=":", linewidth=1)
    axis.set_title(_no_math(panel.title), loc="left", fontsize="medium")
    axis.set_xlabel(panel.x_label)
    axis.set_ylabel(panel.y_label)
    axis.grid(axis="y", alpha=0.3)
    if panel.y_range:
        axis.set_ylim(*panel.y_range)
    if panel.ticks:
        axis.set_xticks(list(panel.ticks), [_no_math(text) for text in panel.ticks.values()])
    else:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    names = [series.name for series in panel.series if series.in_legend]
    if len(names) > 1:
        columns = min(3, max(1, LEGEND_LETTERS // (max(map(len, names)) + 8)))  # 8: for the sign beside a name
        below = -0.2 if not any("\n" in text for text in panel.ticks.values()) else -0.26
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, below), ncols=columns, frameon=False, fontsize="small")


def _no_math(text: str) -> str:
    """Matplotlib would read $...$ as a formula."""
    return text.replace("$", r"\$")
