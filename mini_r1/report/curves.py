"""Joins the curves of several seeds, smooths and thins them, marks spikes, and says whether a curve rose or fell."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mini_r1.report.figures import GREY, Series
from mini_r1.report.runs import Group

POINTS = 1000  # of a curve, at most
ENDS = 10  # each end of a curve is a tenth of its steps, at least ten
SPIKE_SIDE, SPIKE_MADS, SPIKE_SHORTEST = 25, 8, 10
SPIKE_RULE = (
    f"A cross marks a spike of one seed: more than {SPIKE_MADS} median absolute deviations (each at least 1% of the "
    f"median) from the median of the {SPIKE_SIDE} steps on either side. Where crosses are looked for, strong lines are "
    "running medians, which one spike does not bend."
)


def table(group: Group, metric: str) -> pd.DataFrame:
    """One metric of a group: index step, a column for each run that recorded it.

    It ends at the last step that all of these runs reached, since a mean beyond it would be one of fewer seeds.
    """
    runs = [run for run in group.runs if metric in run.metrics]
    values = pd.DataFrame({run.name: run.metrics[metric] for run in runs}).sort_index()
    return values[values.index <= min((run.last_step for run in runs), default=0)]


def smooth(values: pd.Series, robust: bool = False) -> pd.Series:
    """Centred running mean, or median if `robust`, over a twentieth of the run.

    The window is odd and has at least five steps, fewer at both ends. Below ten steps nothing is smoothed.
    """
    window = max(5, len(values) // 20 | 1) if len(values) >= 10 else 1
    rolling = values.rolling(window, center=True, min_periods=1)
    return rolling.median() if robust else rolling.mean()


def mean(values: pd.DataFrame, robust: bool = False) -> pd.Series:
    """The mean of the seeds' smoothed curves, at steps where every seed has a value; see `table`, `smooth`."""
    if values.empty:
        return pd.Series(dtype=float)
    return values.apply(smooth, robust=robust).dropna().mean(axis=1)


def curve(group: Group, metric: str, name: str, colour: str, dash: str, robust: bool = False) -> Series | None:
    """A metric of a group: the smoothed mean over its seeds, in front of the unsmoothed values.

    Behind the mean, a single run shows its values, and several runs show a band from the lowest to the highest seed;
    beyond the last step of the shortest run, the others show their values. More than `POINTS` steps are thinned, see
    `thin`.

    Returns:
        None where no run recorded the metric.
    """
    values = table(group, metric)
    middle = mean(values, robust)
    if middle.empty:
        return None
    (x, strong), bins = thin(middle), _bins(len(middle))
    if values.shape[1] == 1:
        return Series(name, x, strong, colour, dash=dash, faint=extremes(values.iloc[:, 0]))
    seen = values.loc[middle.index]
    low, high = seen.min(axis=1).groupby(bins).min(), seen.max(axis=1).groupby(bins).max()
    rest = _beyond(group, metric, values.index[-1])
    return Series(name, x, strong, colour, dash=dash, low=low.to_numpy(), high=high.to_numpy(), faint=rest)


def _beyond(group: Group, metric: str, step: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The values of the runs after `step`, with a gap after each run; None where every run ends there."""
    x, y = [], []
    for run in group.runs:
        steps, values = extremes(run.metric(metric).loc[step + 1 :])
        if len(steps):
            x += [*steps, np.nan]
            y += [*values, np.nan]
    return (np.array(x, float), np.array(y, float)) if x else None


def plain(values: pd.Series, name: str, colour: str, **settings) -> Series:
    """Values by step, thinned but not smoothed."""
    x, y = thin(values)
    return Series(name, x, y, colour, **settings)


def thin(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Thins to at most `POINTS` points: means over bins of neighbouring steps, at the middle step of each bin."""
    bins = _bins(len(values))
    steps = values.index.to_series()
    return steps.groupby(bins).median().to_numpy(), values.groupby(bins).mean().to_numpy()


def extremes(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Thins to at most `POINTS` points and keeps every spike: the lowest and the highest value of each bin, by step."""
    values = values.dropna()
    if len(values) > POINTS:
        bins = values.groupby(_bins(len(values), POINTS // 2))
        values = values[sorted({*bins.idxmin(), *bins.idxmax()})]
    return values.index.to_numpy(), values.to_numpy()


def _bins(n: int, most: int = POINTS) -> np.ndarray:
    return np.arange(n) * min(n, most) // max(n, 1)


def spikes(values: Sequence[float]) -> np.ndarray:
    """Indices of the spikes among `values`, shape (n,), finite; see `SPIKE_RULE`. Fewer than ten values have no spike.

    The window is centred on each value, so that a lasting change of level is not a spike.
    """
    y = np.asarray(values, dtype=float)
    if len(y) < SPIKE_SHORTEST:
        return np.array([], dtype=int)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(y, SPIKE_SIDE, constant_values=np.nan), 2 * SPIKE_SIDE + 1)
    middle = np.nanmedian(around, axis=1)
    deviation = np.nanmedian(np.abs(around - middle[:, None]), axis=1)
    limit = SPIKE_MADS * np.maximum(deviation, 0.01 * np.abs(middle) + 1e-12)
    return np.flatnonzero(np.abs(y - middle) > limit)


def spike_series(group: Group, metric: str) -> Series | None:
    """The spikes of all runs of a group as one set of crosses, or None."""
    recorded = [run.metrics[metric] for run in group.runs if metric in run.metrics]
    marked = pd.concat([values.iloc[spikes(values)] for values in recorded] or [pd.Series(dtype=float)])
    if marked.empty:
        return None
    return Series("spike", marked.index.to_numpy(), marked.to_numpy(), GREY, kind="crosses")


def verb(first: np.ndarray, last: np.ndarray, intervals: Sequence[tuple | None] = ()) -> str | None:
    """Names a change "rose" or "fell", or None where it may be noise.

    Every seed must change in the same direction. The 95% intervals of a seed before and after must not overlap. Where
    a seed has no intervals, the mean change must exceed the range of the seeds, both before and after, and a single
    seed proves nothing.

    Args:
        first, last: shape (seeds,), of the same seeds.
        intervals: for each seed its (low, high) before and after, or None; empty where no seed has any.
    """
    change = last - first
    known = [pair for pair in intervals if pair]
    if not len(change) or not ((change > 0).all() or (change < 0).all()):
        return None
    if any(old[0] <= new[1] and new[0] <= old[1] for old, new in known):
        return None
    if len(known) < len(change) and not (len(change) > 1 and abs(change.mean()) > max(np.ptp(first), np.ptp(last))):
        return None
    return "rose" if change[0] > 0 else "fell"


def over_training(name: str, values: pd.DataFrame, digits: int = 2, unit: str = "") -> str:
    """Describes a curve by the means of its first and last tenth (at least ten steps; halves of fewer than 20 steps).

    Args:
        values: index step, a column for each seed; steps that some seed lacks do not count.
    """
    values, unit = values.dropna(), f" {unit}" if unit else ""
    if values.empty:
        return f"{name} was not recorded at the same steps by all seeds"
    if len(values) == 1:
        return f"{name}: {values.iloc[0].mean():.{digits}f}{unit} at the only recorded step"
    count = max(ENDS, len(values) // ENDS) if len(values) >= 2 * ENDS else len(values) // 2
    first, last = values.iloc[:count].mean().to_numpy(), values.iloc[-count:].mean().to_numpy()
    old, new = f"{first.mean():.{digits}f}", f"{last.mean():.{digits}f}"
    moved = verb(first, last) if old != new else None
    if moved:
        ends = f"(means of the first and the last {count} of {len(values):,} steps)"
        return f"{name} {moved} from {old} to {new}{unit} {ends}"
    many = f"{count} of {len(values):,} steps" if count > 1 else f"of {len(values)} steps"
    return f"{name}: {old}{unit} in the first {many}, {new} in the last{f' {count}' if count > 1 else ''}"
