"""The readable form: what `summary_format_reward` gives beyond the corpus, and what the tasks' verifiers read in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import MEGABYTE, RIGHT, WRONG, needs_sandbox, table

from mini_r1 import tasks
from mini_r1.data.reward_loader import load_rewards
from mini_r1.rewards import answer_block, format_verdict, summary_format_reward, summary_format_verdict
from mini_r1.rewards.format import SUMMARY_CAP
from mini_r1.rewards.verdict import reward_from

ANSWER = "<answer>1</answer>"
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def turn(before: str, after: str = "", reasoning: str = "hm") -> str:
    return f"<think>{reasoning}</think>{before}{ANSWER}{after}"


# (text, is right, reason)
TEXTS = [
    (turn("It is", reasoning="a" * MEGABYTE), True, "no cap on the reasoning"),
    (turn("It is", reasoning="</thin" * (MEGABYTE // 6)), True, "near-tags in the reasoning"),
    (turn("It is " + " " * MEGABYTE), True, "a megabyte of blanks before the answer"),
    (turn("It is", " " * MEGABYTE), True, "a megabyte of blanks behind it"),
    (turn("It is").replace(">1<", f">{'1+' * MEGABYTE}1<"), True, "no cap on the answer"),
    (turn("It is" + "." * (SUMMARY_CAP - 5)), True, "as long as the cap"),
    (turn("It is" + "." * (SUMMARY_CAP - 4)), False, "one character over the cap"),
    (turn("It is", "." * (SUMMARY_CAP - 5)), True, "as long as the cap, on both sides"),
    (turn("It is", "." * (SUMMARY_CAP - 4)), False, "one character over the cap, on both sides"),
    (turn("It " * MEGABYTE), False, "megabytes of words"),
    (turn("It is", "<b" * MEGABYTE), False, "megabytes of tags that are never closed"),
    (turn(" " * MEGABYTE), False, "a megabyte of blanks is no summary"),
    (turn("It is", reasoning=" " * MEGABYTE), False, "a megabyte of blanks is no reasoning"),
    (turn("It is \x00 \ud800"), True, "any characters in the summary"),
    *((tag * (MEGABYTE // len(tag)), False, f"a megabyte of {tag}") for tag in TAGS),
    *((turn("It is") + tag * (MEGABYTE // len(tag)), False, f"a megabyte of {tag} behind a right one") for tag in TAGS),
    ("<think>hm</think>It is <answer>" + "</think><answer>" * 60_000, False, "tags in turn, a megabyte"),
]


@table("text, is_right, reason", TEXTS)
def test_form(text, is_right, reason):
    assert summary_format_verdict(text) is (RIGHT if is_right else WRONG), reason
    assert summary_format_reward([text]) == [float(is_right)], reason


def test_values_can_be_changed():
    reward = reward_from("summary_format_reward", summary_format_verdict, [1, -1, -1])
    assert reward([turn("It is"), turn("")]) == [1.0, -1.0]


PIECES = [*TAGS, "It ", "is ", "a", "是", "1", "+", " ", "\n", "<b>", ".", "<think>hm</think>", ANSWER, "\ud800"]
SCRAPS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)


@given(st.text() | SCRAPS | st.builds(turn, SCRAPS, SCRAPS, SCRAPS))
def test_properties(text):
    """A text has one of the two forms at most; one that has this form has an answer to read."""
    verdict = summary_format_verdict(text)
    assert not (verdict is RIGHT and format_verdict(text) is RIGHT)
    assert verdict is not RIGHT or answer_block(text).strip()
    assert summary_format_verdict(f" \n{text}\t") is verdict


AROUND = [
    ("\nIn short: ", ""),
    ("\n", " is what comes out in the end."),
    ("\nTwo of the 3 go, so ", " is left, not 5.\n\nThat took 12 steps."),
    ("\nThe sum is $7 + 5$; Zoey is a knave, says a reader, and `print(3)` is code. So it is ", "."),
    ("简单来说：", "。"),
]


@pytest.mark.parametrize("name", tasks.names())
@pytest.mark.parametrize(("before", "after"), AROUND)
def test_every_task_reads_the_answer_in_a_summary(name, before, after):
    """Numbers, roles and code of the summary are not taken for the answer; a wrong answer stays wrong."""
    task = tasks.get(name)
    (reward,) = load_rewards([task.REWARD], task_module=task)
    if name == "code" and needs_sandbox().args[0]:
        pytest.skip("no sandbox")
    for raw in tasks.examples(task, 4 if name == "code" else 10):
        row = task.parse_row(raw)
        columns = {column: [value] for column, value in row.items()}
        text = f"<think>hm</think>{before}<answer>{task.gold_answer(row)}</answer>{after}"
        assert summary_format_verdict(text) is RIGHT
        assert reward(completions=[text], **columns) == [1.0], text
        if hasattr(task, "vote"):
            plain = f"<think>hm</think><answer>{task.gold_answer(row)}</answer>"
            assert task.vote(text, row) == task.vote(plain, row) is not None
        wrong = f"<think>hm</think>{before}{task.gold_answer(row)} <answer>?</answer>{after}"
        assert reward(completions=[wrong], **columns) == [0.0], wrong
