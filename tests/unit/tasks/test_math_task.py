"""The task math: rows of several data sets, boxes, verdicts and votes. What math-verify decides needs it installed."""

import importlib.util

import pytest

from mini_r1.errors import RecipeError
from mini_r1.rewards import Verdict
from mini_r1.tasks import math as task

needs_math_verify = pytest.mark.skipif(
    importlib.util.find_spec("math_verify") is None, reason="math-verify is not installed"
)
RIGHT, WRONG, UNREAD = Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSEABLE


def turn(answer: str) -> str:
    return f"<think>7 or \\boxed{{8}}</think>\n<answer>{answer}</answer>"


@pytest.mark.parametrize(
    "raw, answer, difficulty",
    [
        ({"problem": "p", "solution": "\\boxed{1}", "answer": "\\frac{1}{2}", "level": 3}, "\\frac{1}{2}", 3),
        ({"ID": "2024-II-4", "Problem": "p", "Solution": "s", "Answer": 33}, "33", 1),
        ({"QUESTION": "p", "ANSWER": " 033 ", "Level": "Level 5"}, "033", 5),
        ({"problem": "p", "answer": 2.5}, "2.5", 1),
        ({"problem": "p", "answer": 7.0, "level": None}, "7", 1),
        ({"problem": "p", "answer": "so \\boxed{(1, 2)}"}, "(1, 2)", 1),
        ({"problem": "p", "answer": None, "solution": "\\boxed{3} and \\boxed{\\frac{1}{2}}."}, "\\frac{1}{2}", 1),
        ({"problem": "p", "solution": "the answer is $\\boxed 7$.", "level": "Level ?"}, "7", 1),
        ({"question": "p", "answer": "5", "difficulty": 4}, "5", 4),  # a parsed row is its own
    ],
)
def test_rows(raw, answer, difficulty):
    row = task.parse_row(raw)
    assert row == {"question": "p", "answer": answer, "difficulty": difficulty} == task.parse_row(row)
    assert task.question(row) == "p" and task.gold_answer(row) == answer and task.held_out(row)


@pytest.mark.parametrize(
    "raw, said",
    [
        ({}, "column 'problem'"),
        ({"problem": " ", "answer": 1}, "column 'problem'"),
        ({"problem": ["p"], "answer": 1}, "column 'problem'"),
        ({"problem": "p"}, "there is neither a column 'answer' nor"),
        ({"problem": "p", "solution": "no box"}, "there is neither"),
        ({"problem": "p", "solution": "\\boxed{1"}, "there is neither"),
        ({"problem": "p", "answer": "  ", "solution": "\\boxed{1}"}, "column 'answer'"),
        ({"problem": "p", "answer": True}, "column 'answer'"),
        ({"problem": "p", "answer": float("nan")}, "column 'answer'"),
        ({"problem": "p", "answer": [1]}, "column 'answer'"),
    ],
)
def test_bad_rows(raw, said):
    with pytest.raises(ValueError, match=said):
        task.parse_row(raw)


@pytest.mark.parametrize(
    "text, inside",
    [
        ("\\boxed{1}", "1"),
        ("\\boxed{1} then \\fbox{2}", "2"),
        ("\\boxed {\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\left\\{1\\right.}", "\\left\\{1\\right."),
        ("\\boxed 7$.", "7"),
        ("\\boxed{}", ""),
        ("\\boxed{1", None),
        ("\\boxed", None),
        ("1", None),
        ("\\boxed{" * 100_000, None),
        ("{" * 1_000_000, None),
    ],
)
def test_boxed(text, inside):
    assert task.boxed(text) == inside


def test_key():
    rows = [{"question": " What  is\n$X$?"}, {"question": "what is $x$?"}, {"question": "what is $y$?"}]
    first, second, third = map(task.key, rows)
    assert first == second != third


def test_examples_are_rows():
    rows = [task.parse_row(raw) for raw in task.EXAMPLES]
    assert [row["answer"] for row in rows] == ["\\frac{3}{4}", "6", "\\sqrt{2}"]
    assert len({task.key(row) for row in rows}) == len(rows)


@pytest.mark.skipif(importlib.util.find_spec("math_verify") is not None, reason="math-verify is installed")
def test_without_math_verify():
    for verdict in (task.math_verdict, task.math_vote):
        with pytest.raises(
            RecipeError, match=r"^task: the task math needs math-verify; run: pip install math-verify=="
        ):
            verdict(turn("1"), "1")


@needs_math_verify
@pytest.mark.parametrize(
    "answer, gold, verdict",
    [
        ("33", "033", RIGHT),
        ("$33$", "33", RIGHT),
        ("\\boxed{33}", "33", RIGHT),
        ("It is \\boxed{\\frac{1}{2}}.", "0.5", RIGHT),
        ("1/2", "\\frac{1}{2}", RIGHT),
        ("x^2 + 1", "1+x^2", RIGHT),
        ("(3, \\pi/2)", "\\left( 3, \\frac{\\pi}{2} \\right)", RIGHT),
        ("Evelyn", "\\text{Evelyn}", RIGHT),
        ("34", "33", WRONG),
        ("q - p", "p - q", WRONG),
        ("33 or 34", "33", WRONG),
        ("33, 34", "33", WRONG),
        ("not 33", "33", WRONG),
        (" ", "33", UNREAD),
        ("9" * 2_000, "33", UNREAD),
        ("\\frac{", "33", UNREAD),
        ("33", "", None),
    ],
)
def test_verdicts(answer, gold, verdict):
    assert task.math_verdict(turn(answer), gold) is verdict


@needs_math_verify
def test_only_the_answer_block_counts():
    assert task.math_verdict("<think>33</think> \\boxed{33}", "33") is UNREAD
    assert task.math_verdict(turn("8"), "7") is WRONG
    assert task.math_reward([turn("7"), turn("8"), "7"], answer=["7"] * 3) == [1.0, 0.0, 0.0]


@needs_math_verify
def test_a_huge_power_does_not_hang():
    assert task.math_verdict(turn("9^{9^{9}}"), "7") is WRONG


@needs_math_verify
def test_votes():
    assert task.math_vote(turn("\\frac{1}{2}"), "0.5") == task.math_vote(turn("\\boxed{0.5}"), "0.5")
    assert task.math_vote(turn("3"), "0.5") == "3"
    assert task.math_vote("no answer", "0.5") is None and task.math_vote(turn(" "), "0.5") is None
    row = task.parse_row(task.EXAMPLES[0])
    assert task.vote(turn(task.gold_answer(row)), row) == "3/4"
    for raw in task.EXAMPLES:
        row = task.parse_row(raw)
        assert task.math_reward([turn(task.gold_answer(row))], answer=[row["answer"]]) == [1.0]
