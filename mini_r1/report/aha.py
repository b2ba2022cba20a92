"""Finds steps at which accuracy, length or reflection change beyond noise, and completions on both sides of them.

Pettitt's test finds the change of level in a series, Holm's correction covers several series, and binary segmentation
finds further changes. Pettitt (1979), "A non-parametric approach to the change-point problem", Applied Statistics
28(2), 126-135, uses ranks only, so neither the scale nor a few outliers matter. Holm (1979), Scandinavian Journal of
Statistics 6(2), 65-70, keeps the chance of a single false alarm among all series below `LEVEL`.

The test assumes independent values. It fires on 2% of 400 series of 80 values of pure noise, but on 15% where each
value correlates 0.3 with the one before, and on 52% at 0.6 (measured). A smooth climb also makes it fire, somewhere in
the middle; `Change.jump_share` and `line_share` tell a jump from a climb.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mini_r1.report import curves
from mini_r1.report.figures import GREY, Figure, Panel, Series
from mini_r1.report.learning import STEP
from mini_r1.report.rollouts import RolloutFile, Rollouts, prompts_by_file, record
from mini_r1.report.runs import ReportedRun

TESTED = {  # metric: its name in a sentence
    "outcome/right_given_format": "share right among the well-formed",
    "completions/mean_length": "mean length in tokens",
    "behaviour/verification": "verification words",
    "behaviour/backtracking": "backtracking words",
    "behaviour/alternatives": "words for alternatives",
    "behaviour/summary": "words of summary",
}
PAIRS = 2  # problems shown side by side for each candidate
MOST_CANDIDATES = 6  # of a run, with the smallest p, that the page shows texts for
SHORTEST = 10  # values; the test's formula for p does not hold for a shorter stretch
LEVEL = 0.05
ROUNDS = 2  # the whole series, then its two parts: at most three changes in each series


@dataclass(frozen=True)
class Change:
    """One change of level in one series.

    Attributes:
        series: its name.
        position: the index of the first value after the change.
        p: Holm's corrected p-value, in [0, 1].
        before, after: the medians on either side.
        noise: median absolute deviation of the values from the median of their side, in the series' unit.
        jump_share, line_share: shares of the stretch's variance that two levels and that a straight line explain.
    """

    series: str
    position: int
    p: float
    before: float
    after: float
    noise: float
    jump_share: float
    line_share: float

    @property
    def is_jump(self) -> bool:
        """Whether two levels describe the stretch better than a straight line."""
        return self.jump_share > self.line_share


def pettitt(values: np.ndarray) -> tuple[int, float]:
    """Finds the most likely change of level in `values`, shape (n,), n >= 2, finite.

    Returns:
        (index of the first value after the change, p in [0, 1]). Ties have mean ranks. p is Pettitt's approximation
        2 exp(-6 K^2 / (n^3 + n^2)), which errs to the cautious side.
    """
    n = len(values)
    ranks = pd.Series(values).rank().to_numpy()
    statistic = np.abs(2 * np.cumsum(ranks)[:-1] - np.arange(1, n) * (n + 1))
    last_before = int(statistic.argmax())
    p = 2 * math.exp(-6 * float(statistic[last_before]) ** 2 / (n**3 + n**2))
    return last_before + 1, min(1.0, p)


def holm(p_values: list[float]) -> list[float]:
    """Holm's corrected p-values, in the given order; each lies between the plain one and 1."""
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def change_points(series: Mapping[str, np.ndarray]) -> list[Change]:
    """Finds all changes of level in several series, and sorts them by position.

    The first round tests each series, shape (n,), finite. Where the corrected p is below `LEVEL`, the next round tests
    both parts (binary segmentation). One correction covers all tests of a round. Stretches that are shorter than
    `SHORTEST` or constant are skipped.
    """
    stretches = [(name, 0, len(values)) for name, values in series.items()]
    found: list[Change] = []
    for _ in range(ROUNDS):
        stretches = [s for s in stretches if s[2] - s[1] >= SHORTEST and np.ptp(series[s[0]][s[1] : s[2]]) > 0]
        tests = [pettitt(series[name][start:end]) for name, start, end in stretches]
        parts = []
        for (name, start, end), (offset, _), p in zip(stretches, tests, holm([p for _, p in tests]), strict=True):
            if p < LEVEL:
                found.append(_describe(name, series[name], start, start + offset, end, p))
                parts += [(name, start, start + offset), (name, start + offset, end)]
        stretches = parts
    return sorted(found, key=lambda change: (change.position, change.series))


def _describe(name: str, values: np.ndarray, start: int, position: int, end: int, p: float) -> Change:
    left, right, whole = values[start:position], values[position:end], values[start:end]
    before, after = float(np.median(left)), float(np.median(right))
    noise = float(np.median(np.abs(np.concatenate([left - before, right - after]))))
    total = float(((whole - whole.mean()) ** 2).sum())
    two_levels = float(((left - left.mean()) ** 2).sum() + ((right - right.mean()) ** 2).sum())
    x = np.arange(len(whole))
    rest = whole - np.polyval(np.polyfit(x, whole, 1), x)
    jump, line = 1 - two_levels / total, 1 - float((rest**2).sum()) / total
    return Change(name, position, p, before, after, noise, jump, line)


@dataclass
class Candidate:
    """A step of one run around which at least one series changes.

    Attributes:
        changes: (step, series' name, change), by step.
        pairs: (before, after) records of one problem, see `rollouts.record`.
        source: a sentence that says where the pairs come from.
    """

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
    """Finds the candidates of a run, by step. Changes less than a twentieth of the run apart make one candidate.

    Args:
        accuracy: (metric, name) of the series that counts correct answers.
    """
    names = dict([accuracy]) | TESTED
    found = change_points({metric: run.metric(metric).to_numpy() for metric in names})
    changes = sorted((int(run.metrics[c.series].index[c.position]), names[c.series], c) for c in found)
    near, candidates = max(2, run.last_step // 20), []
    for change in changes:
        if candidates and change[0] - candidates[-1].changes[-1][0] < near:
            candidates[-1].changes.append(change)
        else:
            candidates.append(Candidate(change[0], [change]))
    for candidate in candidates:
        candidate.step = min(candidate.changes, key=lambda change: change[2].p)[0]
    return candidates


def has_tests(run: ReportedRun, accuracy: tuple[str, str]) -> bool:
    """Whether some series of the run is long enough for the test."""
    return any(len(run.metric(metric)) >= SHORTEST for metric in (accuracy[0], *TESTED))


def sentence(step: int, name: str, change: Change) -> str:
    """Describes a change in one line: series, levels, size in units of the noise, p, and shape."""
    times = abs(change.after - change.before) / change.noise if change.noise > 0 else np.inf
    size = f"{times:.1f} times the noise" if times < 100 else "more than 100 times the noise"
    shape = "a jump" if change.is_jump else "a slope"
    p = f"p = {change.p:.2g}" if change.p >= 1e-4 else "p < 0.0001"
    return (
        f"{name[0].upper()}{name[1:]}, step {step}: {change.before:.3g} → {change.after:.3g}, {size}, {p}; "
        f"rather {shape} (two levels explain {change.jump_share:.0%}, a line {change.line_share:.0%})"
    )


def add_pairs(candidates: list[Candidate], run: ReportedRun, rollouts: Rollouts) -> None:
    """Gives each of the surest candidates completions of one training problem from before and after it."""
    surest = sorted(candidates, key=lambda candidate: candidate.p)[:MOST_CANDIDATES]
    places = prompts_by_file(rollouts) if surest else {}
    for candidate in candidates:
        if candidate not in surest:
            candidate.source = "Texts are shown for the surest candidates only."
            continue
        candidate.pairs = _rollout_pairs(candidate.step, places, run, rollouts)
        candidate.source = (
            "The same training problem, sampled before and after this step: of each the first completion in its file."
            if candidate.pairs
            else "No training problem was sampled on both sides of this step. The samples below have held-out "
            "problems, answered before and after the whole training."
        )


def _rollout_pairs(step: int, places: dict[str, list[RolloutFile]], run: ReportedRun, rollouts: Rollouts) -> list:
    """The pairs of the problems that were sampled closest to both sides of a step."""
    options = []
    for prompt, files in places.items():
        earlier = [file for file in files if file.step < step]
        later = [file for file in files if file.step >= step]
        if earlier and later:
            options.append((later[0].step - earlier[-1].step, prompt, earlier[-1], later[0]))
    pairs = []
    for _, prompt, *files in sorted(options, key=lambda option: option[:2])[:PAIRS]:
        frames = [rollouts.read(file) for file in files]
        if all(frame is not None for frame in frames):
            rows = [frame[frame["prompt"] == prompt].iloc[0] for frame in frames]
            pairs.append(tuple(record(row, run.name, "training") for row in rows))
    return pairs


def levels_figure(run: ReportedRun, candidates: list[Candidate], colour: str) -> Figure | None:
    """The changing series of a run, with the level of each stretch between two changes."""
    changes = [change for candidate in candidates for change in candidate.changes]
    panels = []
    for metric, name in {change.series: name for _, name, change in changes}.items():
        values = run.metrics[metric]
        steps = sorted(step for step, _, change in changes if change.series == metric)
        levels = values.groupby(np.searchsorted(steps, values.index, side="right")).transform("median")
        raw = Series("each step", *curves.extremes(values), GREY, width=1)
        panels.append(
            Panel(name.capitalize(), STEP, name, [raw, curves.plain(levels, "median between changes", colour, width=3)])
        )
    if not panels:
        return None
    return Figure(f"changes-{run.name.replace('/', '-')}", f"Candidate steps of {run.name}", panels, "", "")
