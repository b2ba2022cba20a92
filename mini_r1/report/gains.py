"""Words for a change: "rose" and "fell" only where it stands out of the noise, else both numbers and no verdict."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

END, FEWEST = 10, 10  # the ends of a curve: a tenth of its steps each, at least ten

Interval = Sequence[float]


def verb(first: np.ndarray, last: np.ndarray, intervals: Sequence[tuple[Interval, Interval] | None] = ()) -> str | None:
    """ "rose" or "fell", or None where the change may be noise.

    Every seed has to change in the same direction. A seed with 95% intervals before and after: they must not overlap.
    Where a seed has none, the mean change has to be larger than the seeds differ among themselves, before or after, and
    one seed alone says nothing.

    Args:
        first, last: shape (seeds,), of the same seeds.
        intervals: for each seed its (low, high) before and after, or None; left out, no seed has any.
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
    """How a curve went, from the means of its first and its last tenth (at least ten steps; of fewer than 20, halves).

    Args:
        values: index step, a column for each seed; steps that a seed lacks are passed over.
    """
    values, unit = values.dropna(), f" {unit}" if unit else ""
    if values.empty:
        return f"{name} was not recorded at the same steps by all seeds"
    if len(values) == 1:
        return f"{name}: {values.iloc[0].mean():.{digits}f}{unit} at the only recorded step"
    count = max(FEWEST, len(values) // END) if len(values) >= 2 * FEWEST else len(values) // 2
    first, last = values.iloc[:count].mean().to_numpy(), values.iloc[-count:].mean().to_numpy()
    old, new = f"{first.mean():.{digits}f}", f"{last.mean():.{digits}f}"
    moved = verb(first, last) if old != new else None
    if moved:
        ends = f"(means of the first and the last {count} of {len(values):,} steps)"
        return f"{name} {moved} from {old} to {new}{unit} {ends}"
    many = f"{count} of {len(values):,} steps" if count > 1 else f"of {len(values)} steps"
    return f"{name}: {old}{unit} in the first {many}, {new} in the last{f' {count}' if count > 1 else ''}"
