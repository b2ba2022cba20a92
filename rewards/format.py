"""Verifies the format: the completion is first reasoning, then an answer, in the form that the prompt asked for.

There are two forms. The plain one is reasoning, then the answer block (`format_reward`). The readable one is reasoning,
then a summary for the reader that holds the answer block (`summary_format_reward`): the form of DeepSeek-R1's cold
start (arXiv:2501.12948, 2.3.1). Special tokens mark the two parts there; tags, which all rewards read, mark them here.
"""

import re

from mini_r1.rewards.text import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN, turn_parts
from mini_r1.rewards.verdict import Verdict, reward_from
from mini_r1.rewards.wording import times

# Characters of the summary beside the answer block, about 170 English words. A longer one is not for a reader: it is
# reasoning that has moved out of the think block, where a reward measures its language.
SUMMARY_CAP = 1_000
SUMMARY_WORDS = 2  # fewer are a label, such as `Answer:`

_TAG = re.compile(r"</?[A-Za-z]\w*>")
_HAN_AND_KANA = r"\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_HAN_AND_KANA}]|[^\W\d_{_HAN_AND_KANA}]+")


def format_verdict(text: str) -> Verdict:
    """Correct where the whole text, stripped, is `<think>R</think>`, optional whitespace, `<answer>A</answer>`.

    Each tag occurs exactly once and is case-sensitive, R and A are not blank, nothing comes before or after.
    Everything else is wrong; nothing is unparseable. What the answer says does not matter.

    Example:
        >>> format_reward(completions=["1+2 is 3</think>\\n<answer>1+2</answer>", "1+2"], prefill=["<think>"] * 2)
        [1.0, 0.0]
    """
    return Verdict.WRONG if format_fault(text) else Verdict.CORRECT


format_reward = reward_from("format_reward", format_verdict)


def summary_faults(between: str, after: str) -> tuple[int, int]:
    """(characters over the cap, words missing) of a summary, from the texts before and after its answer block.

    Blanks at the ends of the two do not count. A word is a run of letters, or one Han character or kana, since these
    are written without blanks; digits, signs, LaTeX's backslashes and tags such as `<b>` are not words.

    Example: `summary_faults("\\nAnswer: ", "")` is `(0, 1)`.
    """
    between, after = between.strip(), after.strip()
    if (over := len(between) + len(after) - SUMMARY_CAP) > 0:
        return over, 0
    words = sum(len(_WORD.findall(_TAG.sub(" ", part))) for part in (between, after))
    return 0, max(0, SUMMARY_WORDS - words)


def summary_format_verdict(text: str) -> Verdict:
    """Correct where the whole text, stripped, is `<think>R</think>` and then a summary with one `<answer>A</answer>`.

    Each of the four tags occurs exactly once, in this order, and is case-sensitive; R and A are not blank; nothing
    comes before `<think>`. Everything after `</think>` is the summary. Before and after the answer block it
    has at least `SUMMARY_WORDS` words and at most `SUMMARY_CAP` characters; the content of the answer counts for
    neither, so that an answer may be a long program. Everything else is wrong, including an answer block without words
    around it, which is right for `format_reward`; nothing is unparseable. Whether the summary fits the reasoning, and
    what the answer says, does not matter. The time is linear in the text.

    Example:
        >>> prefill, form = ["<think>"] * 2, "2 from 3</think>\\n{}<answer>1</answer>."
        >>> summary_format_reward([form.format("One apple is left: "), form.format("")], prefill)
        [1.0, 0.0]
    """
    return Verdict.WRONG if format_fault(text, "summary_format_reward") else Verdict.CORRECT


summary_format_reward = reward_from("summary_format_reward", summary_format_verdict)


def format_fault(text: str, format_reward: str = "format_reward") -> str | None:
    """The first fault of the format, in plain words; None where it is right. The answer itself does not matter.

    Args:
        format_reward: the one of `rewards.FORMAT_REWARDS` that rewards what the prompt asked for.

    Example: `format_fault("<think>hm</think><answer>1</answer> Bye!")` is "there is text after the answer".
    """
    parts = turn_parts(text)
    if parts is not None:
        return _summary_fault(*parts) if format_reward == "summary_format_reward" else _plain_fault(*parts)
    text = text.strip()
    counts = {tag: text.count(tag) for tag in (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)}
    if not text:
        return "there is no text at all"
    for tag in (THINK_OPEN, THINK_CLOSE):
        if counts[tag] > 1:
            return f"{tag} occurs {times(counts[tag])}"
    if not counts[THINK_OPEN]:
        return "<think> is missing"
    if not counts[ANSWER_OPEN]:
        if not counts[THINK_CLOSE]:
            return "it ends inside the thinking, before any answer"
        return "<answer> is missing" if counts[ANSWER_CLOSE] else "the answer block is missing"
    if counts[ANSWER_OPEN] > 1 or counts[ANSWER_CLOSE] > 1:
        return f"there are {max(counts[ANSWER_OPEN], counts[ANSWER_CLOSE])} answer tags, where one is expected"
    if not counts[THINK_CLOSE]:
        return "</think> is missing before the answer"
    if not counts[ANSWER_CLOSE]:
        return "the answer block is never closed"
    return _misplaced(text)


def _misplaced(text: str) -> str:
    """The fault of a text that has each tag once, but in the wrong place."""
    before, _, rest = text.partition(THINK_OPEN)
    rest = rest.partition(THINK_CLOSE)[2].partition(ANSWER_OPEN)[2]
    return "there is text before <think>" if before and ANSWER_CLOSE in rest else "the tags are in the wrong order"


def _plain_fault(thought: str, between: str, answer: str, after: str) -> str | None:
    parts = (
        (not thought.strip(), "the thinking is blank"),
        (between.strip(), "there is text between </think> and the answer"),
        (not answer.strip(), "the answer block is blank"),
        (after, "there is text after the answer"),
    )
    return next((fault for found, fault in parts if found), None)


def _summary_fault(thought: str, between: str, answer: str, after: str) -> str | None:
    over, missing = summary_faults(between, after)
    parts = (
        (not thought.strip(), "the thinking is blank"),
        (not answer.strip(), "the answer block is blank"),
        (over, f"the summary has {SUMMARY_CAP + over:,} characters beside the answer, more than {SUMMARY_CAP:,}"),
        (missing > 1, "there is no summary beside the answer"),
        (missing, "there is one word beside the answer, and no summary"),
    )
    return next((fault for found, fault in parts if found), None)
