"""Curves over steps: seeds together, smoothed, thinned to what a screen can show; and spikes in them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mini_r1.report.figures import GREY, Series
from mini_r1.report.runs import Group

POINTS = 1000  # of a curve on the page
SPIKE_SIDE, SPIKE_MADS, SPIKE_SHORTEST = 25, 8, 10
SPIKE_RULE = (
    f"A cross marks a spike of one seed: more than {SPIKE_MADS} median absolute deviations (each at least 1% of the "
    f"median) from the median of the {SPIKE_SIDE} steps on either side. Where crosses are looked for, strong lines are "
    "running medians, which one spike does not bend."
)


def table(group: Group, metric: str) -> pd.DataFrame:
    """One metric of a group: index step, one column for each run that has it."""
    found = {run.name: run.metrics[metric] for run in group.runs if metric in run.metrics}
    return pd.DataFrame(found).sort_index()


def window(steps: int) -> int:
    """How many steps a smoothed curve averages over: a twentieth of the run, at least 5, odd; 1 below ten steps."""
    return max(5, steps // 20 | 1) if steps >= 10 else 1


def smooth(values: pd.Series, robust: bool = False) -> pd.Series:
    """Centred running mean (median if `robust`); towards the ends over what is there."""
    rolling = values.rolling(window(len(values)), center=True, min_periods=1)
    return rolling.median() if robust else rolling.mean()


def curve(
    group: Group, metric: str, name: str, colour: str, dash: str = "solid", robust: bool = False
) -> Series | None:
    """A metric of a group: the smoothed mean over its seeds in front, the values themselves faint behind.

    Behind are, of one run, its values, and of several a band from the lowest to the highest seed. None where no run
    has the metric. Beyond `POINTS` steps the curve is thinned, see `thin`.
    """
    values = table(group, metric)
    if values.empty:
        return None
    mean = values.mean(axis=1)
    low, high = values.min(axis=1), values.max(axis=1)
    (x, strong), bins = thin(smooth(mean, robust)), _bins(len(mean))
    if values.shape[1] == 1:
        return Series(name, x, strong, colour, dash=dash, faint=extremes(mean))
    edges = {"low": low.groupby(bins).min().to_numpy(), "high": high.groupby(bins).max().to_numpy()}
    return Series(name, x, strong, colour, dash=dash, **edges)


def plain(values: pd.Series, name: str, colour: str, **settings) -> Series:
    """Values by step as they are, thinned."""
    x, y = thin(values)
    return Series(name, x, y, colour, **settings)


def thin(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """At most `POINTS` points: means of equally many neighbours, at the middle step of each."""
    bins = _bins(len(values))
    steps = pd.Series(values.index.to_numpy(), index=values.index)
    return steps.groupby(bins).median().to_numpy(), values.groupby(bins).mean().to_numpy()


def extremes(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """At most `POINTS` points that keep every spike: of many neighbours, the lowest and the highest, in order."""
    values = values.dropna()
    if len(values) <= POINTS:
        return values.index.to_numpy(), values.to_numpy()
    y, bins = values.to_numpy(), _bins(len(values), POINTS // 2)
    edges = np.flatnonzero(np.diff(bins)) + 1
    kept = [
        start + offset
        for start, part in zip([0, *edges], np.split(y, edges), strict=True)
        for offset in sorted({int(part.argmin()), int(part.argmax())})
    ]
    return values.index.to_numpy()[kept], y[kept]


def _bins(n: int, most: int = POINTS) -> np.ndarray:
    return np.arange(n) * min(n, most) // max(n, 1)


def spikes(values: Sequence[float]) -> np.ndarray:
    """Indices of the spikes among `values`, shape (n,), finite; see `SPIKE_RULE`. None in fewer than ten values.

    The window lies around each value, so that a level that changes for good is no spike.
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
    found = []
    for run in group.runs:
        values = run.metric(metric)
        found.append(values.iloc[spikes(values.to_numpy())])
    marked = pd.concat(found) if found else pd.Series(dtype=float)
    if marked.empty:
        return None
    return Series("spike", marked.index.to_numpy(), marked.to_numpy(), GREY, kind="crosses")
