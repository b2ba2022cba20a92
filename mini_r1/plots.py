"""Figures of runs, drawn with matplotlib from what the run directories hold."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no screen needed
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

LENGTH = "completions/mean_length"


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
    means.sort(key=lambda name: (name == "rewards/format_reward/mean", name))  # the same colours for every task
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
