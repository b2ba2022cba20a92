"""Ends a run that cannot learn: every completion truncated, no reward that differs within a group, or NaN.

The recipe's `guards` go over `DEFAULTS`; 0 or false switches one off.
"""

import math

from transformers import TrainerCallback

from mini_r1.config.keys import did_you_mean
from mini_r1.errors import RecipeError, RunStopped

# 50: with one group of 8 a step and 19 of 20 completions correct, two steps in three have no variance. 20 in a row then
# come about by chance once in some 10000 steps, 50 in a row never.
DEFAULTS = {"clipped_steps": 20, "no_variance_steps": 50, "nan": True}
CLIPPED, NO_VARIANCE = "completions/clipped_ratio", "frac_reward_zero_std"  # TRL's names, shares in [0, 1]


def read_guards(given: dict | None) -> dict:
    """Returns the defaults with the recipe's own numbers over them.

    Raises:
        RecipeError: for an unknown guard, or a value that it cannot have.
    """
    for name, value in (given or {}).items():
        if name not in DEFAULTS:
            raise RecipeError(
                f"unknown guard {name!r}, there are {', '.join(DEFAULTS)}{did_you_mean(str(name), DEFAULTS)}",
                key="guards",
            )
        if name == "nan" and value not in (True, False):  # 1 and 0 too
            raise RecipeError(f"nan is {value!r}; use true or false", key="guards")
        if name != "nan" and value is not False and (type(value) is not int or value < 0):
            raise RecipeError(f"{name} is {value!r}; use a number of steps, or 0 to switch it off", key="guards")
    return {**DEFAULTS, **(given or {})}


class Guards(TrainerCallback):
    """Raises `RunStopped` out of `trainer.train()`, on all processes in the same step.

    - `nan`: a loss, on any process, or the gradient norm is NaN or infinite. Checked before each optimizer step
      (DeepSpeed takes it earlier, during backward), so checkpoints stay as they were. With fp16 the norm may be
      infinite: its loss scaling skips such steps.
    - `clipped_steps`: no completion ended by itself for so many steps.
    - `no_variance_steps`: the rewards of each group, or with `scale_rewards: batch` of the batch, were equal for so
      many steps.

    The last two act on the log, at a multiple of `logging_steps`. They count in the log history, which checkpoints
    hold: a resumed run is stopped in the same step as an uninterrupted one.

    Args:
        trainer: an `R1GRPOTrainer`.
        limits: as `read_guards` returns them.
    """

    def __init__(self, trainer, limits: dict):
        self.trainer, self.limits = trainer, limits
        self._hopeless: str | None = None

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        import torch  # not above: `make check` reads the limits without torch

        if not self.limits["nan"]:
            return
        norm = 0.0 if args.fp16 or self.trainer.grad_norm is None else float(self.trainer.grad_norm)
        found = [not math.isfinite(self.trainer.loss_sum), not 0 <= norm < math.inf]  # DeepSpeed's norm is -1 for NaN
        anywhere = self.trainer.accelerator.reduce(torch.tensor(found, device=args.device).int(), "sum").tolist()
        for what, bad in zip(("loss", "gradient norm"), anywhere, strict=True):
            if bad:
                raise RunStopped(
                    f"{args.output_dir} stopped in step {state.global_step + 1}: the {what} is NaN or infinite; its "
                    "checkpoints are from before. Lower learning_rate, keep max_grad_norm at 1.0, prefer bf16 to fp16, "
                    "and see that no reward is infinite"
                )

    def on_log(self, args, state, control, logs=None, **kwargs):
        for key, name in ((CLIPPED, "clipped_steps"), (NO_VARIANCE, "no_variance_steps")):
            steps = steps_in_a_row(state.log_history, key)
            if not self._hopeless and key in logs and 0 < self.limits[name] <= steps:
                why = self._why_clipped(args) if key == CLIPPED else self._why_no_variance(logs)
                self._hopeless = (
                    f"{args.output_dir} stopped after step {state.global_step}: for {steps} steps {why} "
                    f"(guards: {{{name}: 0}} would let it go on)"
                )
                control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):
        if self._hopeless:
            raise RunStopped(self._hopeless)

    def _why_clipped(self, args) -> str:
        return (
            f"every completion was cut off at max_completion_length ({args.max_completion_length} tokens): raise "
            "max_completion_length, or begin with a model that ends its answers, with the tokenizer's own eos_token"
        )

    def _why_no_variance(self, logs: dict) -> str:
        """Returns what the rewards were, and the remedy for that."""
        said, lacking, varying, bounded = [], [], False, False
        for name, reward in zip(self.trainer.reward_func_names, self.trainer.reward_funcs, strict=True):
            mean = logs.get(f"rewards/{name}/mean")
            if mean is None:  # due for none of these rows
                continue
            constant = (logs.get(f"rewards/{name}/std") or 0.0) < 1e-6
            said.append(f"{name} {'always' if constant else 'on average'} {mean:.4g}")
            varying |= not constant
            best = max(getattr(reward, "values", []), default=None)  # of verdicts; other rewards have no known maximum
            bounded |= best is not None
            if best is not None and constant and mean < best - 1e-6:
                lacking.append(name)
        if lacking:
            remedy = (
                f"nothing earns {' or '.join(lacking)}; take easier problems, a cold start (SFT) or a stronger model, "
                "and check the prompt and the rewards"
            )
        elif varying:
            remedy = (
                "each prompt is always right or always wrong; take problems of a difficulty in between, a higher "
                "num_generations or temperature"
            )
        elif bounded:
            remedy = "nothing is left to learn; the last checkpoint is the result, or take harder problems"
        else:
            remedy = "take harder problems if that is all there is to earn, easier ones or a cold start if it is not"
        moving = [name for name, on in (("KL", self.trainer.beta), ("entropy", self.trainer.entropy_coef)) if on]
        only = f", only the {' and '.join(moving)} term moved the weights" if moving else ""
        return f"no group had two different rewards ({', '.join(said)}){only}: {remedy}"


def steps_in_a_row(history: list[dict], key: str) -> int:
    """Returns the steps up to the last log since `key` was last below 1, where it was logged at all.

    Args:
        history: log entries, each with its `step`.
    """
    logged = [(entry["step"], entry[key]) for entry in history if entry.get(key) is not None]
    return logged[-1][0] - max((step for step, share in logged if share < 1), default=0) if logged else 0
