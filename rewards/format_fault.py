"""What is wrong with the form of a completion, in plain words; the form alone, not the answer."""

from mini_r1.rewards.summary_format import SUMMARY_CAP, summary_faults
from mini_r1.rewards.text import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN, turn_parts

_TWICE = {2: "twice", 3: "three times"}


def format_fault(text: str, format_reward: str = "format_reward") -> str | None:
    """The first thing that is wrong with the format, or None where it is right.

    Args:
        format_reward: which of `rewards.FORMAT_REWARDS` was asked for.

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
            return f"{tag} stands there {times(counts[tag])}"
    if not counts[THINK_OPEN]:
        return "<think> is missing"
    if not counts[ANSWER_OPEN]:
        if not counts[THINK_CLOSE]:
            return "it ends inside the thinking, before any answer"
        return "<answer> is missing" if counts[ANSWER_CLOSE] else "the answer block is missing"
    if counts[ANSWER_OPEN] > 1 or counts[ANSWER_CLOSE] > 1:
        return f"there are {max(counts[ANSWER_OPEN], counts[ANSWER_CLOSE])} answer tags, where one is due"
    if not counts[THINK_CLOSE]:
        return "</think> is missing before the answer"
    if not counts[ANSWER_CLOSE]:
        return "the answer block is never closed"
    return _misplaced(text)


def _misplaced(text: str) -> str:
    """The fault of a text that has each tag once, and no right parts all the same."""
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


def times(count: int) -> str:
    return _TWICE.get(count, f"{count} times")
