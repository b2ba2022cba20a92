"""The GSM8K task: rows, identity and worked traces; its generator is in test_gsm8k_problems.py."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_r1.rewards import format_reward, number_reward
from mini_r1.tasks import gsm8k

NATALIA = {
    "question": "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How "
    "many clips did Natalia sell altogether in April and May?",
    "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nNatalia sold 48+24 = <<48+24=72>>72 clips altogether "
    "in April and May.\n#### 72",
}


def row(answer: str, question: str = "How many?", **others) -> dict:
    return gsm8k.parse_row({"question": question, "answer": answer, **others})


def score(answer: object, gold: str) -> float | None:
    return number_reward([f"<think>x</think><answer>{answer}</answer>"], answer=[gold])[0]


def test_parse_row():
    parsed = gsm8k.parse_row(NATALIA)
    assert parsed == {
        "question": NATALIA["question"],
        "answer": "72",
        "rationale": NATALIA["answer"].removesuffix("\n#### 72"),
        "template": None,
        "difficulty": 2,
    }
    assert gsm8k.question(parsed) == NATALIA["question"]
    assert gsm8k.gold_answer(parsed) == "72"


@pytest.mark.parametrize(
    ("answer", "gold", "rationale", "difficulty", "reason"),
    [
        ("a\n#### 1,234", "1,234", "a", 1, "thousands comma, as it stands; no step in sight counts as one"),
        ("<<4-14=-10>>\n#### -10", "-10", "<<4-14=-10>>", 1, "negative"),
        ("It is <<2*1.25=2.5>>2.5\n####   2.50 \n", "2.50", "It is <<2*1.25=2.5>>2.5", 1, "decimal, blanks around"),
        ("#### 5", "5", "", 1, "no rationale"),
        ("72", "72", "", 1, "a bare number"),
        (" 1,080\n", "1,080", "", 1, "a bare number with blanks"),
        ("2a = 4\nso\na = 2\n#### 2", "2", "2a = 4\nso\na = 2", 2, "no annotations: lines with an equals sign"),
        ("x = <<1+1=2>>2\ny = 3\n#### 2", "2", "x = <<1+1=2>>2\ny = 3", 1, "annotations count where there are any"),
        ("<<1+1=2>><<2+2=4>> <<4*4=16>>\n#### 16", "16", "<<1+1=2>><<2+2=4>> <<4*4=16>>", 3, "several on a line"),
        ("see #### 3\n#### 4", "4", "see #### 3", 1, "the last mark is the gold's"),
    ],
)
def test_golds(answer, gold, rationale, difficulty, reason):
    parsed = row(answer)
    assert (parsed["answer"], parsed["rationale"], parsed["difficulty"]) == (gold, rationale, difficulty), reason
    assert gsm8k.parse_row(parsed) == parsed, reason
    assert score(gsm8k.gold_answer(parsed), parsed["answer"]) == 1.0, reason


def test_a_column_of_rationales_may_stand_apart():
    parsed = row("24", rationale="48/2 = <<48/2=24>>24\n24-0 = <<24-0=24>>24")
    assert (parsed["difficulty"], parsed["rationale"]) == (2, "48/2 = <<48/2=24>>24\n24-0 = <<24-0=24>>24")
    assert row("24", rationale=None)["rationale"] == ""


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"answer": "#### 1"}, "column 'question' is missing"),
        ({"question": "Q?"}, "column 'answer' is missing"),
        ({"question": None, "answer": "1"}, "column 'question' must be a text that is not blank, not None"),
        ({"question": " \n", "answer": "1"}, "column 'question' must be a text that is not blank"),
        ({"question": ["Q?"], "answer": "1"}, "column 'question' must be a text that is not blank"),
        ({"question": "Q?", "answer": None}, "column 'answer' must be a text that is not blank, not None"),
        ({"question": "Q?", "answer": ""}, "column 'answer' must be a text that is not blank"),
        ({"question": "Q?", "answer": "It is <<1+1=2>>2."}, "column 'answer': a gold answer must be one number"),
        ({"question": "Q?", "answer": "2\n####"}, "column 'answer': a gold answer must be one number"),
        ({"question": "Q?", "answer": "#### two"}, "column 'answer': a gold answer must be one number"),
        ({"question": "Q?", "answer": "#### 1 2"}, "column 'answer': a gold answer must be one number"),
        ({"question": "Q?", "answer": "#### 12,34"}, "column 'answer': a gold answer must be one number"),
        ({"question": "Q?", "answer": "#### 72 ####"}, "column 'answer': a gold answer must be one number"),
        ({"question": "Q?", "answer": "1", "rationale": 1}, "column 'rationale' must be a text, not 1"),
        ({"question": "Q?", "answer": "1", "template": ["gift"]}, "column 'template' must be a text"),
    ],
)
def test_parse_row_names_column_and_fault(raw, expected):
    with pytest.raises(ValueError, match=expected):
        gsm8k.parse_row(raw)


@pytest.mark.parametrize(
    ("question", "other", "same", "reason"),
    [
        ("Tom has 5 pens.", "tom HAS 5 pens", True, "case, final period"),
        ("Tom has 5 pens.", "  Tom\nhas\t5\u00a0pens .", True, "blanks and line breaks"),
        ("Tom's 5 pens", "Tom’s 5 pens", True, "apostrophes"),
        ("It costs 1,200 now", "It costs 1200 now", True, "thousands comma"),
        ("Tom, who has 5", "Tom - who has 5", True, "comma or dash"),
        ("It costs $5", "It costs 5", True, "a currency sign tells nothing apart"),
        ("Wählt 5 Äpfel", "wählt 5 äpfel", True, "letters beyond ASCII"),
        ("Tom has 5 pens", "Tom has 6 pens", False, "another number"),
        ("Tom has 5 pens", "Tim has 5 pens", False, "another name"),
        ("It costs 1.25", "It costs 125", False, "a decimal point is no punctuation"),
        ("It costs 1.25", "It costs 1, 25", False, "two numbers"),
        ("the years 1, 200", "the years 1,200", False, "a list, and a thousand"),
        ("the codes 1,2345", "the codes 1, 2345", True, "a comma that groups no thousands"),
        ("5 times 12", "51 times 2", False, "digits stay together"),
        ("5% of 20", "5 of 20", False, "percent"),
        ("1/2 of 20", "1 2 of 20", False, "a fraction"),
        ("It costs $.50", "It costs $50", False, "cents without a zero"),
        ("pens.5 are red", "pens. 5 are red", True, "a period without a blank"),
        ("-5 degrees", "5 degrees", False, "a minus"),
        ("-$5 left", "$5 left", False, "a minus before a currency sign"),
        ("\u22125 degrees", "-5 degrees", True, "the minus of typesetters"),
        ("10-3", "10 3", False, "a minus between numbers"),
        ("a 12-year-old", "a 12 year old", True, "a hyphen between words"),
        ("x < 5", "x > 5", False, "a comparison"),
        ("2^3", "2 3", False, "a power"),
        ("\uff15 apples", "\uff16 apples", False, "full-width digits"),
        ("\u0665 apples", "\u0666 apples", False, "Arabic digits"),
        ("\u0e01\u0e35\u0e48 5", "\u0e01\u0e39\u0e48 5", False, "Thai words that differ in a combining vowel"),
    ],
)
def test_key(question, other, same, reason):
    assert (gsm8k.key({"question": question}) == gsm8k.key({"question": other})) is same, reason


@given(st.text())
def test_key_of_any_text_is_its_own_key(text):
    once = gsm8k.key({"question": text})
    assert gsm8k.key({"question": once.upper() if once.isascii() else once}) == once


def generated(n: int, seed: int, **settings) -> list[dict]:
    return [gsm8k.parse_row(raw) for raw in gsm8k.generate(n, seed, **settings)]


def text(parsed: dict, rng: random.Random, **settings) -> str:
    return "".join(piece for piece, _ in gsm8k.trace(parsed, rng, **settings))


def grade(parsed: dict, trace: str) -> tuple[float, float]:
    told = {"completions": [trace], "prefill": ["<think>"]}
    return number_reward(**told, answer=[parsed["answer"]])[0], format_reward(**told)[0]


def test_trace_of_one_row():
    parsed = row("a 6*1.25 = <<6*1.25=7.50>>7.50\nb <<20-7.50=12.50>>12.50\n#### 12.50")
    pieces = gsm8k.trace(parsed, random.Random(0))
    assert pieces == [
        ("\n", True),
        ("6 * 1.25 = 7.50\n", True),
        ("Next: ", True),
        ("20 - 7.50 = 12.50\n", True),
        ("Done.\n", True),
        ("</think>\n<answer>12.50</answer>", True),
    ]
    stopped = gsm8k.trace(parsed, random.Random(0), give_up=1.0)
    assert stopped == [
        *pieces[:2],
        ("I stop here.\n", True),
        ("</think>\n<answer>7.50</answer>", True),
    ]


def test_trace_is_true_and_right():
    rng = random.Random(0)
    for parsed in generated(300, 3):
        trace = text(parsed, rng)
        assert grade(parsed, trace) == (1.0, 1.0)
        lines = trace.partition("</think>")[0].split("\n")
        assert lines[0] == lines[-1] == "" and lines[-2] == "Done."
        told = [line.removeprefix("Next: ") for line in lines[1:-2]]
        assert [line.startswith("Next: ") for line in lines[1:-2]] == [False] + [True] * (parsed["difficulty"] - 1)
        assert [line.replace(" ", "") for line in told] == re.findall(r"<<(.*?)>>", parsed["rationale"])


def test_trace_gives_up_as_often_as_told_and_is_then_wrong():
    rng, chances, stops = random.Random(0), 0, 0
    for parsed in generated(800, 4, steps=[2, 3, 4]):
        trace = text(parsed, rng, give_up=0.4)
        *before, last = [line.rpartition("= ")[2] for line in trace.split("\n") if " = " in line]
        stopped = "I stop here.\n" in trace
        assert grade(parsed, trace) == (0.0 if stopped else 1.0, 1.0)
        assert ("Done.\n" in trace) is not stopped
        chances += sum(result != parsed["answer"] for result in before) + stopped
        stops += stopped
        assert trace.endswith(f"<answer>{last}</answer>")
    assert stops / chances == pytest.approx(0.4, abs=0.04)


def test_trace_that_always_gives_up_is_always_wrong_but_where_a_result_is_the_gold():
    rng = random.Random(0)
    for parsed in generated(300, 5):
        right, form = grade(parsed, text(parsed, rng, give_up=1.0))
        first, *others = re.findall(r"=([0-9.]+)>>", parsed["rationale"])
        assert form == 1.0
        assert right == (0.0 if any(result != parsed["answer"] for result in [first, *others][:-1]) else 1.0)
    same = row("<<3+2=5>><<5*2=10>><<10-5=5>>\n#### 5")  # the first result is the gold: goes on, stops at the second
    assert text(same, rng, give_up=1.0).endswith("Next: 5 * 2 = 10\nI stop here.\n</think>\n<answer>10</answer>")


def test_pushed_trace_practises_late_steps_and_teaches_only_its_own_patience():
    rng, stops, goes, depths = random.Random(0), 0, 0, set()
    for parsed in generated(800, 6, steps=[3, 4]):
        pieces = gsm8k.trace(parsed, rng, give_up=0.4, pushed=True)
        results = re.findall(r"=([0-9.]+)>>", parsed["rationale"])
        starts = [i for i, (piece, _) in enumerate(pieces) if piece == "Next: "]
        hidden = [i for i, (_, learned) in enumerate(pieces) if not learned]
        assert hidden == starts[: len(hidden)]  # only decisions to go on, from the first on, without a gap
        goes += sum(results[number] != parsed["answer"] for number in range(len(hidden), len(starts)))
        stops += ("I stop here.\n", True) in pieces
        depths.add(len(hidden))
    assert stops / (stops + goes) == pytest.approx(0.4, abs=0.05)
    assert depths == {0, 1, 2, 3}


def test_trace_breaks_the_format_as_often_as_told():
    rng, parsed = random.Random(0), generated(1, 0)[0]
    grades = [grade(parsed, text(parsed, rng, break_format=0.3)) for _ in range(1000)]
    assert sum(form for _, form in grades) / 1000 == pytest.approx(0.7, abs=0.05)
    assert set(grades) == {(1.0, 1.0), (0.0, 0.0)}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("72", "no rationale"),
        ("It is clear.\n#### 72", "no annotations"),
        ("<<16-3-4=9>>\n#### 9", "three numbers in a step"),
        ("<<40*20%=8>>\n#### 8", "a percent sign"),
        ("<<2*4=8>>\n#### 9", "ends in another number"),
    ],
)
def test_trace_of_another_kind_of_row(answer, reason):
    with pytest.raises(ValueError, match="a trace needs a generated row"):
        gsm8k.trace(row(answer), random.Random(0))
