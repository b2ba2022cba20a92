# ruff: noqa: RUF009 (`key` makes a field)
"""The recipe keys of this repository. All other keys are TRL's: `GRPOConfig` or its like, and `ModelConfig`."""

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
    """The keys of every kind of run: the task, its data and prompts, the rewards, and the hardware."""

    needs_training_rows: ClassVar[bool] = True

    task: str | None = key(None, "Name of a module in tasks/, such as countdown.")
    tasks: list[dict] | None = key(
        None,
        "Several tasks in one run, instead of `task`: [{task: countdown, weight: 2, ...}, {task: gsm8k}]; "
        "see mini_r1/data/mixture.py.",
    )
    task_args: dict | None = key(None, "Settings of the task's problem generator (see its `generate`).")
    dataset_id_or_path: str | None = key(
        None, "Hub id, or a local .parquet/.jsonl file or folder. Without it the task generates problems."
    )
    dataset_columns: dict | None = key(
        None, "The dataset's own names of the task's columns: {question: problem, answer: solution}."
    )
    dataset_config: str | None = key(None, "Configuration name of a hub dataset, or of a local clone of one.")
    dataset_train_split: str = key("train", "Split to train on.")
    dataset_test_split: str | None = key(
        None, "Split to evaluate on. Without it: `test_fraction` of the train split, chosen by problem key."
    )
    dataset_test_config: str | None = key(None, "Configuration that has `dataset_test_split`, if not `dataset_config`.")
    test_fraction: float = key(
        0.1, "Share of the problems to hold out, from 0 to 1, besides those that the task reserves."
    )
    max_train_rows: int | None = key(None, "At most this many training rows.")
    max_eval_rows: int | None = key(None, "At most this many held-out rows.")
    difficulty: list[int] | None = key(None, "Difficulties to keep; rows of any other are dropped.")
    max_prompt_tokens: int = key(256, "Tokens that a prompt may have; longer ones are counted and dropped.")
    prompt_template: str | dict = key(
        "mini_r1",
        "How a question is put: a template of mini_r1/data/prompts.py, or a map of what differs from one, such as "
        "{base: mini_r1, system: null, prefill: <think>}; its user text holds {question}.",
    )
    chat_template_kwargs: dict | None = key(
        None, "Variables of the model's own chat template, such as {enable_thinking: true}."
    )
    reward_funcs: list[str | dict] = key(
        ["format_reward", "equation_reward"],
        "Rewards: from rewards/, from the task's module, dotted paths of your own, soft_overlong or "
        "repetition_penalty. Each is a name, or a map {name: ..., argument: value, ...}.",
    )
    reward_values: dict | None = key(
        None, "For each reward its numbers for correct, wrong and unparseable; the default is 1, 0, 0."
    )
    require_format: list[str] | None = key(None, "Rewards that count as unparseable wherever the format is wrong.")
    num_processes: int | None = key(
        None, "Training processes that the batch is written for. On other hardware launch.py keeps the batch."
    )
    accelerate_config: str | None = key(
        None,
        "How several processes share the training: a file of configs/ without .yaml, such as zero3, or a "
        "path. The default is ddp, and one process on a CPU.",
    )
    gpu_gib: float | None = key(None, "Memory in GiB of each GPU that the recipe is written for; `make check` uses it.")
    vllm_serve_args: dict | None = key(
        None,
        "More flags of `vllm serve`: {enforce_eager: true}. true gives a flag without a value; null leaves one of "
        "launch.py's out, any other value replaces it.",
    )
    vllm_serve_command: list[str] | None = key(
        None, "Words before the model's name that start the server. The default is vllm serve, of this Python."
    )
    guards: dict | None = key(None, "When a run that cannot learn is stopped; keys in mini_r1/training/guards.py.")
    skip_bad_rows: bool = key(False, "Count and skip unusable rows instead of stopping.")
    env: dict = key({}, "Environment variables to set, as names and texts.")
    dry_run: bool = key(False, "Print the plan and stop before any weights are loaded.")
    overwrite_output_dir: bool = key(
        False, "Start anew. The directory of an earlier run is moved aside, never deleted."
    )


@dataclass
class GRPOArguments(RecipeArguments):
    """The keys of GRPO and its relatives beyond `GRPOConfig`."""

    advantage: str = key(
        "group",
        "What a reward is compared with (mini_r1/training/advantages.py). group is TRL's own, with `scale_rewards`.",
        choices=("group", "leave_one_out", "reinforce_lite", "batch"),
    )
    trained_completions: str = key(
        "all",
        "Completions of each group that the policy trains on; the others serve as the baseline only.",
        choices=("all", "one"),
    )
    temperature_schedule: dict | None = key(
        None,
        "Sampling temperature in training, linear between points: {steps: [[0, 1.2], [300, 0.9]]}, or "
        "{fractions: [[0, 1.2], [1, 0.9]]} of the run. The default is `temperature`; evaluations always use that.",
    )
    curriculum: str = key(
        "none",
        "Order of the training rows (mini_r1/training/curriculum.py): shuffled, by difficulty, or one "
        "stage for each difficulty.",
        choices=("none", "sorted", "staged"),
    )
    max_generated_tokens: int | None = key(
        None, "Completion tokens after which the training ends, with the step that samples the last of them."
    )
    sample_steps: int = key(
        10, "Every so many steps some right and wrong completions go to samples/, for people to read; 0: never."
    )


@dataclass
class EvaluateArguments(GRPOArguments):
    """The keys of an evaluation. Its recipe may also have every key of the training that it measures."""

    needs_training_rows: ClassVar[bool] = False

    measure_greedy: bool = key(
        True, "Also measure one greedy completion of each problem, where the sampling is not greedy."
    )
    server: str | None = key(None, "An OpenAI-compatible server to ask, such as http://localhost:8000/v1.")
    server_model: str | None = key(None, "The model's name on that server. The default is the only one that it serves.")
    server_chat: bool = key(
        False, "The server only chats: ask without the prefill, so with another prompt than in training."
    )
    server_concurrency: int = key(64, "Problems to ask a server at the same time.")


@dataclass
class GenerateArguments(EvaluateArguments):
    """The keys of rejection sampling: `num_generations` samples of each training problem."""

    needs_training_rows: ClassVar[bool] = True

    keep_per_problem: int = key(4, "Right completions to keep of each problem, at most.")
    balance_difficulty: bool = key(False, "Keep as many of each difficulty as there are of the rarest one.")
    filters: dict | None = key(
        None, "Which completions to leave out besides wrong ones; see mini_r1/evaluation/rejection_sampling.py."
    )
    judge: dict | None = key(
        None,
        "A model that says what is right, instead of the task's verifier: {server: "
        "http://localhost:8000/v1, model: NAME, concurrency: 16}; see mini_r1/evaluation/judge.py.",
    )


@dataclass
class SFTArguments(RecipeArguments):
    """The keys of supervised fine-tuning beyond `SFTConfig`."""

    sft_datasets: list[dict] | None = key(
        None,
        "Conversations to learn from, instead of the task's own traces: [{path: ..., split: train, "
        "share: 0.8}, ...]; see mini_r1/data/conversations.py.",
    )
    num_traces: int | None = key(
        None, "How many traces all tasks write together. The default is one for each training row."
    )
    trace_phases: list[dict] | None = key(
        None,
        "Phases of the trace writer, in order: [{share: 0.7, give_up: 0.0}, {share: 0.3, ...}]. All keys "
        "but `share` go to the task's `trace`; prompt_template decides its form. Needs "
        "train_sampling_strategy: sequential.",
    )
    muon_learning_rate: float | None = key(
        None, "Learning rate of hidden matrices, with Muon; learning_rate is for all others. null: AdamW for all."
    )
    max_completion_length: int = key(1024, "New tokens of a completion in the evaluation, at most.")
    num_generations_eval: int = key(4, "Completions for each held-out problem.")


@dataclass
class RewardArguments(RecipeArguments):
    """The keys of a reward model beyond TRL's `RewardConfig`; see mini_r1/data/preferences.py."""

    preference_datasets: list[dict] | None = key(
        None, "Pairs to learn from, instead of a task's: [{path: ..., split: train, share: 0.8}, ...]."
    )
    num_pairs: int | None = key(None, "How many pairs the task writes. The default is one for each training row.")
    chosen_trace_args: dict | None = key(None, "Settings of the task's `trace` for the better answer of each pair.")
    rejected_trace_args: dict | None = key(
        None, "Settings of the task's `trace` for the worse answer, such as {give_up: 1}."
    )
    part: str = key(
        "response",
        "The part of an answer that the model scores: what follows the reasoning, or all of it.",
        choices=("summary", "response"),
    )


@dataclass
class DistillArguments(RecipeArguments):
    """The keys of on-policy distillation beyond TRL's `DistillationConfig`, which names the teacher."""

    num_generations_eval: int = key(4, "Completions for each held-out problem.")


@dataclass
class BuildArguments(RecipeArguments):
    """The keys of `scripts/build_model.py`, which makes a model with random weights."""

    seed: int = key(42, "Seed of the random weights.")
    output_dir: str = key("runs/{recipe}-s{seed}", "The folder of the model.")
    model_sizes: dict | None = key(None, "Sizes of the model: fields of Qwen2Config.")
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
