"""What most tests need of the clone under test: its root, its scripts in this process, its tiny Countdown problems."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TASK_ARGS = {"count": [3], "numbers": [1, 12], "target": [1, 99], "in_order": True}  # of the tiny Countdown recipes


def run_in_process(script: str, *words: object) -> None:
    """Runs a script of scripts/ as `__main__`, with `words` as its command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *map(str, words)])
        runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
