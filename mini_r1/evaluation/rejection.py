"""Rejection sampling: which sampled completions are good enough to be learned from, and why the others are not.

DeepSeek-R1 (arXiv:2501.12948, section 2.3.3) samples several completions of each prompt, keeps the right ones, and
leaves out chains of thought with mixed languages, long paragraphs and code blocks.
"""

from collections import Counter
from dataclasses import dataclass, fields
from typing import Any

from mini_r1.config.keys import did_you_mean
from mini_r1.errors import RecipeError
from mini_r1.evaluation.signals import read_signals


@dataclass(frozen=True)
class Filters:
    """What is left out beside wrong and cut-off completions; each on its own switch.

    Attributes:
        wrong_format: not `<think>...</think> <answer>...</answer>`.
        mixed_languages, repetition: as `mini_r1.evaluation.signals.read_signals` finds them.
        code_block: a Markdown fence (```) in the reasoning; an answer may be code.
        paragraph_characters: a paragraph, which ends at a blank line, is longer; None: any length.
        tokens: more were generated; None: any number.
        duplicate: the same text was kept for this problem already.
    """

    wrong_format: bool = True
    mixed_languages: bool = True
    repetition: bool = True
    code_block: bool = True
    paragraph_characters: int | None = 4000
    tokens: int | None = None
    duplicate: bool = True


NUMBERS = ("paragraph_characters", "tokens")
# Why a completion is left out, in the order in which it is asked; the first reason counts.
REASONS = ("ungraded", "cut_off", "wrong", *(field.name for field in fields(Filters)), "enough", "unbalanced")


def read_filters(given: Any) -> Filters:
    """The filters that a recipe's `filters` changes.

    Raises:
        RecipeError: for anything but a map of known names to switches, or to numbers where the limit is one.
    """
    if given is not None and not isinstance(given, dict):
        raise RecipeError(f"must be a map such as {{code_block: false}}, not {given!r}", key="filters")
    names = [field.name for field in fields(Filters)]
    for name, value in (given or {}).items():
        if name not in names:
            hint = did_you_mean(str(name), names)
            raise RecipeError(f"there is no filter {name!r}; there are {', '.join(names)}{hint}", key="filters")
        is_number = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if name in NUMBERS and not (is_number or value is None):
            raise RecipeError(f"{name} is a limit: a whole number above 0, or null for none", key="filters")
        if name not in NUMBERS and not isinstance(value, bool):
            raise RecipeError(f"{name} is a switch: true or false", key="filters")
    return Filters(**(given or {}))


def reasons(drawn: list[dict], filters: Filters, most: int) -> list[str | None]:
    """For each completion of one problem why it is left out, one of `REASONS`; None where it is kept.

    Args:
        drawn: as `evaluation.to_records` makes them: right, well_formed, cut_off, tokens, prefill, completion.
        most: so many are kept, the first ones: samples are drawn independently, so any choice is as good.
    """
    found: list[str | None] = []
    kept: set[str] = set()
    for record in drawn:
        reason = _fault(record, filters)
        if reason is None and filters.duplicate and record["completion"].strip() in kept:
            reason = "duplicate"
        if reason is None and len([None for one in found if one is None]) >= most:
            reason = "enough"
        if reason is None:
            kept.add(record["completion"].strip())
        found.append(reason)
    return found


def _fault(record: dict, filters: Filters) -> str | None:
    """What is wrong with a completion by itself."""
    if record["right"] is None:
        return "ungraded"
    if record["cut_off"]:
        return "cut_off"
    if not record["right"]:
        return "wrong"
    if filters.wrong_format and not record["well_formed"]:
        return "wrong_format"
    text = record["prefill"] + record["completion"]
    signals = read_signals(text)
    if filters.mixed_languages and signals.mixed_languages:
        return "mixed_languages"
    if filters.repetition and signals.repetition:
        return "repetition"
    if filters.code_block and "```" in text.partition("<answer>")[0]:
        return "code_block"
    if filters.paragraph_characters and longest_paragraph(text) > filters.paragraph_characters:
        return "paragraph_characters"
    if filters.tokens and record["tokens"] > filters.tokens:
        return "tokens"
    return None


def longest_paragraph(text: str) -> int:
    """Characters of the longest stretch without a blank line; linear in the text's length.

    Example: `longest_paragraph("a\\nb\\n\\nc")` is 3.
    """
    longest = size = 0
    for line in text.split("\n"):
        size = size + len(line) + 1 if line.strip() else 0
        longest = max(longest, size - 1)
    return longest


def balance(difficulties: list[int], problems: list[int]) -> list[bool]:
    """Which of the kept completions stay, so that each difficulty has as many as the scarcest one.

    In turns over the problems of a difficulty, one completion of each at a time: as many problems stay as can.

    Args:
        difficulties, problems: of each completion, in order.

    Returns:
        shape (completions,).
    """
    scarcest = min(Counter(difficulties).values(), default=0)
    turn: Counter = Counter()
    order = []
    for place, (difficulty, problem) in enumerate(zip(difficulties, problems, strict=True)):
        turn[problem] += 1
        order.append((difficulty, turn[problem], place))
    stays, left = [False] * len(order), dict.fromkeys(difficulties, scarcest)
    for difficulty, _, place in sorted(order):
        if left[difficulty]:
            left[difficulty] -= 1
            stays[place] = True
    return stays
