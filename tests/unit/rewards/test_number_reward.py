"""The GSM8K reward: golds, long texts and properties. Single answers, one a line, are in corpus/number.jsonl."""

import re
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from repository import ROOT
from tables import MEGABYTE, RIGHT, UNPARSEABLE, WRONG, table, turn

from mini_r1.rewards.number import ANSWER_CAP, NUMBER_CAP, number_reward, number_verdict, parse_gold
from mini_r1.rewards.verdict import Verdict

# (gold, its value, reason)
GOLDS = [
    ("72", 72, "digits"),
    (" 72\n", 72, "blanks around"),
    ("072", 72, "leading zero"),
    ("1,234", 1234, "thousands comma"),
    ("1,234,567.50", Fraction(2469135, 2), "thousands commas and decimals"),
    ("850,000", 850_000, "ends with zeros"),
    ("-5", -5, "minus"),
    ("−5", -5, "typographic minus"),
    ("2.50", Fraction(5, 2), "decimals"),
    (".5", Fraction(1, 2), "no digit before the point"),
    ("0.1", Fraction(1, 10), "a tenth exactly, as no float is"),
    ("$18", 18, "dollar"),
    ("-$18", -18, "minus before the dollar"),
    ("$-18", -18, "minus behind the dollar"),
    ("#### 72", 72, "marker"),
    ("She has <<2*9=18>>18.\n#### 18", 18, "rationale"),
    ("#### 17\nNo:\n####18", 18, "the last marker counts"),
    ("9" * NUMBER_CAP, 10**NUMBER_CAP - 1, "as long as the cap"),
    (72, 72, "integer"),
    (-5, -5, "negative integer"),
    (np.int64(72), 72, "integer of another library"),
    (10**5000, 10**5000, "integer with more digits than str() gives"),
]

# (gold that no answer can be judged by, reason)
UNUSABLE = [
    ("", "empty"),
    (" ", "blank"),
    ("####", "marker alone"),
    ("72 ####", "nothing after the marker"),
    ("She has 72.", "rationale without its marker"),
    ("seventy-two", "words"),
    ("72 eggs", "unit"),
    ("72%", "percent sign"),
    ("72 73", "two numbers"),
    ("12,34", "two digits behind the comma"),
    ("1,2345", "four digits behind the comma"),
    ("1234,567", "four digits before the comma"),
    ("0,123", "group that begins with a zero"),
    (",123", "nothing before the comma"),
    ("1,,234", "two commas"),
    ("72,", "ends with a comma"),
    ("72.", "ends with a point"),
    ("1.2.3", "two points"),
    ("1/2", "fraction"),
    ("1e3", "scientific notation"),
    ("1_000", "underscore"),
    ("--5", "two signs"),
    ("-$-5", "two signs around the dollar"),
    ("+5", "plus"),
    ("5-", "sign behind"),
    ("٧٢", "Arabic digits"),
    ("７２", "full-width digits"),
    ("7²", "superscript"),
    ("nan", "not a number"),
    ("inf", "infinite"),
    ("9" * (NUMBER_CAP + 1), "one digit over the cap"),
    ("9" * 5000, "more digits than int() takes"),
    ("7" * MEGABYTE, "a megabyte of digits"),
    (None, "answer of another task's row"),
    (True, "bool"),
    (72.0, "float"),
    (float("nan"), "float that is no number"),
    (Fraction(72), "fraction object"),
    ([72], "list"),
    (b"72", "bytes"),
]

# Each asked for 72: (text, verdict, reason)
LONG = [
    (turn("72", "x" * MEGABYTE), RIGHT, "a megabyte of thinking"),
    (turn("72", "7" * MEGABYTE), RIGHT, "a megabyte of digits in the thinking"),
    (turn("72", "-" * MEGABYTE), RIGHT, "a megabyte of dashes in the thinking"),
    (turn("72") + "73 " * (MEGABYTE // 3), RIGHT, "a megabyte of chat behind"),
    (turn("72" + " " * (ANSWER_CAP - 2)), RIGHT, "as long as the cap"),
    (turn("72" + " " * (ANSWER_CAP - 1)), WRONG, "one character over the cap"),
    (turn("72" + " " * MEGABYTE), WRONG, "a megabyte of blanks"),
    (turn("7" * MEGABYTE), WRONG, "a megabyte of digits"),
    (turn("-" * MEGABYTE), WRONG, "a megabyte of dashes"),
    (turn("," * MEGABYTE), WRONG, "a megabyte of commas"),
    (turn("72," * (MEGABYTE // 3)), WRONG, "a megabyte of right numbers"),
    (turn("🥚" * MEGABYTE), WRONG, "a million eggs"),
    ("7" * MEGABYTE, UNPARSEABLE, "a megabyte of digits without tags"),
    ("<think>" * (MEGABYTE // 7), UNPARSEABLE, "a megabyte of think tags"),
    ("<answer>" * (MEGABYTE // 8), UNPARSEABLE, "a megabyte of answer tags"),
    (turn("</answer>" * (MEGABYTE // 9)), UNPARSEABLE, "a megabyte of closing answer tags"),
    (turn("0" * (NUMBER_CAP - 2) + "72"), RIGHT, "a number as long as the cap"),
    (turn("0" * (NUMBER_CAP - 1) + "72"), WRONG, "a number one digit over the cap"),
    (turn("7" * (ANSWER_CAP - 2)), WRONG, "a block of digits"),
    (turn("7," * (ANSWER_CAP // 2)), WRONG, "a block of digits and commas"),
    (turn("72/" * (ANSWER_CAP // 3)), WRONG, "a block of slashes"),
    (turn("-" * (ANSWER_CAP - 2) + "72"), WRONG, "a block of signs"),
    (turn("(" * (ANSWER_CAP - 2) + "72"), RIGHT, "a block of brackets"),
    (turn("\\frac{" * (ANSWER_CAP // 6) + "72"), WRONG, "a block of LaTeX fractions"),
    (turn("72\n" * (ANSWER_CAP // 3)), RIGHT, "a block of the same line"),
]


@table("gold, value, reason", GOLDS)
def test_gold_is_read_exactly(gold, value, reason):
    parsed = parse_gold(gold)
    assert type(parsed) is Fraction and parsed == value, reason
    assert number_verdict(turn("0"), gold) is WRONG, reason
    if value < 10**NUMBER_CAP:  # the longest cannot be written within the cap
        assert number_verdict(turn(str(parsed)), gold) is RIGHT, reason


@table("gold, reason", UNUSABLE)
def test_unusable_gold_gives_none(gold, reason):
    with pytest.raises(ValueError, match="a gold answer must be one number") as error:
        parse_gold(gold)
    assert len(str(error.value)) < 300, reason
    assert number_reward([turn("72"), ""], answer=[gold] * 2) == [None, None], reason


@table("text, verdict, reason", LONG)
def test_long_texts(text, verdict, reason):
    assert number_verdict(text, "72") is verdict, reason


def test_least_limit_on_int_digits():
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)  # the least that Python allows
    try:
        nines = "9" * NUMBER_CAP
        assert number_verdict(turn(nines), nines) is RIGHT
        assert number_verdict(turn(f"1/{nines}"), nines) is WRONG
        assert number_verdict(turn("9" * 900), nines) is WRONG
        assert number_verdict(turn("." + "9" * 900), nines) is WRONG
        assert number_verdict(turn("9" * 700), "9" * 700) is None
        assert number_verdict(turn("9"), 10**900) is WRONG
    finally:
        sys.set_int_max_str_digits(limit)


def test_reward_takes_columns_and_prefill():
    completions = ["hm</think><answer>$1,234</answer>", [{"role": "assistant", "content": "hm</think>1,234"}]]
    assert number_reward(completions, prefill=["<think>"] * 2, answer=["1,234"] * 2) == [1.0, 0.0]
    assert number_reward(completions, prefill=["<think>"] * 2, answer=None) == [None, None]
    assert number_reward.__name__ == "number_reward"


def test_needs_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules); import mini_r1.rewards.number\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.split() == ["mini_r1"]


SIGNS = ["72", "7", "2", "-", "−", "$", ",", "\\boxed{", "}", "**", " ", "\n", "(", "=", ":", "eggs", "\u200b", "٧"]
OTHERS = [".", "/", "\\frac{", "not", "m^2", "²", "k", ")"]
SCRAPS = st.lists(st.sampled_from(SIGNS + OTHERS) | st.text(max_size=4)).map("".join)
TAGS = st.lists(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "72"])).map("".join)
WORDS = [
    "up",
    "to",
    "and",
    "a",
    "half",
    "of",
    "six",
    "students",
    "did",
    "don't",
    "no",
    ".",
    "T-shirts",
    "&",
    "72",
    "72,",
    "!",
]
PROSE = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
TEXTS = PROSE | st.text() | SCRAPS | TAGS


@given(TEXTS, TEXTS)
def test_no_text_raises(text, gold):
    assert number_verdict(text, "72") in set(Verdict)
    assert number_reward([turn(text)], answer=["72"])[0] in {0.0, 1.0}
    assert number_verdict(turn("72"), gold) in {None, RIGHT, WRONG}


@given(st.lists(st.sampled_from(SIGNS), max_size=12).map("".join))
def test_right_answers_hold_no_other_digits(answer):
    right = number_verdict(turn(answer), "72") is RIGHT
    assert not right or set(re.findall(r"\d+", answer)) == {"72"}


# Where a number, with its sign, may stand: in place of the @.
AROUND = ["@", " @\n", "$@", "@ €", "USD @", "@%", "@\\%", "@ eggs", "@kg", "@ km/h", "@ m^2", "@ m²", "**@**"]
AROUND += ["\\boxed{@}", "$\\boxed{@ \\text{ eggs}}$", "\\(@\\)", "#### @", "<b>@</b>", "x = @", "@ = @", "@\n**@**"]
AROUND += ["@ T-shirts", "@ one-dollar bills", "@ students don't play", "It went up by @", "So @ eggs, the answer is @"]
AROUND += ["The answer is @.", "Ann gets @ more than Bob!", "Left over: @ eggs", "It adds up to @", "$@ (@ dollars)"]


@st.composite
def spellings(draw) -> tuple[int, str]:
    """A number and one of the ways to write it."""
    number = draw(st.integers(0, 99) | st.integers(0, 10**12))
    grouped = f"{number:,}"
    ways = [f"{number}", grouped, f"{number}.0", f"{grouped}.00", f"0{number}", f"${number}", f"{2 * number}/2"]
    ways += [f"\\frac{{{number}}}{{1}}", grouped.replace(",", "{,}")]
    sign = draw(st.sampled_from(["", "-", "−", "minus "]))
    return (-number if sign else number), sign + draw(st.sampled_from(ways))


@given(spellings(), st.sampled_from(AROUND))
def test_every_spelling_is_right(spelled, around):
    number, text = spelled
    for gold in (number, f"{number}", f"{number:,}", f"{number}.00", f"So it is.\n#### {number}"):
        assert number_verdict(turn(around.replace("@", text)), gold) is RIGHT


@given(spellings(), spellings(), st.sampled_from(AROUND))
def test_another_number_is_wrong(spelled, other, around):
    assume(spelled[0] != other[0])
    assert number_verdict(turn(around.replace("@", spelled[1])), str(other[0])) is WRONG


BETWEEN = [" ", ", ", " or ", " and ", "-", " - ", " to ", "\n", " = ", "; ", ". ", " (", "|", "*", "<br>", "\t"]


@given(spellings(), spellings(), st.sampled_from(BETWEEN))
def test_another_number_beside_it_is_wrong(spelled, other, between):
    assume(spelled[0] != other[0])
    for answer in (spelled[1] + between + other[1], other[1] + between + spelled[1]):
        assert number_verdict(turn(answer), str(spelled[0])) is WRONG


MINUS = ["-@", "−@", "–@", "—@", "- @", "minus @", "negative @", "$-@", "-$@", "--@", "-\\boxed{@}", "\\boxed{-@}"]


@given(st.integers(1, 10**12), st.sampled_from(MINUS))
def test_changed_sign_is_wrong(number, minus):
    assert number_verdict(turn(minus.replace("@", str(number))), str(number)) is WRONG
    assert number_verdict(turn(str(number)), str(-number)) is WRONG


GAPS = [" ", "\n", "\t", " and ", ", ", "-", "_", "**", "\\,", "\\!", "{}", "<br>", "\u200b", "\u00a0", "'", "٬", "\0"]


@given(st.integers(10, 10**12).map(str), st.data(), st.sampled_from(GAPS))
def test_split_digits_are_wrong(digits, data, gap):
    cut = data.draw(st.integers(1, len(digits) - 1))
    assert number_verdict(turn(digits[:cut] + gap + digits[cut:]), digits) is WRONG


SPOILT = ["not @", "isn't @", "about @", "at least @", "@ or so", "@?", "@k", "@ million", "~@", "@²", "half of @"]
SPOILT += [
    "@-",
    "!@",
    "sqrt(@)",
    "half of her @",
    "up to @",
    "@ times two",
    "@ feet six inches",
    "@ dollars and ten cents",
]


@given(spellings(), st.sampled_from(SPOILT))
def test_spoilt_number_is_wrong(spelled, around):
    assert number_verdict(turn(around.replace("@", spelled[1])), str(spelled[0])) is WRONG
