"""A GRPO trainer so small that a step takes milliseconds: random weights, completions of a few random tokens."""

import dataclasses
from pathlib import Path

from datasets import Dataset

from mini_r1 import tasks
from mini_r1.config.arguments import GRPOArguments
from mini_r1.data.prompts import get_template, render
from mini_r1.evaluation.grading import Grader
from mini_r1.run.tiny_model import build_model
from mini_r1.training.grpo_trainer import R1GRPOTrainer

GROUP = 4  # completions of a prompt
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
         "num_key_value_heads": 2, "max_position_embeddings": 128}  # fmt: skip


def small_model(folder: Path, tokenizer) -> str:
    """A model folder that a trainer or a script loads."""
    build_model(tokenizer, seed=0, **SIZES).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def small_trainer(
    model: str, tokenizer, rows: list[dict], rewards: list, output_dir: Path, algorithm: dict | None = None, **settings
):
    """An `R1GRPOTrainer` of 2 groups of 4 completions a step; `settings` go over its `GRPOConfig`, `algorithm` are
    keys of its `GRPOArguments`, or arguments of its own."""
    task, template = tasks.get("countdown"), get_template("mini_r1")
    dataset = Dataset.from_list(
        [
            {"prompt": render(template, task, row, tokenizer).text, "prefill": "<think>", "difficulty": 3, **row}
            for row in rows
        ]
    )
    sets, algorithm = (dataset, dataset.select(range(2))), {"grader": Grader(task), **(algorithm or {})}
    return trainer_of(model, tokenizer, sets, rewards, output_dir, algorithm, **settings)


def trainer_of(
    model: str, tokenizer, sets: tuple[Dataset, Dataset], rewards: list, output_dir: Path, algorithm: dict, **settings
):
    """The same for rows that are datasets already, to train and to measure; `algorithm` with a grader."""
    from transformers import PrinterCallback
    from trl import GRPOConfig

    known = {field.name for field in dataclasses.fields(GRPOArguments)}
    options = {"sample_steps": 0} | {name: value for name, value in algorithm.items() if name in known}
    algorithm = {name: value for name, value in algorithm.items() if name not in known}
    values = {
        "output_dir": str(output_dir), "report_to": "none", "use_cpu": True, "bf16": False, "disable_tqdm": True,
        "gradient_checkpointing": False, "per_device_train_batch_size": 8, "num_generations": GROUP, "beta": 0.0,
        "per_device_eval_batch_size": 8, "num_generations_eval": 2, "max_completion_length": 6, "logging_steps": 1,
        "max_steps": 5, "save_strategy": "no", "learning_rate": 1e-3, "model_init_kwargs": {"dtype": "float32"},
    }  # fmt: skip
    trainer = R1GRPOTrainer(
        model=model,
        reward_funcs=rewards,
        args=GRPOConfig(**values | settings),
        train_dataset=sets[0],
        eval_dataset=sets[1],
        processing_class=tokenizer,
        options=GRPOArguments(**options),
        **algorithm,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def kinds_of_letters(completions, **kwargs) -> list[float]:
    """A reward that nearly always differs within a group of random completions."""
    return [float(len(set(text))) for text in completions]


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]
