# ruff: noqa: RUF009 (`key` makes a field)
"""Recipe keys of our own. Everything else in a recipe is TRL's: `GRPOConfig` or `SFTConfig`, and `ModelConfig`.

This module imports no torch, so that a recipe is checked before anything large is loaded.
"""

import copy
from dataclasses import dataclass, field
from typing import Any, ClassVar


def key(default: Any, help: str, choices: tuple[str, ...] | None = None) -> Any:
    """A key of a recipe.

    Args:
        choices: the only texts that it may have.
    """
    metadata = {"help": help, "choices": choices}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class RecipeArguments:
    """What is asked, how it is asked, and what is rewarded. One flat key each, shared by every script."""

    needs_training_rows: ClassVar[bool] = True

    task: str | None = key(None, "Name of a module in tasks/, such as countdown.")
    tasks: list[dict] | None = key(
        None,
        "Several tasks in one run, in place of `task`: [{task: countdown, weight: 2, ...}, {task: gsm8k}], "
        "see mini_r1/data/mixture.py.",
    )
    task_args: dict | None = key(None, "Settings of the task's problem generator (see its `generate`).")
    dataset_id_or_path: str | None = key(
        None, "Hub id, or a local .parquet/.jsonl file or folder. Left out: the task generates problems."
    )
    dataset_config: str | None = key(None, "Configuration name of a hub dataset, or of a local clone of one.")
    dataset_train_split: str = key("train", "Split to train on.")
    dataset_test_split: str | None = key(
        None, "Split to evaluate on. Left out: `test_fraction` of the train split, chosen by problem key."
    )
    dataset_test_config: str | None = key(None, "Configuration that has `dataset_test_split`, if not `dataset_config`.")
    test_fraction: float = key(0.1, "Share of problems held out, from 0 to 1, beside those the task reserves.")
    max_train_rows: int | None = key(None, "At most this many training rows.")
    max_eval_rows: int | None = key(None, "At most this many held-out rows.")
    difficulty: list[int] | None = key(None, "Keep rows of these difficulties only.")
    max_prompt_tokens: int = key(256, "Longer prompts are counted and dropped.")
    prompt_template: str = key("mini_r1", "Name of a template in mini_r1/data/prompts.py.")
    reward_funcs: list[str | dict] = key(
        ["format_reward", "equation_reward"],
        "Rewards in rewards/ or in the task's module, dotted paths of your own, soft_overlong or "
        "repetition_penalty: each a name, or a map {name: ..., argument: value, ...}.",
    )
    reward_values: dict | None = key(
        None, "Per reward the numbers for correct, wrong, unparseable; the default is 1, 0, 0."
    )
    require_format: list[str] | None = key(None, "Rewards that count as unparseable wherever the format is wrong.")
    num_processes: int | None = key(
        None, "Training processes the batch was written for. On other hardware launch.py keeps the batch."
    )
    accelerate_config: str | None = key(
        None,
        "A file of configs/ without .yaml, such as zero3, or a path: how several processes share the "
        "training. Left out: ddp, and one process on a CPU.",
    )
    gpu_gib: float | None = key(None, "GiB of memory of each GPU the recipe was written for; for the check.")
    vllm_serve_args: dict | None = key(
        None,
        "Flags of `vllm serve`, over those that launch.py gives: {tensor_parallel_size: 2}; true for a "
        "flag without a value, null to leave one out.",
    )
    vllm_serve_command: list[str] | None = key(
        None, "Words before the model's name that start the server. Left out: vllm serve, of this Python."
    )
    guards: dict | None = key(None, "When a run that cannot learn is stopped: keys: mini_r1/training/guards.py.")
    skip_bad_rows: bool = key(False, "Count and skip unusable rows, instead of stopping.")
    env: dict = key({}, "Environment variables to set, as names and texts.")
    dry_run: bool = key(False, "Print the plan and stop before any weights are loaded.")
    overwrite_output_dir: bool = key(False, "Start anew; an earlier run's directory is moved aside, never deleted.")


@dataclass
class GRPOArguments(RecipeArguments):
    """What GRPO and its relatives need beyond `GRPOConfig`."""

    advantage: str = key(
        "group",
        "What a reward is compared with (mini_r1/training/advantages.py). group is TRL's own, with `scale_rewards`.",
        choices=("group", "leave_one_out", "reinforce_lite", "batch"),
    )
    trained_completions: str = key(
        "all",
        "Completions of each group that the policy is updated with; the others serve as the baseline only.",
        choices=("all", "one"),
    )
    temperature_schedule: dict | None = key(
        None,
        "Sampling temperature in training, linear between points: {steps: [[0, 1.2], [300, 0.9]]}, or "
        "{fractions: [[0, 1.2], [1, 0.9]]} of the run. Left out: `temperature`, which evaluations always use.",
    )
    curriculum: str = key(
        "none",
        "Order of the training rows (mini_r1/training/curriculum.py): shuffled, by difficulty, or one "
        "stage for each difficulty.",
        choices=("none", "sorted", "staged"),
    )
    max_generated_tokens: int | None = key(
        None, "End the training with the step in which so many completion tokens have been sampled."
    )
    sample_steps: int = key(
        10, "Every so many steps some right and wrong completions go to samples/, to read; 0: never."
    )


@dataclass
class EvaluateArguments(GRPOArguments):
    """What an evaluation needs beyond the keys of the training that it measures, which all may stand in its recipe."""

    needs_training_rows: ClassVar[bool] = False

    measure_greedy: bool = key(True, "Measure one greedy completion of each problem, too, where sampling is not.")
    server: str | None = key(None, "An OpenAI-compatible server that is asked, such as http://localhost:8000/v1.")
    server_model: str | None = key(None, "The model's name on that server. Left out: the only one that it serves.")
    server_chat: bool = key(
        False, "The server only chats: ask without the prefill, which is another prompt than training's."
    )
    server_concurrency: int = key(64, "Problems asked of a server at the same time.")


@dataclass
class GenerateArguments(EvaluateArguments):
    """What rejection sampling needs beyond an evaluation: `num_generations` samples of each training problem."""

    needs_training_rows: ClassVar[bool] = True

    keep_per_problem: int = key(4, "Right completions kept of each problem, at most.")
    balance_difficulty: bool = key(False, "Keep as many of each difficulty as there are of the scarcest one.")
    filters: dict | None = key(
        None, "Which completions are left out, beside wrong ones: see mini_r1/evaluation/rejection_sampling.py."
    )
    judge: dict | None = key(
        None,
        "A model that says what is right, in place of the task's verifier: {server: "
        "http://localhost:8000/v1, model: NAME, concurrency: 16}; see mini_r1/evaluation/judge.py.",
    )


@dataclass
class SFTArguments(RecipeArguments):
    """What supervised fine-tuning needs beyond `SFTConfig`."""

    sft_datasets: list[dict] | None = key(
        None,
        "Conversations to learn from, in place of the task's own traces: [{path: ..., split: train, "
        "share: 0.8}, ...]; see mini_r1/data/conversations.py.",
    )
    num_traces: int | None = key(
        None, "How many traces are written, by all tasks; left out: one for each training row."
    )
    trace_phases: list[dict] | None = key(
        None,
        "Phases of the trace writer, in order: [{share: 0.7, give_up: 0.0}, {share: 0.3, ...}]; all keys "
        "but `share` go to the task's `trace`, whose form follows prompt_template. Needs "
        "train_sampling_strategy: sequential.",
    )
    muon_learning_rate: float | None = key(
        None, "If set, hidden matrices train with Muon at this rate; learning_rate is for all others."
    )
    max_completion_length: int = key(1024, "New tokens at most, in the evaluation.")
    num_generations_eval: int = key(4, "Completions for each held-out problem.")


@dataclass
class RewardArguments(RecipeArguments):
    """What a reward model needs beyond TRL's `RewardConfig`; see mini_r1/data/preferences.py."""

    preference_datasets: list[dict] | None = key(
        None, "Pairs to learn from, in place of a task's: [{path: ..., split: train, share: 0.8}, ...]."
    )
    num_pairs: int | None = key(None, "How many pairs the task writes; left out: one for each training row.")
    chosen_trace_args: dict | None = key(None, "Settings of the task's `trace` for the better answer of each pair.")
    rejected_trace_args: dict | None = key(None, "The same for the worse answer, such as {give_up: 1}.")
    part: str = key(
        "response",
        "What is judged of an answer: what follows its reasoning, or all of it.",
        choices=("summary", "response"),
    )


@dataclass
class DistillArguments(RecipeArguments):
    """What on-policy distillation needs beyond TRL's `DistillationConfig`, which names the teacher."""

    num_generations_eval: int = key(4, "Completions for each held-out problem.")


@dataclass
class BuildArguments(RecipeArguments):
    """What `scripts/build_model.py` needs to make a model from nothing."""

    seed: int = key(42, "Of the random weights.")
    output_dir: str = key("runs/{recipe}-s{seed}", "Where the model folder goes.")
    model_sizes: dict | None = key(None, "Fields of Qwen2Config.")
    trace_args: dict | None = key(None, "Settings of the task's `trace`.")


ARGUMENTS: dict[str, type[RecipeArguments]] = {  # by kind of run
    "build_model": BuildArguments,
    "sft": SFTArguments,
    "reward": RewardArguments,
    "r1_grpo": GRPOArguments,
    "distill": DistillArguments,
    "evaluate": EvaluateArguments,
    "generate": GenerateArguments,
}
