"""`make check` says of each of these recipes in one line which file, which key, and what to do, and nothing else.

test_broken_machines.py has what is wrong around a recipe, tests/unit/config/test_wrong_recipes.py what scripts refuse.
"""

import subprocess
import sys

import pytest
from broken import CPU, GPU, LARGE, LORA, MINE, Place
from repository import ROOT


@pytest.fixture
def place(tmp_path, monkeypatch, capsys, run_script, tiny_model_dir) -> Place:
    return Place(tmp_path, monkeypatch, capsys, run_script, tiny_model_dir)


# name: (recipe, flags, how the message begins: file and key, the remedy that it must hold)
BROKEN = {
    "typo in a key": (CPU + "learning_rte: 1.0e-4", "", MINE + "learning_rte: ", "did you mean learning_rate?"),
    "key of early 2025": (GPU + "max_prompt_length: 9", "--gpus 8", MINE + "max_prompt_length: ", "max_prompt_tokens"),
    "another one": (GPU + "torch_dtype: bfloat16", "--gpus 8", MINE + "torch_dtype: no longer a key", "use dtype"),
    "wrong type": (CPU + "max_steps: many", "", MINE + 'max_steps: got "many"', "expected a whole number"),
    "wrong flag": (CPU, "--max_stps 3", "command line: max_stps: ", "did you mean max_steps?"),
    "batch that does not divide": (
        GPU + "num_generations: 9\nnum_generations_eval: 8",
        "--gpus 8",
        MINE + "num_generations: processes 7 x per-device 8 x accumulation 8 make 448 completions a step",
        "use per_device_train_batch_size 9, or num_generations 8 or 14",
    ),
    "evaluation batch": (
        CPU + "per_device_eval_batch_size: 9",
        "",
        MINE + "per_device_eval_batch_size: ",
        "use 8 or 16",
    ),
    "one generation": (CPU + "num_generations: 1", "", MINE + "num_generations: got 1; ", "use at least 2"),
    "unknown advantage": (CPU + "advantage: reinforce", "", MINE + 'advantage: got "reinforce"', "reinforce_lite"),
    "advantage that divides by too few": (
        CPU + "advantage: reinforce_lite\nnum_generations: 2",
        "",
        MINE + "num_generations: got 2; reinforce_lite divides by the deviation of the other completions",
        "use at least 3",
    ),
    "advantage beside another": (
        CPU + "advantage: batch\nmulti_objective_aggregation: normalize_then_sum",
        "",
        MINE + "multi_objective_aggregation: ",
        "use sum_then_normalize",
    ),
    "half a group to take one of": (
        CPU + "trained_completions: one\nper_device_train_batch_size: 12\ngradient_accumulation_steps: 2",
        "",
        MINE + "per_device_train_batch_size: 12 completions of a micro-batch are not whole groups of 8",
        "use 8 or 16",
    ),
    "correction of what is not trained": (
        GPU + "trained_completions: one\nvllm_importance_sampling_correction: true",
        "--gpus 8",
        MINE + "vllm_importance_sampling_correction: ",
        "set it to false",
    ),
    "temperature schedule without points": (
        CPU + "temperature_schedule: {from: 1.2, to: 0.9}",
        "",
        MINE + "temperature_schedule: got ",
        "{fractions: [[0, 1.2], [1, 0.9]]}",
    ),
    "two temperatures": (
        CPU + "generation_kwargs: {temperature: 0.7}",
        "",
        MINE + "generation_kwargs: gives a temperature, of which the loss would not know",
        "use temperature",
    ),
    "curriculum that a budget cuts off": (
        CPU + "curriculum: staged\nmax_generated_tokens: 9000\nlogging_steps: 1",
        "",
        MINE + "curriculum: is laid out over max_steps",
        "drop the budget",
    ),
    "schedule that a budget cuts off": (
        CPU + "temperature_schedule: {fractions: [[0, 1.2], [1, 0.9]]}\nmax_generated_tokens: 9000\nlogging_steps: 1",
        "",
        MINE + "temperature_schedule: fractions are of max_steps",
        "use steps",
    ),
    "unknown curriculum": (CPU + "curriculum: easy", "", MINE + 'curriculum: got "easy"', "sorted"),
    "budget of nothing": (CPU + "max_generated_tokens: 0", "", MINE + "max_generated_tokens: got 0", "at least 1"),
    "budget that is not logged": (
        CPU + "max_generated_tokens: 1000\nlogging_steps: 10",
        "",
        MINE + "logging_steps: must be 1",
        "max_generated_tokens",
    ),
    "checkpoint inside a rollout": (
        CPU + "num_iterations: 4\nsave_steps: 50",
        "",
        MINE + "save_steps: ",
        "use 48 or 52",
    ),
    "too few rows": (CPU + "max_train_rows: 3", "", MINE, "use more rows or a smaller batch"),
    "unknown task": (CPU + "task: countdwn", "", MINE + "task: ", "did you mean countdown?"),
    "unknown reward": (
        CPU + "reward_funcs: [equaton_reward]",
        "",
        MINE + "reward_funcs: ",
        "did you mean equation_reward",
    ),
    "values of another reward": (
        CPU + "reward_values: {x: [1, 0, 0]}",
        "",
        MINE + "reward_values: ",
        "which has: format",
    ),
    "weights of other rewards": (
        CPU + "reward_weights: [1.0]",
        "",
        MINE + "reward_weights: 1 weights for 2",
        "give one for",
    ),
    "unknown template": (CPU + "prompt_template: mini_r", "", MINE + "prompt_template: ", "did you mean mini_r1?"),
    "missing column": (
        CPU + "dataset_id_or_path: data/rows.jsonl",
        "",
        MINE + "dataset_id_or_path: row 1 of data/rows.jsonl (split train): column 'target' is missing",
        "set skip_bad_rows: true",
    ),
    "no such file": (CPU + "dataset_id_or_path: data/no.parquet", "", MINE + "dataset_id_or_path: ", "paths start at"),
    "missing split": (
        CPU + "dataset_id_or_path: data\ndataset_train_split: training",
        "",
        MINE + "dataset_id_or_path: data has no .parquet, .jsonl, .json, .csv file whose name begins with 'training'",
        "there is rows.jsonl",
    ),
    "prompts too long": (CPU + "max_prompt_tokens: 8", "", MINE + "max_prompt_tokens: all ", "raise it to 3"),
    "longer than the model": (
        CPU + "max_completion_length: 500",
        "",
        MINE + "max_completion_length: prompts of up to ",
        "the model has 512 positions; use at most 4",
    ),
    "vLLM's context too short": (
        GPU + "max_completion_length: 100\nvllm_mode: colocate\nvllm_max_model_length: 99",
        "--gpus 7",
        MINE + "vllm_max_model_length: prompts of up to ",
        "or leave it out",
    ),
    "server with one GPU": (GPU, "--gpus 1", "recipes/countdown.yaml: vllm_mode: server mode needs 1 GPU", "colocate"),
    "vLLM on a CPU": (CPU + "use_vllm: true", "", MINE + "use_vllm: vLLM gets new weights", "set use_vllm: false"),
    "no GPU": (GPU, "", "recipes/mine.yaml: use_cpu: no GPU is visible here", "give --gpus 8"),
    "unknown accelerate file": (
        GPU + "accelerate_config: zero4",
        "--gpus 8",
        MINE + "accelerate_config: ",
        "mean zero",
    ),
    "LoRA and ZeRO-3": (LORA, "--gpus 8", "recipes/countdown.yaml: accelerate_config: LoRA with ZeRO-3", "use ddp"),
    "4 bits and ZeRO-3": (
        LORA + "load_in_4bit: true\nuse_vllm: false",
        "--gpus 8",
        "recipes/countdown.yaml: accelerate_config: would split the packed weights of load_in_4bit",
        "use ddp",
    ),
    "4 bits and vLLM": (
        LORA + "load_in_4bit: true\naccelerate_config: null",
        "--gpus 8",
        "recipes/countdown.yaml: use_vllm: TRL hands it the packed weights",
        "set use_vllm: false",
    ),
    "4 bits without LoRA": (
        GPU + "load_in_4bit: true\naccelerate_config: null\nuse_vllm: false",
        "--gpus 8",
        MINE + "load_in_4bit: quantized weights cannot be trained",
        "set use_peft: true",
    ),
    "reference model synced with LoRA": (
        LORA + "accelerate_config: null\nsync_ref_model: true\nbeta: 0.1",
        "--gpus 8",
        MINE + "sync_ref_model: ",
        "set sync_ref_model: false",
    ),
    "memory": (
        LARGE + "gpu_gib: 24\naccelerate_config: null",
        "--gpus 8",
        MINE + "accelerate_config: memory: ",
        "zero3",
    ),
    "no room for vLLM": (
        LARGE + "vllm_serve_args: {gpu_memory_utilization: 0.05}",
        "--gpus 8",
        MINE + "vllm_serve_args: vLLM needs ",
        "raise its share",
    ),
    "value that is no flag": (
        GPU + "vllm_serve_args: {seed: 2025-01-31}",
        "--gpus 8",
        MINE + "vllm_serve_args: seed: got datetime.date(2025, 1, 31)",
        "expected text, a number",
    ),
    "server's program": (
        GPU + "vllm_serve_command: [/nowhere/vllm, serve]",
        "--gpus 8",
        MINE + "vllm_serve_command: there is no program /nowhere/vllm",
        "give its full path",
    ),
    "disk, by the number of checkpoints": (
        LARGE + "save_total_limit: 1000\nsave_steps: 1\nmax_steps: 5000",
        "--gpus 8",
        MINE + "save_total_limit: 1001 checkpoints of 40.2 GiB",
        "set save_total_limit: 2",
    ),
    "model folder missing": (
        CPU.replace("{model}", "runs/nothing-sft-s42"),
        "",
        MINE + "model_name_or_path: there is no folder runs/nothing-sft-s42",
        "first run: make train-nothing",
    ),
    "no model folder": (
        CPU.replace("{model}", "data"),
        "",
        MINE + "model_name_or_path: data is not a model folder",
        "",
    ),
    "no model": (
        CPU + "model_name_or_path: null",
        "",
        MINE + "model_name_or_path: ",
        "name a hub id or a local folder",
    ),
    "no output_dir": (CPU + "output_dir: null", "", MINE + "output_dir: is missing", "such as runs/{recipe}-s{seed}"),
    "checkpoint missing": (
        CPU + "resume_from_checkpoint: out/x",
        "",
        MINE + "resume_from_checkpoint: out/x",
        "leave it out",
    ),
    "no token for the hub": (CPU + "push_to_hub: true", "", MINE + "push_to_hub: needs a token", "hf auth login"),
    "no package for the log": (
        CPU + "report_to: swanlab",
        "",
        MINE + "report_to: needs the package swanlab",
        "pip install",
    ),
    "what TRL itself refuses": (
        CPU + "load_best_model_at_end: true",
        "",
        MINE + "--load_best_model_at_end requires the save and eval strategy to match",
        "",
    ),
}


@pytest.mark.parametrize(("text", "flags", "start", "remedy"), BROKEN.values(), ids=BROKEN)
def test_one_line_says_what_to_change(place, text, flags, start, remedy):
    (error,) = place.errors(text, *flags.split())
    assert error.startswith(start)
    assert remedy in error


def test_all_errors_at_once(place):
    text = GPU + (
        "learning_rte: 1\nmax_steps: many\nnum_generations: 9\nprompt_template: no\nreward_funcs: [no]\n"
        "dataset_id_or_path: data/no.parquet\naccelerate_config: zero4\nreport_to: swanlab\nguards: {clipped: 3}"
    )
    errors = place.errors(text, "--gpus", 8)
    keys = {error.removeprefix(MINE).partition(":")[0] for error in errors}
    assert keys == {
        "learning_rte", "max_steps", "num_generations", "prompt_template", "reward_funcs", "dataset_id_or_path",
        "accelerate_config", "report_to", "guards",
    }  # fmt: skip


def test_in_a_process_of_its_own(place):
    """As `make check` runs: the same errors, and status 2."""
    recipe = place.write(CPU + "learning_rte: 1\nmax_prompt_tokens: 8\nmax_completion_length: 600")
    words = [sys.executable, str(ROOT / "scripts" / "check.py"), "--config", recipe]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    errors = [line.removeprefix(f"error: {MINE}").partition(":")[0] for line in result.stderr.splitlines()]
    assert errors == ["learning_rte", "max_prompt_tokens", "max_completion_length"]
