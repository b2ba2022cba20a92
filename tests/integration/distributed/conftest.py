"""Fixtures of the tests of two CPU processes: a cold start that they share, and no lock left by a killed process."""

import subprocess
from pathlib import Path

import pytest
from repository import ROOT
from two_processes import COMPILED, RECIPES, command, run


@pytest.fixture(scope="module", autouse=True)
def no_stale_lock() -> None:
    """A process killed while DeepSpeed loads its library leaves a lock, for which all later ones would wait."""
    for lock in COMPILED.glob("**/lock"):
        holders = subprocess.run(
            ["find", "/proc", "-maxdepth", "3", "-lname", str(lock)], capture_output=True, text=True
        )
        if not holders.stdout:
            lock.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A working directory with recipes, after a cold start in one process."""
    top = tmp_path_factory.mktemp("distributed")
    (top / "recipes").mkdir()
    (top / "recipes/_base").symlink_to(ROOT / "recipes/_base")
    for name, text in RECIPES.items():
        (top / "recipes" / name).write_text(text)
    run(command(None, "build_model.py", "--config", "recipes/mini-base.yaml"), top)
    run(command(None, "run_sft.py", "--config", "recipes/mini-sft.yaml"), top)
    return top
