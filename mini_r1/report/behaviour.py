"""Makes the figures on the stability of training, and on how the answers changed."""

import pandas as pd

from mini_r1.report import curves
from mini_r1.report.figures import BLUE, ORANGE, Figure, Panel
from mini_r1.report.learning import SHARE, SMOOTHED, STEP, across
from mini_r1.report.runs import Group

STABILITY = (  # metric, name, unit
    ("loss", "Loss", "loss"),
    ("kl", "Distance from the reference model", "KL, nats per token"),
    ("grad_norm", "Gradient norm", "norm before clipping"),
    ("entropy", "Entropy", "nats per token"),
    ("clip_ratio/region_mean", "Clipped by the loss", "share of tokens"),
    ("completions/clipped_ratio", "Cut off at the length limit", SHARE),
    ("frac_reward_zero_std", "Groups without variance", "share of groups"),
    ("temperature/sampling", "Sampling temperature", "temperature"),
    ("temperature/loss", "Temperature in the loss", "temperature"),
    ("learning_rate", "Learning rate", "learning rate"),
)
SPIKY = ("loss", "kl", "grad_norm", "entropy")
BEHAVIOURS = (
    ("behaviour/reflection", "All reflection words"),
    ("behaviour/verification", "Verification"),
    ("behaviour/backtracking", "Backtracking"),
    ("behaviour/alternatives", "Alternatives"),
    ("behaviour/summary", "Summary"),
)
TEXTS = (
    ("text/mixed_languages", "Mixed languages"),
    ("text/repetition", "Repetition"),
    ("text/reopened_thinking", "Thinking opened again"),
)


def stability_figure(groups: list[Group]) -> Figure | None:
    panels, constant, absent, count = [], [], [], 0
    supervised = [group for group in groups if all(run.stage == "sft" for run in group.runs)]
    groups = [group for group in groups if group not in supervised]
    for metric, name, unit in STABILITY if groups else ():
        values = [run.metrics[metric] for group in groups for run in group.runs if metric in run.metrics]
        if not values:
            absent.append(name.lower())
        elif min(v.min() for v in values) == max(v.max() for v in values):
            constant.append(f"{name.lower()} {values[0].iloc[0]:.3g}")
        else:
            panel = across(groups, metric, name, unit, robust=metric in SPIKY)
            if metric in SPIKY:
                marked = [m for group in groups if (m := curves.spike_series(group, metric))]
                count += sum(len(m.x) for m in marked)
                panel.series += marked
            panels.append(panel)
    loss = across(supervised, "loss", "Loss of supervised training", "nats per token")
    panels += [loss] if loss else []
    if not panels:
        return None
    says = [curves.SPIKE_RULE, SMOOTHED]
    if constant:
        says.append(f"Constant throughout, so not drawn: {', '.join(constant)}.")
    if absent:
        says.append(f"Not recorded: {', '.join(absent)}.")
    title = "no spike in loss, KL, gradient norm or entropy" if not count else f"{count} spike{'s' * (count > 1)}"
    return Figure(
        "stability",
        f"Stability: {title}",
        panels,
        " ".join(says),
        "The loss of a policy gradient does not fall as learning goes on, so its height says little; only jumps and "
        "drift do. No spike is no proof of health: a slow collapse of entropy makes none.",
    )


def length_figure(groups: list[Group]) -> Figure | None:
    """Lengths of the correct and of the wrong answers of the first group; then the mean length of all groups."""
    panels, main = [], groups[0]
    for kind, shade in (("right", BLUE), ("wrong", ORANGE)):
        mean, low, high = (curves.table(main, f"length/{kind}_{part}") for part in ("mean", "min", "max"))
        if len(values := curves.mean(mean)):
            edges = (edge.reindex(values.index) for edge in (low.min(axis=1), high.max(axis=1)))
            low, high = (curves.thin(edge)[1] for edge in edges)
            line = curves.plain(values, "mean, and range", shade, low=low, high=high)
            title = f"{kind.capitalize()} answers, {main.name}"
            panels.append(Panel(title, STEP, "tokens", [line], levels=_first(mean)))
    everything = across(groups, "completions/mean_length", "All answers", "tokens, mean")
    if everything:
        everything.levels = _first(curves.table(main, "completions/mean_length"))
        panels.append(everything)
    if not panels:
        return None
    values, title = curves.table(main, "completions/mean_length"), "Length of answers"
    title = title if values.empty else curves.over_training(title, values, digits=0, unit="tokens")
    return Figure(
        "lengths",
        title,
        panels,
        "Tokens of a completion. Bands of the first panels reach from the shortest to the longest completion of a "
        f"step. The dotted line is the first recorded step. {SMOOTHED}",
        "Longer is not better: wrong answers are often long because they never end, and the limit on tokens cuts the "
        "longest. Length by outcome does not say which causes which.",
    )


def behaviour_figure(groups: list[Group]) -> Figure | None:
    panels, never = _each(groups, BEHAVIOURS, "words per completion")
    if not panels and not never:
        return None
    values = curves.table(groups[0], "behaviour/reflection")
    return Figure(
        "behaviours",
        "Reflection words" if values.empty else curves.over_training("Reflection", values, unit="words per completion"),
        panels,
        f"Reflection words counted in each completion.{never} The dotted line is the first recorded step. {SMOOTHED}",
        "Words are counted, not thoughts: a model may write 'wait' without checking anything, or check without saying "
        "so. Base models use such words before any reinforcement learning; what counts is the distance from the "
        "dotted line, and from the controls.",
    )


def text_figure(groups: list[Group]) -> Figure | None:
    panels, never = _each(groups, TEXTS, SHARE)
    if not panels and not never:
        return None
    return Figure(
        "texts",
        f"Oddities in the text: {', '.join(panel.title.lower() for panel in panels) or 'none'}",
        panels,
        f"Share of completions of a step with each oddity.{never} The dotted line is the first recorded step. "
        + SMOOTHED,
        "Simple rules look for them, miss some and take others for one; look at samples before concluding anything.",
    )


def _each(groups: list[Group], metrics: tuple, unit: str) -> tuple[list[Panel], str]:
    """Returns a panel for each metric, and a sentence that names the metrics that stay zero and have no panel."""
    panels, never = [], []
    for metric, name in metrics:
        panel = across(groups, metric, name, unit)
        if panel:
            top = max(series.reach[1] for series in panel.series)
            if top > 0:
                panel.levels = _first(curves.table(groups[0], metric))
                panel.y_range = (0.0, 1.05 * top)
                panels.append(panel)
            else:
                never.append(name.lower())
    return panels, f" Never seen: {', '.join(never)}." if never else ""


def _first(values: pd.DataFrame) -> list[tuple[float, str]]:
    """The level of the first recorded step, see `Panel.levels`."""
    values = values.dropna()
    return [(float(values.iloc[0].mean()), f"at step {values.index[0]}")] if len(values) else []
