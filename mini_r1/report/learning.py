"""Makes the figures and the table on whether the model learned, and which reward did what."""

import re
import textwrap
from collections.abc import Callable

import numpy as np

from mini_r1.report import curves
from mini_r1.report.figures import BLUE, GREY, ORANGE, RED, Figure, Panel, Series, colour, dash
from mini_r1.report.runs import Group, ReportedRun
from mini_r1.rewards import FORMAT_REWARDS

STEP = "training step"
SHARE = "share of completions"
SMOOTHED = (
    "Strong lines are means over seeds, smoothed (centred, over a twentieth of the run, at least five steps), up to "
    "the last step that all seeds have reached. Behind them, faint, are the unsmoothed values of a single run, or a "
    "band from the lowest to the highest seed; where some seeds have come further than others, their values."
)
NAMES = {"right_given_format": "right if\nformed"}
EXPLAINED = (
    "pass@k: at least one of k samples is right. maj@k: the most frequent answer of k is right. Greedy: the one answer "
    "without sampling is right. Right if formed: the share right among the well-formed ones."
)
OUTCOMES = (
    ("outcome/right", "right", BLUE),
    ("outcome/answer_wrong", "wrong answer", ORANGE),
    ("outcome/format_wrong", "wrong format", RED),
)


def reward_names(group: Group) -> list[str]:
    """The reward functions of a group, the format's last."""
    found = {m[1] for run in group.runs for name in run.metrics if (m := re.fullmatch(r"rewards/(.+)/mean", name))}
    return sorted(found, key=lambda name: (name in FORMAT_REWARDS, name))


def accuracy_metric(groups: list[Group]) -> tuple[str, str]:
    """Returns (metric, its name) of what counts correct answers best: the mean reward where no verifier applies."""
    if groups[0].has("outcome/right"):
        return "outcome/right", "share right (answer and format)"
    answers = [name for name in reward_names(groups[0]) if name not in FORMAT_REWARDS]
    if answers:
        return f"rewards/{answers[0]}/mean", f"mean {answers[0].replace('_', ' ')}"
    return "reward", "mean total reward"


def measured(group: Group, when: str) -> list[dict]:
    return [m for run in group.runs if (m := getattr(run, when))]


def overview_figure(groups: list[Group], headline: str) -> Figure | None:
    """The result of all groups in up to three panels; None without any training curve or held-out result."""
    metric, label = accuracy_metric(groups)
    trained = across(groups, metric, "Right in training", label)
    if trained:
        trained.y_range = unit_range(trained.series)
    lengths = across(groups, "completions/mean_length", "Length in training", "tokens per completion, mean")
    held_out = _held_out_panel(groups)
    if not trained and not held_out:
        return None
    panels = [panel for panel in (trained, held_out, lengths) if panel]
    says = [SMOOTHED, how_measured(groups)] if held_out else [SMOOTHED]
    unsampled = [group.name for group in groups if any(run.metrics for run in group.runs) and not group.has(metric)]
    if trained and unsampled:
        says.append(f"Supervised training samples no completions, so it has no curve: {', '.join(unsampled)}.")
    return Figure(
        "overview",
        headline,
        panels,
        " ".join(says),
        "Training problems change with every step, and are sampled at the training temperature: only held-out points "
        "compare like with like. An interval covers the choice of problems, not that of the seed.",
    )


def training_figure(groups: list[Group], title: str) -> Figure:
    """The rewards and lengths of a run in training, and its held-out results: training.png."""
    rewards = rewards_figure(groups, "")
    lengths = across(groups, "completions/mean_length", "Length", "tokens per completion, mean")
    if lengths:
        ends = [(when, [m["mean_length"] for m in measured(groups[0], when)]) for when in ("before", "after")]
        lengths.levels = [(float(np.mean(values)), f"held-out, {when}") for when, values in ends if values]
    panels = [*(rewards.panels if rewards else ()), _held_out_panel(groups), lengths]
    return Figure("training", title, [panel for panel in panels if panel], "", "")


def _held_out_panel(groups: list[Group]) -> Panel | None:
    """pass@1 of every seed before and after, group beside group."""
    series, ticks = [], {}
    for group in groups:
        place = float(len(ticks))
        points = before_and_after(group, ["pass@1"], shares, first=place)
        if points:
            ticks[place] = "\n".join(textwrap.wrap(group.name, 15))
            series += points
    return Panel("Held-out problems", "", "pass@1", series, (0.0, 1.03), ticks) if series else None


def before_and_after(
    group: Group, keys: list[str], values_of: Callable[[dict], dict[str, tuple]], first: float = 0.0
) -> list[Series]:
    """One series of points before training and one after it, the seeds side by side; without those not measured.

    Args:
        keys: what to draw, one place on the x axis each.
        values_of: the values of a measurement, as key -> (value, interval or None).
        first: the place of the first key.
    """
    series = []
    for when, kind, shift in (("before", "open points", -0.15), ("after", "points", 0.15)):
        seeds = [values_of(m) for m in measured(group, when)]
        points = []
        for j, values in enumerate(seeds):
            start = first + shift + 0.05 * (j - (len(seeds) - 1) / 2)
            known = [(i, *values[key]) for i, key in enumerate(keys) if key in values]
            points += [(start + i, y, *(ends or (y, y))) for i, y, ends in known]
        if points:
            x, y, low, high = np.array(points, dtype=float).T
            whiskers = {"low": np.minimum(low, y), "high": np.maximum(high, y)} if (low < high).any() else {}
            series.append(Series(when, x, y, GREY if when == "before" else group.colour, kind, **whiskers))
    return series


def shares(measurement: dict) -> dict[str, tuple]:
    """key -> (value, interval or None) of a measurement's numbers."""
    found = {key: value for key, value in measurement.items() if isinstance(value, int | float)}
    return {key: (value, interval(measurement, key)) for key, value in found.items()}


def parts_of(measurement: dict, kind: str) -> dict[str, tuple]:
    """part -> (pass@1, interval or None) of a measurement, by "by_task" or "by_difficulty"."""
    parts = measurement.get(kind) or {}
    return {name: (part["pass@1"], part.get("interval")) for name, part in parts.items()}


def tasks_of(group: Group) -> list[str]:
    """The tasks of a mixture, in the order of the recipe where it is known; [] for runs of one task."""
    trained = [m[1] for run in group.runs for name in run.metrics if (m := re.fullmatch(r"mixture/(.+)", name))]
    tested = [task for when in ("after", "before") for m in measured(group, when) for task in m.get("by_task") or {}]
    return list(dict.fromkeys([*trained, *tested]))


def interval(measurement: dict, key: str) -> list[float] | None:
    """The 95% interval of a measured share, where it was recorded."""
    return measurement.get("intervals", {}).get(key)


def rewards_figure(groups: list[Group], headline: str) -> Figure | None:
    """The reward functions of the first group, one curve each."""
    main = groups[0]
    names = reward_names(main)
    lines = [
        curves.curve(main, f"rewards/{name}/mean", name.replace("_", " "), colour(i), dash(i))
        for i, name in enumerate(names)
    ]
    lines = [line for line in lines if line]
    if not lines:
        return None
    return Figure(
        "rewards",
        f"Rewards in training: {headline}",
        [Panel(f"Rewards of {main.name}", STEP, "mean reward of the rollouts", lines, unit_range(lines))],
        f"Mean of each reward function over the completions of a step. {SMOOTHED}",
        "These are training problems, different ones at each step, sampled at the training temperature. A rising "
        "reward is not yet a gain on held-out problems, and a reward may rise because the model tricks it.",
        wide=True,
    )


def unit_range(lines: list[Series]) -> tuple[float, float] | None:
    """A y axis from 0 to 1 where all values lie in it, so that figures can be compared by eye; else None."""
    return (0.0, 1.03) if all(line.reach[0] >= 0 and line.reach[1] <= 1 for line in lines) else None


def across(
    groups: list[Group], metric: str, title: str, y_label: str, y_range: tuple | None = None, robust: bool = False
) -> Panel | None:
    """One metric, with a line for each group that recorded it; None where no group did."""
    lines = [curves.curve(group, metric, group.name, group.colour, group.dash, robust) for group in groups]
    lines = [line for line in lines if line]
    return Panel(title, STEP, y_label, lines, y_range) if lines else None


def held_out_figure(groups: list[Group]) -> Figure | None:
    """pass@1, pass@k, maj@k and format of every seed before and after, with 95% intervals; a panel for each group."""
    panels = []
    for group in groups:
        keys = held_out_keys(measured(group, "after") or measured(group, "before"))
        if series := before_and_after(group, keys, shares):
            ticks = {float(i): NAMES.get(key, key) for i, key in enumerate(keys)}
            panels.append(Panel(group.name, "", "share", series, (0.0, 1.03), ticks))
    if not panels:
        return None
    return Figure(
        "held-out",
        f"Every seed, before and after training, on {problems_of(groups)} held-out problems",
        panels,
        f"{how_measured(groups)} {EXPLAINED}",
        "An interval covers the choice of problems only: not the choice of seed, prompt or sampling temperature. Two "
        "seeds that differ by less than their intervals are not told apart.",
        wide=max(len(panel.ticks) for panel in panels) > 6,
    )


def problems_of(groups: list[Group]) -> str:
    """The number of held-out problems, as text."""
    return numbers({m["n"] for group in groups for when in ("before", "after") for m in measured(group, when)})


def how_measured(groups: list[Group]) -> str:
    """Sentences that explain the points of held-out measurements."""
    borrowed = [f"{run.name} from {run.before_of}" for group in groups for run in group.runs if run.before_of]
    taken_over = f" Before, taken over as both start from the same model: {', '.join(borrowed)}." if borrowed else ""
    return (
        f"Each point is one seed, measured on {problems_of(groups)} held-out problems, before training (open) and "
        f"after (filled).{taken_over} Whiskers are 95% intervals, by resampling the problems."
    )


def held_out_keys(measurements: list[dict]) -> list[str]:
    """Returns the measured keys among pass@1, greedy, pass@2, ..., maj@k and format, in this order."""
    found = {key for m in measurements for key in shares(m)}
    places = {"greedy": (0, 1.5), "format": (2, 0), "right_given_format": (3, 0)}
    for key in found:
        if ranked := re.fullmatch(r"(pass|maj)@(\d+)", key):
            places[key] = (ranked[1] == "maj", int(ranked[2]))
    return sorted(found & places.keys(), key=places.__getitem__)


def numbers(values: set) -> str:
    """Writes {250} as "250", {100, 250} as "100 to 250", and no value as "unknown many"."""
    if not values:
        return "unknown many"
    return f"{min(values):,}" if len(values) == 1 else f"{min(values):,} to {max(values):,}"


def tasks_figure(groups: list[Group]) -> Figure | None:
    """Each task of a mixture apart, in training and on held-out problems; None where every run has one task."""
    panels = []
    for group in groups:
        tasks = tasks_of(group)
        lines = [curves.curve(group, f"outcome/{task}/right", task, colour(i), dash(i)) for i, task in enumerate(tasks)]
        if lines := [line for line in lines if line]:
            panels.append(Panel(f"Right in training, {group.name}", STEP, SHARE, lines, (0.0, 1.03)))
        if series := before_and_after(group, tasks, lambda measurement: parts_of(measurement, "by_task")):
            ticks = {float(i): task for i, task in enumerate(tasks)}
            panels.append(Panel(f"Held-out problems, {group.name}", "", "pass@1", series, (0.0, 1.03), ticks))
    if not panels:
        return None
    return Figure(
        "tasks",
        "Each task apart",
        panels,
        "Share of right completions of each task in training; then pass@1 of each seed on the task's held-out "
        f"problems, before (open) and after (filled), with 95% intervals where recorded. {SMOOTHED}",
        "A mean over tasks, as in the headline, weighs them by their number of problems: a gain on an easy task can "
        "hide a loss on a hard one.",
    )


def difficulty_figure(groups: list[Group]) -> Figure | None:
    """pass@1 by difficulty, before and after, each task of a mixture apart; None where all have one difficulty."""
    panels = []
    for group in groups:
        for task in tasks_of(group) or [""]:

            def values_of(measurement: dict, task: str = task) -> dict[str, tuple]:
                own = (measurement.get("by_task") or {}).get(task, {}) if task else measurement
                return parts_of(own, "by_difficulty")

            names = sorted({level for m in measured(group, "after") for level in values_of(m)}, key=int)
            series = before_and_after(group, names, values_of)
            if len(names) > 1 and series:
                ticks = {float(i): level for i, level in enumerate(names)}
                title = f"{group.name}, {task}" if task else group.name
                panels.append(Panel(title, "difficulty", "pass@1", series, (0.0, 1.03), ticks))
    if not panels:
        return None
    return Figure(
        "difficulty",
        "pass@1 by difficulty",
        panels,
        "Each point is one seed; whiskers, where recorded, are 95% intervals. "
        "What difficulty counts depends on the task: numbers to combine, steps, or people.",
        "Intervals are wider here than above, as each difficulty has only a part of the problems.",
    )


def outcome_figure(groups: list[Group]) -> Figure | None:
    """Stacked shares of the three outcomes, a panel for each group; then the metrics derived from them."""
    panels = []
    for group in groups:
        lines = [
            curves.plain(values, name, shade, kind="area")
            for metric, name, shade in OUTCOMES
            if len(values := curves.mean(curves.table(group, metric)))
        ]
        if lines:
            panels.append(Panel(f"Outcomes, {group.name}", STEP, SHARE, lines, (0.0, 1.0)))
    given = across(groups, "outcome/right_given_format", "Right among the well-formed", "share right", (0.0, 1.02))
    group_pass = across(groups, "outcome/pass_at_group", "Groups with a right answer", "share of groups", (0.0, 1.02))
    panels += [panel for panel in (given, group_pass) if panel]
    if not panels:
        return None
    return Figure(
        "outcomes",
        _outcome_title(groups[0]),
        panels,
        "What became of the completions of each step, mean over seeds, smoothed: right (answer and format), wrong "
        "answer in the right format, or wrong format. Right among the well-formed takes the format "
        f"away: it rises only where the answers get better. {SMOOTHED}",
        "These are shares of training completions. A group without any right answer gives no signal, however often it "
        "is sampled. An answer can be right where the format is not; such completions count as wrong format here.",
    )


def _outcome_title(main: Group) -> str:
    if not main.has("outcome/right_given_format"):
        return "Format and correctness"
    text = curves.over_training("Right among the well-formed", curves.table(main, "outcome/right_given_format"))
    wrong = curves.table(main, "outcome/format_wrong")
    return text if wrong.empty else f"{text}. {curves.over_training('Wrong format', wrong)}"


def results_table(groups: list[Group]) -> list[dict]:
    """A row for each group, all with the same columns: a text, or [before, after]; "" where nothing was measured."""
    rows = []
    keys = held_out_keys([m for group in groups for m in measured(group, "after") or measured(group, "before")])
    best = [[key for key in keys if key.startswith(kind)][-1:] for kind in ("pass@", "maj@")]
    shown = dict.fromkeys(["pass@1", *(["greedy"] if "greedy" in keys else []), *best[0], *best[1]])
    for group in groups:
        after = measured(group, "after")
        # means of the same seeds
        before = [run.before for run in group.runs if run.before and (run.after or not after)]
        row = {"runs": group.name + (" (control)" if group.control else ""), "seeds": _seeds(group.runs)}
        for key in [*shown, "format", "mean_length"]:
            digits = 1 if key == "mean_length" else 3
            row[key] = [spread([m[key] for m in ms if key in m], digits) for ms in (before, after)]
        row["steps"] = numbers({run.last_step for run in group.runs})
        seconds = [run.seconds["total"] for run in group.runs if "total" in run.seconds]
        row["minutes"] = spread([s / 60 for s in seconds], 0)
        rows.append(row)
    return rows


def _seeds(runs: list[ReportedRun]) -> str:
    text = ", ".join("?" if run.seed is None else str(run.seed) for run in runs)
    unfinished = sum(not run.finished for run in runs)
    return text + (f" ({unfinished} not finished)" if unfinished else "")


def spread(values: list[float], digits: int) -> str:
    """Writes the mean, and the lowest and the highest value where they differ; "" for no value."""
    if not values:
        return ""
    mean, low, high = (f"{value:.{digits}f}" for value in (np.mean(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low}–{high})"
