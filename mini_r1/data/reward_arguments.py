"""Rewards with arguments: what a map in `reward_funcs` says, and whether the reward takes it.

    reward_funcs: [format_reward, {name: soft_overlong, max_completion_len: 1024, soft_punish_cache: 128}]

Everything is checked against the signature, before any model is loaded.
"""

import importlib
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import make_dataclass

from mini_r1.config.keys import check_values, did_you_mean
from mini_r1.errors import RecipeError

EXAMPLE = "{name: soft_overlong, max_completion_len: 1024, soft_punish_cache: 128}"

# TRL's shaping of length and repetition: name in a recipe -> function of `trl.rewards` that makes the reward
TRL_SHAPING = {
    "soft_overlong": "get_soft_overlong_punishment",
    "repetition_penalty": "get_repetition_penalty_reward",
}
# What TRL itself does not refuse, and what would end in a division by zero or in no reward at all
LEAST = {"max_completion_len": 1, "soft_punish_cache": 0, "ngram_size": 1}

# TRL's own arguments of every reward, and the columns that every row has: no recipe sets them.
GIVEN = frozenset({
    "prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments",
    "prefill", "rewards", "difficulty", "task",
})  # fmt: skip


def read_entry(entry: str | dict) -> tuple[str, dict]:
    """Name and arguments of one entry of `reward_funcs`.

    Example: `read_entry({"name": "soft_overlong", "soft_punish_cache": 9})` is
    `("soft_overlong", {"soft_punish_cache": 9})`.
    """
    if isinstance(entry, str):
        return entry, {}
    if not isinstance(entry.get("name"), str):
        raise RecipeError(f"a map needs the name of a reward, such as {EXAMPLE}, not {entry!r}", key="reward_funcs")
    return entry["name"], {key: value for key, value in entry.items() if key != "name"}


def check_arguments(name: str, reward: Callable, arguments: dict) -> dict:
    """The arguments, each one that `reward` names in its signature and of the type declared there.

    Raises:
        RecipeError: for an argument that it does not take, that comes with every row, or that is of another type.
    """
    if not arguments:
        return {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(reward).parameters.values()
    takes = {each.name: each for each in parameters if each.kind in named and each.name not in GIVEN}
    for argument in arguments:
        if argument in GIVEN:
            raise RecipeError(f"{name}: {argument} comes with every row; leave it out", key="reward_funcs")
        if argument not in takes:
            hint = did_you_mean(str(argument), takes) or "; it takes " + (", ".join(takes) or "none")
            raise RecipeError(f"{name} takes no argument {argument!r}{hint}", key="reward_funcs")
    settings = make_dataclass("Settings", [(argument, _hint(takes[argument]), None) for argument in arguments])
    try:
        return check_values(arguments, {}, (settings,))
    except RecipeError as error:
        raise RecipeError(f"{name}: {error}", key="reward_funcs") from None


def _hint(parameter: inspect.Parameter) -> typing.Any:
    """The declared type of one value for all rows. A union's lists are columns, one value for each row: left out."""
    hint = parameter.annotation
    if hint is parameter.empty or isinstance(hint, str):
        return typing.Any
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = tuple(member for member in typing.get_args(hint) if typing.get_origin(member) is not list)
        return typing.Union[members] if members else hint  # noqa: UP007 (made of a tuple)
    return hint


def trl_shaping(name: str, arguments: dict) -> Callable[..., list[float]]:
    """TRL's reward of that name in `TRL_SHAPING`. Imports `trl.rewards`, which loads no torch.

    Raises:
        RecipeError: for a missing argument, one that it does not take, or a value that it cannot work with.
    """
    factory = getattr(importlib.import_module("trl.rewards"), TRL_SHAPING[name])
    arguments = check_arguments(name, factory, arguments)
    parameters = inspect.signature(factory).parameters.values()
    if missing := [each.name for each in parameters if each.default is each.empty and each.name not in arguments]:
        raise RecipeError(f"{name} needs {' and '.join(missing)}, such as {EXAMPLE}", key="reward_funcs")
    for argument, value in arguments.items():
        if value < LEAST.get(argument, value):
            problem = f"{name}: {argument}: got {value}, expected {LEAST[argument]} or more"
            raise RecipeError(problem, key="reward_funcs")
    try:
        return factory(**arguments)
    except ValueError as error:
        raise RecipeError(f"{name}: {error}", key="reward_funcs") from error
