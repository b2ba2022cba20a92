"""The one door to private TRL and transformers: thin hooks into their trainers, and what these rely on.

No other file overrides or reads private parts of these libraries. The hooks call public methods of our trainers.
tests/unit/training/test_trl_contract.py lists where the installed versions differ from `SIGNATURES`, `SOURCES` and
`CLOSURES`.
"""

import copy
from collections import defaultdict
from contextlib import contextmanager
from functools import partial
from types import MethodType

import torch
from trl import GRPOTrainer

from mini_r1.training.step_time import StepTimes

# function -> its parameters; "..." where more may follow
SIGNATURES = {
    "transformers.Trainer._run_epoch": "self, ...",
    "transformers.Trainer._get_grad_norm": "self, model, grad_norm=None",
    "transformers.Trainer.create_model_card": "self, ...",
    "trl.GRPOTrainer._prepare_inputs": "self, generation_batch",
    "trl.GRPOTrainer._generate": "self, prompts",
    "trl.GRPOTrainer._generate_and_score_completions": "self, inputs",
    "trl.GRPOTrainer._get_per_token_logps_and_entropies": (
        "self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, ..."
    ),
    "trl.GRPOTrainer._calculate_rewards": "self, inputs, prompts, completions, completion_ids_list",
    "trl.GRPOTrainer._log_completion_extra": "self, column, values",
    "trl.GRPOTrainer.compute_loss": "self, model, inputs, return_outputs=False, num_items_in_batch=None",
    "trl.generation.vllm_generation.VLLMGeneration.sync_weights": "self",
}

# function -> pieces of its source, blanks aside: where it calls a hook, and what it keeps in which attribute
SOURCES = {
    "transformers.Trainer._inner_training_loop": (
        "self._run_epoch( model=model,",
        "if self.control.should_training_stop: break",
        "self.control = self.callback_handler.on_train_begin(args, self.state, self.control)",
    ),
    "transformers.Trainer._run_epoch": (
        "grad_norm = self._get_grad_norm(model, grad_norm=grad_norm) "
        "self.control = self.callback_handler.on_pre_optimizer_step(",
        "self.state.epoch = epoch + (step + 1) / steps_in_epoch",
    ),
    "transformers.Trainer.push_to_hub": ("self.create_model_card(",),
    "trl.GRPOTrainer.__init__": (
        "add_fused_lm_head( self.model.get_base_model() if is_peft_model(self.model) else self.model,",
        "add_fused_lm_head( self.ref_model,",
        'self._metrics = {"train": defaultdict(list), "eval": defaultdict(list)}',
        "self._logs = {",
        '"advantages": deque(maxlen=args.generation_batch_size)',
        '"extra": defaultdict(',
        "self.temperature = args.temperature",
        "self.generation_config = GenerationConfig(",
        "self.generation_kwargs = generation_kwargs",
        "self.log_completions = args.log_completions",
        "self.vllm_generation = VLLMGeneration(",
    ),
    "trl.GRPOTrainer._prepare_inputs": ("self._generate_and_score_completions(generation_batch)",),
    "trl.GRPOTrainer._generate_and_score_completions": (
        ") = self._generate(prompts)",
        "old_per_token_logps, _, _ = self._get_per_token_logps_and_entropies( self.model, prompt_completion_ids, "
        "attention_mask, logits_to_keep, batch_size=batch_size,",
        "ref_per_token_logps, _, _ = self._get_per_token_logps_and_entropies( self.ref_model, prompt_completion_ids, "
        "attention_mask, logits_to_keep, batch_size=batch_size,",
        "rewards_per_func = self._calculate_rewards(inputs, prompts, completions, completion_ids_list)",
        'self._metrics[mode]["frac_reward_zero_std"].append(',
        'self._logs["advantages"].extend(all_process_advantages.tolist())',
        "for column in sorted(set(gather_object(list(self._pending_extra_logs)))):",
        '"completion_ids": completion_ids, "completion_mask": completion_mask, "advantages": advantages, '
        '"num_items_in_batch": num_items_in_batch,',
    ),
    "trl.GRPOTrainer._calculate_rewards": ("rewards_per_func = gather(rewards_per_func) return rewards_per_func",),
    "trl.GRPOTrainer._log_completion_extra": ("self._pending_extra_logs[column].extend(values)",),
    "trl.GRPOTrainer._compute_loss": (
        "self._get_per_token_logps_and_entropies( model, input_ids, attention_mask, logits_to_keep,",
        'inputs["advantages"]',
    ),
    "trl.GRPOTrainer.log": ("for key, val in self._metrics[mode].items():", '"advantage": self._logs["advantages"]'),
    "trl.trainer.utils.add_fused_lm_head": ("model.forward = types.MethodType(_fused_forward, model)",),
    "trl.trainer.utils.RepeatSampler.__iter__": (
        "if self.shuffle:",
        "torch.randperm(self.num_samples, generator=self.generator)",
    ),
    "trl.generation.vllm_generation.VLLMGeneration.__init__": ("self.temperature = temperature",),
}

# function -> (the function inside it, the variable of its closure that is read and set)
CLOSURES = {"trl.trainer.utils.add_fused_lm_head": ("_fused_forward", "temperature")}


class ExactEnd:
    """A mixin before a transformers `Trainer`: takes no step beyond `max_steps`.

    transformers checks that only after a step: a run resumed from the checkpoint of its last step would take one more.
    """

    def _run_epoch(self, *args, **kwargs):
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)


class GRPOHooks(ExactEnd, GRPOTrainer):
    """A `GRPOTrainer` that times each part of a step, and hands it to a public method of its subclass.

    These are `before_rollout`, `score`, `observe` and `change_rollout` of `R1GRPOTrainer`.

    Attributes:
        times: how long each part of a step takes.
        metrics: name -> values since the last log.
        grad_norm: of the last optimizer step, before clipping, over all processes; NaN is -1 with DeepSpeed.
        loss_temperature: what the logits of the loss are divided by.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.metrics: defaultdict[str, list[float]] = defaultdict(list)
        self.times = StepTimes(self.metrics, self.accelerator.device)
        self.add_callback(self.times)
        self.grad_norm: torch.Tensor | float | None = None
        self.loss_temperature = LossTemperature(self.model, self.ref_model, expected=self.temperature)
        if self.use_vllm:
            self.vllm_generation.sync_weights = self.times.part("weight_sync")(self.vllm_generation.sync_weights)

    def log_column(self, column: str, values: list) -> None:
        """Adds a column to the completions' table of this rollout, as `log_extra` does for a reward function."""
        self._log_completion_extra(column, values)

    def logged_advantages(self, count: int) -> torch.Tensor:
        """Returns the last `count` advantages in the completions' table, of all processes."""
        return torch.tensor(list(self._logs["advantages"])[-count:])

    def log_advantages(self, advantages: torch.Tensor) -> None:
        """Replaces the advantages that TRL has just logged for these completions."""
        logged = self._logs["advantages"]
        for _ in range(len(advantages)):
            logged.pop()
        logged.extend(advantages.tolist())

    def correct_metric(self, name: str, value: float) -> None:
        """Replaces what TRL has just logged of a rollout in training."""
        self._metrics["train"][name][-1] = value

    @contextmanager
    def completions_table_kept(self):
        """Keeps what is sampled inside out of the completions' table."""
        logged, logs_completions = copy.deepcopy(self._logs), self.log_completions
        self.log_completions = False
        yield
        self._logs, self.log_completions = logged, logs_completions

    def _prepare_inputs(self, generation_batch):
        with self.times.part("rest"):
            return super()._prepare_inputs(generation_batch)

    def _generate_and_score_completions(self, inputs):
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        self.before_rollout()
        rollout = super()._generate_and_score_completions(inputs)
        return self.change_rollout(rollout, self.rollout_rewards)

    def _generate(self, prompts):
        with self.times.part("generation"):
            return super()._generate(prompts)

    def _get_per_token_logps_and_entropies(self, model, *args, **kwargs):
        compute = partial(super()._get_per_token_logps_and_entropies, model)
        if torch.is_grad_enabled():  # the loss itself
            return compute(*args, **kwargs)
        with self.times.part("logprobs"):
            return self.score(compute, *args, **kwargs)

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        with self.times.part("reward"):
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self.rollout_rewards = rewards
        self.observe(inputs, prompts, completions, completion_ids_list, rewards)
        return rewards

    def _get_grad_norm(self, model, grad_norm=None):
        self.grad_norm = super()._get_grad_norm(model, grad_norm)
        return self.grad_norm


class LossTemperature:
    """The temperature of the loss, in the closure of `add_fused_lm_head`, where TRL's fused LM heads read it.

    TRL sets it once. Another head would not reach the forward function that accelerate has wrapped.

    Args:
        models: those that have such a head, or None.
        expected: what the heads must hold now.

    Raises:
        RuntimeError: where a model has no such head, or its temperature is another: TRL has changed.
    """

    def __init__(self, *models: torch.nn.Module | None, expected: float):
        self._cells = []
        (_, variable) = CLOSURES["trl.trainer.utils.add_fused_lm_head"]
        for model in models:
            if model is None:
                continue
            bound = [value for module in model.modules() for value in vars(module).values()]
            functions = [value.__func__ for value in bound if isinstance(value, MethodType)]
            functions = [each for each in functions if hasattr(each, "__code__")]  # a partial may be bound
            cells = [
                each.__closure__[each.__code__.co_freevars.index(variable)]
                for each in functions
                if variable in each.__code__.co_freevars
            ]
            if not cells or any(cell.cell_contents != expected for cell in cells):
                raise RuntimeError("TRL's fused LM head was not found: its temperature cannot be changed")
            self._cells += cells

    @property
    def value(self) -> float:
        return self._cells[0].cell_contents

    @value.setter
    def value(self, temperature: float) -> None:
        for cell in self._cells:
            cell.cell_contents = temperature


def keep_own_card(trainer) -> None:
    """Keeps the trainer from writing TRL's model card over ours in `push_to_hub`."""
    trainer.create_model_card = lambda *args, **kwargs: None
