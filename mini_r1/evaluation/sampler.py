"""The interface of sampling: its settings, a completion, and what every backend offers."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Sampling:
    """The settings of sampling, in TRL's names. `top_k` 0 is off; `top_k` 1 or `temperature` 0 is greedy.

    Attributes:
        samples: completions for each prompt.
        seed: The same seed and problems give the same completions, in any order and after any number of kills, as far
            as the backend's arithmetic is reproducible.
    """

    samples: int
    max_completion_length: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float | None
    repetition_penalty: float
    seed: int

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 or self.top_k == 1


@dataclass(frozen=True)
class Completion:
    """One completion, decoded with special tokens skipped, as the rewards see it in training.

    Attributes:
        tokens: how many were generated, the end token included, as TRL counts.
        cut_off: whether it reached `max_completion_length` without an end token.
    """

    text: str
    tokens: int
    cut_off: bool


class Sampler(Protocol):
    """A backend."""

    def sample(self, prompts: dict[int, str]) -> Iterator[dict[int, list[Completion]]]:
        """Samples for every prompt, and yields the completions of a problem as soon as it has all of them.

        Args:
            prompts: number of the problem -> the string that the policy continues, chat template and prefill included.

        Yields:
            number of the problem -> its `Sampling.samples` completions, for one or several problems at a time.
        """


def problem_seed(seed: int, problem: int) -> int:
    """The seed of a problem's first completion, 0 to 2**30 - 1; its next ones have `problem_seed + 1` and so on, all
    small enough for every server's integers. A hash, so that neighbouring problems share no seeds."""
    return int.from_bytes(hashlib.sha256(f"{seed} {problem}".encode()).digest()[:4], "big") >> 2
