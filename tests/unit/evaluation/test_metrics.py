"""pass@k beside brute force over all subsets, maj@n beside counting; intervals against known rates."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_r1.evaluation.metrics import majority_is_right, paired_difference, pass_at_k, ratio_intervals

OUTCOMES = st.lists(st.booleans(), min_size=1, max_size=9)
VOTES = st.lists(st.sampled_from([None, "a", "b", "c", "d"]), min_size=1, max_size=9)


def subsets_with_a_right_one(outcomes: list[bool], k: int) -> float:
    drawn = list(itertools.combinations(outcomes, k))
    return sum(map(any, drawn)) / len(drawn)


def share_won(votes: list[str | None], right: str | None) -> float:
    """As one would do it by hand: count, share out a tie."""
    counts = Counter(vote for vote in votes if vote is not None)
    best = [vote for vote, count in counts.items() if count == max(counts.values())]
    return (right in best) / len(best) if best else 0.0


@given(OUTCOMES, st.data())
def test_pass_at_k_is_the_mean_over_all_subsets(outcomes, data):
    k = data.draw(st.integers(1, len(outcomes)))
    assert pass_at_k(len(outcomes), sum(outcomes), k) == pytest.approx(subsets_with_a_right_one(outcomes, k))


@given(VOTES, st.sampled_from([None, "a", "e"]))
def test_the_majority_is_what_one_counts_by_hand(votes, right):
    assert majority_is_right(votes, right) == pytest.approx(share_won(votes, right))


@pytest.mark.parametrize(
    ("votes", "expected", "reason"),
    [
        (["a"] * 4, 1.0, "all agree"),
        (["a", "b"], 0.5, "a tie is drawn by lot"),
        (["a", None, None, None], 1.0, "silent samples do not vote"),
        ([None, None], 0.0, "nobody votes"),
        (["a", "b", "b"], 0.0, "outvoted"),
        (["a"] * 33 + ["b"] * 31, 1.0, "cons@64 is one draw of all"),
        (["a"] * 1100 + ["b"] * 1100, 0.5, "thousands vote"),
    ],
)
def test_the_majority(votes, expected, reason):
    assert majority_is_right(votes, "a") == pytest.approx(expected), reason


def test_pass_at_1_is_the_mean():
    assert pass_at_k(8, 3, 1) == pytest.approx(3 / 8)


@pytest.mark.parametrize(("p", "problems", "samples"), [(0.3, 100, 4), (0.9, 250, 8), (0.5, 60, 1), (0.97, 60, 1)])
def test_a_known_rate_is_in_its_interval(p, problems, samples):
    """In at least 93 of 100 evaluations at 95%; also where hardly any problem fails."""
    ones = np.ones(problems)
    inside = 0
    for run in range(100):
        rates = np.random.default_rng(run).binomial(samples, p, problems) / samples
        low, high = ratio_intervals({"pass@1": (rates, ones)}, seed=run)["pass@1"]
        inside += low <= p <= high
    assert inside >= 93


def test_certainty_is_never_claimed():
    """30 of 30 right: the bootstrap alone would say 1 to 1."""
    ones = np.ones(30)
    low, high = ratio_intervals({"all": (ones, ones)})["all"]
    assert (low, high) == (pytest.approx(0.025 ** (1 / 30)), 1.0)
    assert ratio_intervals({"none": (0 * ones, ones)})["none"] == (0.0, pytest.approx(1 - 0.025 ** (1 / 30)))
    assert np.isnan(ratio_intervals({"empty": (0 * ones, 0 * ones)})["empty"]).all()


def test_pairing_takes_out_what_problems_have_in_common():
    """Problems from hopeless to easy, a gain of 0.1 on each: unpaired it drowns, paired it is plain."""
    hard = np.linspace(0, 0.9, 100)
    difference, low, high = paired_difference(hard + 0.1, hard)
    unseen = 1 - 0.025 ** (1 / 100)
    assert (difference, low, high) == tuple(map(pytest.approx, (0.1, 0.1 - unseen, 0.1 + unseen)))
    noise = np.random.default_rng(0).normal(0, 0.05, 100)
    difference, low, high = paired_difference(hard + noise, hard)
    assert low < 0 < high
    assert paired_difference(hard, hard) == tuple(map(pytest.approx, (0.0, -unseen, unseen))), "no certainty either"
    gained, lost = paired_difference([1] * 5, [0] * 5), paired_difference([0] * 5, [1] * 5)
    assert gained == (1, pytest.approx(0.025**0.2), 1) and lost == (-1, -1, pytest.approx(-(0.025**0.2)))


def test_a_length_has_no_limits_of_a_share():
    ones = np.ones(20)
    assert ratio_intervals({"length": (ones, ones)}, numbers=["length"])["length"] == (1.0, 1.0)
