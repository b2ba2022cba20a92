"""The Countdown task: rows, identity, an exact solver, problems made from their solutions, and worked traces."""

import itertools
import math
import random
from fractions import Fraction

import pytest

from rewards import equation_reward, format_reward
from tasks import countdown

TINY = {"count": [3], "numbers": [1, 12], "target": [1, 99], "in_order": True}


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
        ({"nums": [1, "2"], "target": 3}, r"column 'nums' .* not \[1, '2'\]"),
        ({"nums": [1, 2.0], "target": 3}, "column 'nums' must be"),
        ({"nums": [1, True], "target": 2}, "column 'nums' must be"),
        ({"nums": [3, -2], "target": 1}, "column 'nums' must be"),  # a literal has no sign: no answer could use it
        ({"nums": [1, 2], "target": "3"}, "column 'target' must be an integer, not '3'"),
        ({"nums": [1, 2], "target": None}, "column 'target' must be an integer, not None"),
        ({"nums": [1, 2], "target": 3.0}, "column 'target' must be an integer"),
        ({"nums": [1, 2], "target": True}, "column 'target' must be an integer"),
    ],
)
def test_parse_row_names_column_and_fault(raw, expected):
    with pytest.raises(ValueError, match=expected):
        countdown.parse_row(raw)


def test_key_is_the_problem_not_its_order():
    def key(nums, target):
        return countdown.key({"nums": nums, "target": target})

    assert key([3, 1, 2], 6) == key([2, 3, 1], 6)
    different = [([1, 2, 3], 6), ([1, 2, 3], 5), ([1, 2, 2], 6), ([1, 1, 2], 6), ([12, 3], 6), ([1, 23], 6)]
    assert len({key(*problem) for problem in different}) == len(different)


def reachable(values: tuple[Fraction, ...]) -> set[Fraction]:
    """Every value of every expression over all of `values`, the slow and plain way."""
    if len(values) == 1:
        return {values[0]}
    found = set()
    for i, j in itertools.permutations(range(len(values)), 2):
        x, y = values[i], values[j]
        rest = tuple(value for k, value in enumerate(values) if k not in (i, j))
        for value in [x + y, x - y, x * y, *([x / y] if y else [])]:
            found |= reachable((*rest, value))
    return found | {-value for value in found}  # a unary minus is allowed


@pytest.mark.parametrize(("count", "problems"), [(1, 20), (2, 60), (3, 60), (4, 12)])
def test_solver_agrees_with_brute_force(count, problems):
    rng = random.Random(count)
    solvable = 0
    for _ in range(problems):
        nums = [rng.randint(0, 9) for _ in range(count)]
        possible = reachable(tuple(map(Fraction, nums))) | {Fraction(sign * nums[0]) for sign in (1, -1) if count == 1}
        near = [value for value in possible if value.denominator == 1 and abs(value) < 200]
        for target in [int(rng.choice(sorted(near))), rng.randint(-30, 90)]:
            solution = countdown.solve(nums, target)
            assert (solution is not None) == (target in possible), (nums, target, solution)
            if solution is not None:
                solvable += 1
                assert score(solution, nums, target) == 1.0, (nums, target, solution)
    assert problems <= solvable < 2 * problems  # both kinds were seen


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
    ],
)
def test_solver(nums, target, solvable, reason):
    solution = countdown.gold_answer({"nums": nums, "target": target})
    assert (solution is not None) is solvable, reason
    if solvable:
        assert score(solution, nums, target) == 1.0, solution


SETTINGS = [
    {},
    {"count": [2], "numbers": (1, 20), "target": (5, 30)},
    {"count": (3, 4), "numbers": (0, 9), "operators": "+-"},
    {"count": [5], "numbers": [2, 12], "target": [100, 400], "operators": "+*"},
    TINY,
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_generate(settings):
    rows = countdown.generate(40, 7, **settings)
    assert rows == countdown.generate(40, 7, **settings)
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


def chains(row: dict, operators: str, limit: int) -> list[tuple[str, ...]]:
    """The operators that lead from left to right to the target, over whole numbers in 0..limit."""
    found = []
    for ops in itertools.product(operators, repeat=len(row["nums"]) - 1):
        value = Fraction(row["nums"][0])
        for op, number in zip(ops, row["nums"][1:], strict=True):
            value = apply(op, value, number)
            if value is None or value.denominator != 1 or not 0 <= value <= limit:
                break
        else:
            found += [ops] if value == row["target"] else []
    return found


def apply(op: str, x: Fraction, y: int) -> Fraction | None:
    if op == "/":
        return x / y if y else None
    return {"+": x + y, "-": x - y, "*": x * y}[op]


def test_generate_in_order_keeps_a_chain_and_otherwise_shuffles():
    in_order = countdown.generate(200, 0, **TINY)
    assert all(chains(row, "+-*/", 99) for row in in_order)
    shuffled = countdown.generate(200, 0, **TINY | {"in_order": False})
    assert not all(chains(row, "+-*/", 99) for row in shuffled)


@pytest.mark.parametrize(
    ("n", "settings", "expected"),
    [
        (100, {"numbers": (1, 2), "count": [2]}, "only about [0-9]+ different problems, 100 were asked for"),
        (1, {"numbers": (90, 99), "operators": "+", "target": (1, 50)}, "only about 0 different problems"),
        (1, {"numbers": (9, 1)}, "empty range"),
        (1, {"numbers": (-3, 9)}, "numbers must lie from 0 up"),
        (1, {"operators": "+^"}, r"operators must be some of \+-\*/, not '\+\^'"),
        (1, {"operators": ""}, "operators must be some of"),
        (1, {"count": []}, "count must list how many numbers"),
        (1, {"count": [0, 3]}, "count must list how many numbers"),
    ],
)
def test_impossible_settings(n, settings, expected):
    with pytest.raises(ValueError, match=expected):
        countdown.generate(n, 0, **settings)


def read_tries(row: dict, trace: str, limit: int) -> list[tuple[str, ...]]:
    """Check every statement of a trace; return the operators of every try, of a failed one as far as it came."""
    tries = []
    for line in trace.partition("</think>")[0].strip().split("\n"):
        if line == "I give up and guess.":
            continue
        assert line.startswith("Next: ") == bool(tries)
        first, rest = line.removeprefix("Next: ").split(" ", 1)
        assert int(first) == row["nums"][0]
        value, ops = Fraction(first), []
        for number, statement in zip([*row["nums"][1:], None], rest.split(", "), strict=False):
            words = statement.split(" ")
            if words[0] == "want":
                assert words[1:] == [f"{row['target']}:", "yes" if value == row["target"] else "no"], line
                assert len(ops) == len(row["nums"]) - 1
                break
            assert int(words[1]) == number, line
            value = apply(words[0], value, number)
            ops.append(words[0])
            if words[2:] == ["fails"]:
                assert value is None or value.denominator != 1 or not 0 <= value <= limit, line
                break
            assert words[2] == "=" and value == int(words[3]) and 0 <= value <= limit, line
        tries.append(tuple(ops))
    return tries


def text(row: dict, rng: random.Random, **settings) -> str:
    return "".join(piece for piece, _ in countdown.trace(row, rng, limit=99, **settings))


def grade(row: dict, trace: str) -> tuple[float, float]:
    gold = {"nums": [row["nums"]], "target": [row["target"]]}
    told = {"completions": [trace], "prefill": ["<think>"]}
    return equation_reward(**told, **gold)[0], format_reward(**told)[0]


@pytest.mark.parametrize("settings", [TINY, {"count": [2, 4], "numbers": [0, 20], "target": [0, 99], "in_order": True}])
def test_trace_is_true_and_right(settings):
    rng = random.Random(0)
    for row in countdown.generate(150, 3, **settings):
        trace = text(row, rng)
        assert trace.startswith("\n") and grade(row, trace) == (1.0, 1.0)
        tries = read_tries(row, trace, 99)
        assert tries[-1] in chains(row, "+-*/", 99)
        for number, ops in enumerate(tries):  # nothing twice, nothing that begins like a failed try
            assert not any(ops[: len(earlier)] == earlier for earlier in tries[:number])


def test_trace_gives_up_as_often_as_told_and_guesses_what_it_did_not_try():
    rng, wrong, gave_up, right = random.Random(0), 0, 0, 0
    for row in countdown.generate(600, 0, **TINY):
        trace = text(row, rng, give_up=0.4)
        tries, guessed = read_tries(row, trace, 99), "I give up and guess." in trace
        wrong += len(tries) - (not guessed)
        gave_up += guessed
        score_, form = grade(row, trace)
        assert form == 1.0
        if guessed:
            answer = trace.partition("<answer>")[2].partition("</answer>")[0].translate(str.maketrans("", "", "()"))
            ops = tuple(answer.split(" ")[1::2])
            assert not any(ops[: len(tried)] == tried for tried in tries)
            right += score_
        else:
            assert score_ == 1.0
    assert gave_up / wrong == pytest.approx(0.4, abs=0.04)
    assert 0 < right < 0.5 * gave_up


def test_pushed_trace_practises_late_tries_and_teaches_only_its_own_patience():
    rng, stops, goes, depths = random.Random(0), 0, 0, set()
    for row in countdown.generate(600, 0, **TINY):
        pieces = countdown.trace(row, rng, limit=99, give_up=0.4, pushed=True)
        starts = [i for i, (piece, _) in enumerate(pieces) if piece == "Next: "]
        hidden = [i for i, (_, learned) in enumerate(pieces) if not learned]
        assert hidden == starts[: len(hidden)]  # only decisions to go on, from the first on, without a gap
        goes += len(starts) - len(hidden)
        stops += ("I give up and guess.\n", True) in pieces
        depths.add(len(hidden))
    assert stops / (stops + goes) == pytest.approx(0.4, abs=0.04)
    assert depths >= set(range(8))


def test_trace_breaks_the_format_as_often_as_told():
    rng, row = random.Random(0), countdown.generate(1, 0, **TINY)[0]
    grades = [grade(row, text(row, rng, break_format=0.3)) for _ in range(2000)]
    assert sum(form for _, form in grades) / 2000 == pytest.approx(0.7, abs=0.03)
    assert {(value, form) for value, form in grades} == {(1.0, 1.0), (0.0, 0.0)}


@pytest.mark.parametrize(
    ("row", "settings", "expected"),
    [
        ({"nums": [2, 3, 4], "target": 24}, {"operators": "+-"}, r"no order of \+- makes 24 of \[2, 3, 4\]"),
        ({"nums": [2, 3, 4], "target": 24}, {"limit": 20}, "no order of"),
        ({"nums": [4, 1, 9], "target": 32}, {}, "no order of"),  # 4 * (9 - 1) is not from left to right
        ({"nums": [2, 3], "target": 5}, {"operators": "+^"}, "operators must be some of"),
        ({"nums": [5], "target": 5}, {}, "leaves nothing to search"),
    ],
)
def test_trace_of_another_kind_of_row(row, settings, expected):
    with pytest.raises(ValueError, match=expected):
        countdown.trace(row, random.Random(0), **settings)
