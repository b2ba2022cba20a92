"""Loads the reward functions that a recipe names, ready for TRL to call.

A name is a function exported by `rewards`, one in the task's module whose name ends in `_reward`, the dotted path of
your own (`my_pkg.my_module.my_reward`), or one of TRL's shaping functions (`soft_overlong`, `repetition_penalty`).
A map with `reward_model` is a reward model (mini_r1/data/reward_model.py). Any other map has the arguments of a reward:

    reward_funcs: [format_reward, {name: soft_overlong, max_completion_len: 1024, soft_punish_cache: 128}]
"""

import functools
import importlib
import inspect
import math
import typing
from collections.abc import Callable, Iterable
from types import ModuleType, UnionType
from typing import Any

from mini_r1 import rewards, tasks
from mini_r1.config.keys import check_values, did_you_mean
from mini_r1.config.schema import node_of
from mini_r1.data.prompts import PromptTemplate
from mini_r1.data.reward_model import reward_of
from mini_r1.errors import RecipeError
from mini_r1.rewards import Verdict
from mini_r1.rewards.text import full_text

Reward = Callable[..., Any]  # list[float | None], or for TRL a coroutine of one

LARGEST = 3.4e38  # of single precision, in which TRL computes
EXAMPLE = "{name: soft_overlong, max_completion_len: 1024, soft_punish_cache: 128}"

# TRL's shaping of length and repetition: name in a recipe -> function of `trl.rewards` that makes the reward
TRL_SHAPING = {
    "soft_overlong": "get_soft_overlong_punishment",
    "repetition_penalty": "get_repetition_penalty_reward",
}
# Lower bounds that TRL itself does not check; below them it divides by zero, or gives no reward at all
LEAST = {"max_completion_len": 1, "soft_punish_cache": 0, "ngram_size": 1}

# TRL's own arguments of every reward, and the columns of every row; no recipe sets them.
GIVEN = frozenset({
    "prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric", "environments",
    "prefill", "rewards", "difficulty", "task",
})  # fmt: skip


def load_rewards(
    reward_funcs: list[str | dict],
    reward_values: dict[str, list[float]] | None = None,
    require_format: list[str] | None = None,
    task_module: ModuleType | None = None,
    template: PromptTemplate | None = None,
) -> list[Reward]:
    """Loads the rewards that `reward_funcs` names, in its order, ready for `GRPOTrainer`.

    Args:
        reward_funcs: names, or maps of `name` and arguments, which are the same for all rows.
        reward_values: per name the numbers for correct, wrong and unparseable.
        require_format: names of the rewards that count as unparseable wherever the format is wrong.
        task_module: its rewards go before those of the same name in `rewards`.
        template: the one of the prompts, which says which format is right; None: `format_reward`'s.

    Each reward keeps its public `__name__`, and gives None for a row whose `rewards` column lists only others.

    Raises:
        RecipeError: for anything that is wrong with the entries, the values or the names.

    Example: `load_rewards(["format_reward", "equation_reward"], {"equation_reward": [2, -1, -1]})`.
    """
    values, strict = reward_values or {}, require_format or []
    if not reward_funcs:
        raise RecipeError("is empty; name at least one reward, such as format_reward", key="reward_funcs")
    known = _rewards_in(rewards) | (_rewards_in(task_module) if task_module else {})
    entries = [read_entry(entry) for entry in reward_funcs]
    public = [public_name(name) for name, _ in entries]
    if twice := sorted({name for name in public if public.count(name) > 1}):
        raise RecipeError(f"names {', '.join(twice)} twice; name each reward once", key="reward_funcs")
    form = template.format_reward if template else "format_reward"
    for name in public:
        if template and name in rewards.FORMAT_REWARDS and name != form:
            raise RecipeError(f"{name} is not the form that prompt_template asks for; use {form}", key="reward_funcs")
    loaded: dict[str, Any] = {}  # functions; those made of verifiers have attributes, see `reward_from`
    arguments: dict[str, dict] = {}  # passed with each call
    for name, given in entries:
        arguments[name] = {}
        if "reward_model" in given:
            if name in known or name in TRL_SHAPING or not name.isidentifier():
                raise RecipeError(f"{name} is no name for a reward model; choose another", key="reward_funcs")
            loaded[name] = reward_of(name, given, task_module)
        elif name in TRL_SHAPING:
            loaded[name] = _trl_shaping(name, given)
        else:
            loaded[name] = _find(name, known)
            arguments[name] = _check_arguments(name, loaded[name], given)
    if task_module:
        _check_columns(loaded, arguments, task_module)
    _check_changes(values, strict, loaded)
    for name in {*values, *strict}:
        verifier = loaded[name].verifier
        if name in strict:
            verifier = _requiring_format(verifier, getattr(rewards, form).verifier)
        loaded[name] = loaded[name].rebuilt(public_name(name), verifier, values.get(name, loaded[name].values))
    return [_for_its_rows(reward, public_name(name), arguments[name]) for name, reward in loaded.items()]


def check_available(reward_funcs: Iterable[Reward], task_module: ModuleType) -> None:
    """Refuses rewards, and the one that the task is measured with, where this machine cannot give them.

    Such as `code_reward` without bubblewrap; the error says the remedy.
    """
    own = _rewards_in(rewards) | _rewards_in(task_module)
    asked: list[tuple[str, Any]] = [("reward_funcs", reward) for reward in reward_funcs]
    asked.append(("task", own.get(task_module.REWARD)))
    for key, reward in asked:
        if hasattr(reward, "unavailable") and (why := reward.unavailable()):
            raise RecipeError(f"{reward.__name__}: {why}", key=key)


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


def _check_arguments(name: str, reward: Callable, arguments: dict) -> dict:
    """Returns the arguments, after checks of their names and types against the reward's signature."""
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
    try:
        return check_values(arguments, {}, {argument: node_of(_hint(takes[argument])) for argument in arguments})
    except RecipeError as error:
        raise RecipeError(f"{name}: {error}", key="reward_funcs") from None


def _hint(parameter: inspect.Parameter) -> typing.Any:
    """The declared type of a value that holds for all rows. Lists in a union are left out: they are columns."""
    hint = parameter.annotation
    if hint is parameter.empty or isinstance(hint, str):
        return typing.Any
    if typing.get_origin(hint) in (typing.Union, UnionType):
        members = tuple(member for member in typing.get_args(hint) if typing.get_origin(member) is not list)
        return typing.Union[members] if members else hint  # noqa: UP007 (made of a tuple)
    return hint


def _trl_shaping(name: str, arguments: dict) -> Callable[..., list[float]]:
    """Makes TRL's reward of that name in `TRL_SHAPING`. Imports `trl.rewards`, which loads no torch."""
    factory = getattr(importlib.import_module("trl.rewards"), TRL_SHAPING[name])
    arguments = _check_arguments(name, factory, arguments)
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


def public_name(name: str) -> str:
    """The name under which TRL logs a reward: of a dotted path the last part."""
    return name.rpartition(".")[2]


def _check_changes(values: dict[str, Any], strict: list[str], loaded: dict[str, Reward]) -> None:
    """Refuses changes of a reward that is no verifier of this run, and values that are not three numbers."""
    for key, names in (("reward_values", values), ("require_format", strict)):
        for name in names:
            if name not in loaded:
                raise RecipeError(f"{name!r} is not in reward_funcs, which has: {', '.join(loaded)}", key=key)
            if not hasattr(loaded[name], "verifier"):
                raise RecipeError(f"{name} gives numbers of its own, not verdicts; take it out here", key=key)
    for name, numbers in values.items():
        three = isinstance(numbers, list | tuple) and len(numbers) == 3
        if not (three and all(type(each) in (int, float) and math.isfinite(each) for each in numbers)):
            raise RecipeError(
                f"{name} needs three numbers, for correct, wrong and unparseable, such as [1, 0, 0], not {numbers!r}",
                key="reward_values",
            )


def _check_columns(loaded: dict[str, Reward], arguments: dict[str, dict], task: ModuleType) -> None:
    """Refuses a verifier that needs a column that the task's problems lack, and an argument that replaces a column."""
    columns = task.parse_row(tasks.examples(task, 1)[0])
    for name, reward in loaded.items():
        needed = list(inspect.signature(reward.verifier).parameters)[1:] if hasattr(reward, "verifier") else []
        if any(column not in columns for column in needed):
            raise RecipeError(
                f"{name} needs the columns {', '.join(needed)}, which {task.__name__.removeprefix('mini_r1.')} does "
                f"not give; its own reward is {task.REWARD}",
                key="reward_funcs",
            )
        own = inspect.signature(reward).parameters.values()
        if not any(each.kind is each.VAR_KEYWORD for each in own):
            raise RecipeError(f"{name} has no **kwargs, and TRL gives a reward all columns; add it", key="reward_funcs")
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        wants = [each.name for each in own if each.kind in named and each.default is each.empty]
        if lacking := [each for each in wants if each not in {*columns, *GIVEN, *arguments[name]}]:
            raise RecipeError(
                f"{name} wants {' and '.join(lacking)}, and the rows of this task have {', '.join(columns)}; make it a "
                "column, or an argument: {name: ..., " + f"{lacking[0]}: ...}}",
                key="reward_funcs",
            )
        if twice := sorted(arguments[name].keys() & columns.keys()):
            raise RecipeError(f"{name}: {twice[0]} is a column of the task; leave it out", key="reward_funcs")


def _rewards_in(module: ModuleType) -> dict[str, Reward]:
    return {name: value for name, value in vars(module).items() if name.endswith("_reward") and callable(value)}


def _find(name: str, known: dict[str, Reward]) -> Reward:
    if name in known:
        return known[name]
    module_name, dot, function_name = name.rpartition(".")
    if not dot:
        raise _unknown(f"there is no reward {name!r}", name, [*known, *TRL_SHAPING])
    if not all(part.isidentifier() for part in name.split(".")):
        raise RecipeError(f"{name!r} is no dotted path such as my_pkg.my_module.my_reward", key="reward_funcs")
    if module_name == "trl.rewards" and function_name in TRL_SHAPING.values():
        short = next(short for short, maker in TRL_SHAPING.items() if maker == function_name)
        raise RecipeError(f"{name} makes a reward and is none itself; use {short}", key="reward_funcs")
    ours = f"{module_name}.".startswith("rewards.") and function_name in _rewards_in(rewards)  # of an old recipe
    successor = f"use mini_r1.rewards.{function_name}, or just {function_name}" if ours else ""
    module = tasks.import_dotted(module_name, "reward_funcs", successor)
    reward = getattr(module, function_name, None)
    if not callable(reward):
        if successor:  # a module of the user's hides it
            raise RecipeError(f"{module_name} has no function {function_name!r}; {successor}", key="reward_funcs")
        there = [each for each, value in vars(module).items() if callable(value) and each[0] != "_"]
        raise _unknown(f"{module_name} has no function {function_name!r}", function_name, there)
    return reward


def _unknown(problem: str, name: str, known: Iterable[str]) -> RecipeError:
    names = sorted(known)
    hint = did_you_mean(name, names) or ";"
    return RecipeError(f"{problem}{hint} Known: {', '.join(names) or 'none'}", key="reward_funcs")


def _requiring_format(
    verifier: Callable[..., Verdict | None], format_verdict: Callable[[str], Verdict]
) -> Callable[..., Verdict | None]:
    @functools.wraps(verifier)
    def strict(text, *gold):
        verdict = verifier(text, *gold)
        if verdict is None or format_verdict(text) is Verdict.CORRECT:
            return verdict
        return Verdict.UNPARSEABLE

    return strict


def check_numbers(name: str, numbers: Any, completions: list) -> list[float | None]:
    """What a reward gave, as TRL needs it: for each completion a finite number, or None where none is due.

    TRL makes a tensor of it, in which an infinite or missing number would leave advantages of NaN, and NaN as if no
    reward were due.

    Raises:
        RecipeError: with the reward's name, and the first completion it gave something else for.
    """
    if not isinstance(numbers, Iterable) or isinstance(numbers, (str, bytes, dict)):
        problem = f"{name} gives {_shown(numbers)}, expected a list with one number for each completion"
        raise RecipeError(problem, key="reward_funcs")
    given = [value.item() if hasattr(value, "item") else value for value in numbers]
    if len(given) != len(completions):
        problem = f"{name} gives {len(given)} numbers for {len(completions)} completions"
        raise RecipeError(problem, key="reward_funcs")
    for value, completion in zip(given, completions, strict=True):
        if value is not None and not (isinstance(value, (int, float)) and abs(value) <= LARGEST):
            raise RecipeError(
                f"{name} gives {_shown(value)}, expected a finite number, or None where no reward is due; the "
                f"completion is {_shown(full_text(None, completion))}",
                key="reward_funcs",
            )
    return [None if value is None else float(value) for value in given]


def _shown(value: object) -> str:
    """The value as Python writes it, on one line and not too long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:100]} ... {text[-90:]}"


def _for_its_rows(reward: Reward, name: str, arguments: dict) -> Reward:
    """The reward with `arguments`, and None for rows whose `rewards` column does not list `name`.

    The call leaves these rows out, because columns of other tasks are null.
    """

    def select(completions, columns):
        """Returns the numbers of the rows for which the reward is due, and all arguments of the call on these rows."""
        wanted = columns.get("rewards") or [None] * len(completions)
        due = [i for i, names in enumerate(wanted) if names is None or name in map(public_name, names)]
        call = {"completions": completions, **columns}
        if len(due) < len(completions):
            # TRL passes more than columns: trainer_state and the logging functions stay as they are.
            for key, value in call.items():
                if isinstance(value, list) and len(value) == len(completions):
                    call[key] = [value[i] for i in due]
        return due, call | arguments

    def spread(due, numbers, length):
        by_row = dict(zip(due, numbers, strict=True))
        return [by_row.get(i) for i in range(length)]

    def checked(numbers, call):
        return check_numbers(name, numbers, call["completions"])

    @functools.wraps(reward)
    def filtered(completions, **columns):
        due, call = select(completions, columns)
        return spread(due, checked(reward(**call), call) if due else [], len(completions))

    @functools.wraps(reward)
    async def awaited(completions, **columns):
        due, call = select(completions, columns)
        return spread(due, checked(await reward(**call), call) if due else [], len(completions))

    own = awaited if inspect.iscoroutinefunction(reward) else filtered  # TRL awaits coroutine functions
    own.__name__ = name
    return own
