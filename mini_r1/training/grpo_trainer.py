"""Our `GRPOTrainer`: options of the algorithm, a record of every graded completion, evaluation by problem."""

import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import gather_object

from mini_r1.config.algorithm import read_temperature_schedule
from mini_r1.config.arguments import GRPOArguments
from mini_r1.evaluation.grading import Grader
from mini_r1.evaluation.records import summarise, write_records
from mini_r1.training.advantages import compare
from mini_r1.training.callbacks import SameEpochs, TokenBudget, seed_processes
from mini_r1.training.rollout_log import (
    COLUMNS,
    append_success,
    describe_completions,
    rollout_metrics,
    samples_due,
    task_metrics,
    write_samples,
)
from mini_r1.training.trl_internals import GRPOHooks


class R1GRPOTrainer(GRPOHooks):
    """A `GRPOTrainer` that grades and records every completion, and measures held-out problems.

    Prompts must be strings, rows must have `prefill` and `difficulty`. It logs the metrics of `StepTimes` and of
    `rollout_metrics`; `completions/*.parquet` gets the columns of `Grader.grade`, tokens and cut_off.

    With `group`, `all` and no schedule the algorithm is TRL's own. The completions' table has the advantages that are
    trained with, NaN where a completion is not trained on. `temperature/sampling` and `temperature/loss` are read where
    generation and loss read them.

    TRL's `loss_type: luspo` with `importance_sampling_level: sequence` is Reinforce-Lite's policy gradient, the sum
    over tokens of A * grad log p, where each rollout serves one update. Unlike the published form, TRL divides the
    logits of the loss by the sampling temperature: it trains the policy that it samples from, apart from top_p.

    Args:
        grader: of the task or tasks; it does not depend on what a recipe rewards.
        options: the recipe's keys about the algorithm and `samples/`; None for their defaults. With
            `trained_completions: one` only the first of each group is trained on, the others are its baseline and get
            no forward or backward pass. A micro-batch must then hold whole groups, which batch.py checks.

    Attributes:
        loss_sum: this process's losses so far; NaN or infinite once one was. The log leaves such losses out.
    """

    def __init__(self, *args, grader: Grader, options: GRPOArguments | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        self.grader = grader
        self.options = options or GRPOArguments()
        self.schedule = read_temperature_schedule(self.options.temperature_schedule)
        self.records: list[dict] | None = None  # while measuring: a row of `records.SCHEMA` for each completion
        self.loss_sum = torch.zeros((), device=self.accelerator.device)
        self.add_callback(TokenBudget(self, self.options.max_generated_tokens))
        self.add_callback(SameEpochs())

    def set_temperature(self, temperature: float) -> None:
        """Changes the temperature in all the places where TRL keeps it."""
        self.temperature = self.loss_temperature.value = temperature
        if self.use_vllm:
            self.vllm_generation.temperature = temperature
        else:
            self.generation_config.temperature = temperature
            self.generation_kwargs["temperature"] = temperature

    def measure(self, seed: int, name: str) -> dict:
        """Samples and grades `num_generations_eval` completions of every held-out problem; returns their summary.

        The random state is set first, so that a resumed run draws the same numbers. All completions go to
        `evaluation/<name>.parquet` in the output directory.
        """
        seed_processes(seed)
        self.records = []
        self.evaluate()
        records, self.records = self.records, None
        of_prompt = defaultdict(list)
        for record in records:
            of_prompt[record["prompt"]].append(record)
        kept = [
            {**record, "problem": problem, "sample": sample}
            for problem, prompt in enumerate(self.eval_dataset["prompt"])
            # the last batch of several processes is filled up with rows already seen
            for sample, record in enumerate(of_prompt[prompt][: self.num_generations_eval])
        ]
        if self.accelerator.is_main_process:
            write_records(Path(self.args.output_dir), name, kept)
        return summarise(kept)

    def evaluate(self, *args, **kwargs):
        now = self.temperature
        self.set_temperature(self.args.temperature)
        # TRL would write the completions over those of the last training step, and not all of them
        with self.completions_table_kept():
            metrics = super().evaluate(*args, **kwargs)
        self.set_temperature(now)
        return metrics

    def log(self, logs, start_time=None):
        logs.pop("train_loss", None)  # an average over this attempt alone: it would change when a run is resumed
        if self.model.training:
            logs.update({name: sum(values) / len(values) for name, values in self.metrics.items()})
            self.metrics.clear()
        super().log(logs, start_time)

    def training_step(self, model, inputs, num_items_in_batch):
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.loss_sum += loss
        return loss

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if self.model.training:
            self.metrics["temperature/loss"].append(self.loss_temperature.value)
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def before_rollout(self) -> None:
        """Sets the temperature of a rollout in training."""
        if self.schedule:  # at a rollout only: its updates must see the temperature that it was drawn at
            self.set_temperature(self.schedule.at(self.state.global_step, self.state.max_steps))
        sampling = self.vllm_generation if self.use_vllm else self.generation_config  # what generation reads
        self.metrics["temperature/sampling"].append(sampling.temperature)

    def score(self, compute, input_ids, attention_mask, logits_to_keep, **kwargs) -> tuple:
        """Returns log-probabilities of sampled completions under the old or the reference policy.

        Args:
            compute: TRL's own function, of the other arguments.
        """
        if self.options.trained_completions == "all" or not self.model.training:
            return compute(input_ids, attention_mask, logits_to_keep, **kwargs)
        size = self.num_generations
        kwargs["batch_size"] = max((kwargs.get("batch_size") or len(input_ids)) // size, 1)
        logps, *others = compute(input_ids[::size], attention_mask[::size], logits_to_keep, **kwargs)
        all_logps = logps.new_zeros(len(input_ids), logps.shape[1])  # 0 where a completion is not trained on
        all_logps[::size] = logps
        return all_logps, *others

    def change_rollout(self, rollout: dict, rewards: torch.Tensor) -> dict:
        """Returns what is trained on, from TRL's rollout of this process and the rewards of all processes."""
        if self.options.advantage != "group":
            advantages = compare(rewards, self.args.reward_weights, self.num_generations, self.options.advantage)
            local = len(rollout["advantages"])
            first = self.accelerator.process_index * local
            rollout["advantages"] = advantages[first : first + local]
            self.log_advantages(advantages)
            if self.options.advantage == "batch":  # groups of equal rewards teach it too: no guard may stop for them
                self.correct_metric("frac_reward_zero_std", float(not advantages.any()))
        if self.options.trained_completions == "one":
            logged = self.logged_advantages(len(rewards)).view(-1, self.num_generations)
            logged[:, 1:] = torch.nan
            self.log_advantages(logged.view(-1))
            rollout = keep_first(rollout, self.num_generations, self.pad_to_multiple_of)
            tokens = rollout["completion_mask"].sum()
            rollout["num_items_in_batch"] = self.accelerator.gather(tokens).sum()
        return rollout

    def observe(self, inputs: list[dict], prompts, completions, completion_ids, rewards: torch.Tensor) -> None:
        """Grades what was sampled; keeps it while measuring, and describes it in training."""
        if self.records is None and not self.model.training:
            return
        ends = [*self.eos_token_ids, self.processing_class.pad_token_id]
        known = self.grader.grade(inputs, completions)
        known["tokens"] = [len(ids) for ids in completion_ids]
        known["cut_off"] = [ids[-1] not in ends for ids in completion_ids]
        if self.records is None:
            self.describe(prompts, completions, known, rewards)
            return
        columns = {"prompt": prompts, "completion": completions, **known}
        columns["vote"] = self.grader.votes(inputs, completions)
        columns["language"] = self.grader.language(inputs, completions)
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        self.records += gather_object(rows)

    def describe(self, prompts: list[str], completions: list[str], known: dict[str, list], rewards) -> None:
        """Logs the metrics of this rollout, and writes some of its completions down.

        Args:
            known: columns that the completions' table gets.
            rewards: of all processes, shape (completions, reward functions).
        """
        for column, values in known.items():
            self.log_column(column, values)
        texts = [start + text for start, text in zip(known["prefill"], completions, strict=True)]
        local = torch.tensor(describe_completions(texts, known), device=self.accelerator.device)
        outcomes = self.accelerator.gather(local).cpu().numpy().astype(np.float64)
        self.times.tokens += outcomes[:, COLUMNS.index("tokens")].sum()
        metrics = rollout_metrics(outcomes, self.num_generations)
        if "task" in known:
            tasks = list(self.grader.tasks)
            numbers = torch.tensor([tasks.index(task) for task in known["task"]], device=self.accelerator.device)
            numbers = self.accelerator.gather(numbers).cpu().numpy()
            metrics |= task_metrics(outcomes, numbers, tasks, self.num_generations)
        for name, value in metrics.items():
            self.metrics[name].append(value)
        if not self.accelerator.is_main_process:
            return
        step = self.state.global_step + 1
        append_success(self.args.output_dir, step, prompts, completions, known["right"])
        serves = max(self.args.steps_per_generation * self.num_iterations // self.args.gradient_accumulation_steps, 1)
        if samples_due(step, self.options.sample_steps, serves):
            named = [dict(zip(self.reward_func_names, row, strict=True)) for row in rewards[: len(prompts)].tolist()]
            write_samples(self.args.output_dir, step, prompts, completions, known, named)


def keep_first(rollout: dict, size: int, unit: int | None) -> dict:
    """Returns the rows of the first completion of each group, without columns that are padding in all of them.

    Args:
        rollout: what TRL makes of the completions of one process, groups together.
        size: completions of each group.
        unit: TRL's `pad_to_multiple_of`.
    """
    unit, width = unit or 1, rollout["completion_ids"].shape[1]
    longest = math.ceil(int(rollout["completion_mask"][::size].sum(dim=1).max().clamp(min=1)) / unit) * unit
    kept = dict(rollout)
    for name, value in rollout.items():
        if isinstance(value, torch.Tensor) and value.dim() > 0:
            padded = value.dim() == 2 and value.shape[1] == width and not name.startswith("prompt")
            kept[name] = value[::size, :longest] if padded else value[::size]
    return kept
