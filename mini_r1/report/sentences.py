"""Writes sentences about runs: the headline, the doubts that belong to it, and what was run."""

import numpy as np

from mini_r1.report import curves
from mini_r1.report.aha import Candidate
from mini_r1.report.learning import accuracy_metric, interval, measured, problems_of
from mini_r1.report.runs import Group, ReportedRun
from mini_r1.run.run_dir import clock


def headline(groups: list[Group]) -> str:
    """The result of the first group in one line: held-out pass@1 where it was measured, else accuracy in training."""
    main = groups[0]
    both = [(run.before, run.after) for run in main.runs if run.before and run.after]
    after = [m["pass@1"] for m in measured(main, "after")]
    problems = problems_of([main])
    if both:
        first, last = np.array([[m["pass@1"] for m in pair] for pair in both]).T
        old, new = (f"{values.mean():.2f}" for values in (first, last))
        moved = curves.verb(first, last, [_intervals(*pair) for pair in both]) if old != new else None
        change = f" {moved} from {old} to {new}" if moved else f": {old} before and {new} after training,"
        return f"pass@1{change} on {problems} held-out problems{_over(len(both))}"
    if after:
        return f"pass@1 is {np.mean(after):.2f} on {problems} held-out problems{_over(len(after))}"
    return training_line(groups)


def training_line(groups: list[Group]) -> str:
    """The share of correct answers in the first and the last steps of training."""
    metric, name = accuracy_metric(groups)
    if not groups[0].has(metric):
        metric = name = "loss"
    if not groups[0].has(metric):
        return "nothing was measured yet"
    return curves.over_training(name, curves.table(groups[0], metric))


def _intervals(before: dict, after: dict) -> tuple | None:
    """The 95% intervals of pass@1, or None where one is missing."""
    pair = tuple(interval(m, "pass@1") for m in (before, after))
    return pair if all(pair) else None


def _over(seeds: int) -> str:
    return f", mean of {seeds} seeds" if seeds > 1 else ""


def doubt(groups: list[Group]) -> str:
    """Says why the headline may be wrong: overlapping intervals, a single seed, controls, unfinished runs."""
    main, sentences = groups[0], []
    pairs = [_intervals(run.before, run.after) for run in main.runs if run.before and run.after]
    pairs = [pair for pair in pairs if pair]
    overlap = sum(old[0] <= new[1] and new[0] <= old[1] for old, new in pairs)
    if overlap:
        sentences.append(f"In {overlap} of {len(pairs)} seed(s) the 95% intervals before and after overlap.")
    if len(main.runs) == 1:
        sentences.append("This is one seed: another may come out differently.")
    for group in (group for group in groups if group.control):
        reached = [m["pass@1"] for m in measured(group, "after")]
        result = f"reached a pass@1 of {np.mean(reached):.2f}" if reached else "has no held-out result yet"
        sentences.append(f"The control {group.name} {result}.")
    if not any(group.control for group in groups):
        sentences.append("No control is beside it, so it is not known how much of this a random reward would do too.")
    unfinished = [run for run in main.runs if not run.finished]
    if unfinished:
        steps = ", ".join(f"{run.name} at step {run.last_step:,}" for run in unfinished)
        sentences.append(f"Not finished: {steps}.")
    trained = {run.last_step for run in main.runs if run.metrics}
    if len(trained) > 1:
        sentences.append(f"Means over seeds end at step {min(trained):,}, which all of them reached.")
    return " ".join(sentences)


def aha_title(candidates: list[Candidate], tested: bool) -> str:
    """The heading of the section on the aha moment.

    Args:
        tested: whether some series was long enough for the test.
    """
    if not tested:
        return "Too few steps to test"
    if not candidates:
        return "No step at which accuracy, length or reflection changes beyond noise"
    jumps, plural = sum(candidate.has_jump for candidate in candidates), "s" if len(candidates) > 1 else ""
    if not jumps:
        return f"No jump; {len(candidates)} candidate step{plural}, all within slopes"
    return f"{len(candidates)} candidate step{plural}, {jumps} with a jump rather than a slope"


def facts(run: ReportedRun) -> list[tuple[str, str]]:
    """How a run was made, as (name, text), without unknown facts."""
    manifest = run.manifest
    pairs = [
        ("state", "finished" if run.finished else f"not finished, last step {run.last_step:,}"),
        ("seed", run.seed),
        ("recipe", manifest.get("recipe")),
        ("command", manifest.get("command")),
        ("commit", manifest.get("git_commit")),
        ("files changed since", ", ".join(file.strip() for file in manifest.get("git_changed_files", ()))),
        ("versions", ", ".join(f"{name} {text}" for name, text in manifest.get("versions", {}).items() if text)),
        ("Python", manifest.get("python")),
        ("hardware", ", ".join(f"{name} {_flat(value)}" for name, value in manifest.get("hardware", {}).items())),
        ("time", ", ".join(f"{name.replace('_', ' ')} {clock(value)}" for name, value in run.seconds.items())),
        ("started", ", then ".join(attempt["started"] for attempt in manifest.get("attempts", ()))),
        ("finished", manifest.get("finished")),
    ]  # fmt: skip
    return [(name, str(value)) for name, value in pairs if value not in (None, "")]


def _flat(value: object) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)
