"""What a person sees while a run goes on: one readable line a step."""

import time

from transformers import PrinterCallback, ProgressCallback, TrainerCallback


class OneLineAStep(TrainerCallback):
    """Prints one line at each logging step, in place of TRL's dictionaries and progress bars."""

    def on_train_begin(self, args, state, control, **kwargs):
        self._started, self._first = time.monotonic(), state.global_step

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_world_process_zero and logs and ("reward" in logs or "loss" in logs):
            print(self._line(state, logs), flush=True)

    def _line(self, state, logs: dict) -> str:
        done = state.global_step - self._first
        spent = time.monotonic() - self._started
        rest = (state.max_steps - state.global_step) * spent / max(done, 1)
        parts = [f"step {state.global_step:>{len(str(state.max_steps))}}/{state.max_steps}"]
        if "reward" in logs:
            parts.append(f"reward {logs['reward']:.3f}")
            for key, value in logs.items():
                name = key.removeprefix("rewards/").removesuffix("/mean")
                if key == f"rewards/{name}/mean" and value is not None:
                    parts.append(f"{name.removesuffix('_reward')} {value:.3f}")
            length, clipped = logs.get("completions/mean_length"), logs.get("completions/clipped_ratio")
            parts.append(f"length {length:5.1f}" + (f" ({clipped:.0%} cut off)" if clipped else ""))
        else:
            parts.append(f"loss {float(logs['loss']):.4f}")
            if "mean_token_accuracy" in logs:
                parts.append(f"token accuracy {logs['mean_token_accuracy']:.4f}")
        parts.append(f"{spent / max(done, 1):.1f} s/step, {_clock(rest)} left")
        return "  ".join(parts)


def show_one_line_a_step(trainer) -> None:
    """Replace the trainer's own printing."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(OneLineAStep())


def results_table(before: dict, after: dict) -> str:
    """Before and after as a table for the terminal; rows by difficulty where there is more than one."""
    rows = [("all problems", before, after)]
    if len(after["by_difficulty"]) > 1:
        rows += [
            (f"difficulty {d}", before["by_difficulty"][d], values) for d, values in after["by_difficulty"].items()
        ]
    lines = [f"{'held-out problems':<18}{'n':>6}  {'pass@1':^17}{'format':^17}{'mean length':^17}"]
    for name, old, new in rows:
        cells = "".join(
            f"{old[key]:>7.{digits}f} -> {new[key]:<6.{digits}f}" if key in old else " " * 17
            for key, digits in (("pass@1", 3), ("format", 3), ("mean_length", 1))
        )
        lines.append(f"{name:<18}{new['n']:>6}  {cells}")
    lines.append(f"pass@1 is the mean over {after['samples']} samples a problem")
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
