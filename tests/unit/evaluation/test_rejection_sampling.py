"""Filters and balance: which samples are kept, and why the others are not."""

import random
from collections import Counter
from dataclasses import fields

import pytest

from mini_r1.errors import RecipeError
from mini_r1.evaluation.rejection_sampling import REASONS, Filters, balance, longest_paragraph, read_filters, reasons

ENGLISH = "We try every pair of the given numbers in turn and add the third one."
CHINESE = "我们先试一试每一对数字然后加上第三个数看看结果"
LOOP = "we try again and again, " * 30


def record(thought: str = ENGLISH, answer: str = "7", **more) -> dict:
    known = {"right": True, "well_formed": True, "cut_off": False, "tokens": 20, "prefill": "<think>"}
    return {**known, "completion": f"{thought}</think>\n<answer>{answer}</answer>", **more}


@pytest.mark.parametrize(
    ("one", "filters", "expected"),
    [
        (record(), {}, None),
        (record(right=None), {}, "ungraded"),
        (record(right=False), {}, "wrong"),
        (record(right=False, well_formed=False, cut_off=True), {}, "cut_off"),
        (record(cut_off=True), {}, "cut_off"),
        (record(well_formed=False), {}, "wrong_format"),
        (record(well_formed=False), {"wrong_format": False}, None),
        (record(ENGLISH + CHINESE), {}, "mixed_languages"),
        (record(ENGLISH + CHINESE), {"mixed_languages": False}, None),
        (record(CHINESE), {}, None),
        (record(LOOP), {}, "repetition"),
        (record(LOOP), {"repetition": False}, None),
        (record("Like so:\n```python\nprint(7)\n```\n"), {}, "code_block"),
        (record("Like so:\n```python\nprint(7)\n```\n"), {"code_block": False}, None),
        (record(answer="```python\nprint(7)\n```"), {}, None),  # an answer may be code
        (record("a1 b2 c3 d4 " * 400), {"repetition": False}, "paragraph_characters"),
        (record("a1 b2 c3 d4 " * 400), {"repetition": False, "paragraph_characters": None}, None),
        (record("\n\n".join(f"step {i}" for i in range(900))), {"paragraph_characters": 60}, None),
        (record(tokens=101), {"tokens": 100}, "tokens"),
        (record(tokens=100), {"tokens": 100}, None),
    ],
)
def test_the_first_fault_is_the_reason(one, filters, expected):
    assert reasons([one], read_filters(filters), most=1) == [expected]


def test_duplicates_and_enough():
    drawn = [record("a"), record("a", right=False), record(" a "), record("b"), record("c"), record("b")]
    drawn[2]["completion"] = " " + drawn[0]["completion"] + "\n"
    assert reasons(drawn, Filters(), 2) == [None, "wrong", "duplicate", None, "enough", "duplicate"]
    assert reasons(drawn, Filters(duplicate=False), 9) == [None, "wrong", None, None, None, None]


def test_every_reason_has_its_place():
    assert {field.name for field in fields(Filters)} < set(REASONS)
    assert len(set(REASONS)) == len(REASONS)


@pytest.mark.parametrize(
    ("text", "expected"), [("", 0), ("ab", 2), ("a\nb\n\nc", 3), ("\n\n\n", 0), ("a\n \nbcd", 3), ("x" * 10**6, 10**6)]
)
def test_longest_paragraph(text, expected):
    assert longest_paragraph(text) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "must be a map"),
        ({"code_blocks": False}, "did you mean code_block?"),
        ({"code_block": 1}, "is a switch"),
        ({"tokens": True}, "a whole number above 0, or null"),
        ({"tokens": 0}, "a whole number above 0, or null"),
        ({"paragraph_characters": "10"}, "a whole number above 0, or null"),
    ],
)
def test_wrong_filters(given, said):
    with pytest.raises(RecipeError, match=".*" + said) as error:
        read_filters(given)
    assert error.value.key == "filters"


def test_as_many_of_each_difficulty_and_as_many_problems_as_can():
    rng = random.Random(0)
    for _ in range(50):
        problems = sorted(rng.choices(range(12), k=rng.randint(1, 40)))
        difficulties = [3 + problem % 3 for problem in problems]
        stays = balance(difficulties, problems)
        left = Counter(d for d, stay in zip(difficulties, stays, strict=True) if stay)
        scarcest = min(Counter(difficulties).values())
        assert left == dict.fromkeys(set(difficulties), scarcest)
        for level in left:
            there = {p for p, d in zip(problems, difficulties, strict=True) if d == level}
            kept = {p for p, d, stay in zip(problems, difficulties, stays, strict=True) if stay and d == level}
            assert len(kept) == min(len(there), scarcest)
    assert balance([], []) == []
