"""Signals of a completion's text, read cheaply: words of reflection, mixed languages, loops, thinking opened again.

The word lists follow analyses of self-reflection in R1-Zero-like models (Liu et al., arXiv:2503.20783) and of
verification and backtracking in Countdown (Gandhi et al., arXiv:2503.01307, where a model judges the texts). A word
with another common meaning counts unless its neighbour shows that meaning. The lists leave out the words of any
reasoning ("so", "but", "suppose", "hmm", 所以).

A word is not a behaviour: "Let me check" without a check counts, a check without words does not, and only English and
simplified Chinese have lists. A rise is a reason to read samples. Compare a run with itself, not with another model.

The traces of the tiny recipes (`trace` in tasks/) have forms of their own for two behaviours: the verdict on a try at
the end of a line is verification, `Next:` on the line below a failed try is an alternative. A tiny policy has them from
its cold start, so more of them means longer searches, not that reflection has emerged.
"""

import re
from collections import Counter
from itertools import takewhile
from operator import eq
from typing import NamedTuple

from mini_r1.rewards.language import words_by_script

# The words of each behaviour, in lower case; the longest that fits a place counts, and the place counts once.
_WORDS = {
    "verification": (
        "check, checks, checking, check again, double-check, double check, double-checking, recheck, re-check, "
        "cross-check, sanity check, verify, verifies, verifying, verify again, verification, confirm, confirms, "
        "confirming, make sure, making sure, to be sure, is that right, is this right, is that correct, is this "
        "correct, does that work, does this work, does it work, re-examine, reexamine, re-evaluate, reevaluate, go "
        "over the steps, plug it back, plugging back, "
        "检查, 检查一下, 检查一遍, 再检查, 再检查一下, 再检查一遍, 验证, 验证一下, 检验, 验算, "
        "核对, 核实, 确认, 确认一下, 是否正确, 对不对, 对吗"
    ),
    "backtracking": (
        "wait, wait a minute, wait a second, hold on, hang on, oops, actually, scratch that, that's wrong, that is "
        "wrong, this is wrong, that's not right, that is not right, this is not right, that's incorrect, that is "
        "incorrect, this is incorrect, that's not correct, that is not correct, doesn't work, does not work, didn't "
        "work, did not work, won't work, will not work, not working, mistake, i was wrong, start over, starting "
        "over, start again, go back, going back, backtrack, dead end, rethink, reconsider, think again, reassess, "
        "reanalyze, "
        "等等, 等一下, 等一等, 不对, 错了, 不行, 行不通, 弄错, 搞错, 重新, 重新开始, 重新考虑, "
        "从头, 从头开始, 回到, 其实, 实际上"
    ),
    "alternatives": (
        "alternatively, an alternative, another way, another approach, another option, another possibility, another "
        "idea, another combination, different approach, different way, different combination, instead, let me try, "
        "let's try, let us try, try another, try a different, try again, what if, what about, how about, or maybe, "
        "on the other hand, however, "
        "或者, 另一种, 另一种方法, 另外一种, 换一种, 换一种方法, 换个, 换一个, 试试, 再试, 另一方面, 然而, 要不"
    ),
    "summary": (
        "so far, in summary, to summarize, to summarise, summarizing, summarising, to sum up, to recap, in "
        "conclusion, to conclude, in short, overall, therefore, thus, hence, putting it together, putting it all "
        "together, putting this together, putting everything together, put it all together, "
        "总之, 总结, 总结一下, 总的来说, 综上, 综上所述, 因此, 到目前为止, 由此可见"
    ),
}
BEHAVIOURS = {name: tuple(words.split(", ")) for name, words in _WORDS.items()}
# What may not follow a word (or come before 等等), as the word then means something else.
_GUARDS = {
    "wait": r"(?! (?:(?:for|until|till|times?|in|on|at|to|by)(?![a-z])|[0-9]))",
    "check": r"(?! (?:out|for \$|of \$))",
    "instead": r"(?! of)",
    "however": r"(?! (?:many|much|long|far|often|big|small))",
    "go back": r"(?! home)",
    "going back": r"(?! home)",
    "等等": r"(?<![\u4e00-\u9fff]等等)",
}
# The traces' own forms, in lower case; (?=\n) leaves the line break to the match on the next line.
_TRACE_FORMS = r"(?:: yes|: no|fits|fails)(?=\n)|next:(?:(?<=fails\nnext:)|(?<=: no\nnext:))"
_OF_TRACES = {"verification": (": yes", ": no", "fits", "fails"), "alternatives": ("next:",)}
_BEHAVIOUR_OF = {word: name for known in (BEHAVIOURS, _OF_TRACES) for name in known for word in known[name]}


def _either(words: list[str], end: str) -> str:
    """A regular expression with a branch for each first letter, the longest word first: fast, without backtracking."""
    by_first: dict[str, list[str]] = {}
    for word in sorted(words, key=len, reverse=True):
        by_first.setdefault(word[0], []).append(re.escape(word[1:]) + end + _GUARDS.get(word, ""))
    return "|".join(f"{first}(?:{'|'.join(rests)})" for first, rests in by_first.items())


_ALL_WORDS = [word for words in BEHAVIOURS.values() for word in words]
# Begins with the character before a word: few characters are no letters, and Python searches for these alone.
_ENGLISH = re.compile(
    rf"[^a-z](?=[a-z:])({_either([word for word in _ALL_WORDS if word.isascii()], '(?![a-z])')}|{_TRACE_FORMS})"
)
_CHINESE = re.compile(_either([word for word in _ALL_WORDS if not word.isascii()], ""))
_END = re.compile("</think>|</answer>")

MIXED_WORDS = 5  # of each script, and
MIXED_SHARE = 0.02  # of all words in the rarer one
LOOP_COPIES = 5  # in a row, and
LOOP_SHARE = 0.25  # of the text
LINE_SHARE = 0.5  # of the text in equal lines
SHORTEST = 80  # characters; nothing shorter is called repetitive
_PROBES = 8
_PIECE = 12  # characters
_TRIES = 4


class Signals(NamedTuple):
    """The signals of one text: counts of each behaviour's words, and three warnings."""

    verification: int
    backtracking: int
    alternatives: int
    summary: int
    mixed_languages: bool
    repetition: bool
    reopened_thinking: bool

    @property
    def reflection(self) -> int:
        """The count of the words of all four behaviours."""
        return self.verification + self.backtracking + self.alternatives + self.summary


def read_signals(text: str) -> Signals:
    """Reads the signals of one whole turn, prefill and completion, in time linear in its length.

    mixed_languages: words in Latin letters and in another script, at least `MIXED_WORDS` of each and `MIXED_SHARE` of
        all words in the rarer one. `rewards.language.words_by_script` says what a word is.
    repetition: one piece of text, `LOOP_COPIES` times in a row or more without a change, makes up `LOOP_SHARE` of the
        text; or one line, said `LOOP_COPIES` times anywhere, makes up `LINE_SHARE`. Pieces without a letter do not
        count, nor do texts below `SHORTEST` characters. A piece that repeats a part of itself can be missed.
    reopened_thinking: a `<think>` behind a `</think>` or `</answer>`.

    Example:
        >>> read_signals("<think>1 + 2 = 4. Wait, let me check: it is 3, so far so good.</think>")[:4]
        (1, 1, 0, 1)
    """
    lower = text.lower()
    found = _ENGLISH.findall(" " + lower.replace("’", "'"))
    mixed = False
    if not text.isascii():
        found += _CHINESE.findall(text)
        latin, others = words_by_script(text)
        mixed = min(latin, others) >= max(MIXED_WORDS, MIXED_SHARE * (latin + others))
    counts = Counter(map(_BEHAVIOUR_OF.__getitem__, found))
    reopened = any("<think>" in behind for behind in _END.split(text, maxsplit=1)[1:])
    return Signals(*(counts[name] for name in BEHAVIOURS), mixed, _repeats_itself(text), reopened)


def _repeats_itself(text: str) -> bool:
    """Looks at eight places: a loop of a quarter of the text begins at most an eighth of it before one of them."""
    size = len(text)
    if size < SHORTEST:
        return False
    for probe in range(_PROBES):
        at = probe * size // _PROBES
        piece, last = text[at : at + _PIECE], at + size // LOOP_COPIES + _PIECE
        again = at
        for _ in range(_TRIES):
            again = text.find(piece, again + 1, last)
            if again < 0:
                break
            if _is_loop(text, at, again - at):
                return True
    lines = Counter(text.split("\n"))
    return any(
        count >= LOOP_COPIES and count * (len(line) + 1) >= LINE_SHARE * size and _has_letter(line)
        for line, count in lines.items()
    )


def _is_loop(text: str, at: int, period: int) -> bool:
    """Whether the text around `at` repeats itself every `period` characters for long enough."""
    needed = max(LOOP_COPIES * period, LOOP_SHARE * len(text))
    ahead = _equal_at_start(text[at:], text[at + period :])
    if ahead + period < needed / 2 or not _has_letter(text[at : at + period]):
        return False
    before = text[: at + period][::-1]
    return ahead + _equal_at_start(before, before[period:]) + period >= needed


def _equal_at_start(one: str, other: str) -> int:
    """How many characters are equal before the first that is not."""
    return sum(takewhile(bool, map(eq, one, other)))


def _has_letter(text: str) -> bool:
    return any(map(str.isalpha, text))
