"""`--help` of every script: a text that lists its flags, and exit status 0, also where the reader goes away early."""

import subprocess
import sys

import pytest
from repository import ROOT

OWN_FLAGS = {
    "check.py": ["--config", "--gpus", "--run"],
    "compare.py": ["--config", "--seeds", "--against", "--by_difficulty", "--plot"],
    "download.py": ["--config"],
    "launch.py": ["--config", "--gpus", "--dry_run", "--run", "--part", "--num_machines"],
    "run_pipeline.py": ["--config", "--seed", "--gpus", "--from", "--only", "--dry_run", "--overwrite_output_dir"],
    "try_model.py": ["--config", "--row"],
}


@pytest.mark.parametrize(("script", "flags"), OWN_FLAGS.items(), ids=OWN_FLAGS)
def test_a_script_lists_its_flags(run_script, capsys, script, flags):
    run_script(script, "--help")
    out, err = capsys.readouterr()
    assert all(flag in out for flag in (f"scripts/{script}", *flags)) and not err


def test_a_reader_that_goes_away_is_no_error():
    command = [sys.executable, ROOT / "scripts" / "run_sft.py", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0
