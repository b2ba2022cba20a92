"""What the tests of all rewards are written with: a whole turn, and tables of cases that end with their reason."""

import os

import pytest

from mini_r1.rewards import Verdict
from mini_r1.rewards.sandbox import unavailable

MEGABYTE = 1_000_000
RIGHT, WRONG, UNPARSEABLE = Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSEABLE


def turn(answer: str, reasoning: str = "hm") -> str:
    return f"<think>{reasoning}</think>\n<answer>{answer}</answer>"


def table(columns: str, rows: list[tuple]):
    return pytest.mark.parametrize(columns, rows, ids=[reason for *_, reason in rows])


def needs_sandbox():
    """Skips where no sandbox can be made; under `make test-sandbox` the tests run, and fail there."""
    why = None if os.environ.get("NEED_SANDBOX") else unavailable()
    return pytest.mark.skipif(why is not None, reason=str(why))
