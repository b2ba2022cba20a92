"""The Countdown task: rows, identity, and problems made from their solutions."""

import collections
import itertools
import math

import pytest

from mini_r1.rewards import equation_reward
from mini_r1.tasks import countdown


def score(answer, nums, target) -> float | None:
    return equation_reward(completions=[f"<think>x</think><answer>{answer}</answer>"], nums=[nums], target=[target])[0]


def test_parse_row():
    raw = {"nums": [44, 19, 35], "target": 98, "source": "hub"}
    assert countdown.parse_row(raw) == {"nums": [44, 19, 35], "target": 98, "difficulty": 3}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"target": 98}, "column 'nums' is missing"),
        ({"nums": [1, 2]}, "column 'target' is missing"),
        ({"nums": None, "target": 3}, "column 'nums' must be a non-empty list of integers from 0 up, not None"),
        ({"nums": [], "target": 3}, "column 'nums' must be a non-empty list"),
        ({"nums": "1 2", "target": 3}, "column 'nums' must be a non-empty list"),
        ({"nums": [1, "2"], "target": 3}, "column 'nums' must be a non-empty list of integers from 0 up, not [1, '2']"),
        ({"nums": (1, 2), "target": 3}, "column 'nums' must be"),
        ({"nums": {1: 2}, "target": 3}, "column 'nums' must be"),
        ({"nums": [[1], 2], "target": 3}, "column 'nums' must be"),
        ({"nums": [1, None], "target": 3}, "column 'nums' must be"),
        ({"nums": [1, 2.0], "target": 3}, "column 'nums' must be"),
        ({"nums": [1, True], "target": 2}, "column 'nums' must be"),
        ({"nums": [3, -2], "target": 1}, "column 'nums' must be"),  # a literal has no sign: no answer could use it
        ({"nums": [1, 2], "target": "3"}, "column 'target' must be an integer, not '3'"),
        ({"nums": [1, 2], "target": [3]}, "column 'target' must be an integer, not [3]"),
        ({"nums": [1, 2], "target": None}, "column 'target' must be an integer, not None"),
        ({"nums": [1, 2], "target": 3.0}, "column 'target' must be an integer"),
        ({"nums": [1, 2], "target": True}, "column 'target' must be an integer"),
    ],
)
def test_parse_row_names_column_and_fault(raw, expected):
    with pytest.raises(ValueError) as caught:
        countdown.parse_row(raw)
    assert expected in str(caught.value)


def test_key_is_the_problem_not_its_order():
    def key(nums, target):
        return countdown.key({"nums": nums, "target": target})

    assert key([3, 1, 2], 6) == key([2, 3, 1], 6)
    different = [([1, 2, 3], 6), ([1, 2, 3], 5), ([1, 2, 2], 6), ([1, 1, 2], 6), ([12, 3], 6), ([1, 23], 6)]
    assert len({key(*problem) for problem in different}) == len(different)


SETTINGS = [
    {},
    {"count": [2], "numbers": (1, 20), "target": (5, 30)},
    {"count": (3, 4), "numbers": (0, 9), "operators": "+-"},
    {"count": [5], "numbers": [2, 12], "target": [100, 400], "operators": "+*"},
    {"count": [6], "target": (100, 999)},
    {"count": [1, 2], "numbers": [30, 60], "target": [20, 50]},
    {"count": [3], "numbers": [1, 12], "target": [1, 99], "in_order": True},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_generate(settings):
    rows = countdown.generate(40, 7, **settings)
    assert rows == countdown.generate(40, 7, **settings)
    assert rows[:15] == countdown.generate(15, 7, **settings)
    assert rows != countdown.generate(40, 8, **settings)
    assert len({countdown.key(row) for row in rows}) == len(rows) == 40
    low, high = settings.get("numbers", (1, 99))
    least, most = settings.get("target", (1, 100))
    counts = settings.get("count", (3, 4))
    for row in rows:
        assert countdown.parse_row(row) == row
        assert all(low <= number <= high for number in row["nums"])
        assert least <= row["target"] <= most
        assert row["difficulty"] == len(row["nums"])
        assert score(countdown.gold_answer(row), row["nums"], row["target"]) == 1.0
    assert {row["difficulty"] for row in rows} == set(counts)


@pytest.mark.parametrize(("operators", "combine"), [("+", sum), ("*", math.prod)])
def test_generate_uses_only_the_operators_given(operators, combine):
    for row in countdown.generate(50, 0, operators=operators, numbers=(1, 20), target=(1, 2000)):
        assert row["target"] == combine(row["nums"])


def test_generate_does_not_prefer_an_operator():
    """More pairs have a sum up to 100 than a whole quotient; drawn as they come, / would be one step in twenty."""
    ways = collections.Counter()
    for row in countdown.generate(400, 0, count=[2], in_order=True):
        (x, y), target = row["nums"], row["target"]
        ways.update(op for op, value in [("+", x + y), ("-", x - y), ("*", x * y), ("/", x / y)] if value == target)
    assert set(ways) == set("+-*/")
    assert all(40 < times < 160 for times in ways.values()), ways


def chain_keys(count, numbers, operators, target) -> set[str]:
    """The keys of all problems that some chain over whole numbers from 0 to the largest target makes."""
    keys = set()
    for nums in itertools.product(range(numbers[0], numbers[1] + 1), repeat=count):
        for ops in itertools.product(operators, repeat=count - 1):
            value = nums[0]
            for op, number in zip(ops, nums[1:], strict=True):
                if op == "/":
                    value = value // number if number and value % number == 0 else -1
                else:
                    value = {"+": value + number, "-": value - number, "*": value * number}[op]
                if not 0 <= value <= target[1]:
                    break
            else:
                if target[0] <= value <= target[1]:
                    keys.add(countdown.key({"nums": nums, "target": value}))
    return keys


@pytest.mark.parametrize("operators", ["+-*/", "*/", "/", "*", "-"])
@pytest.mark.parametrize(
    ("count", "numbers", "target"), [(2, (0, 3), (0, 6)), (3, (1, 4), (1, 9)), (3, (1, 1), (1, 1)), (3, (0, 2), (2, 8))]
)
def test_generate_makes_every_problem_there_is_and_no_other(count, numbers, target, operators):
    settings = {"count": [count], "numbers": numbers, "target": target, "operators": operators}
    keys = chain_keys(**settings | {"count": count})
    assert {countdown.key(row) for row in countdown.generate(len(keys), 0, **settings)} == keys
    with pytest.raises(ValueError) as caught:
        countdown.generate(len(keys) + 1, 0, **settings)
    assert f"only about {len(keys)} different problems, {len(keys) + 1} were asked for" in str(caught.value)


def test_generate_seldom_takes_a_step_that_changes_nothing():
    rows = countdown.generate(100, 0, count=[2], operators="*/", in_order=True)
    assert sum(row["nums"][1] == 1 for row in rows) < 20  # about half, were * 1 and / 1 like other steps


@pytest.mark.parametrize(
    ("n", "settings", "expected"),
    [
        (1, {"numbers": (90, 99), "operators": "+", "target": (1, 50)}, "only about 0 different problems"),
        (1, {"target": (-9, -1)}, "only about 0 different problems"),
        (1, {"numbers": (9, 1)}, "numbers must be the smallest, from 0 up, and the largest, not (9, 1)"),
        (1, {"numbers": (-3, 9)}, "numbers must be the smallest, from 0 up"),
        (1, {"target": [9, 1]}, "target must be the smallest and the largest, not [9, 1]"),
        (1, {"operators": "+^"}, "operators must be some of +-*/, not '+^'"),
        (1, {"operators": ""}, "operators must be some of +-*/, not ''"),
        (1, {"count": []}, "count must list how many numbers"),
        (1, {"count": [0, 3]}, "count must list how many numbers"),
    ],
)
def test_impossible_settings(n, settings, expected):
    with pytest.raises(ValueError) as caught:
        countdown.generate(n, 0, **settings)
    assert expected in str(caught.value)
