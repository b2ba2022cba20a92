"""What the explanations of several verifiers share, hence a short file: lists, quotations and numbers."""

from collections.abc import Sequence
from fractions import Fraction

_MOST = 3  # reasons, people or numbers named in one sentence
_LONG = 60  # characters of an answer, and of a number, that are quoted
_TWICE = {2: "twice", 3: "three times"}


def listed(parts: Sequence[str], word: str = "and") -> str:
    """The parts as `a, b and c`; a long list ends after the first few with how many more there are."""
    parts = list(parts)
    if len(parts) > _MOST:
        parts = [*parts[:_MOST], f"{len(parts) - _MOST} more"]
    return f" {word} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def short(text: str) -> str:
    """A quotation of the text: one line, truncated, with escapes for what cannot be printed."""
    text = " ".join(text.split())
    text = text if len(text) <= _LONG else text[:_LONG] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]


def too_long(block: str, cap: int) -> str | None:
    """The fault of an answer that has more characters than its verifier reads; None where it has not."""
    if len(block) <= cap:
        return None
    return f"the answer has {len(block):,} characters, more than the {cap:,} that are read"


def short_number(value: int | Fraction) -> str:
    """The number, or its length where it is too long to quote."""
    huge = max(abs(value.numerator), value.denominator) >= 10**_LONG
    return f"a number of more than {_LONG} digits" if huge else str(value)


def times(count: int) -> str:
    """Example: `times(2)` is "twice", `times(4)` is "4 times"."""
    return _TWICE.get(count, f"{count} times")
