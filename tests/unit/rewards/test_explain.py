"""What `explain` says: a table of (text, columns, sentence, reason), and that it never contradicts a verdict."""

import subprocess
import sys

import pytest
from corpus import FILES
from hypothesis import given
from hypothesis import strategies as st
from repository import ROOT
from tables import MEGABYTE, RIGHT, UNPARSEABLE, WRONG, table, turn

from mini_r1.rewards import (
    equation_verdict,
    explain,
    format_verdict,
    number_verdict,
    roles_verdict,
    summary_format_verdict,
)
from mini_r1.rewards.format import format_fault

BEGINS = {RIGHT: ("right: ", "right, but "), WRONG: "wrong: ", UNPARSEABLE: "no answer: ", None: "no verdict: "}
SUM = {"nums": [2, 3], "target": 8}
FOUR = {"nums": [12, 7, 4, 4], "target": 27}
CLIPS = {"answer": "72"}
PEOPLE = {"names": ["Zoey", "Oliver"], "roles": ["knight", "knave"]}
READABLE = {"format_reward": "summary_format_reward"}


def said(summary: str) -> str:
    """A turn with a summary around the answer 72."""
    return "<think>hm</think>" + summary.format("<answer>72</answer>")


# (text, row, what it says, reason)
SENTENCES = [
    # Countdown
    (turn("12 + 7 + 4 + 4"), FOUR, "right: 12 + 7 + 4 + 4 makes 27", "right"),
    (turn("2 + 3"), SUM, "wrong: 2 + 3 makes 5, not 8", "another value"),
    (turn("2 / 3"), SUM, "wrong: 2 / 3 makes 2/3, not 8", "a fraction"),
    (turn("12 + 7 + 4 + 12"), FOUR, "wrong: 12 is used twice and 4 is used only once", "a number twice"),
    (turn("4 + 4 + 4 + 12 + 7"), FOUR, "wrong: 4 is used three times, but given twice", "given twice"),
    (turn("12 + 7 + 9"), FOUR, "wrong: 9 is not one of the numbers and 4 is not used", "a number of its own"),
    (turn("02 + 3"), SUM, "wrong: 02 begins with a zero and 2 is not used", "a leading zero"),
    (turn("2 ** 3"), SUM, "wrong: ** is not allowed", "power"),
    (turn("7 // 2"), SUM, "wrong: // is not allowed", "floor division"),
    (turn("2 + 3 = 5"), SUM, "wrong: '=' is not allowed, only + - * / and parentheses", "an equation"),
    (turn("It is 2 + 3"), SUM, "wrong: 'It' is not allowed, only + - * / and parentheses", "words"),
    (turn("right + 3"), SUM, "wrong: 'right' is not allowed, only + - * / and parentheses", "the word right"),
    (turn("2 / (3 - 3)"), {"nums": [2, 3, 3], "target": 1}, "wrong: it divides by zero", "division by zero"),
    (turn("2 3"), SUM, "wrong: it is not an expression: '3' where an operator is expected", "no operator"),
    (turn("2 +\n3\x00"), SUM, "wrong: '\\x00' is not allowed, only + - * / and parentheses", "a control character"),
    (turn("1" * 20_000), SUM, "wrong: the answer has 20,000 characters, more than the 10,000 that are read", "cap"),
    (turn("2 + 3"), {"nums": ["2"], "target": 8}, "no verdict: the row's gold cannot be used", "an unusable gold"),
    # GSM8K
    (turn("$72.00"), CLIPS, "right: the answer is 72", "right"),
    (turn("71 clips"), CLIPS, "wrong: it says 71, the answer is 72", "another number"),
    (turn("-72"), CLIPS, "wrong: it says -72, the answer is 72", "the sign"),
    (turn("71 and 72"), CLIPS, "wrong: two different numbers: 71 and 72", "two numbers"),
    (turn("1 2 3 4 5"), CLIPS, "wrong: 5 different numbers: 1, 2, 3 and 2 more", "five numbers"),
    (turn("a lot"), CLIPS, "no answer: there is no number in the answer", "no number"),
    (turn("maybe 72"), CLIPS, "wrong: it is not plainly one number: maybe 72 (because of 'maybe')", "a hedge"),
    (turn("72 = 72., or so"), CLIPS, "wrong: it is not plainly one number: 72 = 72., or so (because of 'or')", "or"),
    (turn("12,34"), CLIPS, "wrong: 12,34 cannot be read as a number", "a misplaced comma"),
    (turn("72"), {"answer": "many"}, "no verdict: the row's gold cannot be used", "a gold without a number"),
    # Knights and Knaves
    (turn("Oliver is a knave, Zoey is a knight"), PEOPLE, "right: Zoey is a knight and Oliver is a knave", "right"),
    (turn("Zoey is a knave. Oliver is a knave"), PEOPLE, "wrong: Zoey is a knight, not a knave", "a wrong role"),
    (turn("Zoey is a knight"), PEOPLE, "wrong: nothing said about Oliver", "a person left out"),
    (turn("Knaves: Zoey"), PEOPLE, "wrong: Zoey is a knight, not a knave, and nothing said about Oliver", "both"),
    (turn("Zoey: knight, Oliver: knave, Zoey: knave"), PEOPLE, "wrong: two roles for Zoey", "two roles"),
    (turn("Zoey: knight, Oliver: knave, Zoey: knight"), PEOPLE, "wrong: Zoey is named twice", "named twice"),
    (turn("Zoey is probably a knight"), PEOPLE, "wrong: it cannot be read as a list of roles: 'probably'", "a hedge"),
    (turn("Zoey knight"), PEOPLE, "wrong: it cannot be read as a list of roles", "no verb"),
    (turn("Emma is a knight"), PEOPLE, "no answer: nothing said about Zoey or Oliver", "nobody known"),
    (turn("Zoey and Oliver"), PEOPLE, "no answer: nobody is called a knight or a knave", "no role"),
    # The format
    ("", SUM, "no answer: there is no text at all", "nothing"),
    ("<think>2 + 3", SUM, "no answer: it ends inside the thinking, before any answer", "cut off"),
    ("<think>hm</think>\n", SUM, "no answer: the answer block is missing", "cut off behind the thinking"),
    ("<think>hm</think>2 + 3</answer>", SUM, "no answer: <answer> is missing", "not opened"),
    ("<think>hm</think><answer>2 +", SUM, "no answer: the answer block is never closed", "cut off in the answer"),
    ("<think>hm<answer>2 + 3</answer>", SUM, "no answer: </think> is missing before the answer", "still thinking"),
    ("<answer>2 + 3</answer>", SUM, "no answer: <think> is missing", "no thinking"),
    ("<think>" + turn("2 + 3"), SUM, "wrong: <think> occurs twice, and 2 + 3 makes 5, not 8", "opened twice"),
    (turn("2 + 3") * 3, SUM, "no answer: <think> occurs three times", "all of it three times"),
    (turn("1") + "<answer>2</answer>", SUM, "no answer: there are 2 answer tags, where one is expected", "two answers"),
    ("<answer>2</answer><think>hm</think>", SUM, "no answer: the tags are in the wrong order", "answer first"),
    (turn(" "), SUM, "wrong: the answer block is blank", "a blank answer"),
    (turn("3 + 5") + " Bye!", {"nums": [3, 5], "target": 8}, "right, but there is text after the answer", "chat"),
    (turn("2 - 3") + " Bye!", SUM, "wrong: there is text after the answer, and 2 - 3 makes -1, not 8", "both wrong"),
    ("Sure! " + turn("72"), CLIPS, "right, but there is text before <think>", "chat in front"),
    ("<think> </think><answer>72</answer>", CLIPS, "right, but the thinking is blank", "blank thinking"),
    ("<think>hm</think>: <answer>72</answer>", CLIPS, "right, but there is text between </think> and the answer", ":"),
    # The readable form
    (said("It is {}."), CLIPS | READABLE, "right: the answer is 72", "a summary"),
    (said("{}."), CLIPS | READABLE, "right, but there is no summary beside the answer", "no summary"),
    (said("Answer: {}"), CLIPS | READABLE, "right, but there is one word beside the answer, and no summary", "a label"),
    (said("It is {}" + "!" * 999), CLIPS | READABLE,
     "right, but the summary has 1,004 characters beside the answer, more than 1,000", "too much beside the answer"),
    (said("It is {}").replace("hm", " "), CLIPS | READABLE, "right, but the thinking is blank", "blank thinking"),
    (said("It is {}").replace("72", " "), CLIPS | READABLE, "no answer: the answer block is blank", "a blank answer"),
    ("It is " + turn("7"), CLIPS | READABLE, "wrong: there is text before <think>, and it says 7, the answer is 72",
     "words in front"),
    (said("It is {}"), READABLE, "right: the format is as asked for", "the form alone"),
    (turn("anything"), {"question": "?"}, "right: the format is as asked for", "a task that is not known"),
    (turn("72"), CLIPS | {"nums": None, "target": None}, "right: the answer is 72", "another task's columns are null"),
]  # fmt: skip


@table("text, row, sentence, reason", SENTENCES)
def test_sentence(text, row, sentence, reason):
    assert explain(text, row) == sentence, reason


def test_a_task_of_ones_own_is_not_contradicted():
    row, well_formed = {"words": ["b", "a"]}, turn("a b")
    assert explain(well_formed, row, right=False) == "wrong: the format is as asked for"
    assert explain(well_formed, row, right=True) == "right: the format is as asked for"
    assert explain("a b", row, right=True).startswith("right, but ")
    assert explain(turn("7"), CLIPS, right=True) == "wrong: it says 7, the answer is 72", "a known task decides itself"


def agrees(text: str, row: dict, verdict) -> None:
    sentence = explain(text, row)
    assert sentence.startswith(BEGINS[verdict]), sentence
    assert sentence.splitlines() == [sentence] and len(sentence.split(": ", 1)[-1]) > 3


@pytest.mark.parametrize("name", FILES)
def test_corpus_is_not_contradicted(name):
    for case in FILES[name]:
        row = {column: value for column, value in case.items() if column not in ("text", "verdict", "reason")}
        row |= {"format_reward": f"{name}_reward"} if name.endswith("format") else {}
        verdict = next((known for known in (RIGHT, WRONG, UNPARSEABLE) if known.value == case["verdict"]), None)
        agrees(case["text"], row, verdict)


PIECES = [
    *("<think>", "</think>", "<answer>", "</answer>", "2", "3", "12", "72", " 72", "+", "*", "/", "(", ")", "-", " "),
    *("\n", "\r", "=", "Zoey", "Oliver", " is a ", "knight", "knave", "Knights: ", ", ", ". ", "and", "not ", "maybe "),
    *("\\frac{144}{2}", "$", "\\boxed{", "}", "right", "½", "\u0301", "\ud800"),
]
SCRAPS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=25).map("".join)
TEXTS = SCRAPS | SCRAPS.map(turn)


@given(TEXTS)
def test_verdicts_are_not_contradicted(text):
    agrees(text, SUM, equation_verdict(text, **SUM))
    agrees(text, CLIPS, number_verdict(text, **CLIPS))
    agrees(text, PEOPLE, roles_verdict(text, **PEOPLE))
    agrees(text, {}, format_verdict(text))
    agrees(text, READABLE, summary_format_verdict(text))
    assert (format_fault(text) is None) is (format_verdict(text) is RIGHT)
    assert (format_fault(text, **READABLE) is None) is (summary_format_verdict(text) is RIGHT)


@given(st.lists(st.sampled_from(["2", "3", "+", "-", "*", "/", "(", ")"]), max_size=9).map("".join))
def test_expressions_are_not_contradicted(answer):
    agrees(turn(answer), SUM | {"target": 6}, equation_verdict(turn(answer), [2, 3], 6))


def test_long_texts():
    assert explain("<think>" + "a" * MEGABYTE, SUM) == "no answer: it ends inside the thinking, before any answer"
    assert explain(turn("2 + 3", "a" * MEGABYTE), SUM) == "wrong: 2 + 3 makes 5, not 8"
    big = 10**3000
    assert explain(turn(f"{big} * 3"), {"nums": [big, 3], "target": 8}).endswith("more than 60 digits, not 8")


def test_needs_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules); import mini_r1.rewards\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.split() == ["mini_r1"]
