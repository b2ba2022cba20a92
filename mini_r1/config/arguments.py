"""Recipe keys of our own. Everything else in a recipe is TRL's: `GRPOConfig` or `SFTConfig`, and `ModelConfig`.

This module imports no torch, so that a recipe is checked before anything large is loaded.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Union


@dataclass
class RecipeArguments:
    """What is asked, how it is asked, and what is rewarded. One flat key each, shared by every script."""

    needs_training_rows: ClassVar[bool] = True

    task: str | None = field(default=None, metadata={"help": "Name of a module in tasks/, such as countdown."})
    tasks: list[dict] | None = field(
        default=None,
        metadata={
            "help": "Several tasks in one run, in place of `task`: [{task: countdown, weight: 2, ...}, {task: gsm8k}], "
            "see mini_r1/data/mixture.py."
        },
    )
    task_args: dict | None = field(
        default=None, metadata={"help": "Settings of the task's problem generator (see its `generate`)."}
    )
    dataset_id_or_path: str | None = field(
        default=None,
        metadata={"help": "Hub id, or a local .parquet/.jsonl file or folder. Left out: the task generates problems."},
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "Configuration name of a hub dataset, or of a local clone of one."}
    )
    dataset_train_split: str = field(default="train", metadata={"help": "Split to train on."})
    dataset_test_split: str | None = field(
        default=None,
        metadata={"help": "Split to evaluate on. Left out: `test_fraction` of the train split, chosen by problem key."},
    )
    dataset_test_config: str | None = field(
        default=None, metadata={"help": "Configuration that has `dataset_test_split`, if not `dataset_config`."}
    )
    test_fraction: float = field(
        default=0.1, metadata={"help": "Share of problems held out, from 0 to 1, beside those the task reserves."}
    )
    max_train_rows: int | None = field(default=None, metadata={"help": "At most this many training rows."})
    max_eval_rows: int | None = field(default=None, metadata={"help": "At most this many held-out rows."})
    difficulty: list[int] | None = field(default=None, metadata={"help": "Keep rows of these difficulties only."})
    max_prompt_tokens: int = field(default=256, metadata={"help": "Longer prompts are counted and dropped."})
    prompt_template: str = field(default="mini_r1", metadata={"help": "Name of a template in mini_r1/data/prompts.py."})
    reward_funcs: list[Union[str, dict]] = field(  # noqa: UP007 (argparse cannot call what `|` makes)
        default_factory=lambda: ["format_reward", "equation_reward"],
        metadata={
            "help": "Rewards in rewards/ or in the task's module, dotted paths of your own, soft_overlong or "
            "repetition_penalty: each a name, or a map {name: ..., argument: value, ...}."
        },
    )
    reward_values: dict | None = field(
        default=None,
        metadata={"help": "Per reward the numbers for correct, wrong, unparseable; the default is 1, 0, 0."},
    )
    require_format: list[str] | None = field(
        default=None, metadata={"help": "Rewards that count as unparseable wherever the format is wrong."}
    )
    num_processes: int | None = field(
        default=None,
        metadata={"help": "Training processes the batch was written for. On other hardware launch.py keeps the batch."},
    )
    accelerate_config: str | None = field(
        default=None,
        metadata={
            "help": "A file of configs/ without .yaml, such as zero3, or a path: how several processes share the "
            "training. Left out: ddp, and one process on a CPU."
        },
    )
    gpu_gib: float | None = field(
        default=None, metadata={"help": "GiB of memory of each GPU the recipe was written for; for the check."}
    )
    vllm_serve_args: dict | None = field(
        default=None,
        metadata={
            "help": "Flags of `vllm serve`, over those that launch.py gives: {tensor_parallel_size: 2}; true for a "
            "flag without a value, null to leave one out."
        },
    )
    vllm_serve_command: list[str] | None = field(
        default=None,
        metadata={"help": "Words before the model's name that start the server. Left out: vllm serve, of this Python."},
    )
    guards: dict | None = field(
        default=None,
        metadata={"help": "When a run that cannot learn is stopped: keys: mini_r1/training/guards.py."},
    )
    skip_bad_rows: bool = field(default=False, metadata={"help": "Count and skip unusable rows, instead of stopping."})
    env: dict = field(default_factory=dict, metadata={"help": "Environment variables to set, as names and texts."})
    dry_run: bool = field(default=False, metadata={"help": "Print the plan and stop before any weights are loaded."})
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Start anew; an earlier run's directory is moved aside, never deleted."}
    )


@dataclass
class GRPOArguments(RecipeArguments):
    """What GRPO and its relatives need beyond `GRPOConfig`."""

    advantage: str = field(
        default="group",
        metadata={
            "choices": ("group", "leave_one_out", "reinforce_lite", "batch"),
            "help": "What a reward is compared with (mini_r1/training/advantages.py). group is TRL's own, with "
            "`scale_rewards`.",
        },
    )
    trained_completions: str = field(
        default="all",
        metadata={
            "choices": ("all", "one"),
            "help": "Completions of each group that the policy is updated with; the others serve as the baseline only.",
        },
    )
    temperature_schedule: dict | None = field(
        default=None,
        metadata={
            "help": "Sampling temperature in training, linear between points: {steps: [[0, 1.2], [300, 0.9]]}, or "
            "{fractions: [[0, 1.2], [1, 0.9]]} of the run. Left out: `temperature`, which evaluations always use."
        },
    )
    curriculum: str = field(
        default="none",
        metadata={
            "choices": ("none", "sorted", "staged"),
            "help": "Order of the training rows (mini_r1/training/curriculum.py): shuffled, by difficulty, or one "
            "stage for each difficulty.",
        },
    )
    max_generated_tokens: int | None = field(
        default=None,
        metadata={"help": "End the training with the step in which so many completion tokens have been sampled."},
    )
    sample_steps: int = field(
        default=10,
        metadata={"help": "Every so many steps some right and wrong completions go to samples/, to read; 0: never."},
    )


@dataclass
class EvaluateArguments(GRPOArguments):
    """What an evaluation needs beyond the keys of the training that it measures, which all may stand in its recipe."""

    needs_training_rows: ClassVar[bool] = False

    measure_greedy: bool = field(
        default=True, metadata={"help": "Measure one greedy completion of each problem, too, where sampling is not."}
    )
    server: str | None = field(
        default=None,
        metadata={"help": "An OpenAI-compatible server that is asked, such as http://localhost:8000/v1."},
    )
    server_model: str | None = field(
        default=None, metadata={"help": "The model's name on that server. Left out: the only one that it serves."}
    )
    server_chat: bool = field(
        default=False,
        metadata={"help": "The server only chats: ask without the prefill, which is another prompt than training's."},
    )
    server_concurrency: int = field(default=64, metadata={"help": "Problems asked of a server at the same time."})


@dataclass
class GenerateArguments(EvaluateArguments):
    """What rejection sampling needs beyond an evaluation: `num_generations` samples of each training problem."""

    needs_training_rows: ClassVar[bool] = True

    keep_per_problem: int = field(default=4, metadata={"help": "Right completions kept of each problem, at most."})
    balance_difficulty: bool = field(
        default=False, metadata={"help": "Keep as many of each difficulty as there are of the scarcest one."}
    )
    filters: dict | None = field(
        default=None,
        metadata={
            "help": "Which completions are left out, beside wrong ones: see mini_r1/evaluation/rejection_sampling.py."
        },
    )
    judge: dict | None = field(
        default=None,
        metadata={
            "help": "A model that says what is right, in place of the task's verifier: {server: "
            "http://localhost:8000/v1, model: NAME, concurrency: 16}; see mini_r1/evaluation/judge.py."
        },
    )


@dataclass
class SFTArguments(RecipeArguments):
    """What supervised fine-tuning needs beyond `SFTConfig`."""

    sft_datasets: list[dict] | None = field(
        default=None,
        metadata={
            "help": "Conversations to learn from, in place of the task's own traces: [{path: ..., split: train, "
            "share: 0.8}, ...]; see mini_r1/data/conversations.py."
        },
    )
    num_traces: int | None = field(
        default=None,
        metadata={"help": "How many traces are written, by all tasks; left out: one for each training row."},
    )
    trace_phases: list[dict] | None = field(
        default=None,
        metadata={
            "help": "Phases of the trace writer, in order: [{share: 0.7, give_up: 0.0}, {share: 0.3, ...}]; all keys "
            "but `share` go to the task's `trace`, whose form follows prompt_template. Needs "
            "train_sampling_strategy: sequential."
        },
    )
    muon_learning_rate: float | None = field(
        default=None,
        metadata={"help": "If set, hidden matrices train with Muon at this rate; learning_rate is for all others."},
    )
    max_completion_length: int = field(default=1024, metadata={"help": "New tokens at most, in the evaluation."})
    num_generations_eval: int = field(default=4, metadata={"help": "Completions for each held-out problem."})


@dataclass
class RewardArguments(RecipeArguments):
    """What a reward model needs beyond TRL's `RewardConfig`; see mini_r1/data/preferences.py."""

    preference_datasets: list[dict] | None = field(
        default=None,
        metadata={"help": "Pairs to learn from, in place of a task's: [{path: ..., split: train, share: 0.8}, ...]."},
    )
    num_pairs: int | None = field(
        default=None, metadata={"help": "How many pairs the task writes; left out: one for each training row."}
    )
    chosen_trace_args: dict | None = field(
        default=None, metadata={"help": "Settings of the task's `trace` for the better answer of each pair."}
    )
    rejected_trace_args: dict | None = field(
        default=None, metadata={"help": "The same for the worse answer, such as {give_up: 1}."}
    )
    part: str = field(
        default="response",
        metadata={
            "choices": ("summary", "response"),
            "help": "What is judged of an answer: what follows its reasoning, or all of it.",
        },
    )


@dataclass
class DistillArguments(RecipeArguments):
    """What on-policy distillation needs beyond TRL's `DistillationConfig`, which names the teacher."""

    num_generations_eval: int = field(default=4, metadata={"help": "Completions for each held-out problem."})


@dataclass
class BuildArguments(RecipeArguments):
    """What `scripts/build_model.py` needs to make a model from nothing."""

    seed: int = field(default=42, metadata={"help": "Of the random weights."})
    output_dir: str = field(default="runs/{recipe}-s{seed}", metadata={"help": "Where the model folder goes."})
    model_sizes: dict | None = field(default=None, metadata={"help": "Fields of Qwen2Config."})
    trace_args: dict | None = field(default=None, metadata={"help": "Settings of the task's `trace`."})
