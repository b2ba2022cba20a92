"""What the rewards in rewards/ give: tables of (text, expected, reason), then properties over any text."""

import inspect
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import MEGABYTE, RIGHT, UNPARSEABLE, WRONG, table, turn

from mini_r1 import rewards
from mini_r1.rewards import answer_block, equation_reward, equation_verdict, format_reward, format_verdict, full_text
from mini_r1.rewards.equation import ANSWER_CAP, MAX_NESTING

# Each text is asked for 3 out of [1, 2]: (text, format is right, verdict on the equation, reason)
TEXTS = [
    ("<think>hm</think>\n<answer>1+2</answer>", True, RIGHT, "the form asked for"),
    ("<think>hm</think><answer>1+2</answer>", True, RIGHT, "no whitespace between the blocks"),
    ("\n <think>hm</think><answer>1+2</answer> \n", True, RIGHT, "the whole text is stripped"),
    ("<think>\n\na\nb\n</think>\n<answer>\n1+2\n</answer>", True, RIGHT, "line breaks inside the blocks"),
    ("<think>1 < 2 > 0 </ b> <b></think><answer>1+2</answer>", True, RIGHT, "other angle brackets are text"),
    ("<think>思考 🤔 \x00 \ud800</think><answer>1+2</answer>", True, RIGHT, "any characters in the reasoning"),
    ("<think>hm</think><answer>2+2</answer>", True, WRONG, "the format does not ask whether it is right"),
    ("<think>hm</think><answer>no idea</answer>", True, WRONG, "the format does not ask for an expression"),
    ("<think>" + "a" * MEGABYTE + "</think><answer>1+2</answer>", True, RIGHT, "no cap on the reasoning"),
    ("<think>" + "</thin" * (MEGABYTE // 6) + "</think><answer>1+2</answer>", True, RIGHT, "near-tags are text"),
    # What costs the format only
    ("<think></think><answer>1+2</answer>", False, RIGHT, "empty thinking"),
    ("<think> \n\t</think><answer>1+2</answer>", False, RIGHT, "blank thinking"),
    ("<think>hm</think><answer>1+2</answer> There you go!", False, RIGHT, "chat after the block"),
    ("<think>hm</think><answer>1+2</answer>\nUser: next?\nAssistant: <think>", False, RIGHT, "ran on after the block"),
    ("<think>hm</think><answer>1+2</answer></think>", False, RIGHT, "stray closing tag after the block"),
    ("<think>hm</think> So: <answer>1+2</answer>", False, RIGHT, "words between the blocks"),
    ("Sure! <think>hm</think><answer>1+2</answer>", False, RIGHT, "words before the thinking"),
    ("<think><think>hm</think><answer>1+2</answer>", False, RIGHT, "the prefill's tag said again"),
    ("<think>" + " " * MEGABYTE + "</think><answer>1+2</answer>", False, RIGHT, "a megabyte of blanks"),
    # No answer, or no telling which
    ("", False, UNPARSEABLE, "empty"),
    ("1+2", False, UNPARSEABLE, "no tags"),
    ("<think>", False, UNPARSEABLE, "the prefill alone"),
    ("<think>hm</think>", False, UNPARSEABLE, "no answer"),
    ("<think>hm</think>1+2", False, UNPARSEABLE, "answer without tags"),
    ("<answer>1+2</answer>", False, UNPARSEABLE, "no thinking"),
    ("hm</think><answer>1+2</answer>", False, UNPARSEABLE, "think block never opened (no prefill)"),
    ("<think>hm<answer>1+2</answer>", False, UNPARSEABLE, "think block never closed"),
    ("<think>hm<answer>1+2</answer></think>", False, UNPARSEABLE, "answer inside the thinking"),
    ("<answer>1+2</answer><think>hm</think>", False, UNPARSEABLE, "answer before the thinking"),
    ("<think>a</think><think>b<answer>1+2</answer>", False, UNPARSEABLE, "answer inside reopened thinking"),
    ("</think>hm<think><answer>1+2</answer>", False, UNPARSEABLE, "think tags the wrong way round"),
    ("<think>hm</think><answer>1+2", False, UNPARSEABLE, "answer never closed"),
    ("<think>hm</think></answer>1+2<answer>", False, UNPARSEABLE, "answer tags the wrong way round"),
    ("<think>a <answer>2+1</answer></think><answer>1+2</answer>", False, UNPARSEABLE, "answer quoted in thinking"),
    ("<think>I write <answer> next</think><answer>1+2</answer>", False, UNPARSEABLE, "opening tag quoted"),
    ("<think>end with </answer></think><answer>1+2</answer>", False, UNPARSEABLE, "closing tag quoted"),
    ("<think>hm</think><answer>1+2</answer><answer>1+2</answer>", False, UNPARSEABLE, "two answers, even if the same"),
    ("<think>hm</think><answer><answer>1+2</answer></answer>", False, UNPARSEABLE, "nested answers"),
    ("<think>hm</think><answer>1+2</answer></answer>", False, UNPARSEABLE, "answer closed twice"),
    ("<think>hm</think><Answer>1+2</Answer>", False, UNPARSEABLE, "answer tags are case-sensitive"),
    ("<THINK>hm</THINK><answer>1+2</answer>", False, UNPARSEABLE, "think tags are case-sensitive"),
    ("<think>hm</think><answer >1+2</answer>", False, UNPARSEABLE, "a blank within the tag"),
    ("<think>hm</think>＜answer＞1+2＜/answer＞", False, UNPARSEABLE, "full-width brackets are no tags"),
    ("<think>" * (MEGABYTE // 7), False, UNPARSEABLE, "a megabyte of unclosed think tags"),
    ("<answer>" * (MEGABYTE // 8), False, UNPARSEABLE, "a megabyte of unclosed answer tags"),
    # An answer block that holds no answer
    ("<think>hm</think><answer></answer>", False, WRONG, "empty answer"),
    ("<think>hm</think><answer> \n </answer>", False, WRONG, "blank answer"),
    ("<think>hm</think><answer><think>1+2</answer>", False, WRONG, "a think tag is no part of an expression"),
]

# (answer, nums, target, is right, reason)
EQUATIONS = [
    ("1+2", [1, 2], 3, True, "sum"),
    ("2-1", [1, 2], 1, True, "difference; any order"),
    ("6*7", [6, 7], 42, True, "product"),
    ("8/2", [2, 8], 4, True, "quotient"),
    ("0", [0], 0, True, "zero alone is a literal"),
    ("10+0*20", [0, 10, 20], 10, True, "zeros inside and at the end of numbers"),
    ("1 +\t2\n", [1, 2], 3, True, "blanks, tabs and line breaks are free"),
    ("1\r\n+\x0b2\x0c", [1, 2], 3, True, "all of ASCII whitespace is free"),
    ("( ( 44 - 19 ) + 35 )", [44, 19, 35], 60, True, "blanks around parentheses"),
    ("2+3*4", [2, 3, 4], 14, True, "product before sum"),
    ("(2+3)*4", [2, 3, 4], 20, True, "parentheses first"),
    ("10-3-2", [2, 3, 10], 5, True, "difference goes left to right"),
    ("10-(3-2)", [2, 3, 10], 9, True, "parentheses on the right"),
    ("24/4/2", [2, 4, 24], 3, True, "quotient goes left to right"),
    ("2*3+4*5-6/3", [2, 3, 4, 5, 6, 3], 24, True, "precedence in a long one; a number given twice"),
    ("8/(3-8/3)", [3, 3, 8, 8], 24, True, "exact in between: not so in floats"),
    ("1/3*3", [1, 3, 3], 1, True, "a third times three is one exactly"),
    ("1/(1/7)", [1, 1, 7], 7, True, "the reciprocal of a fraction"),
    ("-1+2", [1, 2], 1, True, "unary minus in front"),
    ("2*-1", [1, 2], -2, True, "unary minus after an operator"),
    ("2-(-1)", [1, 2], 3, True, "unary minus in parentheses"),
    ("-(1-2)", [1, 2], 1, True, "unary minus before parentheses"),
    ("- - -1", [1], -1, True, "unary minus repeated"),
    ("-2*3+1", [1, 2, 3], -5, True, "unary minus binds the product only"),
    ("8/-2-1", [1, 2, 8], -5, True, "unary minus binds tighter than a quotient"),
    ("-" * 9000 + "1", [1], 1, True, "nine thousand minus signs"),
    ("(" * MAX_NESTING + "1" + ")" * MAX_NESTING, [1], 1, True, "nested 100 deep"),
    ("+".join(["(1)"] * 1000), [1] * 1000, 1000, True, "a thousand parentheses side by side do not nest"),
    ("1+2" + " " * (ANSWER_CAP - 3), [1, 2], 3, True, "as long as the cap"),
    ("9" * 300 + "-1", [10**300 - 1, 1], 10**300 - 2, True, "exact where floats overflow"),
    # Right in form, wrong in value
    ("1+2", [1, 2], 4, False, "another value"),
    ("2/3", [2, 3], 0, False, "no floor division"),
    ("1/3+1/3", [1, 3, 1, 3], 1, False, "two thirds is not one"),
    ("10000000000000001-1", [10000000000000001, 1], 10000000000000001, False, "off by one where floats do not see it"),
    ("1/0", [0, 1], 1, False, "division by zero"),
    ("0*(1/0)", [0, 1, 0], 0, False, "division by zero, times zero"),
    # Wrong numbers
    ("3", [1, 2], 3, False, "the target itself"),
    ("1+1+1", [1, 2], 3, False, "one number thrice, the other never"),
    ("1+2", [1, 2, 3], 3, False, "a number left out"),
    ("1+2", [1, 2, 2], 3, False, "a number given twice, used once"),
    # Broken grammar
    ("1 2", [1, 2], 3, False, "two numbers side by side"),
    ("1 2+", [1, 2], 3, False, "operator behind"),
    ("+ 1 2", [1, 2], 3, False, "operator in front"),
    ("+1+2", [1, 2], 3, False, "no unary plus"),
    ("1+ +2", [1, 2], 3, False, "no unary plus after an operator"),
    ("1+2+", [1, 2], 3, False, "ends with an operator"),
    ("-", [1], -1, False, "a minus alone"),
    ("(1+2", [1, 2], 3, False, "parenthesis never closed"),
    ("1+2)", [1, 2], 3, False, "parenthesis never opened"),
    (")1+2(", [1, 2], 3, False, "parentheses the wrong way round"),
    ("()1+2", [1, 2], 3, False, "empty parentheses"),
    ("3(1+2)", [1, 2, 3], 9, False, "product without a sign"),
    ("[1+2]", [1, 2], 3, False, "square brackets"),
    ("(" * 101 + "1" + ")" * 101, [1], 1, False, "nested 101 deep"),
    ("(-" * 101 + "1" + ")" * 101, [1], -1, False, "nested 101 deep with signs"),
    ("(" * (ANSWER_CAP - 1) + "1", [1], 1, False, "nothing but opening parentheses"),
    # Other characters
    ("2**3", [2, 3], 8, False, "power"),
    ("2^3", [2, 3], 8, False, "caret"),
    ("7//2", [2, 7], 3, False, "floor division"),
    ("4/ /2", [2, 4], 2, False, "floor division with a blank"),
    ("7%4", [4, 7], 3, False, "modulo"),
    ("9**9**9", [9, 9, 9], 9, False, "tower of powers"),
    ("1.0+2", [1, 2], 3, False, "decimal"),
    (".5*2", [5, 2], 1, False, "decimal without a leading digit"),
    ("0x1+2", [0, 1, 2], 3, False, "hexadecimal"),
    ("1_0", [10], 10, False, "underscore within a number"),
    ("1,000+1", [1000, 1], 1001, False, "thousands comma"),
    ("01+2", [1, 2], 3, False, "leading zero"),
    ("1+002", [1, 2], 3, False, "leading zeros"),
    ("00", [0], 0, False, "zero twice"),
    ("1+2=3", [1, 2], 3, False, "equals sign"),
    ("1+2=3", [1, 2, 3], 3, False, "equals sign with all the numbers given"),
    ("1×2", [1, 2], 2, False, "multiplication sign"),
    ("2÷1", [1, 2], 2, False, "division sign"),
    ("2−1", [1, 2], 1, False, "typographic minus"),
    (r"\frac{2}{1}", [1, 2], 2, False, "LaTeX fraction"),
    (r"\boxed{1+2}", [1, 2], 3, False, "LaTeX box"),
    ("1\\\n+2", [1, 2], 3, False, "backslash at the end of a line"),
    ("`1+2`", [1, 2], 3, False, "backticks"),
    ("```\n1+2\n```", [1, 2], 3, False, "code fence"),
    ("The answer is 1+2", [1, 2], 3, False, "words"),
    ("1 plus 2", [1, 2], 3, False, "operator in words"),
    ("int(1)+2", [1, 2], 3, False, "call"),
    ("__import__('os')", [1], 1, False, "code"),
    ("١+٢", [1, 2], 3, False, "Arabic digits"),
    ("１+２", [1, 2], 3, False, "full-width digits"),
    ("1+²", [1, 2], 3, False, "superscript"),
    ("½*2", [1, 2], 1, False, "fraction sign"),
    ("1+\u00a02", [1, 2], 3, False, "no-break space"),
    ("1+2\u0000", [1, 2], 3, False, "NUL"),
    ("1+2\ud800", [1, 2], 3, False, "lone surrogate"),
    # Too much
    ("1+2" + " " * (ANSWER_CAP - 2), [1, 2], 3, False, "one character over the cap"),
    ("9" * 5000, [1], 1, False, "more digits than int() takes"),
    ("1+2+" + "9" * 5000, [1, 2], 3, False, "right but for a giant"),
    ("9" * MEGABYTE, [9], 9, False, "a megabyte of digits"),
    ("*".join(["9999"] * 1900), [9999], 1, False, "two thousand multiplications"),
]

# Gold that no answer can be judged by: (nums, target, reason)
UNUSABLE = [
    (None, 3, "nums of another task's row"),
    ([1, 2], None, "target of another task's row"),
    ([], 0, "no numbers"),
    ("12", 3, "text"),
    (12, 3, "a number"),
    ({1: 2}, 3, "a map"),
    (["1", "2"], 3, "numbers as text"),
    ([1, None], 3, "a hole"),
    ([1, 2.0], 3, "a float"),
    ([1, float("nan")], 3, "not a number"),
    ([True, 2], 3, "a bool is no int"),
    ([-1, 2], 1, "negative: a literal has no sign"),
    ([1, 2], "3", "target as text"),
    ([1, 2], 3.0, "target as a float"),
    ([1, 2], True, "target as a bool"),
    ([1, 2], Fraction(3), "target as a fraction"),
    ([1, 2], [3], "target as a list"),
    ([10**5000, 2], 3, "more digits than Python writes out"),
]


@table("text, well_formed, verdict, reason", TEXTS)
def test_tags(text, well_formed, verdict, reason):
    assert format_verdict(text) is (RIGHT if well_formed else WRONG), reason
    assert format_reward([text]) == [1.0 if well_formed else 0.0], reason
    assert equation_verdict(text, [1, 2], 3) is verdict, reason
    assert equation_reward([text], nums=[[1, 2]], target=[3]) == [1.0 if verdict is RIGHT else 0.0], reason


@table("answer, nums, target, is_right, reason", EQUATIONS)
def test_equation(answer, nums, target, is_right, reason):
    assert equation_verdict(turn(answer), nums, target) is (RIGHT if is_right else WRONG), reason
    assert equation_reward([turn(answer)], nums=[nums], target=[target]) == [1.0 if is_right else 0.0], reason


@table("nums, target, reason", UNUSABLE)
def test_unusable_gold_gives_none(nums, target, reason):
    assert equation_reward([turn("1+2"), ""], nums=[nums] * 2, target=[target] * 2) == [None, None], reason


def test_one_text_for_all_completions_is_refused():
    with pytest.raises(TypeError, match="equation_reward needs a list in nums"):
        equation_reward([turn("1+2")] * 2, nums="12", target=[3, 3])


def test_integers_of_other_libraries_are_integers():
    nums, target = [np.int64(1), np.int32(2)], np.int64(3)
    assert equation_verdict(turn("1+2"), nums, target) is RIGHT
    assert equation_verdict(turn("1*2"), tuple(nums), target) is WRONG


@pytest.mark.parametrize("prefill", ["<think>", "", "<think>\nLet me solve this step by step.\n"])
@pytest.mark.parametrize("conversation", [False, True])
def test_prefill_and_completion_are_one_text(prefill, conversation):
    text = prefill + ("hm</think>\n" if prefill else "<think>hm</think>\n") + "<answer>1+2</answer>"
    completion = text.removeprefix(prefill)
    if conversation:
        completion = [{"role": "assistant", "content": completion}]
    assert full_text(prefill, completion) == text
    assert format_reward(completions=[completion], prefill=[prefill]) == [1.0]
    assert equation_reward(completions=[completion], prefill=[prefill], nums=[[1, 2]], target=[3]) == [1.0]


def test_answer_block_is_verbatim():
    assert answer_block("<think></think>So: <answer> 72\n</answer> Bye!") == " 72\n"
    assert answer_block("<answer>72</answer>") is None


def test_a_verifier_that_returns_no_verdict_is_named():
    def short_verdict(text):
        return len(text) < 4

    with pytest.raises(TypeError, match="short_verdict returns True, expected a Verdict or None"):
        rewards.reward_from("short_reward", short_verdict)(["abc"])


@pytest.mark.parametrize("name", [name for name in rewards.__all__ if name.endswith("_reward")])
def test_every_reward_says_what_it_does(name):
    reward = getattr(rewards, name)
    assert reward.__name__ == name
    assert ">>>" in inspect.getdoc(reward), "a contract and an example"


PIECES = ["<think>", "</think>", "<answer>", "</answer>", "1", "2", "+", "-", "*", "/", "(", ")", " ", "\n", "٣", "="]
SCRAPS = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=40).map("".join)


@given(st.text() | SCRAPS, st.sampled_from(["", "<think>"]))
def test_no_text_raises(text, prefill):
    (form,) = format_reward(completions=[text], prefill=[prefill])
    (equation,) = equation_reward(completions=[text], prefill=[prefill], nums=[[1, 2]], target=[3])
    assert {form, equation} <= {0.0, 1.0}


@given(SCRAPS)
def test_no_answer_raises(answer):
    assert equation_reward([turn(answer)], nums=[[1, 2, 12]], target=[3])[0] in {0.0, 1.0}


FORMS = st.sampled_from(["({}{}{})", "{}{}{}"])
EXPRESSIONS = st.recursive(
    st.integers(0, 99).map(str),
    lambda part: st.builds(str.format, FORMS, part, st.sampled_from("+-*/"), part) | part.map("-{}".format),
    max_leaves=12,
)


@given(EXPRESSIONS)
def test_agrees_with_python(expression):
    nums = [int(literal) for literal in re.findall(r"\d+", expression)]
    exact = re.sub(r"\d+", r"Fraction(\g<0>)", expression)
    try:
        value = eval(exact, {"Fraction": Fraction})  # our own text, not a model's
    except ZeroDivisionError:
        value = None
    target = int(value or 0)
    assert equation_verdict(turn(expression), nums, target) is (RIGHT if value == target else WRONG)
