"""Figures of runs, drawn with matplotlib from what the run directories hold."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt
import numpy as np


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


def reward_metrics(history: dict) -> list[tuple[str, str]]:
    """The logged rewards with readable labels."""
    names = [name for name in history if name.startswith("rewards/") and name.endswith("/mean")]
    return [(name, name.split("/")[1].removesuffix("_reward") + " reward") for name in names]


def plot_runs(folders: list[Path], title: str, output: Path) -> None:
    """Rewards and completion length over steps; several runs (seeds) as their mean with a band from least to most.

    The points at the ends of the reward panel are held-out accuracy before and after, from `summary.json`.
    """
    histories = [read_history(folder) for folder in folders]
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in folders]
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), constrained_layout=True)
    panels = [
        ("reward (share of completions)", reward_metrics(histories[0])),
        ("completion length (tokens)", [("completions/mean_length", "mean length")]),
    ]
    for axis, (label, metrics) in zip(axes, panels, strict=True):
        for metric, name in metrics:
            steps = histories[0][metric][0]
            values = np.array([history[metric][1][: len(steps)] for history in histories])
            (line,) = axis.plot(steps, values.mean(axis=0), label=name, linewidth=1.8)
            if len(folders) > 1:
                axis.fill_between(steps, values.min(axis=0), values.max(axis=0), color=line.get_color(), alpha=0.2)
        axis.set_xlabel("GRPO step")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    last = histories[0]["completions/mean_length"][0][-1]
    for i, summary in enumerate(summaries):
        ends = [summary["before"]["pass@1"], summary["after"]["pass@1"]]
        label = "held-out pass@1, before and after" if i == 0 else None
        axes[0].plot([0, last], ends, "k^", markersize=6, label=label, zorder=3)
    axes[0].set_ylim(0, 1.02)
    axes[1].set_ylim(bottom=0)
    axes[0].legend(loc="lower right")
    several = f", {len(folders)} seeds: mean, and band from lowest to highest" if len(folders) > 1 else ""
    figure.suptitle(title + several)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=120)
    plt.close(figure)
