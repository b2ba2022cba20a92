"""Two CPU processes with real DeepSpeed ZeRO, DDP and FSDP2: train, save, resume, evaluate, and compute the same."""

import functools
import re
import subprocess
from pathlib import Path

import pytest
from two_processes import (
    CONFIGS,
    FIXED_COMPLETIONS,
    FSDP_ON_CPU,
    command,
    farthest,
    history,
    launched,
    run,
    run_and_kill,
    summary,
)

pytestmark = pytest.mark.distributed

SIGNALS = ("outcome/", "length/", "behaviour/", "text/")  # of all processes' completions together
EVALUATE = ("--config", "recipes/mini-eval.yaml", "--model_name_or_path", "runs/mini-sft-s42", "--output_dir")


def on_cpu(home: Path, name: str) -> Path:
    """A shipped file, but for two CPU processes and float32."""
    text = (CONFIGS / f"{name}.yaml").read_text().replace("mixed_precision: bf16", 'mixed_precision: "no"')
    file = home / f"{name}.yaml"
    file.write_text(re.sub(r"num_processes: \d+", "num_processes: 2", text))
    return file


@pytest.fixture(scope="module")
def alone(home):
    """`alone("fixed")`: that recipe in one process, which accumulates twice as often; what two are compared with."""

    @functools.cache
    def folder(recipe: str) -> Path:
        flags = ("--config", f"recipes/{recipe}.yaml", "--output_dir", f"runs/{recipe}-alone")
        words = (FIXED_COMPLETIONS, *flags, "--gradient_accumulation_steps", "4")
        run(command(None, *words), home)
        return home / f"runs/{recipe}-alone"

    return folder


@pytest.fixture(scope="module")
def evaluated_alone(home) -> Path:
    run(command(None, "evaluate.py", *EVALUATE, "runs/eval-alone"), home)
    return home / "runs/eval-alone"


@pytest.mark.parametrize("config", ["cpu2_zero3", "cpu2"])
def test_trains_saves_and_resumes_exactly(home, config):
    straight, killed = home / "runs" / config, home / "runs" / f"{config}-killed"
    train = launched(config, "r1_grpo", "--config", "recipes/mini.yaml", "--output_dir")
    output = run([*train, str(straight)], home)
    assert "processes 2 x per-device 4 x accumulation 2 = 16 completions" in output
    gradients = [entry["grad_norm"] for entry in history(straight) if "grad_norm" in entry]
    assert len(gradients) == 6 and min(gradients) > 0.01, "there is something to resume"

    run_and_kill([*train, str(killed)], home, killed / "checkpoint-4" / "whole.json")
    assert not (killed / "summary.json").exists()
    for checkpoint in set(killed.glob("checkpoint-*")) - {killed / "checkpoint-2"}:
        max(checkpoint.rglob("*optim*")).unlink()  # with ZeRO: the part of the second process
    output = run([*train, str(killed)], home)
    assert "checkpoint-4 is torn" in output and "resuming from" in output and "checkpoint-2" in output
    assert history(killed) == history(straight)
    assert all(summary(killed)[when] == summary(straight)[when] for when in ("before", "after"))
    assert (killed / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()


@pytest.mark.parametrize("config", ["cpu2_zero3", "cpu2"])
def test_evaluates_as_one_process_does(home, evaluated_alone, config):
    """The most probable tokens of 13 problems, which two processes cannot share out evenly. Where the recipe's training
    would split the model, the launcher takes plain processes."""
    folder = home / f"runs/eval-{config}"
    run(launched(config, "evaluate", *EVALUATE, str(folder)), home)
    assert summary(folder)["after"] == summary(evaluated_alone)["after"]


@pytest.mark.parametrize("recipe", ["fixed", "one"])
@pytest.mark.parametrize("name", ["ddp", "zero2", "zero3", "fsdp2"])
def test_same_completions_same_loss_and_weights(home, alone, name, recipe):
    """Every way to split the work, over all pairs of three loss types and four advantages, with all completions and
    with one of each group, with AdamW, a reference model, clipped gradients and a temperature that falls."""
    folder, alone = home / "runs" / f"{recipe}-{name}", alone(recipe)
    words = [FIXED_COMPLETIONS, "--config", f"recipes/{recipe}.yaml", "--output_dir", str(folder)]
    if name == "fsdp2":
        words = [FSDP_ON_CPU, *words, "--use_cpu", "false"]
    run(command(on_cpu(home, name), *words), home)

    ours, theirs = ([entry for entry in history(run) if "loss" in entry] for run in (folder, alone))
    before = home / "runs/mini-sft-s42"
    for ours_at, theirs_at in zip(ours, theirs, strict=True):
        step = theirs_at["step"]
        assert theirs_at["grad_norm"] > 0.05 and theirs_at["frac_reward_zero_std"] == 0, "clipped, with groups to learn"
        assert ours_at["reward"] == pytest.approx(theirs_at["reward"], abs=1e-6), step
        assert ours_at["loss"] == pytest.approx(theirs_at["loss"], abs=1e-6), step
        expected = pytest.approx(1.3 - 0.6 * (step - 1) / 11)
        for place in ("temperature/sampling", "temperature/loss"):
            assert ours_at[place] == theirs_at[place] == expected, step
        assert ours_at["grad_norm"] == pytest.approx(theirs_at["grad_norm"], rel=1e-5), step
        seen = {key: value for key, value in theirs_at.items() if key.startswith(SIGNALS)}
        assert len(seen) > 10 and {key: ours_at[key] for key in seen} == pytest.approx(seen, abs=1e-6), step
        after = alone / f"checkpoint-{step}"
        assert farthest(folder / after.name, after) < 1e-6 < 1e-2 < farthest(after, before), step
        before = after
    assert farthest(folder, alone) < 1e-6
    # measuring, too: completions of all held-out problems, each problem once
    assert all(summary(folder)[when] == summary(alone)[when] for when in ("before", "after"))


@pytest.mark.parametrize("config", ["cpu2_zero3", "cpu2"])
def test_cold_start_is_the_same_on_two_processes(home, config):
    """As many traces a step, and the held-out problems measured with the model as training has split it."""
    flags = ("--config", "recipes/mini-sft.yaml", "--per_device_train_batch_size", "32", "--output_dir")
    folder, alone = home / f"runs/sft-{config}", home / "runs/mini-sft-s42"
    output = run(launched(config, "sft", *flags, str(folder)), home)
    assert "held-out: pass@1" in output and summary(folder)["after"]["n"] == 4
    assert farthest(folder, alone) < 1e-6 < 1e-2 < farthest(alone, home / "runs/mini-base-s42")
    assert farthest(folder, folder / "checkpoint-10") == 0, "measuring changes nothing"


def test_muon_is_refused_where_matrices_are_split(home, run_script, monkeypatch, capsys):
    monkeypatch.chdir(home)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(SystemExit, match="2"):
        run_script("run_sft.py", "--config", "recipes/mini-sft.yaml", "--muon_learning_rate", "0.02")
    assert "Muon needs whole matrices, and DeepSpeed splits them" in capsys.readouterr().err


def test_an_evaluation_under_deepspeed_is_refused(home):
    words = command(CONFIGS / "cpu2_zero3.yaml", "evaluate.py", *EVALUATE, "runs/eval-split")
    result = subprocess.run(words, cwd=home, capture_output=True, text=True)
    assert result.returncode != 0 and "an evaluation splits no model; use configs/ddp.yaml" in result.stderr
