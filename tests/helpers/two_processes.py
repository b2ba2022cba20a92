"""What the tests of two CPU processes share: tiny recipes, ways to start and kill a script, comparisons of two runs."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
from repository import ROOT
from safetensors.torch import load_file

HERE = Path(__file__).parent
FIXED_COMPLETIONS = str(HERE / "fixed_completions.py")
FSDP_ON_CPU = str(HERE / "fsdp_on_cpu.py")
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
