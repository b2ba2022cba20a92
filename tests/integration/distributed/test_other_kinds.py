"""Distillation and reward models on two CPU processes: as in one, and a distillation under ZeRO-3 resumed exactly."""

from pathlib import Path

import pytest
import yaml
from two_processes import TASK, command, farthest, history, launched, run, run_and_kill, summary

pytestmark = pytest.mark.distributed

# The student answers with its most probable tokens, so that an answer does not depend on who asks for it.
DISTILL = yaml.safe_load(TASK) | {
    "extends": "_base/distill.yaml", "model_name_or_path": "runs/mini-base-s{seed}",
    "teacher_model_name_or_path": "runs/mini-sft-s{seed}", "top_k": 1, "max_eval_rows": 5,
    "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "per_device_eval_batch_size": 4,
    "max_steps": 6, "save_steps": 2, "save_total_limit": 3, "learning_rate": 0.05,
}  # fmt: skip
# Ten whole batches: the last of an epoch is filled up by repeating rows where two processes cannot share it evenly.
REWARD = {
    "seed": 42, "output_dir": "runs/{recipe}-s{seed}", "report_to": "none", "task": "countdown",
    "task_args": {"n": 200, "seed": 0, "count": [2, 3], "numbers": [1, 9], "operators": "+-", "in_order": True},
    "test_fraction": 0.3, "prompt_template": "mini_r1", "part": "response", "num_pairs": 512,
    "chosen_trace_args": {"operators": "+-"}, "rejected_trace_args": {"operators": "+-", "give_up": 1.0},
    "model_name_or_path": "runs/mini-sft-s42", "dtype": "float32", "bf16": False, "gradient_checkpointing": False,
    "use_cpu": True, "per_device_train_batch_size": 8, "max_steps": 10, "learning_rate": 0.01,
    "adam_epsilon": 1e-3, "logging_steps": 1, "save_steps": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(home) -> Path:
    (home / "recipes/distill.yaml").write_text(yaml.safe_dump(DISTILL))
    (home / "recipes/reward.yaml").write_text(yaml.safe_dump(REWARD))
    twice = ("--gradient_accumulation_steps", "4", "--output_dir", "runs/distill-alone")
    run(command(None, "run_distill.py", "--config", "recipes/distill.yaml", *twice), home)
    return home


@pytest.mark.parametrize("config", ["cpu2_zero3", "cpu2"])
def test_a_student_learns_the_same(folders, config):
    """Also where ZeRO-3 has split student and teacher, whose heads the loss takes from outside of their modules."""
    folder, alone = folders / "runs" / f"distill-{config}", folders / "runs/distill-alone"
    run(launched(config, "distill", "--config", "recipes/distill.yaml", "--output_dir", str(folder)), folders)
    ours, theirs = ([entry for entry in history(each) if "loss" in entry] for each in (folder, alone))
    assert len(theirs) == 6 and theirs[-1]["loss"] < theirs[0]["loss"] - 0.1, "there is something to learn"
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], abs=1e-5), other["step"]
        assert mine["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4), other["step"]
    assert farthest(folder, alone) < 1e-5 < 1e-2 < farthest(alone, folders / "runs/mini-base-s42")
    assert all(summary(folder)[when] == summary(alone)[when] for when in ("before", "after"))


def test_a_student_goes_on_exactly(folders):
    straight, killed = folders / "runs/distill-straight", folders / "runs/distill-killed"
    train = launched("cpu2_zero3", "distill", "--config", "recipes/distill.yaml", "--top_k", "0", "--output_dir")
    run([*train, str(straight)], folders)
    run_and_kill([*train, str(killed)], folders, killed / "checkpoint-4" / "whole.json")
    assert not (killed / "summary.json").exists()
    assert "resuming from" in run([*train, str(killed)], folders)
    assert history(killed) == history(straight)
    assert all(summary(killed)[when] == summary(straight)[when] for when in ("before", "after"))
    assert (killed / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()


def test_a_reward_model_learns_the_same(folders):
    alone, two = folders / "runs/reward-alone", folders / "runs/reward-two"
    words = ("--config", "recipes/reward.yaml", "--output_dir")
    run(command(None, "run_reward.py", *words, str(alone), "--per_device_train_batch_size", "16"), folders)
    run(launched("cpu2", "reward", *words, str(two)), folders)
    ours, theirs = ([entry for entry in history(each) if "loss" in entry] for each in (two, alone))
    assert len(theirs) == 10 and theirs[-1]["grad_norm"] > 0.03, "there is something to learn"
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["loss"] == pytest.approx(other["loss"], abs=1e-5), other["step"]
        assert mine["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3), other["step"]
    assert farthest(two, alone) < 1e-5 < 1e-3 < farthest(alone, alone / "checkpoint-4")
    assert summary(two)["accuracy"] == summary(alone)["accuracy"] and summary(alone)["accuracy"]["n"] > 10
