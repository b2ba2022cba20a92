"""Verifies requests that rules can measure: the answer has all needed texts, and the response no banned one.

Case and blanks do not matter. Only whole words count, so no letter or digit may stand directly before or after a text:
"The  BUS\nis late!" has "the bus is late", "the bus is later" does not.
"""

from mini_r1.rewards.text import answer_block
from mini_r1.rewards.verdict import Verdict, reward_from
from mini_r1.rewards.wording import listed, short, too_long

ANSWER_CAP = 20_000  # characters of the answer block, never of the reasoning


def missing(answer: str, needs: list[str] | None) -> list[str]:
    """The texts of `needs` that `answer` lacks. Example: `missing("Dear Ava.", ["ava", "late"])` is `["late"]`."""
    answer = _plain(answer)
    return [need for need in needs or () if not _stands_in(_plain(need), answer)]


def banned(text: str, bans: list[str] | None) -> list[str]:
    """The texts of `bans` that `text` has. Example: `banned("Foolish idiot!", ["fool", "idiot"])` is `["idiot"]`."""
    text = _plain(text)
    return [ban for ban in bans or () if _stands_in(_plain(ban), text)]


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def _stands_in(part: str, text: str) -> bool:
    start = text.find(part)
    while start >= 0:
        end = start + len(part)
        # a word can be cut only where the part itself begins or ends with a letter or digit
        cut_before = start > 0 and text[start - 1].isalnum() and part[0].isalnum()
        cut_behind = end < len(text) and text[end].isalnum() and part[-1].isalnum()
        if not cut_before and not cut_behind:
            return True
        start = text.find(part, start + 1)
    return False


def _usable(texts: object) -> bool:
    """Whether `texts` is None, or a list or tuple of texts that are not blank."""
    if texts is None:
        return True
    return isinstance(texts, (list, tuple)) and all(isinstance(text, str) and text.strip() for text in texts)


def needs_verdict(text: str, needs: list[str] | None, bans: list[str] | None) -> Verdict | None:
    """Correct where the answer block contains each of `needs`, and the whole response none of `bans`.

    The verdict measures neither helpfulness nor harmlessness: an answer of nothing but the needed texts is correct, and
    so is an insult that `bans` does not list or that is spelt differently. A reward model measures these.

    The response is all of the text, reasoning included. The verdict is unparseable where there is no answer block, and
    wrong, too, where the block has more than `ANSWER_CAP` characters. It is None where neither `needs` nor `bans` has a
    text, as in rows that only a reward model can judge, and where one of them is neither None nor a list of texts that
    are not blank.

    Example:
        >>> completions = ["hm</think><answer>Dear Ava, the bus is late.</answer>", "</think><answer>Done.</answer>"]
        >>> needs_reward(completions, prefill=["<think>"] * 2, needs=[["Ava", "the bus is late"]] * 2, bans=[None] * 2)
        [1.0, 0.0]
    """
    if not (needs or bans) or not (_usable(needs) and _usable(bans)):
        return None
    answer = answer_block(text)
    if answer is None:
        return Verdict.UNPARSEABLE
    if len(answer) > ANSWER_CAP or missing(answer, needs) or banned(text, bans):
        return Verdict.WRONG
    return Verdict.CORRECT


needs_reward = reward_from("needs_reward", needs_verdict)


def needs_reason(block: str, text: str, needs: list[str] | None, bans: list[str] | None) -> str:
    """Why the answer block and the response are right or wrong."""
    if fault := too_long(block, ANSWER_CAP):
        return fault
    faults = [f"the answer lacks '{short(need)}'" for need in missing(block, needs)]
    faults += [f"the response has '{short(ban)}', which is banned" for ban in banned(text, bans)]
    return listed(faults) if faults else "it has what is asked for, and nothing that is banned"
