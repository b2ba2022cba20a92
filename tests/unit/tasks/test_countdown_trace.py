"""Countdown rows made to be searched in order, and worked traces of that search."""

import itertools
import random
from fractions import Fraction

import pytest

from mini_r1.rewards import equation_reward, format_reward
from mini_r1.tasks import countdown

TINY = {"count": [3], "numbers": [1, 12], "target": [1, 99], "in_order": True}


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
        ({"nums": [2, 3, 4], "target": 24}, {"operators": "+-"}, "no order of +- makes 24 of [2, 3, 4]"),
        ({"nums": [2, 3, 4], "target": 24}, {"limit": 20}, "no order of"),
        ({"nums": [4, 1, 9], "target": 32}, {}, "no order of"),  # 4 * (9 - 1) is not from left to right
        ({"nums": [2, 3], "target": 5}, {"operators": "+^"}, "operators must be some of"),
        ({"nums": [5], "target": 5}, {}, "leaves nothing to search"),
    ],
)
def test_trace_of_another_kind_of_row(row, settings, expected):
    with pytest.raises(ValueError) as caught:
        countdown.trace(row, random.Random(0), **settings)
    assert expected in str(caught.value)
