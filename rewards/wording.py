"""The few words and quotations that all explanations have in common; each verifier's file has its own sentences."""

from collections.abc import Sequence
from fractions import Fraction

_MOST = 3  # reasons, people or numbers named in one sentence
_LONG = 60  # characters of an answer, and of a number, that are quoted
_TWICE = {2: "twice", 3: "three times"}


def listed(parts: Sequence[str], word: str = "and") -> str:
    """a, b and c; of many the first few."""
    parts = list(parts)
    if len(parts) > _MOST:
        parts = [*parts[:_MOST], f"{len(parts) - _MOST} more"]
    return f" {word} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def short(text: str) -> str:
    """On one line, cut, and without anything that cannot be printed."""
    text = " ".join(text.split())
    text = text if len(text) <= _LONG else text[:_LONG] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]


def too_long(block: str, cap: int) -> str | None:
    if len(block) <= cap:
        return None
    return f"the answer has {len(block):,} characters, more than the {cap:,} that are read"


def short_number(value: int | Fraction) -> str:
    huge = max(abs(value.numerator), value.denominator) >= 10**_LONG
    return f"a number of more than {_LONG} digits" if huge else str(value)


def times(count: int) -> str:
    return _TWICE.get(count, f"{count} times")
