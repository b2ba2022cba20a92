"""Our `GRPOTrainer`, with every graded completion kept: evaluation by problem, and readable samples."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate.utils import gather_object, set_seed

from mini_r1.algorithm import AlgorithmTrainer
from mini_r1.exact_resume import ExactEnd, SamePasses
from mini_r1.step_time import StepTimes
from mini_r1.token_budget import TokenBudget
from rewards import format_reward

SAMPLES_FILE = "success_completion_samples.txt"


class R1GRPOTrainer(ExactEnd, SamePasses, AlgorithmTrainer):
    """A `GRPOTrainer` that can say which held-out problems it solved, and writes down what it solved in training.

    What may be changed of the algorithm is in `AlgorithmTrainer`. Prompts must be strings, rows must have
    `difficulty`. Where the time of a step goes is logged as `StepTimes` says.

    Args:
        correct: the task's own reward with its default numbers, 1.0 for a right answer. What counts as right does not
            depend on what a recipe rewards.
        max_generated_tokens: the training ends with the step in which so many have been sampled; None for no limit.
        samples_per_step: right completions written to `success_completion_samples.txt` at each generation.

    Attributes:
        loss_sum: this process's losses so far. Once one was NaN or infinite, so is the sum; the log leaves those out.
        grad_norm: of the last optimizer step, before clipping, over all processes; NaN is -1 with DeepSpeed.
    """

    def __init__(
        self,
        *args,
        correct: Callable,
        samples_per_step: int = 1,
        max_generated_tokens: int | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.correct = correct
        self.samples_per_step = samples_per_step
        self.max_generated_tokens = max_generated_tokens
        self._graded: list[tuple] | None = None  # while evaluating: (prompt, difficulty, right, well formed, tokens)
        self.loss_sum = torch.zeros((), device=self.accelerator.device)
        self.grad_norm: torch.Tensor | float | None = None
        self.times = StepTimes(self._metrics["train"], self.accelerator.device)
        self.add_callback(self.times)
        self.add_callback(TokenBudget(self, max_generated_tokens))
        if self.use_vllm:
            self.vllm_generation.sync_weights = self.times.part("weight_sync")(self.vllm_generation.sync_weights)

    def measure(self, seed: int) -> dict:
        """Sample `num_generations_eval` completions for every held-out problem and grade them.

        The random state is set first, so that an interrupted and resumed run draws the same numbers.

        Returns:
            {"pass@1", "format": shares in [0, 1], "mean_length": tokens, "n": problems, "samples": per problem,
            "by_difficulty": {difficulty: {"pass@1", "mean_length", "n"}}}. pass@1 is the mean over all samples.
        """
        seed_processes(seed)
        self._graded = []
        self.evaluate()
        graded, self._graded = self._graded, None
        by_problem = defaultdict(list)
        for prompt, *outcome in graded:
            # the last batch of several processes is filled up with rows already seen
            if len(by_problem[prompt]) < self.num_generations_eval:
                by_problem[prompt].append(outcome)
        outcomes = [outcome for problem in by_problem.values() for outcome in problem]
        groups = defaultdict(list)
        for outcome in outcomes:
            groups[outcome[0]].append(outcome)
        samples = self.num_generations_eval
        by_difficulty = {str(d): self._summary(groups[d], samples) for d in sorted(groups)}
        for values in by_difficulty.values():
            del values["format"]
        return {**self._summary(outcomes, samples), "samples": samples, "by_difficulty": by_difficulty}

    @staticmethod
    def _summary(outcomes: list[tuple], samples: int) -> dict:
        _, right, well_formed, tokens = (sum(column) for column in zip(*outcomes, strict=True))
        total = len(outcomes)
        return {
            "pass@1": right / total,
            "format": well_formed / total,
            "mean_length": tokens / total,
            "n": total // samples,
        }

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
        sampling = self.model.training and self.accelerator.is_main_process
        if self._graded is None and not sampling:
            return rewards
        columns = {name: [row.get(name) for row in inputs] for name in inputs[0] if name != "prompt"}
        right = self.correct(completions=completions, **columns)
        if self._graded is not None:
            well_formed = format_reward(completions=completions, **columns)
            lengths = [len(ids) for ids in completion_ids_list]
            difficulties = columns["difficulty"]
            self._graded += gather_object(list(zip(prompts, difficulties, right, well_formed, lengths, strict=True)))
        else:
            self._write_samples(prompts, completions, right)
        return rewards

    def _write_samples(self, prompts: list[str], completions: list[str], right: list[float | None]) -> None:
        """Append the first right completions of this generation, whole, as a person reads them."""
        solved = [i for i, value in enumerate(right) if value == 1][: self.samples_per_step]
        with open(Path(self.args.output_dir) / SAMPLES_FILE, "a", encoding="utf-8") as file:
            for i in solved:
                file.write(f"===== step {self.state.global_step + 1}\n{prompts[i]}{completions[i]}\n\n")


def seed_processes(seed: int) -> None:
    """Seed every process, each with a number of its own, as TRL does: equal ones would sample alike."""
    set_seed(seed, device_specific=True)


def drop_samples_after(folder: str | Path, checkpoint: str | None) -> None:
    """Cut samples of steps after the checkpoint, which a resumed run will write again; without one, all of them.

    So goes one whose heading was cut off while it was being written.
    """
    step = json.loads((Path(checkpoint) / "trainer_state.json").read_text())["global_step"] if checkpoint else 0
    path = Path(folder) / SAMPLES_FILE
    if not path.exists():
        return
    head, *blocks = ("\n" + path.read_text(encoding="utf-8")).split("\n===== step ")
    kept = [block for block in blocks if re.match(r"\d+\n", block) and int(block.split("\n", 1)[0]) <= step]
    scratch = path.with_suffix(".tmp")
    scratch.write_text((head + "".join("\n===== step " + block for block in kept)).lstrip("\n"), encoding="utf-8")
    os.replace(scratch, path)
