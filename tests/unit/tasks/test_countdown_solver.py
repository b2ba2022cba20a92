"""The exact Countdown solver: against brute force, known counts, and expressions made at random."""

import functools
import itertools
import random
from fractions import Fraction

import pytest

from mini_r1.rewards import Verdict, equation_verdict
from mini_r1.tasks import countdown

OPERATIONS = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "/": lambda x, y: x / y if y else None,
}


def is_right(solution: str, nums: list[int], target: int) -> bool:
    return equation_verdict(f"<think>x</think><answer>{solution}</answer>", nums, target) is Verdict.CORRECT


@functools.cache
def reachable(values: tuple[Fraction, ...]) -> frozenset[Fraction]:
    """Every value of every expression over all of `values`, the slow and plain way."""
    found = set(values) if len(values) == 1 else set()
    for i, j in itertools.permutations(range(len(values)), 2):
        rest = tuple(value for k, value in enumerate(values) if k not in (i, j))
        for operation in OPERATIONS.values():
            value = operation(values[i], values[j])
            if value is not None:
                found |= reachable(tuple(sorted((*rest, value))))
    return frozenset(found | {-value for value in found})  # a unary minus is allowed


@pytest.mark.parametrize("count", [1, 2, 3])
def test_solves_all_that_brute_force_reaches_and_nothing_else(count):
    for nums in itertools.combinations_with_replacement(range(7), count):
        possible = reachable(tuple(map(Fraction, nums)))
        for target in range(-60, 61):
            solution = countdown.solve(list(nums), target)
            assert (solution is not None) == (target in possible), (nums, target, solution)
            assert solution is None or is_right(solution, nums, target), (nums, target, solution)


@pytest.mark.parametrize("nums", [[0, 3, 7, 9], [1, 5, 5, 5], [2, 4, 6, 8], [3, 3, 8, 8], [1, 2, 2, 5, 5]], ids=str)
def test_agrees_with_brute_force_on_more_numbers(nums):
    possible = reachable(tuple(map(Fraction, nums)))
    for target in range(-30, 160):
        solution = countdown.solve(nums, target)
        assert (solution is not None) == (target in possible), (target, solution)
        assert solution is None or is_right(solution, nums, target), (target, solution)
    assert not possible >= set(range(160))  # both kinds were seen


def test_knows_how_many_games_of_24_can_be_won():
    """Of the 1,820 deals of four cards from 1 to 13, 1,362 make 24 (as often published for the game of 24)."""
    deals = list(itertools.combinations_with_replacement(range(1, 14), 4))
    assert len(deals) == 1820
    assert sum(countdown.solve(list(deal), 24) is not None for deal in deals) == 1362


@pytest.mark.parametrize(("count", "problems"), [(4, 100), (5, 60), (6, 12)])
def test_finds_a_solution_wherever_some_expression_is_one(count, problems):
    """Expressions of any shape, through fractions and negative values: what the generator's chains never are."""
    rng, solved = random.Random(count), 0
    while solved < problems:
        nums = [rng.randint(0, 20) for _ in range(count)]
        values = [Fraction(number) for number in nums]
        while len(values) > 1 and None not in values:
            x, y = (values.pop(rng.randrange(len(values))) for _ in range(2))
            values.append(OPERATIONS[rng.choice(countdown.OPERATORS)](x, y))
        if None not in values and values[0].denominator == 1:
            solution = countdown.solve(nums, int(values[0]))
            assert solution is not None and is_right(solution, nums, int(values[0])), (nums, values[0], solution)
            solved += 1


@pytest.mark.parametrize(
    ("nums", "target", "solvable", "reason"),
    [
        ([44, 19, 35], 98, True, "a real row"),
        ([3, 3, 8, 8], 24, True, "8 / (3 - 8 / 3): only through fractions"),
        ([1, 5, 5, 5], 24, True, "5 * (5 - 1 / 5)"),
        ([1, 1, 1, 1], 24, False, "too small"),
        ([2, 4], 1, False, "a half is not 1: no rounding"),
        ([0, 7], 0, True, "zero times"),
        ([0, 0, 7], 7, True, "zeros that must be used"),
        ([0, 0], 1, False, "0 / 0 is nothing"),
        ([5, 0], 6, False, "5 / 0 is nothing"),
        ([4, 4, 3], 0, True, "a zero on the way"),
        ([1, 2, 3], -4, True, "negative, by subtraction"),
        ([2, 3], -5, True, "negative, by a minus in front only"),
        ([9], -9, True, "one number, negative"),
        ([9], 9, True, "one number"),
        ([9], 8, False, "one number, another target"),
        ([10**30, 1], 10**30 + 1, True, "exact where a float is not"),
        ([10**30, 1], 10**30, True, "times one"),
        ([10**30, 2], 10**30, False, "a float would say 10**30 + 2 is 10**30"),
        ([3, 7, 25, 50, 9], 952, True, "five numbers"),
        ([1, 1, 1, 1, 1], 11, False, "five ones"),
        ([3, 6, 25, 50, 75, 100], 952, True, "six numbers, as on television"),
        ([1, 1, 2, 2, 3, 3], 5000, False, "six small numbers"),
        ([0, 0, 0, 0, 0, 7], 7, True, "nothing but zeros to spare"),
        ([7, 7, 7, 7, 7, 0], 0, True, "zero times whatever is left"),
        ([2, 4, 6, 8, 10, 12], -1000003, False, "negative, beyond the product of all"),
    ],
)
def test_solver(nums, target, solvable, reason):
    solution = countdown.gold_answer({"nums": nums, "target": target})
    assert (solution is not None) is solvable, reason
    if solvable:
        assert is_right(solution, nums, target), solution
