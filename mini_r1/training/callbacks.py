"""Trainer callbacks: a line a step, `metrics.jsonl`, a limit of tokens, marks on checkpoints, measurements."""

import json
import math
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import set_seed
from transformers import PrinterCallback, ProgressCallback, TrainerCallback
from transformers.integrations import TensorBoardCallback
from transformers.utils import logging as transformers_logging

from mini_r1.run.checkpoints import PREFIX, mark
from mini_r1.run.run_dir import Run, clock, short_name
from mini_r1.training.trl_internals import keep_own_card

METRICS_FILE = "metrics.jsonl"


class OneLineAStep(TrainerCallback):
    """Prints one line at each logging step; `token_limit`, the recipe's max_generated_tokens, bounds the time left."""

    def __init__(self, token_limit: int | None = None):
        self.token_limit, self._explained = token_limit, False
        self._batches, self._said = 0, time.monotonic()

    def on_train_begin(self, args, state, control, **kwargs):
        self._started, self._first = time.monotonic(), state.global_step

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and logs and ("reward" in logs or "loss" in logs):
            if "reward" in logs and not self._explained:
                self._explained = True
                print(
                    "note: a loss near 0 is normal in GRPO (the advantages of a group add up to 0); watch the reward, "
                    "and frac_reward_zero_std in metrics.jsonl, the share of groups that teach nothing",
                    flush=True,
                )
            print(self._line(state, logs), flush=True)

    def on_prediction_step(self, args, state, control, eval_dataloader=None, **kwargs):
        if eval_dataloader is None or not state.is_world_process_zero:
            return
        self._batches += 1
        if self._batches == len(eval_dataloader):
            self._batches = 0
        elif time.monotonic() - self._said > 10:
            self._said = time.monotonic()
            print(f"  held-out batch {self._batches}/{len(eval_dataloader)}", flush=True)

    def _line(self, state, logs: dict) -> str:
        done = state.global_step - self._first
        spent = time.monotonic() - self._started
        steps = state.max_steps - state.global_step
        if self.token_limit and logs.get("generated_tokens"):  # as many a step as so far
            tokens = logs["generated_tokens"]
            steps = min(steps, math.ceil(max(self.token_limit - tokens, 0) / tokens * state.global_step))
        rest = steps * spent / max(done, 1)
        parts = [f"step {state.global_step:>{len(str(state.max_steps))}}/{state.max_steps}"]
        if "reward" in logs:
            given = logs["reward"]  # None where no completion was due a reward
            parts.append("reward none" if given is None else f"reward {given:.3f}")
            for key, value in logs.items():
                name = key.removeprefix("rewards/").removesuffix("/mean")
                if key == f"rewards/{name}/mean" and value is not None:
                    parts.append(f"{name.removesuffix('_reward')} {value:.3f}")
        else:
            parts.append(f"loss {float(logs['loss']):.4f}")
            if "mean_token_accuracy" in logs:
                parts.append(f"token accuracy {logs['mean_token_accuracy']:.4f}")
        if "completions/mean_length" in logs:
            length, clipped = logs["completions/mean_length"], logs.get("completions/clipped_ratio")
            parts.append(f"length {length:5.1f}" + (f" ({clipped:.0%} cut off)" if clipped else ""))
        share = logs["time/generation"] / logs["time/step"] if "time/step" in logs else 0.0
        where = f" (generation {share:.0%})" if share > 0.5 else ""
        parts.append(f"{spent / max(done, 1):.1f} s/step{where}, {clock(rest)} left")
        return "  ".join(parts)


class WatchSampler(TrainerCallback):
    """Says so once vLLM's log-probabilities of its own tokens are far from the trainer's: it lacks the new weights.

    The bound is `APART` on average over tokens, in nats, or three times what the two differ by before the first update
    (arithmetic in bfloat16 gives about 0.01). TRL compares them where `vllm_importance_sampling_correction` is on.
    """

    DIFFERENCE = "sampling/sampling_logp_difference/mean"
    APART = 0.1

    def __init__(self):
        self.updated, self.before, self.said = False, 0.0, False

    def on_log(self, args, state, control, logs=None, **kwargs):
        apart = (logs or {}).get(self.DIFFERENCE)
        if apart is None or self.said or not state.is_world_process_zero:
            return
        bound = max(self.APART, 3 * self.before)
        if not self.updated:
            self.before = apart
        elif apart > bound:
            self.said = True
            print(
                f"warning: step {state.global_step}: the sampler's log-probabilities of its own tokens are {apart:.2f} "
                f"from the trainer's on average, more than {bound:.2f}: it may not have got the new weights, or "
                "computes with others (vllm_model_impl, dtype, quantization)",
                flush=True,
            )
        self.updated = self.updated or bool(logs.get("grad_norm"))


class MetricsFile(TrainerCallback):
    """Appends what a step logged, as `{"step": 12, "loss": ..., ...}`; NaN and infinity are null.

    A resumed run writes the steps after its checkpoint again, so it first removes those lines, and a torn one.
    """

    def on_train_begin(self, args, state, control, **kwargs):
        path = Path(args.output_dir) / METRICS_FILE
        if not state.is_world_process_zero or not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.endswith("}\n") and json.loads(line)["step"] <= state.global_step]
        scratch = path.with_suffix(".tmp")
        scratch.write_text("".join(kept), encoding="utf-8")
        os.replace(scratch, path)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        numbers = {name: value for name, value in logs.items() if isinstance(value, int | float)}
        numbers = {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        with open(Path(args.output_dir) / METRICS_FILE, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": state.global_step, **numbers}) + "\n")


class MarkCheckpoints(TrainerCallback):
    """Marks every checkpoint once all processes have written their part of it; see `add_callbacks`."""

    def __init__(self, seconds: Callable[[], float]):
        self.seconds = seconds

    def on_save(self, args, state, control, **kwargs):
        PartialState().wait_for_everyone()
        if state.is_world_process_zero:
            mark(Path(args.output_dir) / f"{PREFIX}-{state.global_step}", self.seconds())


class TokenBudget(TrainerCallback):
    """Logs `generated_tokens`, the completion tokens of all processes so far, and ends the training at a limit.

    A resumed run counts on from the log, which has the number of the checkpoint's step if every step is logged.
    """

    def __init__(self, trainer, limit: int | None):
        self.trainer, self.limit = trainer, limit
        self.tokens = 0

    def on_train_begin(self, args, state, control, **kwargs):
        self.tokens = max((entry.get("generated_tokens", 0) for entry in state.log_history), default=0)

    def on_step_end(self, args, state, control, **kwargs):
        self.tokens += round(self.trainer.times.tokens)
        self.trainer.metrics["generated_tokens"] = [self.tokens]
        if self.limit is not None and self.tokens >= self.limit:
            control.should_training_stop = True
            control.should_save = False  # resumed from here, it would take one step more than an uninterrupted run


class SameEpochs(TrainerCallback):
    """Lets a resumed run of GRPO or distillation meet the rows in the order of an uninterrupted one.

    TRL draws the order of every epoch from one generator, which no checkpoint holds. This callback draws the epochs
    before the checkpoint again.
    """

    def on_train_begin(self, args, state, control, train_dataloader=None, **kwargs):
        batches = train_dataloader.batch_sampler
        sampler = getattr(batches, "batch_sampler", batches).sampler  # several processes share one
        if sampler.shuffle:
            for _ in range(int(state.epoch or 0)):
                torch.randperm(sampler.num_samples, generator=sampler.generator)


class _At(TrainerCallback):
    """Calls a function without arguments at one event, such as `on_train_end`."""

    def __init__(self, event: str, function: Callable[[], None]):
        setattr(self, event, lambda *args, **kwargs: function())


def at_the_ends(trainer, begin: Callable[[], None], end: Callable[[], None]) -> None:
    """Calls `begin` before the first step and `end` after the last one, both with the model wrapped and trackers open.

    DeepSpeed and FSDP wrap a model only once, for evaluation or for training. Trackio closes its run when the training
    ends, and refuses logs afterwards.
    """
    trainer.add_callback(_At("on_train_begin", begin))  # behind the trackers, which open theirs
    trainer.callback_handler.callbacks.insert(0, _At("on_train_end", end))  # before them


def train_and_measure(
    trainer, run: Run, test_set, measure: Callable[[str], dict]
) -> tuple[dict | None, dict | None, float]:
    """Trains; measures held-out problems before the first step and after the last one.

    Args:
        test_set: the held-out problems; None where there are none to measure.
        measure: takes "before" or "after".

    Returns:
        What `measure` returned before and after, None without held-out problems; the seconds of the training itself.
        A resumed run was measured before its first attempt.
    """
    before, after, seconds = None, None, 0.0

    def measured(name: str) -> dict:
        run.say(f"measuring {len(test_set)} held-out problems {name} training")
        return measure(name)

    def begin() -> None:
        nonlocal before
        if run.checkpoint:
            run.say(f"resuming from {run.checkpoint}")
            before = run.read("before.json")
        elif test_set is not None:  # anew in each attempt: the log of an uninterrupted run begins with it
            before = measured("before")
            run.write("before.json", before)
        run.restart_clock()
        seed_processes(trainer.args.seed)  # the same draws whether or not this attempt has measured

    def end() -> None:
        nonlocal after, seconds
        seconds = run.seconds()
        if test_set is not None:
            after = measured("after")

    at_the_ends(trainer, begin, end)
    add_callbacks(trainer, run.seconds)
    trainer.train(resume_from_checkpoint=run.checkpoint)
    return before, after, seconds


def seed_processes(seed: int) -> None:
    """Seeds every process, each with a number of its own, as TRL does: equal ones would sample alike."""
    set_seed(seed, device_specific=True)


def add_callbacks(trainer, seconds: Callable[[], float]) -> None:
    """Replaces the trainer's own printing, keeps TensorBoard's logs in the run directory, and marks checkpoints.

    W&B and Trackio show a run under the name of its directory, unless `run_name` is set.

    Args:
        seconds: returns the training time so far, of earlier attempts too.
    """
    # progress bars, one for every saved file, would stand between the lines
    transformers_logging.disable_progress_bar()
    # DeepSpeed uses deprecated names of torch, at every layer of every step
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    trainer.args.run_name = trainer.args.run_name or short_name(Path(trainer.args.output_dir))
    keep_own_card(trainer)
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    for callback in trainer.callback_handler.callbacks:
        # Measuring before training, it would write into ./runs; its own default holds from the first step on only.
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(Path(trainer.args.output_dir) / "tensorboard")
    trainer.add_callback(MetricsFile())
    options = getattr(trainer, "options", None)  # of GRPO
    trainer.add_callback(OneLineAStep(options and options.max_generated_tokens))
    trainer.add_callback(MarkCheckpoints(seconds))
    if options:
        trainer.add_callback(WatchSampler())
