"""Advantages beside a loop over groups, in plain Python; and what becomes of degenerate groups."""

import math
import random
import statistics

import pytest
import torch

from mini_r1.training.advantages import ADVANTAGES

NAN = math.nan
STEPS = [-2.0, -1.5, -1.0, 0.0, 0.1, 0.3, 1.0, 1.1, 2.0, 3.0]


def deviation(values):
    return statistics.stdev(values) if len(values) > 1 else 0.0


def leave_one_out(rewards):
    for ours in rewards:
        yield [r - statistics.mean(others) if r == r and (others := without(ours, i)) else 0.0
               for i, r in enumerate(ours)]  # fmt: skip


def reinforce_lite(rewards):
    for ours in rewards:
        row = []
        for i, r in enumerate(ours):
            others = without(ours, i)
            scaled = (r - statistics.mean(others)) / (deviation(others) + 1e-8) if r == r and others else 0.0
            row.append(min(max(scaled, -2.0), 2.0))
        yield row


def batch(rewards):
    due = [r for ours in rewards for r in ours if r == r]
    for ours in rewards:
        yield [(r - statistics.mean(due)) / (deviation(due) + 1e-8) if r == r else 0.0 for r in ours]


def without(rewards, i):
    return [r for j, r in enumerate(rewards) if j != i and r == r]


NAIVE = {function.__name__: function for function in (leave_one_out, reinforce_lite, batch)}


def test_every_advantage_has_its_naive_loop():
    assert set(NAIVE) == set(ADVANTAGES)


@pytest.mark.parametrize("name", ADVANTAGES)
@pytest.mark.parametrize("kind", ["continuous", "few values", "with unusable golds"])
def test_agrees_with_a_loop_over_groups(name, kind):
    dice = random.Random(name + kind)
    for _ in range(60):
        groups, size = dice.randint(1, 6), dice.randint(1, 10)
        draw = (lambda: dice.gauss(0, 3)) if kind == "continuous" else (lambda: dice.choice(STEPS))
        rewards = torch.tensor([[draw() for _ in range(size)] for _ in range(groups)])  # float32, as TRL's are
        if kind == "with unusable golds":
            rewards[torch.rand(groups, size) < 0.2] = NAN
            rewards[torch.rand(groups) < 0.2] = NAN
        ours = ADVANTAGES[name](rewards)
        naive = torch.tensor(list(NAIVE[name](rewards.double().tolist())))
        assert ours.shape == rewards.shape and ours.dtype == torch.float32
        assert torch.allclose(ours, naive, rtol=1e-6, atol=1e-6), (rewards, ours, naive)


@pytest.mark.parametrize("name", ADVANTAGES)
@pytest.mark.parametrize("value", [0.0, 0.1, 1.1, -2.0, 1 / 3, 1e6])
@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_equal_rewards_teach_nothing(name, value, size):
    """Float32 sums of equal rewards need not be equal: no division may make something of that."""
    assert ADVANTAGES[name](torch.full((4, size), value)).abs().max() < 1e-6


@pytest.mark.parametrize("name", ADVANTAGES)
def test_unusable_golds_teach_nothing(name):
    rewards = torch.tensor([[NAN, NAN, NAN], [1.0, NAN, 0.0]])
    ours = ADVANTAGES[name](rewards)
    assert ours[0].tolist() == [0, 0, 0] and ours[1, 1] == 0
    assert ours[1, 0] > 0 > ours[1, 2]


@pytest.mark.parametrize("name", [name for name in ADVANTAGES if name != "batch"])
def test_a_group_of_one_teaches_nothing(name):
    assert ADVANTAGES[name](torch.tensor([[1.0], [0.0]])).tolist() == [[0.0], [0.0]]


def test_a_group_of_one_is_compared_with_the_batch():
    assert torch.allclose(
        ADVANTAGES["batch"](torch.tensor([[1.0], [0.0]])), torch.tensor([[0.5], [-0.5]]) / math.sqrt(0.5)
    )


def test_reinforce_lite_as_published():
    """Group of ten, +1 and -1: one right answer among nine wrong ones, and one wrong one beside a split vote."""
    lonely = ADVANTAGES["reinforce_lite"](torch.tensor([[1.0] + [-1.0] * 9]))
    assert lonely[0, 0] == 2.0  # the others are all alike: clamped
    assert lonely[0, 1].item() == pytest.approx((-1 + 7 / 9) / statistics.stdev([1.0] + [-1.0] * 8))
    ours = ADVANTAGES["reinforce_lite"](torch.tensor([[1.0] * 5 + [-1.0] * 5]))
    assert ours[0, 9].item() == pytest.approx((-1 - 1 / 9) / statistics.stdev([1.0] * 5 + [-1.0] * 4))
