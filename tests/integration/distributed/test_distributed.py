"""Two CPU processes with real DeepSpeed ZeRO, DDP and FSDP2: train, save, resume, evaluate, and compute the same."""

import functools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

pytestmark = pytest.mark.distributed

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CONFIGS = ROOT / "configs"
SCRIPTS = ROOT / "scripts"
COMPILED = Path(sys.prefix) / "torch_extensions"
# Not to be compared: seconds, and what TRL averages over micro-batches, token-weighted in each of them, so that it
# depends on who got which completion. The loss does not: its own terms are normalised over all processes.
TIMES = ("_time", "runtime", "per_second", "peak_gib")
TASK = """
task: countdown
task_args: {n: 200, seed: 0, count: [2, 3], numbers: [1, 9], operators: "+-", in_order: true}
max_prompt_tokens: 64
max_completion_length: 12
num_generations_eval: 2
use_cpu: true
bf16: false
dtype: float32
gradient_checkpointing: false
report_to: none
# AdamW divides by |gradient| + epsilon. With the usual 1e-8, float noise in a gradient near zero becomes a whole step
# of either sign; with this one, noise stays noise.
adam_epsilon: 1.0e-3
"""
RECIPES = {
    "mini-base.yaml": f"""
seed: 42
output_dir: runs/{{recipe}}-s{{seed}}
{TASK.split("max_prompt")[0]}
trace_args: {{operators: "+-"}}
model_sizes: {{hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2,
  num_key_value_heads: 2, max_position_embeddings: 256}}
""",
    "mini-sft.yaml": f"""
extends: _base/sft.yaml
{TASK}
model_name_or_path: runs/mini-base-s{{seed}}
num_traces: 640
per_device_train_batch_size: 64
per_device_eval_batch_size: 8
learning_rate: 5.0e-2
train_sampling_strategy: sequential
num_train_epochs: 1
save_steps: 5
max_eval_rows: 4
""",
    "mini.yaml": f"""
extends: _base/grpo.yaml
{TASK}
model_name_or_path: runs/mini-sft-s{{seed}}
reward_funcs: [format_reward, fixed_completions.odd_tokens]
per_device_train_batch_size: 4
gradient_accumulation_steps: 2
per_device_eval_batch_size: 4
num_generations: 4
max_eval_rows: 5
max_steps: 6
save_steps: 2
save_total_limit: 3
learning_rate: 1.0e-2
""",
    "mini-eval.yaml": """
extends: mini.yaml
top_k: 1
num_generations_eval: 1
max_eval_rows: null
""",
    # 12 completions a step in 3 groups, one of which is shared by both processes; a reference model; gradients clipped
    "fixed.yaml": """
extends: mini.yaml
reward_funcs: [fixed_completions.odd_tokens]
per_device_train_batch_size: 3
beta: 0.04
max_grad_norm: 0.05
learning_rate: 0.05
temperature_schedule: {fractions: [[0, 1.3], [1, 0.7]]}
max_steps: 12
save_steps: 1
save_total_limit: null
""",
    # 16 completions a step in 4 groups, two for each process, which trains on one completion of each
    "one.yaml": """
extends: fixed.yaml
per_device_train_batch_size: 4
trained_completions: one
""",
}


SIGNALS = ("outcome/", "length/", "behaviour/", "text/")  # of all processes' completions together
EVALUATE = ("--config", "recipes/mini-eval.yaml", "--model_name_or_path", "runs/mini-sft-s42", "--output_dir")


def command(config: Path | None, script: str, *words: str) -> list[str]:
    """How a script (of scripts/, or any path) is started: as one plain process, or as an accelerate file says."""
    launcher = [sys.executable]
    if config is not None:
        launcher = [str(Path(sys.executable).with_name("accelerate")), "launch", "--config_file", str(config)]
    return [*launcher, str(SCRIPTS / script), *words]


def launched(config: str, kind: str, *words: str) -> list[str]:
    """How a user starts it on two processes."""
    several = ("--num_processes", "2", "--accelerate_config", config)
    return [sys.executable, str(SCRIPTS / "launch.py"), "--run", kind, *several, *words]


def on_cpu(home: Path, name: str) -> Path:
    """A shipped file, but for two CPU processes and float32."""
    text = (CONFIGS / f"{name}.yaml").read_text().replace("mixed_precision: bf16", 'mixed_precision: "no"')
    file = home / f"{name}.yaml"
    file.write_text(re.sub(r"num_processes: \d+", "num_processes: 2", text))
    return file


def environment() -> dict:
    """Of every process. What DeepSpeed compiles on first use (minutes) is kept for this environment, and its ninja: in
    the cache of all environments of this user, each would compile anew what another has compiled."""
    return os.environ | {
        "TORCH_EXTENSIONS_DIR": str(COMPILED),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
    }


def run(words: list[str], home: Path) -> str:
    """What it prints. The exit status says too that no process aborted while closing."""
    result = subprocess.run(words, cwd=home, capture_output=True, text=True, env=environment())
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def run_and_kill(words: list[str], home: Path, when_there: Path) -> None:
    """kill -9, all of its processes, once a file is there."""
    with open(home / "killed.log", "w") as log:
        process = psutil.Popen(words, cwd=home, stdout=log, stderr=log, env=environment())
        while not when_there.exists():
            assert process.poll() is None, (home / "killed.log").read_text()
            time.sleep(0.02)
        family = [process, *process.children(recursive=True)]
        for member in family:
            member.kill()
        psutil.wait_procs(family, timeout=60)


def summary(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def history(folder: Path) -> list[dict]:
    """The log history, without what is a time."""
    entries = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [{k: v for k, v in entry.items() if not k.endswith(TIMES) and "time/" not in k} for entry in entries]


def farthest(one: Path, other: Path) -> float:
    """The largest difference between any two weights of two model folders."""
    ours, theirs = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert set(ours) == set(theirs)
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


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


@pytest.fixture(scope="module")
def alone(home):
    """`alone("fixed")`: that recipe in one process, which accumulates twice as often; what two are compared with."""

    @functools.cache
    def folder(recipe: str) -> Path:
        flags = ("--config", f"recipes/{recipe}.yaml", "--output_dir", f"runs/{recipe}-alone")
        words = (str(HERE / "fixed_completions.py"), *flags, "--gradient_accumulation_steps", "4")
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
    words = [str(HERE / "fixed_completions.py"), "--config", f"recipes/{recipe}.yaml", "--output_dir", str(folder)]
    if name == "fsdp2":
        words = [str(HERE / "fsdp_on_cpu.py"), *words, "--use_cpu", "false"]
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
