"""mini_r1/report/aha.py: when the test for change points fires, and when it must not."""

import numpy as np
import pytest

from mini_r1.report.aha import change_points, holm, pettitt


def noise(length: int, seed: int, jump: float = 0.0, at: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=length) + jump * (np.arange(length) >= at)


def test_pettitt_by_hand():
    # ranks 1 2 3 | 4 5 6: after the third value 2 * (1 + 2 + 3) - 3 * 7 = -9 is the largest, p = 2 exp(-6 81 / 252)
    position, p = pettitt(np.array([1.0, 1.5, 2.0, 8.0, 9.0, 10.0]))
    assert (position, round(p, 4)) == (3, round(2 * np.exp(-6 * 81 / 252), 4))
    assert pettitt(np.array([3.0, 3.0, 3.0])) == (1, 1.0)  # ties have equal ranks


@pytest.mark.parametrize(
    ("plain", "corrected"),
    [([0.01], [0.01]), ([0.04, 0.01], [0.04, 0.02]), ([0.03, 0.02, 0.01], [0.04, 0.04, 0.03]), ([0.9, 0.8], [1, 1])],
)
def test_holm(plain, corrected):
    assert holm(plain) == pytest.approx(corrected)


def test_false_alarms_are_rare_on_noise():
    alarms = sum(bool(change_points({"a": noise(80, seed)})) for seed in range(400))
    assert alarms <= 12  # 3%; the level is 5%, and Pettitt's p errs to the cautious side
    together = sum(
        bool(change_points({str(i): noise(80, 1000 + 8 * seed + i) for i in range(8)})) for seed in range(100)
    )
    assert together <= 5  # Holm: for eight series together as for one


@pytest.mark.parametrize(("length", "at"), [(80, 40), (80, 20), (250, 200)])
def test_a_real_jump_is_found_where_it_is(length, at):
    found = [change_points({"a": noise(length, seed, jump=2.0, at=at)}) for seed in range(40)]
    assert sum(bool(changes) for changes in found) >= 39
    nearest = [min(abs(change.position - at) for change in changes) for changes in found if changes]
    assert np.median(nearest) <= 2
    sizes = [change.after - change.before for changes in found for change in changes if abs(change.position - at) <= 3]
    assert 1.5 < np.median(sizes) < 2.5


def test_two_jumps_are_found_by_halving():
    series = noise(120, 0, jump=3.0, at=40) + 3.0 * (np.arange(120) >= 80)
    assert [change.position for change in change_points({"a": series})] == pytest.approx([40, 80], abs=2)


def test_a_slope_fires_and_is_told_from_a_jump():
    slope = change_points({"a": 0.3 * noise(100, 0) + np.linspace(0, 4, 100)})
    jump = change_points({"a": 0.3 * noise(100, 0, jump=10.0, at=50)})
    assert slope and not min(slope, key=lambda change: change.p).is_jump  # the one of the whole series
    assert [change.is_jump for change in jump] == [True]


def test_what_cannot_be_tested_is_passed_over():
    assert change_points({"constant": np.ones(50), "short": np.arange(9.0), "empty": np.array([])}) == []
