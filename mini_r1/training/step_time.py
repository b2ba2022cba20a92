"""Where the time of a training step goes: generation, rewards, weight sync, log-probabilities, update, the rest."""

import time
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import TrainerCallback

PARTS = ("generation", "reward", "weight_sync", "logprobs", "update", "rest")


class StepTimes(TrainerCallback):
    """Splits the wall time of every optimizer step of the main process; a moment belongs to the innermost open part.

    Logged, as means over the steps since the last log: `time/<part>` and their sum `time/step`, in seconds, and
    `tokens_per_second`, the completion tokens of all processes per second of generation.

    - generation: from prompts to decoded completions, with the wait for the slowest process, in the step in which it
      happens, also where one rollout serves several steps.
    - reward: the reward functions, with the wait for the slowest process.
    - weight_sync: the policy's weights to vLLM.
    - logprobs: of the old policy and of the reference policy, outside the loss.
    - update: forward, backward and optimizer.
    - rest: padding, advantages, metrics.

    Also `memory/peak_gib`, the peak memory of the main process in a step: on CUDA its tensors (vLLM's own not counted),
    on a Linux CPU all its resident memory, of which libraries take most of the first GiB.

    Loading rows, logging, saving and evaluating happen between steps. Nothing here waits for CUDA: the end of the
    optimizer's update and of a weight sync may count in the part that follows. What the device still has to do of a
    log-probability is taken from the rewards, which wait for it.

    Args:
        metrics: name -> values, which the trainer averages when it logs.
        device: where the model is.

    Attributes:
        seconds: part -> seconds, of the step under way or of the last one.
        tokens: completion tokens of all processes in the same step; the trainer adds to it.
    """

    def __init__(self, metrics: dict[str, list[float]], device: torch.device):
        self.metrics, self.device = metrics, device
        self.memory = PeakMemory(device)
        self._open: list[str] = []  # the parts under way, the innermost last; empty outside of steps

    def on_step_begin(self, args, state, control, **kwargs):
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self.tokens, self._behind = 0.0, []
        self.memory.reset()
        self._open, self._since = ["update"], time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self._charge()
        self._open = []
        self._settle_logprobs()
        for name, seconds in self.seconds.items():
            self.metrics[f"time/{name}"].append(seconds)
        self.metrics["time/step"].append(sum(self.seconds.values()))
        peak = self.memory.peak()
        if peak is not None:
            self.metrics["memory/peak_gib"].append(peak / 2**30)
        if self.tokens:
            self.metrics["tokens_per_second"].append(self.tokens / self.seconds["generation"])

    @contextmanager
    def part(self, name: str):
        """Charges what happens inside to `name` instead of to the part around it; outside of steps to none."""
        if not self._open:
            yield
            return
        self._charge()
        self._open.append(name)
        queued = name == "logprobs" and self.device.type == "cuda"
        begin = _passed() if queued else None
        yield
        if queued:
            self._behind.append((begin, _passed()))
        self._charge()
        self._open.pop()

    def _charge(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def _settle_logprobs(self) -> None:
        """Moves the time in which the rewards waited for log-probabilities to the latter."""
        device_seconds = sum(begin.elapsed_time(end) for begin, end in self._behind) / 1000
        late = min(max(device_seconds - self.seconds["logprobs"], 0.0), self.seconds["reward"])
        self.seconds["logprobs"] += late
        self.seconds["reward"] -= late


class PeakMemory:
    """The most memory that this process took since `reset`, in bytes; None where the system does not say."""

    def __init__(self, device: torch.device):
        self.device = device
        self._forget = Path("/proc/self/clear_refs")  # writing 5 makes Linux count the peak anew
        self._known = True

    def reset(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif self._known:
            try:
                self._forget.write_text("5")
            except OSError:  # another system than Linux, or a container that does not let us
                self._known = False

    def peak(self) -> int | None:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if not self._known:
            return None
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def _passed() -> torch.cuda.Event:
    """Returns an event that notes when the device has done its work so far."""
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event
