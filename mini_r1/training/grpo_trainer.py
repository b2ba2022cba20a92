"""Our `GRPOTrainer`, with every graded completion kept: evaluation by problem, and readable samples."""

import copy
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import gather_object, set_seed
from trl import GRPOConfig

from mini_r1.evaluation.grading import Grader
from mini_r1.evaluation.records import summarise, write_records
from mini_r1.training.algorithm import AlgorithmTrainer
from mini_r1.training.callbacks import TokenBudget, add_callbacks
from mini_r1.training.exact_resume import ExactEnd, SamePasses
from mini_r1.training.rollout_log import (
    append_success,
    describe_completions,
    rollout_metrics,
    task_metrics,
    write_samples,
)
from mini_r1.training.step_time import StepTimes


class R1GRPOTrainer(ExactEnd, SamePasses, AlgorithmTrainer):
    """A `GRPOTrainer` that can say which held-out problems it solved, and writes down what it did in training.

    What may be changed of the algorithm is in `AlgorithmTrainer`. Prompts must be strings, rows must have `prefill` and
    `difficulty`. Where the time of a step goes is logged as `StepTimes` says, what the completions show as
    `rollout_metrics` says; `completions/*.parquet` gets the columns of `Grader.grade`, tokens and cut_off.

    Args:
        grader: of the task or tasks: what counts as right does not depend on what a recipe rewards.
        max_generated_tokens: the training ends with the step in which so many have been sampled; None for no limit.
        sample_steps: every so many steps some right and wrong completions are written to `samples/`; 0: never.

    Attributes:
        loss_sum: this process's losses so far. Once one was NaN or infinite, so is the sum; the log leaves those out.
        grad_norm: of the last optimizer step, before clipping, over all processes; NaN is -1 with DeepSpeed.
    """

    def __init__(
        self,
        *args,
        grader: Grader,
        sample_steps: int = 0,
        max_generated_tokens: int | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.grader = grader
        self.sample_steps = sample_steps
        self.max_generated_tokens = max_generated_tokens
        self._records: list[dict] | None = None  # while measuring: a row of `records.SCHEMA` for each completion
        self.loss_sum = torch.zeros((), device=self.accelerator.device)
        self.grad_norm: torch.Tensor | float | None = None
        self.times = StepTimes(self._metrics["train"], self.accelerator.device)
        self.add_callback(self.times)
        self.add_callback(TokenBudget(self, max_generated_tokens))
        if self.use_vllm:
            self.vllm_generation.sync_weights = self.times.part("weight_sync")(self.vllm_generation.sync_weights)

    def measure(self, seed: int, name: str) -> dict:
        """Sample `num_generations_eval` completions for every held-out problem and grade them.

        The random state is set first, so that an interrupted and resumed run draws the same numbers. All completions go
        to `evaluation/<name>.parquet` in the output directory.

        Returns:
            What `records.summarise` says.
        """
        seed_processes(seed)
        self._records = []
        self.evaluate()
        records, self._records = self._records, None
        numbers = {prompt: number for number, prompt in enumerate(self.eval_dataset["prompt"])}
        drawn = Counter()
        kept = []
        for record in records:
            problem = record["problem"] = numbers[record["prompt"]]
            # the last batch of several processes is filled up with rows already seen
            if drawn[problem] < self.num_generations_eval:
                kept.append({**record, "sample": drawn[problem]})
                drawn[problem] += 1
        kept.sort(key=lambda record: (record["problem"], record["sample"]))
        if self.accelerator.is_main_process:
            write_records(Path(self.args.output_dir), name, kept)
        return summarise(kept)

    def evaluate(self, *args, **kwargs):
        # TRL would write the completions over those of the last training step, and not all of them
        logged, logs_completions = copy.deepcopy(self._logs), self.log_completions
        self.log_completions = False
        metrics = super().evaluate(*args, **kwargs)
        self._logs, self.log_completions = logged, logs_completions
        return metrics

    def log(self, logs, start_time=None):
        logs.pop("train_loss", None)  # an average over this attempt alone: it would change when a run is resumed
        super().log(logs, start_time)

    def training_step(self, model, inputs, num_items_in_batch):
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.loss_sum += loss
        return loss

    def _get_grad_norm(self, model, grad_norm=None):
        self.grad_norm = super()._get_grad_norm(model, grad_norm)
        return self.grad_norm

    def _prepare_inputs(self, generation_batch):
        with self.times.part("rest"):
            return super()._prepare_inputs(generation_batch)

    def _generate(self, prompts):
        with self.times.part("generation"):
            generated = super()._generate(prompts)
        if self.model.training:
            mean_length = self._metrics["train"]["completions/mean_length"][-1]  # over all processes
            self.times.tokens += mean_length * len(prompts) * self.accelerator.num_processes
        return generated

    def _get_per_token_logps_and_entropies(self, *args, **kwargs):
        if torch.is_grad_enabled():  # the loss itself
            return super()._get_per_token_logps_and_entropies(*args, **kwargs)
        with self.times.part("logprobs"):
            return super()._get_per_token_logps_and_entropies(*args, **kwargs)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        with self.times.part("reward"):
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self._records is None and not self.model.training:
            return rewards
        graded = self.grader.grade(inputs, completions)
        tokens = [len(ids) for ids in completion_ids_list]
        ends = [*self.eos_token_ids, self.processing_class.pad_token_id]
        cut_off = [ids[-1] not in ends for ids in completion_ids_list]
        if self._records is None:
            self._describe(prompts, completions, {**graded, "tokens": tokens, "cut_off": cut_off}, rewards)
            return rewards
        columns = {"prompt": prompts, "completion": completions, **graded, "tokens": tokens, "cut_off": cut_off}
        columns["vote"] = self.grader.votes(inputs, completions)
        columns["language"] = self.grader.language(inputs, completions)
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        self._records += gather_object(rows)
        return rewards

    def _samples_due(self, step: int) -> bool:
        """Whether one of every `sample_steps` steps falls into those that the rollout of this step serves."""
        serves = max(self.args.steps_per_generation * self.num_iterations // self.args.gradient_accumulation_steps, 1)
        every = self.sample_steps
        return bool(every) and (step == 1 or (step + serves - 1) // every > (step - 1) // every)

    def _describe(self, prompts: list[str], completions: list[str], known: dict[str, list], rewards) -> None:
        """Log what this rollout shows, and write down some of it.

        Args:
            known: columns that the completions' table gets.
            rewards: of all processes, shape (completions, reward functions).
        """
        for column, values in known.items():
            self._log_completion_extra(column, values)
        texts = [start + text for start, text in zip(known["prefill"], completions, strict=True)]
        local = torch.tensor(describe_completions(texts, known, known["tokens"]), device=self.accelerator.device)
        outcomes = self.accelerator.gather(local).cpu().numpy().astype(np.float64)
        metrics = rollout_metrics(outcomes, self.num_generations)
        if "task" in known:
            tasks = list(self.grader.tasks)
            numbers = torch.tensor([tasks.index(task) for task in known["task"]], device=self.accelerator.device)
            numbers = self.accelerator.gather(numbers).cpu().numpy()
            metrics |= task_metrics(outcomes, numbers, tasks, self.num_generations)
        for name, value in metrics.items():
            self._metrics["train"][name].append(value)
        if not self.accelerator.is_main_process:
            return
        step = self.state.global_step + 1
        append_success(self.args.output_dir, step, prompts, completions, known["right"])
        if self._samples_due(step):
            named = [dict(zip(self.reward_func_names, row, strict=True)) for row in rewards[: len(prompts)].tolist()]
            write_samples(self.args.output_dir, step, prompts, completions, known, known["tokens"], named)


def seed_processes(seed: int) -> None:
    """Seed every process, each with a number of its own, as TRL does: equal ones would sample alike."""
    set_seed(seed, device_specific=True)


def measure_trained(trainer, tokenizer, test_set, grader: Grader, config, name: str) -> dict:
    """`R1GRPOTrainer.measure` for a model that another trainer has just trained, and may have split over processes.

    Args:
        test_set: a dataset of rows with `prompt`, as `to_datasets` makes it.
        config: a `GRPOConfig`: sampling, samples per problem (`num_generations_eval`), batch size, device.
    """
    measuring = R1GRPOTrainer(
        model=trainer.model,
        reward_funcs=[grader.correct],
        args=config,
        train_dataset=test_set,
        eval_dataset=test_set,
        processing_class=tokenizer,
        grader=grader,
    )
    # DeepSpeed and FSDP wrap a model only once: go on with what the training has wrapped
    measuring.accelerator, measuring.model_wrapped = trainer.accelerator, trainer.model_wrapped
    measuring.deepspeed = trainer.deepspeed
    add_callbacks(measuring, time.monotonic)
    return measuring.measure(config.seed, name)


def config_like(training, samples: int, **sampling):
    """A `GRPOConfig` that evaluates with the device, precision and batch size of another trainer's config.

    Args:
        samples: completions of each problem.
        sampling: keys of `GRPOConfig`: how long they may be, and what else their sampling needs.
    """
    batch = max(samples, training.per_device_eval_batch_size // samples * samples)
    return GRPOConfig(
        output_dir=training.output_dir,
        report_to="none",
        seed=training.seed,
        use_cpu=training.use_cpu,
        bf16=training.bf16,
        fp16=training.fp16,
        gradient_checkpointing=False,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=batch,
        num_generations=samples,
        **sampling,
    )
