"""pass@k, maj@n, intervals and the paired difference, as pure functions of which samples are correct."""

from collections import Counter
from collections.abc import Hashable, Sequence
from math import comb

import numpy as np

LEVEL = 0.95  # summaries do not hold it, and the texts of reports say 95%
DRAWS = 4000  # of the bootstrap


def pass_at_k(samples: int, right: int, k: int) -> float:
    """The chance that at least one of k samples of a problem, drawn without replacement, is correct.

    1 - C(n - c, k) / C(n, k): unbiased, over all n samples (Chen et al., arXiv:2107.03374, eq. 1).

    Args:
        samples: n >= k.
        right: c, how many of them are right.
    """
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def majority_is_right(votes: Sequence[Hashable | None], right: Hashable | None) -> float:
    """Whether the most frequent answer of a problem's n samples is correct: maj@n.

    cons@64 of the R1 report (arXiv:2501.12948) is maj@64. A tie is drawn by lot: a correct one of two counts 0.5.

    Args:
        votes: the answer's value of each sample; None for a sample without a readable answer, which does not vote.
            Where no sample votes, the majority is not correct.
        right: the correct value; None if no sample is correct.
    """
    counts = Counter(vote for vote in votes if vote is not None)
    if right not in counts:
        return 0.0
    best = max(counts.values())
    return (counts[right] == best) / sum(count == best for count in counts.values())


def ratio_intervals(
    metrics: dict[str, tuple[np.ndarray, np.ndarray]], seed: int = 0, numbers: Sequence[str] = ()
) -> dict[str, tuple[float, float]]:
    """95% intervals of sum(a) / sum(b) over problems: percentile bootstrap, whole problems drawn with replacement.

    All metrics use the same draws; one in which b sums to 0 does not count. Where every problem has the ratio 0, or
    every problem has 1, the bootstrap would claim certainty; the exact binomial limit for that many problems (Clopper
    and Pearson, 1934) replaces it.

    Args:
        metrics: name -> (a, b), each of shape (problems,); for a mean over problems b is all ones.
        numbers: names of metrics that are no shares from 0 to 1, such as a length: they use the bootstrap alone.

    Returns:
        name -> (low, high); NaN where b is 0 for every problem.
    """
    problems = len(next(iter(metrics.values()))[0])
    generator = np.random.default_rng(seed)
    drawn = {name: np.empty(DRAWS) for name in metrics}
    chunk = max(1, 10_000_000 // problems)  # bounds the memory
    for first in range(0, DRAWS, chunk):
        size = min(chunk, DRAWS - first)
        weights = generator.multinomial(problems, np.full(problems, 1 / problems), size=size).astype(float)
        for name, (above, below) in metrics.items():
            with np.errstate(invalid="ignore"):
                drawn[name][first : first + size] = (weights @ above) / (weights @ below)
    return {name: _interval(drawn[name], *metrics[name], share=name not in numbers) for name in metrics}


def _interval(drawn: np.ndarray, above: np.ndarray, below: np.ndarray, share: bool) -> tuple[float, float]:
    used = int((below > 0).sum())
    if used == 0:
        return float("nan"), float("nan")
    if share and not above.any():
        return 0.0, _unseen(used)
    if share and np.array_equal(above, below):
        return 1 - _unseen(used), 1.0
    low, high = np.nanpercentile(drawn, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def _unseen(problems: int) -> float:
    """The largest share that is compatible, at 95% two-sided, with no occurrence in so many problems."""
    return 1 - ((1 - LEVEL) / 2) ** (1 / problems)


def paired_difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Mean of ours - theirs over the same problems, and its 95% bootstrap interval.

    Args:
        ours, theirs: shape (problems,), each problem's score.

    Returns:
        (difference, low, high), from -1 to 1. Pairing removes the problems' own difficulty from the interval. Where all
        problems have the same difference, the exact binomial limit replaces the bootstrap, as in `ratio_intervals`.
    """
    gaps = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)
    mean = float(gaps.mean())
    if np.ptp(gaps) < 1e-12:  # all draws are equal, but another problem may differ
        unseen = _unseen(len(gaps))
        return mean, max(mean - unseen, -1.0), min(mean + unseen, 1.0)
    low, high = ratio_intervals({"gap": (gaps, np.ones_like(gaps))}, numbers=["gap"])["gap"]
    return mean, low, high
