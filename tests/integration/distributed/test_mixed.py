"""Two tasks in one run on two CPU processes: the same rows, rewards, losses and measurements as in one process."""

import json
from pathlib import Path

import pandas
import pytest
import yaml
from mixed import SETTINGS
from repository import ROOT
from two_processes import CONFIGS, FIXED_COMPLETIONS, command, farthest, history, run, summary

pytestmark = pytest.mark.distributed

BASE = {
    "seed": 42, "output_dir": "runs/{recipe}-s{seed}", "test_fraction": 0.2,
    "tasks": [{"task": name, "task_args": settings} for name, settings in SETTINGS.items()],
    "model_sizes": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                    "num_key_value_heads": 2, "max_position_embeddings": 256},
}  # fmt: skip
REWARDS = {
    "countdown": ["fixed_completions.odd_tokens"],
    "gsm8k": ["fixed_completions.odd_tokens", "fixed_completions.long_tokens"],
}
# 12 completions a step: two prompts of Countdown and one of GSM8K, one group shared by both processes
MIXED = {
    "extends": "_base/grpo.yaml", "model_name_or_path": "runs/base-s42", "test_fraction": 0.2, "max_eval_rows": 5,
    "tasks": [
        {"task": name, "weight": 2 if name == "countdown" else 1, "task_args": settings, "reward_funcs": REWARDS[name]}
        for name, settings in SETTINGS.items()
    ],
    "max_prompt_tokens": 160, "max_completion_length": 12, "num_generations": 4, "num_generations_eval": 2,
    "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "per_device_eval_batch_size": 4,
    "max_steps": 12, "save_steps": 4, "save_total_limit": None, "learning_rate": 0.01, "adam_epsilon": 1e-3,
    "use_cpu": True, "bf16": False, "dtype": "float32", "gradient_checkpointing": False, "report_to": "none",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    top = tmp_path_factory.mktemp("mixed")
    (top / "recipes").mkdir()
    (top / "recipes/_base").symlink_to(ROOT / "recipes/_base")
    (top / "recipes/base.yaml").write_text(yaml.safe_dump(BASE))
    (top / "recipes/mixed.yaml").write_text(yaml.safe_dump(MIXED))
    run(command(None, "build_model.py", "--config", "recipes/base.yaml"), top)
    return top


def trained(home: Path, config: Path | None, name: str, *flags: str) -> Path:
    words = [FIXED_COMPLETIONS, "--config", "recipes/mixed.yaml", "--output_dir", f"runs/{name}"]
    run(command(config, *words, *flags), home)
    return home / "runs" / name


def completions(folder: Path, step: int) -> pandas.DataFrame:
    """Of a step, in an order that does not depend on who asked for which."""
    table = pandas.read_parquet(folder / "completions" / f"completions_{step:05}.parquet")
    return table.sort_values(["prompt", "completion"], ignore_index=True)


def test_two_processes_are_as_one(home):
    two = trained(home, CONFIGS / "cpu2.yaml", "two")
    one = trained(home, None, "one", "--gradient_accumulation_steps", "4")
    ours, theirs = ([entry for entry in history(folder) if "loss" in entry] for folder in (two, one))
    for mine, other in zip(ours, theirs, strict=True):
        for name in other:
            if name.startswith(("loss", "reward", "outcome/", "mixture/", "length/")):
                assert mine[name] == pytest.approx(other[name], abs=1e-5), (other["step"], name)
        assert other["mixture/gsm8k"] == pytest.approx(1 / 3) and other["grad_norm"] > 0
        assert mine["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)
    for step in range(1, 13):
        mine, other = completions(two, step), completions(one, step)
        assert (other["task"] == "gsm8k").tolist() == other["long_tokens"].notna().tolist()
        pandas.testing.assert_frame_equal(mine, other, rtol=1e-4, atol=1e-5)
    assert farthest(two, one) < 1e-5 < 1e-2 < farthest(one, home / "runs/base-s42")
    for when in ("before", "after"):
        assert summary(two)[when] == summary(one)[when]
        assert {task: each["n"] for task, each in summary(one)[when]["by_task"].items()} == {"countdown": 5, "gsm8k": 4}


def test_goes_on_from_a_checkpoint_with_the_same_rows(home):
    """A run that stopped after step 8, as it was told to: its rows are those of the whole run."""
    whole = trained(home, CONFIGS / "cpu2.yaml", "whole")
    resumed = home / "runs" / "resumed"
    resumed.mkdir()
    for name in ("recipe.yaml", "manifest.json", "before.json", "metrics.jsonl"):
        (resumed / name).write_bytes((whole / name).read_bytes())
    (resumed / "recipe.yaml").write_text((whole / "recipe.yaml").read_text().replace("runs/whole", "runs/resumed"))
    (resumed / "checkpoint-8").symlink_to(whole / "checkpoint-8")
    assert trained(home, CONFIGS / "cpu2.yaml", "resumed") == resumed
    assert history(resumed) == history(whole)
    for step in range(9, 13):
        pandas.testing.assert_frame_equal(completions(resumed, step), completions(whole, step))
    assert json.loads((resumed / "summary.json").read_text())["after"] == summary(whole)["after"]
