"""The batch arithmetic of a GRPO run: completions, prompts and steps, and the settings that do not fit together.

TRL counts completions, not prompts. A micro-batch is `per_device_train_batch_size` completions on each process. An
optimizer step accumulates several of them. One rollout (generation) serves `steps_per_generation` micro-batches, and
each is used `num_iterations` times. Groups of `num_generations` completions share a prompt.
"""

import math
from dataclasses import dataclass

from mini_r1.config.run_config import RunConfig
from mini_r1.errors import RecipeError


@dataclass(frozen=True)
class BatchPlan:
    """A batch in which every optimizer step and every rollout holds whole groups."""

    processes: int
    per_device: int
    accumulation: int
    num_generations: int
    steps_per_generation: int
    num_iterations: int
    max_steps: int
    num_train_epochs: float

    @property
    def completions_per_step(self) -> int:
        """Completions in one optimizer step, over all processes."""
        return self.processes * self.per_device * self.accumulation

    @property
    def prompts_per_step(self) -> int:
        """Prompts, or groups, in one optimizer step."""
        return self.completions_per_step // self.num_generations

    @property
    def completions_per_generation(self) -> int:
        """Completions of one rollout, over all processes: TRL's generation batch."""
        return self.processes * self.per_device * self.steps_per_generation

    @property
    def prompts_per_generation(self) -> int:
        """Prompts of one rollout."""
        return self.completions_per_generation // self.num_generations

    def steps_per_epoch(self, rows: int) -> int:
        """Optimizer steps in one pass over `rows` prompts; a `RecipeError` if they do not fill one rollout.

        TRL drops the rows that do not fill the last rollout.
        """
        rollouts = rows // self.prompts_per_generation
        if rollouts == 0:
            raise RecipeError(
                f"{rows} training rows do not fill one rollout of {self.prompts_per_generation} prompts; "
                "use more rows or a smaller batch"
            )
        return math.ceil(rollouts * self.steps_per_generation * self.num_iterations / self.accumulation)

    def total_steps(self, rows: int) -> int:
        """Optimizer steps of the whole run: `max_steps`, or the steps of its epochs."""
        if self.max_steps > 0:
            return self.max_steps
        return math.ceil(self.num_train_epochs * self.steps_per_epoch(rows))

    def total_rollouts(self, rows: int) -> int:
        """Rollouts of the whole run."""
        return math.ceil(self.total_steps(rows) * self.accumulation / (self.steps_per_generation * self.num_iterations))

    def describe(self, rows: int | None = None) -> str:
        """The plan in two lines, or three where the number of training rows is known."""
        updates = self.steps_per_generation * self.num_iterations / self.accumulation
        lines = [
            f"optimizer step: processes {self.processes} x per-device {self.per_device} x accumulation "
            f"{self.accumulation} = {self.completions_per_step} completions = {self.prompts_per_step} prompts x "
            f"{self.num_generations}",
            f"rollout: {self.completions_per_generation} completions = {self.prompts_per_generation} prompts x "
            f"{self.num_generations}, optimizer steps per rollout: {updates:g}",
        ]
        if rows is not None:
            steps, per_epoch = self.total_steps(rows), self.steps_per_epoch(rows)
            lines.append(f"run: {steps} optimizer steps = {steps / per_epoch:.3g} epochs of {per_epoch} ({rows} rows)")
        return "\n".join(lines)


def plan_batch(config: RunConfig, processes: int) -> BatchPlan:
    """Computes the batch of a run on `processes` training processes.

    Raises:
        RecipeError: if a group would be split between optimizer steps, rollouts or evaluation batches, if TRL would
            refuse the settings, or if a checkpoint could fall inside a rollout, where no run resumes exactly.
    """
    per_device = config.per_device_train_batch_size
    plan = BatchPlan(
        processes=processes,
        per_device=per_device,
        accumulation=config.gradient_accumulation_steps,
        num_generations=config.num_generations,
        steps_per_generation=_steps_per_generation(config, processes * per_device),
        num_iterations=config.num_iterations,
        max_steps=config.max_steps,
        num_train_epochs=config.num_train_epochs,
    )
    _check_groups(plan)
    if config.trained_completions == "one" and per_device % plan.num_generations:
        raise RecipeError(
            f"{per_device} completions of a micro-batch are not whole groups of {plan.num_generations}, of which "
            f"trained_completions: one takes one each; use {_multiples_near(per_device, plan.num_generations)}",
            key="per_device_train_batch_size",
        )
    _check_evaluation(config, plan)
    _check_resume(config, plan)
    return plan


def plan_steps(training, processes: int) -> BatchPlan:
    """The batch of a `DistillationConfig`: one completion for each prompt, one optimizer step for each rollout."""
    return BatchPlan(
        processes=processes,
        per_device=training.per_device_train_batch_size,
        accumulation=training.gradient_accumulation_steps,
        num_generations=1,
        steps_per_generation=training.gradient_accumulation_steps,
        num_iterations=1,
        max_steps=training.max_steps,
        num_train_epochs=training.num_train_epochs,
    )


def _steps_per_generation(config: RunConfig, micro_batch: int) -> int:
    if config.generation_batch_size is None:
        given = config.steps_per_generation is not None
        return config.steps_per_generation if given else config.gradient_accumulation_steps
    if config.steps_per_generation is not None:
        raise RecipeError("given together with steps_per_generation; leave one out", key="generation_batch_size")
    batch = config.generation_batch_size
    if batch % micro_batch:
        raise RecipeError(
            f"{batch} is not a multiple of processes x per_device_train_batch_size = {micro_batch}; "
            f"use {_multiples_near(batch, micro_batch)}",
            key="generation_batch_size",
        )
    return batch // micro_batch


def _check_groups(plan: BatchPlan) -> None:
    group = plan.num_generations
    if group is None or group < 2:
        raise RecipeError(f"got {group}; GRPO compares completions, so use at least 2", key="num_generations")
    # Steps and rollouts are multiples of the group exactly if `whole` is.
    unit = plan.processes * math.gcd(plan.accumulation, plan.steps_per_generation)
    whole = unit * plan.per_device
    if whole % group == 0:
        return
    divisors = [number for number in range(2, whole + 1) if whole % number == 0]
    groups = [max((n for n in divisors if n < group), default=0), min((n for n in divisors if n > group), default=0)]
    counted = f"{plan.completions_per_step} completions a step"
    if plan.steps_per_generation != plan.accumulation:
        counted += f" and {plan.completions_per_generation} a rollout"
    advice = f"use per_device_train_batch_size {_multiples_near(plan.per_device, group // math.gcd(group, unit))}"
    if any(groups):
        advice += f", or num_generations {_either(groups)}"
    raise RecipeError(
        f"processes {plan.processes} x per-device {plan.per_device} x accumulation {plan.accumulation} make {counted}, "
        f"which groups of {group} do not divide; {advice}",
        key="num_generations",
    )


def _check_evaluation(config: RunConfig, plan: BatchPlan) -> None:
    # Also without an eval_strategy: every run measures held-out problems before and after training.
    group = config.num_generations_eval or plan.num_generations
    per_device = config.per_device_eval_batch_size
    if per_device * plan.processes % group:
        fitting = _multiples_near(per_device, group // math.gcd(group, plan.processes))
        raise RecipeError(
            f"processes {plan.processes} x per-device {per_device} completions are not a multiple of the {group} "
            f"generations per evaluation prompt; use {fitting}, or set num_generations_eval",
            key="per_device_eval_batch_size",
        )


def _check_resume(config: RunConfig, plan: BatchPlan) -> None:
    # TRL begins a new rollout when it resumes, so a run from a checkpoint inside a rollout would train on others.
    if config.save_strategy != "steps":
        return
    every = config.save_steps
    if every < 1:  # a share of max_steps; without max_steps it depends on the rows, and is not checked
        if plan.max_steps < 1:
            return
        every = math.ceil(every * plan.max_steps)
    rollout = plan.steps_per_generation * plan.num_iterations
    if every * plan.accumulation % rollout:
        fitting = _multiples_near(int(every), rollout // math.gcd(rollout, plan.accumulation))
        raise RecipeError(
            f"a checkpoint every {every:g} steps falls inside a rollout, which is used for "
            f"{rollout / plan.accumulation:g} steps, and could not be resumed exactly; use {fitting}",
            key="save_steps",
        )


def _multiples_near(number: int, unit: int) -> str:
    """The multiples of `unit` on either side of `number`, as advice."""
    below = number // unit * unit
    return _either([below, below + unit])


def _either(numbers: list[int]) -> str:
    return " or ".join(str(number) for number in numbers if number > 0)
