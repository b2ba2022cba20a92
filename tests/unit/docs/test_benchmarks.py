"""The benchmarks run to their end and print every section; what they measure is for people, not for tests."""

import importlib.util
import subprocess
import sys

import pytest
from repository import ROOT

# script -> its sections, the package it compares with, and the sections that need that package
SCRIPTS = {
    "rewards.py": (
        [
            "Ordinary right completions",
            "Stress texts",
            "Growth",
            "Longest answers",
            "Countdown beside an eval checker: time",
            "Countdown beside an eval checker: verdicts",
        ],
        "math-verify",
        ["GSM8K beside math-verify: time", "GSM8K beside math-verify: verdicts"],
    ),
    "tasks.py": (
        ["Generators", "Knights and Knaves: depth", "Knights and Knaves: mix"],
        "reasoning-gym",
        ["Beside reasoning-gym"],
    ),
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory) -> dict[str, str]:
    """What each script prints; run as users do, from any folder."""
    folder = tmp_path_factory.mktemp("elsewhere")
    printed = {}
    for script in SCRIPTS:
        command = [sys.executable, str(ROOT / "benchmarks" / script), "--quick"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8")
        assert (done.returncode, done.stderr) == (0, "")
        printed[script] = done.stdout
    return printed


def cells(output: str, section: str) -> list[list[str]]:
    """The rows of a table, cut where two blanks or more stand."""
    block = output.split(f"## {section}\n")[1].split("\n\n")[1]
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in block.splitlines()]


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_section_is_printed(outputs, script):
    always, peer, with_peer = SCRIPTS[script]
    installed = importlib.util.find_spec(peer.replace("-", "_")) is not None
    headings = [line.removeprefix("## ") for line in outputs[script].splitlines() if line.startswith("## ")]
    assert headings == [*always, *(with_peer if installed else [])]
    assert (f"comparison with {peer} is left out" in outputs[script]) is not installed


@pytest.mark.parametrize(("script", "section"), [(script, name) for script in SCRIPTS for name in SCRIPTS[script][0]])
def test_tables_are_full(outputs, script, section):
    header, *rows = cells(outputs[script], section)
    assert rows
    assert {len(row) for row in rows} == {len(header)}


def test_verdicts_where_eval_is_mistaken(outputs):
    verdicts = {row[0]: row[1:] for row in cells(outputs["rewards.py"], SCRIPTS["rewards.py"][0][-1])}
    assert verdicts["44 + 19 + 35"] == ["right", "right"]
    assert verdicts["44 + 19, without the 35"] == ["-", "-"]
    assert verdicts["2**3"] == ["-", "right"]
    assert verdicts["the same on a line of its own"] == ["right", "-"]
