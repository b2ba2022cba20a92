"""Where the time of a training step goes: generation, rewards, weight sync, log-probabilities, update, the rest."""

import time
from contextlib import contextmanager, suppress
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

    Loading rows, logging, saving and evaluating happen between steps. CUDA runs behind the host: the end of the
    optimizer's update and of a weight sync may count in the part that follows. Log-probabilities are waited for, as
    rewards would wait for them anyway.

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
        self.tokens = 0.0
        self.memory.reset()
        self._open, self._since = ["update"], time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self._charge()
        self._open = []
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
        yield
        if name == "logprobs" and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self._charge()
        self._open.pop()

    def _charge(self) -> None:
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now


class PeakMemory:
    """The most memory that this process took since `reset`, in bytes; since its start where Linux refuses a reset."""

    def __init__(self, device: torch.device):
        self.device = device

    def reset(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            with suppress(OSError):  # another system than Linux, or a container that refuses
                Path("/proc/self/clear_refs").write_text("5")  # makes Linux count the peak anew

    def peak(self) -> int | None:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        status = Path("/proc/self/status")
        lines = status.read_text().splitlines() if status.exists() else []
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
