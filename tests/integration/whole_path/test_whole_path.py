"""The whole path in miniature, with real processes: build, cold start, GRPO, kill -9, resume, two processes, LoRA."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from mini_recipes import RECIPES, TASK
from repository import ROOT

from mini_r1.config.arguments import RecipeArguments
from mini_r1.data.problems import load_rows
from mini_r1.tasks import countdown

TIMES = ("_time", "runtime", "per_second", "peak_gib")


def run(script: str, *flags: str, cwd: Path, launch: tuple = (sys.executable,)) -> str:
    words = [*launch, str(ROOT / "scripts" / script), *flags]
    result = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env=environment())
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def environment() -> dict:
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def losses(folder: Path) -> list[dict]:
    """The log history, without what is a time."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [
        {name: value for name, value in entry.items() if not (name.endswith(TIMES) or name.startswith("time/"))}
        for entry in history
    ]


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A working directory with recipes, after all stages of their pipeline."""
    top = tmp_path_factory.mktemp("path")
    (top / "recipes/pipelines").mkdir(parents=True)
    (top / "recipes/_base").symlink_to(ROOT / "recipes/_base")
    for name, text in RECIPES.items():
        (top / "recipes" / name).write_text(text)
    run("run_pipeline.py", "--config", "recipes/pipelines/mini.yaml", cwd=top)
    return top


def test_a_pipeline_skips_what_is_finished(home):
    folders = [f"runs/mini{tail}-s42" for tail in ("-base", "-sft", "", "-eval")]
    before = [(home / folder / "manifest.json").stat().st_mtime_ns for folder in folders]
    output = run("run_pipeline.py", "--config", "recipes/pipelines/mini.yaml", cwd=home)
    assert output.count("finished in") == 4
    assert [(home / folder / "manifest.json").stat().st_mtime_ns for folder in folders] == before
    summary = json.loads((home / "runs/mini-s42/summary.json").read_text())
    assert [stage["name"] for stage in summary["stages"]] == ["base", "cold-start", "rl", "greedy"]
    greedy = summary["stages"][3]["after"]
    problems = RecipeArguments(test_fraction=0.1, **{key: yaml.safe_load(TASK)[key] for key in ("task", "task_args")})
    assert (greedy["samples"], greedy["n"]) == (1, len(load_rows(problems, countdown).test))
    assert summary["stages"][1]["after"]["n"] == 4 and summary["stages"][2]["after"] == summary["after"]


def test_a_run_leaves_what_it_promises(home):
    folder = home / "runs/mini-s42"
    summary = json.loads((folder / "summary.json").read_text())
    for when in ("before", "after"):
        assert set(summary[when]) >= {"pass@1", "format", "mean_length", "n"}
        assert summary[when]["n"] == 10 and set(summary[when]["by_difficulty"]) == {"2", "3"}
    assert set(summary["seconds"]) == {"cold_start", "grpo", "total"} and summary["seconds"]["cold_start"] > 0
    for name in ("model.safetensors", "tokenizer.json", "recipe.yaml", "manifest.json", "README.md", "training.png"):
        assert (folder / name).stat().st_size > 0, name
    assert len(list((folder / "completions").glob("*.parquet"))) >= 6
    assert list((folder / "tensorboard").glob("events.out.tfevents.*")), "TensorBoard is on by default"
    assert not list((home / "runs").glob("*/events.out.tfevents.*")), "no logs beside the run directories"
    assert (folder / "success_completion_samples.txt").exists()


def test_a_finished_run_is_not_run_again(home):
    before = (home / "runs/mini-s42/summary.json").stat().st_mtime_ns
    assert "nothing to do" in run("run_r1_grpo.py", "--config", "recipes/mini.yaml", cwd=home)
    assert (home / "runs/mini-s42/summary.json").stat().st_mtime_ns == before


def test_killed_and_resumed_equals_uninterrupted(home):
    """kill -9 after the second checkpoint, whose weights are then lost: resumed from the first, all metrics equal."""
    folder = home / "runs/killed"
    words = [
        sys.executable,
        str(ROOT / "scripts/run_r1_grpo.py"),
        "--config",
        "recipes/mini.yaml",
        "--output_dir",
        str(folder),
    ]
    with open(home / "killed.log", "w") as log:
        process = subprocess.Popen(words, cwd=home, stdout=log, stderr=log, env=environment())
        while not (folder / "checkpoint-4" / "whole.json").exists():
            assert process.poll() is None, (home / "killed.log").read_text()
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (folder / "summary.json").exists()
    (folder / "checkpoint-4" / "model.safetensors").unlink()
    output = run(words[1].rpartition("/")[2], *words[2:], cwd=home)
    assert "checkpoint-4 is torn" in output and "resuming from" in output and "checkpoint-2" in output
    straight = home / "runs/mini-s42"
    for ours, theirs in zip(losses(folder), losses(straight), strict=True):
        assert ours == theirs
    results = [json.loads((f / "summary.json").read_text()) for f in (folder, straight)]
    assert results[0]["before"] == results[1]["before"] and results[0]["after"] == results[1]["after"]
    assert (folder / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()
    samples = [(f / "success_completion_samples.txt").read_text() for f in (folder, straight)]
    assert samples[0] == samples[1]


def test_two_processes_train(home):
    launch = (
        str(Path(sys.executable).with_name("accelerate")),
        "launch",
        "--config_file",
        str(ROOT / "configs/cpu2.yaml"),
    )
    output = run("run_r1_grpo.py", "--config", "recipes/mini.yaml", "--output_dir", "runs/two", cwd=home, launch=launch)
    assert "processes 2 x per-device 8 x accumulation 2 = 32 completions" in output
    summary = json.loads((home / "runs/two/summary.json").read_text())
    assert summary["after"]["n"] == 10
    assert json.loads((home / "runs/two/manifest.json").read_text())["hardware"]["processes"] == 2


def test_lora_trains_and_loads(home):
    run("run_r1_grpo.py", "--config", "recipes/mini.yaml", "--use_peft", "true", "--output_dir", "runs/lora", cwd=home)
    assert (home / "runs/lora/adapter_model.safetensors").exists()
    output = run("try_model.py", "--config", "recipes/mini.yaml", "--output_dir", "runs/lora", "--row",
                 '{"nums": [3, 5, 7], "target": 15}', cwd=home)  # fmt: skip
    assert "Combine the numbers [3, 5, 7]" in output and "equation_reward:" in output


def test_cold_start_resumes_exactly(home):
    """Cut off at a checkpoint and resumed, supervised training ends with the same weights: Muon's state is kept."""
    flags = ("--config", "recipes/mini-sft.yaml", "--max_eval_rows", "2")
    run("run_sft.py", *flags, "--output_dir", "sft-straight", cwd=home)
    run("run_sft.py", *flags, "--output_dir", "sft-again", cwd=home)
    (home / "sft-again/summary.json").unlink()
    for name in ("model.safetensors", "checkpoint-10/whole.json"):
        (home / "sft-again" / name).unlink()
    assert "checkpoint-5" in run("run_sft.py", *flags, "--output_dir", "sft-again", cwd=home)
    weights = [(home / name / "model.safetensors").read_bytes() for name in ("sft-straight", "sft-again")]
    assert weights[0] == weights[1]
