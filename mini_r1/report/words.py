"""Sentences about runs: the page's title, and what was run."""

import numpy as np

from mini_r1.clock import clock
from mini_r1.report import curves
from mini_r1.report.aha import Candidate
from mini_r1.report.learning import accuracy_metric, measured, numbers
from mini_r1.report.runs import Group, ReportedRun


def headline(groups: list[Group]) -> str:
    """The result of the first group in one line: held-out pass@1 where it was measured, else training."""
    main = groups[0]
    both = [(run.before["pass@1"], run.after["pass@1"]) for run in main.runs if run.before and run.after]
    after = [m["pass@1"] for m in measured(main, "after")]
    problems = numbers({m["n"] for when in ("before", "after") for m in measured(main, when) if "n" in m})
    if both:
        first, last = np.mean(both, axis=0)
        return f"pass@1 {_moved(first, last)} on {problems} held-out problems{_over(len(both))}"
    if after:
        return f"pass@1 is {np.mean(after):.2f} on {problems} held-out problems{_over(len(after))}"
    return training_line(groups)


def training_line(groups: list[Group]) -> str:
    """How often answers are right in training, first and last, smoothed."""
    metric, name = accuracy_metric(groups)
    if not groups[0].has(metric):
        metric = name = "loss"
    if not groups[0].has(metric):
        return "nothing was measured yet"
    values = curves.smooth(curves.table(groups[0], metric).mean(axis=1))
    return f"{name} {_moved(values.iloc[0], values.iloc[-1])} over {values.index[-1]:,} steps"


def _moved(first: float, last: float) -> str:
    if f"{first:.2f}" == f"{last:.2f}":
        return f"stayed at {last:.2f}"
    return f"{'rose' if last > first else 'fell'} from {first:.2f} to {last:.2f}"


def _over(seeds: int) -> str:
    return f", mean of {seeds} seeds" if seeds > 1 else ""


def doubt(groups: list[Group]) -> str:
    """What the headline has to be read with: intervals that overlap, a single seed, missing or equal controls."""
    main, sentences = groups[0], []
    pairs = [[(m or {}).get("intervals", {}).get("pass@1") for m in (run.before, run.after)] for run in main.runs]
    pairs = [pair for pair in pairs if all(pair)]
    overlap = sum(old[0] <= new[1] and new[0] <= old[1] for old, new in pairs)
    if overlap:
        sentences.append(f"In {overlap} of {len(pairs)} seed(s) the 95% intervals before and after overlap.")
    if len(main.runs) == 1:
        sentences.append("This is one seed: another may come out differently.")
    controls = [group for group in groups if group.control and measured(group, "after")]
    for group in controls:
        mean = np.mean([m["pass@1"] for m in measured(group, "after")])
        sentences.append(f"The control {group.name} reached a pass@1 of {mean:.2f}.")
    if not any(group.control for group in groups):
        sentences.append("No control is beside it: what of this a random reward would do, too, is not known.")
    unfinished = [run for run in main.runs if not run.finished]
    if unfinished:
        steps = ", ".join(f"{run.name} at step {run.last_step:,}" for run in unfinished)
        sentences.append(f"Not finished: {steps}.")
    return " ".join(sentences)


def aha_title(candidates: list[Candidate]) -> str:
    if not candidates:
        return "No step at which accuracy, length or reflection changes beyond noise"
    jumps, plural = sum(candidate.has_jump for candidate in candidates), "s" if len(candidates) > 1 else ""
    if not jumps:
        return f"No jump; {len(candidates)} candidate step{plural}, all within slopes"
    return f"{len(candidates)} candidate step{plural}, {jumps} with a jump rather than a slope"


def facts(run: ReportedRun) -> list[tuple[str, str]]:
    """What a run was made with, as (name, text); what is not known is left out."""
    manifest, hardware = run.manifest, run.manifest.get("hardware") or {}
    seconds = {k: v for k, v in (run.summary.get("seconds") or {}).items() if isinstance(v, int | float)}
    versions = manifest.get("versions") or {}
    changed = manifest.get("git_changed_files") or []
    pairs = [
        ("state", "finished" if run.finished else f"not finished, last step {run.last_step:,}"),
        ("seed", run.seed),
        ("recipe", manifest.get("recipe")),
        ("command", manifest.get("command")),
        ("commit", manifest.get("git_commit")),
        ("files changed since", ", ".join(str(file).strip() for file in changed)),
        ("versions", ", ".join(f"{name} {text}" for name, text in versions.items() if text)),
        ("Python", manifest.get("python")),
        ("hardware", ", ".join(f"{name} {_flat(value)}" for name, value in hardware.items())),
        ("time", ", ".join(f"{name.replace('_', ' ')} {clock(value)}" for name, value in seconds.items())),
        ("started", ", then ".join(str(a.get("started")) for a in manifest.get("attempts") or [])),
        ("finished", manifest.get("finished")),
    ]  # fmt: skip
    return [(name, str(value)) for name, value in pairs if value not in (None, "")]


def _flat(value: object) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value)
