"""Verdicts, and `reward_from`, which turns a verifier into a reward for TRL."""

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

from mini_r1.rewards.text import full_text, prefill_of


class Verdict(Enum):
    """A verifier's verdict on one text."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSEABLE = "unparseable"


# The numbers for correct, wrong and unparseable; a recipe changes them with `reward_values`.
DEFAULT_VALUES = (1.0, 0.0, 0.0)


def workers() -> int:
    """How many verifiers run at once: one for each CPU; the processes of a run share the CPUs."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, here // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def reward_from(
    name: str,
    verifier: Callable[..., Verdict | None],
    values: Sequence[float] = DEFAULT_VALUES,
    *,
    in_parallel: bool = False,
    unavailable: Callable[[], str | None] = lambda: None,
) -> Callable[..., list[float | None]]:
    """Turns a verifier of one text into a reward with TRL's signature, `reward(completions, prefill, <columns>)`.

    Args:
        name: the reward's `__name__`, which is public: TRL logs `rewards/<name>/mean`.
        verifier: `verifier(text, <columns>) -> Verdict | None`. Its parameters after `text` name the dataset columns
            that it needs; it gets one row's values. It returns None, for no reward, where the row's gold is unusable.
        values: the numbers for correct, wrong and unparseable.
        in_parallel: verify several texts at once, in `workers()` threads; for a verifier that waits for processes.
        unavailable: says in one line why the verifier cannot work on this machine, with the remedy; None where it
            can. Every run calls it before it starts, so that a recipe is refused early.

    Example:
        >>> def short_verdict(text, limit):
        ...     return Verdict.CORRECT if len(text) <= limit else Verdict.WRONG
        >>> short_reward = reward_from("short_reward", short_verdict)
        >>> short_reward(completions=["abc", "abcdef"], limit=[4, 4])
        [1.0, 0.0]
    """
    needed = list(inspect.signature(verifier).parameters)[1:]
    numbers = {verdict: float(value) for verdict, value in zip(Verdict, values, strict=True)} | {None: None}

    def score(completions, prefill=None, **columns) -> list[float | None]:
        if missing := [column for column in needed if column not in columns]:
            raise TypeError(f"{name} needs the dataset columns {', '.join(needed)}; missing: {', '.join(missing)}")
        for column in needed:
            if isinstance(columns[column], str):  # zip would read it letter by letter
                raise TypeError(f"{name} needs a list in {column}, with one value for each completion")
        nothing = [None] * len(completions)
        if prefill is None and columns.get("prompts") is not None:
            prefill = [prefill_of(prompt) for prompt in columns["prompts"]]
        gold = [nothing if columns[column] is None else columns[column] for column in needed]
        rows = zip(completions, nothing if prefill is None else prefill, *gold, strict=True)
        calls = [(full_text(start, completion), *row) for completion, start, *row in rows]
        if not in_parallel:
            verdicts = [verifier(*call) for call in calls]
        else:
            with ThreadPoolExecutor(workers()) as pool:
                verdicts = list(pool.map(lambda call: verifier(*call), calls))
        if odd := [verdict for verdict in verdicts if verdict not in numbers]:
            raise TypeError(f"{verifier.__name__} returns {odd[0]!r}, expected a Verdict or None")
        return [numbers[verdict] for verdict in verdicts]

    reward: Any = score  # what follows are attributes of the function
    reward.__name__ = reward.__qualname__ = name
    reward.__module__, reward.__doc__ = verifier.__module__, verifier.__doc__
    # A recipe's reward_values and require_format rebuild the reward from these; a check calls `unavailable`.
    reward.verifier, reward.values, reward.unavailable = verifier, tuple(values), unavailable
    reward.rebuilt = functools.partial(reward_from, in_parallel=in_parallel, unavailable=unavailable)
    return reward
