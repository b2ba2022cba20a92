"""Did the model think first, and then sum up for a reader, with the answer in the summary?

The readable form of DeepSeek-R1's cold start (arXiv:2501.12948, 2.3.1): reasoning, then a summary of its result. There
special tokens mark the two; here it is the tags that all rewards read, and the summary holds the answer block.
"""

import re

from mini_r1.rewards.text import turn_parts
from mini_r1.rewards.verdict import Verdict, reward_from

# Characters of the summary beside the answer block, some 170 English words. A summary is for a reader: what is longer
# is reasoning that has moved out of the think block, where its language is looked at.
SUMMARY_CAP = 1_000
SUMMARY_WORDS = 2  # fewer are a label, such as `Answer:`

_TAG = re.compile(r"</?[A-Za-z]\w*>")
_HAN_AND_KANA = r"\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_HAN_AND_KANA}]|[^\W\d_{_HAN_AND_KANA}]+")


def summary_faults(between: str, after: str) -> tuple[int, int]:
    """(characters over the cap, words missing) of a summary, from what stands before and behind its answer block.

    Blanks at the ends of the two do not count. A word is a run of letters, or one Han character or kana, as those are
    written without blanks; digits, signs, LaTeX's backslashes and tags such as `<b>` are none.

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
    comes before `<think>`. Everything behind `</think>` is the summary. Beside the answer block, before or behind it,
    it has at least `SUMMARY_WORDS` words and at most `SUMMARY_CAP` characters; what is in the answer counts for
    neither, so that an answer may be a long program. Everything else is wrong, an answer block without words, as
    `format_reward` wants it, included; nothing is unparseable. Whether the summary tells what was reasoned, and what
    the answer says, does not matter. The time is linear in the text.

    Example:
        >>> prefill, form = ["<think>"] * 2, "2 from 3</think>\\n{}<answer>1</answer>."
        >>> summary_format_reward([form.format("One apple is left: "), form.format("")], prefill)
        [1.0, 0.0]
    """
    parts = turn_parts(text)
    if parts is None:
        return Verdict.WRONG
    reasoning, between, answer, after = parts
    filled = reasoning.strip() and answer.strip()
    return Verdict.CORRECT if filled and not any(summary_faults(between, after)) else Verdict.WRONG


summary_format_reward = reward_from("summary_format_reward", summary_format_verdict)
