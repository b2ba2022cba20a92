"""A run that an earlier version of this code (commit 82d669d) began goes on, exactly."""

import json
import tarfile

import pytest
from repository import ROOT

KEPT = ROOT / "tests" / "run_of_82d669d.tar.gz"  # a tiny cold start, killed after its checkpoint of step 2 of 4


@pytest.fixture
def home(tmp_path, monkeypatch):
    with tarfile.open(KEPT) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "sft"


def log(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_it_is_resumed_from_its_checkpoint(home, run_script, capsys):
    straight = log(home)  # of the old code, without a break
    run_script("run_sft.py", "--config", "runs/sft/recipe.yaml")
    assert "resuming from runs/sft/checkpoint-2" in capsys.readouterr().out
    resumed = log(home)
    assert [entry["step"] for entry in resumed] == [1, 2, 3, 4]
    for old, new in zip(straight, resumed, strict=True):
        for key in ("loss", "grad_norm", "learning_rate", "mean_token_accuracy"):
            assert new[key] == pytest.approx(old[key], rel=1e-5), (new["step"], key)
    assert json.loads((home / "summary.json").read_text())["after"]["n"] == 2


def test_another_recipe_is_refused_with_the_reason(home, run_script, capsys):
    with pytest.raises(SystemExit) as ended:
        run_script("run_sft.py", "--config", "runs/sft/recipe.yaml", "--learning_rate", "0.5")
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "runs/sft holds a run of another recipe (learning_rate: 0.01 -> 0.5): undo the change to go on" in error
