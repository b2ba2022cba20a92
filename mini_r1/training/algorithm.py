"""What a recipe may change in GRPO: the advantage, which completions are trained on, the temperature."""

import math
from types import MethodType

import torch
from trl import GRPOTrainer

from mini_r1.training.advantages import ADVANTAGES
from mini_r1.training.schedules import TemperatureSchedule


class AlgorithmTrainer(GRPOTrainer):
    """A `GRPOTrainer` with another advantage, one trained completion of each group, or a changing temperature.

    With `group`, `all` and no schedule it is TRL's own algorithm, untouched. TRL's log stays true: advantages in the
    completions' table are those trained with, NaN where a completion is not trained on; `temperature/sampling` and
    `temperature/loss` are read where generation and loss read them.

    On Reinforce-Lite's policy gradient, the sum over tokens of A * grad log p: TRL's `loss_type: luspo` with
    `importance_sampling_level: sequence` is exactly that, as a mean over sequences, where each rollout serves one
    update. It has a ratio, but one of 1. Unlike the published form TRL divides the logits of the loss by the sampling
    temperature, so that the policy that is trained is the one that was sampled from, apart from top_p.

    Args:
        advantage: a key of `ADVANTAGES`.
        trained_completions: "all", or "one": the first of each group, as good a draw as any other. The others serve as
            its baseline and get no forward or backward pass. `per_device_train_batch_size`, which counts sampled
            completions, must then be a multiple of `num_generations`: whole groups in every micro-batch.
        temperature_schedule: of the rollouts in training. Evaluations use `temperature`, whatever the schedule.
    """

    def __init__(
        self,
        *args,
        advantage: str = "group",
        trained_completions: str = "all",
        temperature_schedule: TemperatureSchedule | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.advantage = advantage
        self.trained_completions = trained_completions
        self.temperature_schedule = temperature_schedule
        models = [model for model in (self.model, self.ref_model) if model is not None]
        self._heads = [cell for model in models for cell in _temperatures(model)]
        self._rewards: torch.Tensor | None = None  # of this rollout, all processes: (completions, reward functions)

    @property
    def sampling_temperature(self) -> float:
        """What generation is told: vLLM, or transformers."""
        return self.vllm_generation.temperature if self.use_vllm else self.generation_config.temperature

    @property
    def loss_temperature(self) -> float:
        """What the logits of the loss are divided by."""
        return self._heads[0].cell_contents

    def set_temperature(self, temperature: float) -> None:
        """Change it in all the places where TRL keeps it."""
        self.temperature = temperature
        if self.use_vllm:
            self.vllm_generation.temperature = temperature
        else:
            self.generation_config.temperature = temperature
            self.generation_kwargs["temperature"] = temperature
        for cell in self._heads:
            cell.cell_contents = temperature

    def evaluate(self, *args, **kwargs):
        now = self.temperature
        self.set_temperature(self.args.temperature)
        metrics = super().evaluate(*args, **kwargs)
        self.set_temperature(now)
        return metrics

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        self._rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        return self._rewards

    def _generate_and_score_completions(self, inputs):
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        if self.temperature_schedule:  # at a rollout only: its updates must see the temperature that it was drawn at
            self.set_temperature(self.temperature_schedule.at(self.state.global_step, self.state.max_steps))
        self._metrics["train"]["temperature/sampling"].append(self.sampling_temperature)
        rollout = super()._generate_and_score_completions(inputs)
        if self.advantage != "group":
            self._compare(rollout, len(inputs))
        return self._keep_first(rollout) if self.trained_completions == "one" else rollout

    def _compare(self, rollout: dict, local: int) -> None:
        """Put our advantages in the place of TRL's, in the rollout and in the log."""
        given = self.args.reward_weights or [1.0] * len(self.reward_funcs)
        weights = torch.tensor(given, dtype=torch.float64, device=self._rewards.device)  # not TRL's float32 ones
        weighted = self._rewards.double() * weights
        # rounded, as equal totals of different rewards differ in their last digits
        totals = weighted.nansum(dim=1).round(decimals=6).masked_fill(weighted.isnan().all(dim=1), torch.nan)
        advantages = ADVANTAGES[self.advantage](totals.view(-1, self.num_generations)).view(-1)
        first = self.accelerator.process_index * local
        rollout["advantages"] = advantages[first : first + local]
        self._log_advantages(advantages)
        if self.advantage == "batch":  # which learns from groups of equal rewards, too: what guards stop for is nothing
            self._metrics["train"]["frac_reward_zero_std"][-1] = float(not advantages.any())

    def _log_advantages(self, advantages: torch.Tensor) -> None:
        """In place of those that TRL has just logged for the same completions."""
        logged = self._logs["advantages"]
        for _ in range(len(advantages)):
            logged.pop()
        logged.extend(advantages.tolist())

    def _keep_first(self, rollout: dict) -> dict:
        """The rows of the first completion of each group, without the columns that are padding for all of them."""
        size = self.num_generations
        logged = torch.tensor(list(self._logs["advantages"])[-len(self._rewards) :]).view(-1, size)
        logged[:, 1:] = torch.nan
        self._log_advantages(logged.view(-1))
        kept = {name: value[::size] if _has_rows(value) else value for name, value in rollout.items()}
        unit, width = self.pad_to_multiple_of or 1, kept["completion_ids"].shape[1]
        longest = math.ceil(int(kept["completion_mask"].sum(dim=1).max().clamp(min=1)) / unit) * unit
        for name, value in kept.items():
            if _has_rows(value) and value.dim() == 2 and value.shape[1] == width and not name.startswith("prompt"):
                kept[name] = value[:, :longest]
        tokens = kept["completion_mask"].sum()
        kept["num_items_in_batch"] = self.accelerator.gather(tokens).sum()
        return kept

    def _get_per_token_logps_and_entropies(self, model, input_ids, attention_mask, logits_to_keep, **kwargs):
        """As TRL's. Those of the old and of the reference policy are computed for what is trained on alone, else 0."""
        if torch.is_grad_enabled() or self.trained_completions == "all" or not self.model.training:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, **kwargs
            )
        size = self.num_generations
        kwargs["batch_size"] = max((kwargs.get("batch_size") or len(input_ids)) // size, 1)
        logps, *others = super()._get_per_token_logps_and_entropies(
            model, input_ids[::size], attention_mask[::size], logits_to_keep, **kwargs
        )
        all_logps = logps.new_zeros(len(input_ids), logps.shape[1])
        all_logps[::size] = logps
        return all_logps, *others

    def _compute_loss(self, model, inputs):
        if self.model.training:
            self._metrics["train"]["temperature/loss"].append(self.loss_temperature)
        return super()._compute_loss(model, inputs)


def _has_rows(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0


def _temperatures(model: torch.nn.Module) -> list:
    """The closure cells in which TRL's fused LM heads of a model keep the temperature of the loss.

    `add_fused_lm_head` takes it once and for all. To add another head for each temperature would not reach the forward
    function that accelerate has wrapped meanwhile.

    Raises:
        RuntimeError: where there is none: TRL has changed.
    """
    cells = []
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, MethodType):
                code = getattr(value.__func__, "__code__", None)  # none where a partial is bound
                if code and "temperature" in code.co_freevars:
                    cells.append(value.__func__.__closure__[code.co_freevars.index("temperature")])
    if not cells:
        raise RuntimeError("TRL's fused LM head was not found: its temperature cannot be changed")
    return cells
