"""Steps at which accuracy, length or reflection change beyond noise, and completions from before and after them."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pandas as pd

from mini_r1.report import curves
from mini_r1.report.change_points import SHORTEST, Change, change_points
from mini_r1.report.figures import GREY, Figure, Panel, Series
from mini_r1.report.learning import STEP
from mini_r1.report.rollouts import Rollouts, outcomes, prompts_by_file
from mini_r1.report.runs import ReportedRun
from mini_r1.report.samples import held_out, record

TESTED = (  # metric, name in a sentence
    ("outcome/right_given_format", "share right among the well-formed"),
    ("completions/mean_length", "mean length in tokens"),
    ("behaviour/verification", "verification words"),
    ("behaviour/backtracking", "backtracking words"),
    ("behaviour/alternatives", "words for alternatives"),
    ("behaviour/summary", "words of summary"),
)
PAIRS = 2  # problems shown side by side for each candidate
MOST_CANDIDATES = 6  # of a run: the page gives texts for these, the smallest p first


@dataclass
class Candidate:
    """A step of one run around which at least one series changes.

    Attributes:
        changes: (step, series' name, change), by step.
        pairs: (before, after) records of one problem, see `samples.record`.
        source: a sentence on where the pairs come from.
    """

    run: str
    step: int
    changes: list[tuple[int, str, Change]]
    pairs: list[tuple[dict, dict]] = field(default_factory=list)
    source: str = ""

    @property
    def p(self) -> float:
        return min(change.p for _, _, change in self.changes)

    @property
    def has_jump(self) -> bool:
        return any(change.is_jump for _, _, change in self.changes)

    @property
    def sentences(self) -> list[str]:
        return [sentence(step, name, change) for step, name, change in self.changes]


def find(run: ReportedRun, accuracy: tuple[str, str]) -> list[Candidate]:
    """The candidates of a run by step: changes less than a twentieth of the run apart are one candidate.

    Args:
        accuracy: (metric, name) of the series that tells how often the answers are right.
    """
    names, series = _tested(run, accuracy)
    found = change_points({metric: values.to_numpy() for metric, values in series.items()})
    changes = sorted((int(series[c.series].index[c.position]), names[c.series], c) for c in found)
    near, candidates = max(2, run.last_step // 20), []
    for change in changes:
        if candidates and change[0] - candidates[-1].changes[-1][0] < near:
            candidates[-1].changes.append(change)
        else:
            candidates.append(Candidate(run.name, change[0], [change]))
    for candidate in candidates:
        candidate.step = min(candidate.changes, key=lambda change: change[2].p)[0]
    return candidates


def has_tests(run: ReportedRun, accuracy: tuple[str, str]) -> bool:
    """Whether any of the run's series has enough steps for the test."""
    return any(len(values) >= SHORTEST for values in _tested(run, accuracy)[1].values())


def _tested(run: ReportedRun, accuracy: tuple[str, str]) -> tuple[dict[str, str], dict[str, pd.Series]]:
    """The names of the series to test, and those that the run has, by metric."""
    names = {accuracy[0]: accuracy[1], **dict(TESTED)}
    return names, {metric: run.metrics[metric] for metric in names if metric in run.metrics}


def sentence(step: int, name: str, change: Change) -> str:
    """A change in a line: what, from where to where, how large beside the noise, how sure, and of which shape."""
    times = abs(change.after - change.before) / change.noise if change.noise > 0 else np.inf
    size = f"{times:.1f} times the noise" if times < 100 else "more than 100 times the noise"
    shape = "a jump" if change.is_jump else "a slope"
    p = f"p = {change.p:.2g}" if change.p >= 1e-4 else "p < 0.0001"
    return (
        f"{name[0].upper()}{name[1:]}, step {step}: {change.before:.3g} → {change.after:.3g}, {size}, {p}; "
        f"rather {shape} (two levels explain {change.jump_share:.0%}, a line {change.line_share:.0%})"
    )


def add_pairs(candidates: list[Candidate], run: ReportedRun, rollouts: Rollouts) -> None:
    """Give each candidate the same problem's completions before and after: rollouts if there are, else held-out."""
    likely = sorted(candidates, key=lambda candidate: candidate.p)[:MOST_CANDIDATES]
    places = prompts_by_file(rollouts) if likely else {}
    places = {prompt: files for prompt, files in places.items() if files[0].step < files[-1].step}
    instead = _held_out_pairs(run) if likely else []
    for candidate in candidates:
        if candidate not in likely:
            candidate.source = "Texts are shown for the surest candidates only."
            continue
        candidate.pairs = _rollout_pairs(candidate, places, run, rollouts)
        candidate.source = (
            "The same training problem, sampled before and after this step: of each the first completion in its file."
        )
        if not candidate.pairs:
            candidate.pairs = instead
            candidate.source = (
                "No training problem was sampled on both sides of this step. Instead, held-out problems before and "
                "after the whole training: one whose outcome changed and one whose did not, where there are both."
            )
        if not candidate.pairs:
            candidate.source = (
                "No texts to compare: no training problem was sampled on both sides of this step, and the held-out "
                "answers before and after training were not kept."
            )


def _rollout_pairs(candidate: Candidate, places: dict, run: ReportedRun, rollouts: Rollouts) -> list:
    options = []
    for prompt, files in places.items():
        earlier = [file for file in files if file.step < candidate.step]
        later = [file for file in files if file.step >= candidate.step]
        if earlier and later:
            options.append((later[0].step - earlier[-1].step, prompt, earlier[-1], later[0]))
    pairs = []
    for _, prompt, *files in sorted(options, key=lambda option: option[:2])[:PAIRS]:
        rows = [_first_row(rollouts.read(file), prompt) for file in files]
        if all(row is not None for row in rows):
            pairs.append(tuple(record(row, run.name, "training") for row in rows))
    return pairs


def _first_row(frame: pd.DataFrame | None, prompt: str) -> pd.Series | None:
    if frame is None:
        return None
    return frame.assign(outcome=outcomes(frame)).loc[frame["prompt"] == prompt].iloc[0]


def _held_out_pairs(run: ReportedRun) -> list:
    both = [rows for _, rows in held_out(run, 200) if len(rows) == 2]
    changed = [rows for rows in both if rows["before"]["outcome"] != rows["after"]["outcome"]]
    same = [rows for rows in both if rows["before"]["outcome"] == rows["after"]["outcome"]]
    return [
        tuple(record(rows[when], run.name, f"held-out, {when} training") for when in ("before", "after"))
        for rows in [*changed[:1], *same[:1]]
    ]


def levels_figure(run: ReportedRun, candidates: list[Candidate], colour: str) -> Figure | None:
    """The series of a run that change, with the level of each stretch between its changes."""
    by_metric: dict[str, tuple[str, list[int]]] = {}
    for candidate in candidates:
        for step, name, change in candidate.changes:
            by_metric.setdefault(change.series, (name, []))[1].append(step)
    panels = []
    for metric, (name, steps) in by_metric.items():
        values = run.metrics[metric]
        edges = [values.index[0], *sorted(steps), values.index[-1] + 1]
        x, y = [], []
        for start, end in pairwise(edges):
            stretch = values[(values.index >= start) & (values.index < end)]
            x += [start, stretch.index[-1], np.nan]
            y += [stretch.median(), stretch.median(), np.nan]
        raw_x, raw_y = curves.extremes(values)
        raw = Series("each step", raw_x, raw_y, GREY, width=1)
        level = Series("median between changes", np.array(x, float), np.array(y, float), colour, width=3)
        panels.append(Panel(name.capitalize(), STEP, name, [raw, level]))
    if not panels:
        return None
    return Figure(f"changes-{run.name.replace('/', '-')}", f"Candidate steps of {run.name}", panels, "", "")
