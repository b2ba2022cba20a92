"""Measures how much of the reasoning is written in the target language."""

import re
import string
from typing import Literal, get_args

from mini_r1.rewards.text import ANSWER_OPEN, THINK_CLOSE, THINK_OPEN, full_text

Language = Literal["en", "zh"]

# Code, LaTeX, URLs and tags. A character that begins no span is a match, too, so that the number of matches bounds the
# time; a span ends at the next character that could begin one like it, so that nothing is read twice. Every branch
# begins with a plain character, since Python then looks for these alone, seven times as fast.
_SPAN = re.compile(
    r"```[^`]*+(?:`{1,2}+[^`]++)*+```|`[^`\n]*+`"
    r"|\$\$[^$]*+\$\$|\$[^$\n]*+\$|\\[(\[](?:[^\\]++|\\[^()\[\]])*+\\[)\]]|\\[A-Za-z]++"
    r"|://[!-~]++|</?[A-Za-z][A-Za-z0-9_-]*+>"
    r"|`|\$|\\|:|<"
)
MAX_SPANS = 10_000  # More than honest reasoning has; what comes after them counts as text.


def _first_byte_classes() -> bytes:
    """Class of a character by the first byte of its UTF-8: w for a-z, x another letter, g Greek, a blank for the rest.

    C2, E2, EE, EF begin symbols; CC, CD combining marks. E3 to E9 begin kana and Han, which are counted separately.
    """
    table = bytearray(b" " * 256)
    for letter in string.ascii_letters.encode():
        table[letter] = ord("w")
    for first in (*range(0xC3, 0xCC), *range(0xD0, 0xE2), *range(0xEA, 0xEE)):
        table[first] = ord("x")
    table[0xCE] = table[0xCF] = ord("g")
    return bytes(table)


_CLASSES = _first_byte_classes()
# The same classes by script: Latin letters with accents are w, too, up to U+02FF, and plain capitals are U.
_SCRIPTS = bytes(
    ord("U") if byte in string.ascii_uppercase.encode() else ord("w") if 0xC3 <= byte < 0xCC else _CLASSES[byte]
    for byte in range(256)
)
_PASSED_OVER = b"'\xcc\xcd" + bytes(range(0x80, 0xC0))  # don't is one word; combining marks; later bytes
_NOT_HAN = bytes(set(range(256)) - set(range(0xE4, 0xEA)))
_CJK_PUNCTUATION = b"\xe3\x80"  # U+3000 to U+303F
_NO_WORD = bytes(byte for byte in range(256) if _CLASSES[byte] == ord(" ") and byte not in string.digits.encode())


def _classes(utf8: bytes, table: bytes = _CLASSES) -> bytes:
    return b" " + utf8.translate(table, _PASSED_OVER)


def _runs_with_x(classes: bytes) -> int:
    return classes.translate(None, b"w").count(b" x") if b"x" in classes else 0


def _foreign_words(utf8: bytes, table: bytes = _CLASSES) -> tuple[int, int]:
    """How many words are Chinese, and how many of a language that is neither Chinese nor English."""
    if utf8.isascii():
        return 0, 0
    classes = _classes(utf8, table)
    kana = utf8.count(0xE3) - utf8.count(_CJK_PUNCTUATION)
    return len(utf8.translate(None, _NOT_HAN)), _runs_with_x(classes) + classes.count(b"ggg") + kana


def _english_words(text: str, utf8: bytes) -> int:
    """How many words outside code are English. `utf8` is the text encoded."""
    if b"ww" not in _classes(utf8):
        return 0
    # A span hides letters a-z and nothing else, so that no other language can hide there.
    classes = _classes(_SPAN.sub(" ", text, count=MAX_SPANS).encode("utf-8", "replace"))
    # Runs of two letters or more, each x counting as two, less the runs with an x: runs of a-z alone.
    return classes.replace(b"x", b"ww").count(b" ww") - _runs_with_x(classes)


def words_by_script(text: str) -> tuple[int, int]:
    """How many words are in Latin letters, and how many in others; each Han character and each kana is one.

    Unlike in `language_share`, accents (but those of Vietnamese) make no difference, and Latin words that begin with a
    plain capital do not count, since any text writes names so. What is neutral there is neutral here.

    Example: `words_by_script("so Zoey 是 naïve")` is `(2, 1)`.
    """
    text = text.replace("×", " ").replace("÷", " ")
    utf8 = text.encode("utf-8", "replace")
    plain = _SPAN.sub(" ", text, count=MAX_SPANS).encode("utf-8", "replace")
    return _classes(plain, _SCRIPTS).count(b" ww"), sum(_foreign_words(utf8, _SCRIPTS))


def reasoning(text: str) -> str:
    """The text between the first `<think>` and the last `</think>`.

    Without `</think>` it goes on to the end, without `<think>` it begins at the start. Without either it is all before
    `<answer>`.

    Example: `reasoning("<think>1+2 it is</think><answer>3</answer>")` is `"1+2 it is"`.
    """
    _, opened, inside = text.partition(THINK_OPEN)
    if not opened:
        inside = text
    before, closed, _ = inside.rpartition(THINK_CLOSE)
    if closed:
        return before
    return inside if opened else inside.partition(ANSWER_OPEN)[0]


def language_share(text: str, language: Language) -> float:
    """The share of words of the reasoning that are in `language`, from 0 to 1; see `language_consistency_reward`.

    It makes a fixed number of passes over the text, almost all of them over bytes.
    """
    # These signs stand among letters in Unicode, or need no place in the pattern once they are replaced.
    thought = reasoning(text).replace("’", "'").replace("×", " ").replace("÷", " ")
    thought = thought.replace("https://", "://").replace("http://", "://")
    utf8 = thought.encode("utf-8", "replace")
    chinese, other = _foreign_words(utf8)
    if chinese or other or language != "en":
        english = _english_words(thought, utf8)
        if total := english + chinese + other:
            return (english if language == "en" else chinese) / total
    # English alone, or no words at all
    return 1.0 if utf8.translate(None, _NO_WORD) else 0.0


def language_consistency_reward(
    completions, prefill=None, language: Language | list[Language | None] = "en", **columns
) -> list[float | None]:
    """The share of words of the reasoning in the target language, from 0 to 1 (DeepSeek-R1, arXiv:2501.12948, 2.3.2).

        reward = words in the target language / words of any language

    The script tells languages apart, since the standard library has no dictionaries:
        English     a run of two or more letters a-z; apostrophes belong to it, hyphens (minus signs) do not
        Chinese     each Han character is a word (U+4000 to U+9FFF); Japanese kanji cannot be told from it
        others      a run of letters with one that is not a-z (`voilà`, Russian, Korean, ...), each kana (with the
                    rarities up to U+3FFF), and every three Greek letters in a row
    So French or German without accents counts as English.

    Single letters a-z and one or two Greek ones (variables), digits, punctuation, operators, emoji and characters
    beyond U+FFFF are neutral: they are in neither number. So are letters a-z in code between backticks, LaTeX, URLs and
    tags, but words of another script count there, too. A policy may so hide English between backticks with "zh": look
    at samples. Reasoning of neutral letters or digits alone gives 1.0, since `3 * 4 = 12` is right in any language.
    Blank reasoning, or nothing but punctuation, gives 0.0, so that silence does not pay.

    Args:
        language: "en" or "zh" for all rows, or a dataset column with one for each row; None where no reward is due.

    Raises:
        ValueError: for any other language.

    Example:
        >>> language_consistency_reward(["Let us see, 设 x = 1</think>", "so</think>"], ["<think>"] * 2)
        [0.75, 1.0]
    """
    count = len(completions)
    languages = [language] * count if language is None or isinstance(language, str) else language
    if unknown := [code for code in languages if code is not None and code not in get_args(Language)]:
        raise ValueError(f"language {unknown[0]!r} is not one of {', '.join(get_args(Language))}")
    rows = zip(completions, [None] * count if prefill is None else prefill, languages, strict=True)
    return [None if code is None else language_share(full_text(start, text), code) for text, start, code in rows]
