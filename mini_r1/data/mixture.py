"""The tasks of a run, with the arguments and rewards of each, and the shares of a mixture.

    tasks:
      - {task: countdown, weight: 2, task_args: {n: 2000}, reward_funcs: [format_reward, equation_reward]}
      - {task: gsm8k, dataset_id_or_path: data/gsm8k, reward_funcs: [format_reward, number_reward]}

An entry has all keys that describe its problems (`OF_ONE_TASK`), and those of `SHARED` that differ from the recipe's
top level. A recipe with `task` has one part, whose rows have no column of a mixture. This file imports no torch.
"""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from mini_r1 import rewards as shipped
from mini_r1 import tasks
from mini_r1.config.arguments import RecipeArguments
from mini_r1.config.keys import Node, check_values
from mini_r1.config.schema import keys_of
from mini_r1.data import prompts
from mini_r1.data.prompts import PromptTemplate
from mini_r1.data.reward_loader import Reward, check_available, load_rewards, public_name, read_entry
from mini_r1.errors import RecipeError

OF_ONE_TASK = (
    "task_args", "dataset_id_or_path", "dataset_config", "dataset_train_split", "dataset_test_split",
    "dataset_test_config", "dataset_columns", "difficulty", "trace_args", "trace_phases",
)  # fmt: skip
SHARED = (
    "test_fraction", "max_train_rows", "max_eval_rows", "max_prompt_tokens", "prompt_template", "reward_funcs",
    "reward_values", "require_format", "skip_bad_rows",
)  # fmt: skip
EXAMPLE = "[{task: countdown, weight: 2}, {task: gsm8k}]"


@dataclass(frozen=True)
class Part:
    """One task of a run.

    Attributes:
        name: the task's, as in the recipe.
        args: the keys of a run of this task alone.
        weight: its share of the training prompts or traces, relative to those of the other parts.
        mixed: whether the recipe has `tasks`, so that rows say which is theirs.
        given: the keys of its entry; the others are the recipe's own.
    """

    name: str
    task: ModuleType
    template: PromptTemplate
    args: Any  # the dataclass of arguments.py for the kind of run
    weight: float = 1.0
    mixed: bool = False
    given: frozenset[str] = frozenset()

    @property
    def rewards(self) -> list[str]:
        """The public names of its rewards."""
        return [public_name(read_entry(entry)[0]) for entry in self.args.reward_funcs]

    @property
    def columns(self) -> dict[str, Any]:
        """What every row of this part has beside its task's columns, its prompt and its prefill."""
        return {"task": self.name, "rewards": self.rewards} if self.mixed else {}

    @contextmanager
    def blame(self):
        """Inside, a `RecipeError` says which part it is about (`blamed`)."""
        try:
            yield
        except RecipeError as error:
            raise self.blamed(error) from error

    def blamed(self, error: RecipeError) -> RecipeError:
        """The error; of a mixed run with the part's name, under the key `tasks` unless the key is the top level's."""
        if not self.mixed or error.key == "tasks":
            return error
        if error.key in SHARED and error.key not in self.given and error.key != "reward_funcs":
            return RecipeError(f"{self.name}: {error.problem}", key=error.key, file=error.file)
        problem = ": ".join(filter(None, [self.name, error.key, error.problem]))
        return RecipeError(problem, key="tasks", file=error.file)


def read_parts(args: RecipeArguments) -> list[Part]:
    """Reads the tasks of a run: one for `task`, those of `tasks`, or none, where all data are `sft_datasets`.

    Raises:
        RecipeError: for a task or template that does not exist, a key or value that an entry cannot have, a task named
            twice, or a key that `tasks` replaces.
    """
    entries = args.tasks
    if entries is None and args.task is None and getattr(args, "sft_datasets", None):
        return []
    if entries is None:
        task = tasks.get(args.task)  # refuses None
        template = prompts.get_template(args.prompt_template, args.chat_template_kwargs)
        return [Part(str(args.task), task, template, args)]
    if args.task is not None:
        raise RecipeError("given together with tasks; leave one of the two out (task: null)", key="task")
    for key in OF_ONE_TASK:
        if getattr(args, key, None) != getattr(type(args), key, None):
            raise RecipeError("is about one task; put it into an entry of tasks", key=key)
    if not entries:
        raise RecipeError(f"is empty; name tasks, such as {EXAMPLE}", key="tasks")
    parts = [_part(entry, number, args) for number, entry in enumerate(entries, 1)]
    names = [part.name for part in parts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise RecipeError(f"names {twice[0]} twice; name each task once", key="tasks")
    known = {read_entry(entry)[0] for part in parts for entry in part.args.reward_funcs}
    for key in ("reward_values", "require_format"):
        if idle := [name for name in getattr(args, key) or [] if name not in known]:
            there = ", ".join(sorted(known))
            raise RecipeError(f"{idle[0]!r} is in no task's reward_funcs, which have: {there}", key=key)
    return parts


def _part(entry: dict, number: int, args: RecipeArguments) -> Part:
    """Makes a part of an entry of `tasks` and the recipe's top level."""
    own_keys: dict[str, Node] = {"task": {"type": "string"}, "weight": {"type": "number", "exclusiveMinimum": 0}}
    keys = own_keys | {key: node for key, node in keys_of(type(args)).items() if key in (*OF_ONE_TASK, *SHARED)}
    name = entry.get("task")
    if not isinstance(name, str):
        raise RecipeError(f"entry {number} names no task; an example: {EXAMPLE}", key="tasks")
    try:
        own = check_values(entry, {}, keys)
        weight = own.pop("weight", 1.0)
        names = {read_entry(each)[0] for each in own.get("reward_funcs", args.reward_funcs)}
        # the top level also has settings for rewards of other parts
        filled = {
            "reward_values": {key: value for key, value in (args.reward_values or {}).items() if key in names},
            "require_format": [key for key in args.require_format or [] if key in names],
        } | own
        template = prompts.get_template(filled.get("prompt_template", args.prompt_template), args.chat_template_kwargs)
        of_its_own = replace(args, **filled | {"task": name, "tasks": None})
        return Part(name, tasks.get(name), template, of_its_own, float(weight), True, frozenset(own))
    except RecipeError as error:
        if error.key == "prompt_template" and error.key not in entry:
            raise  # the recipe's own
        where = [] if error.key == "task" else [name, error.key]
        raise RecipeError(": ".join(filter(None, [*where, error.problem])), key="tasks") from error


def weights(parts: list[Part]) -> dict[str, float] | None:
    """The weight of each task by name; None for a run of one task."""
    return {part.name: part.weight for part in parts} if parts[0].mixed else None


def shares(weights: dict[str, float], count: int, what: str = "prompts") -> dict[str, int]:
    """Divides `count` by weight into whole numbers; the remainder goes to the largest fractions.

    Raises:
        RecipeError: where a weight is too small for a share of 1.

    Example: `shares({"countdown": 2, "gsm8k": 1}, 16)` is `{"countdown": 11, "gsm8k": 5}`.
    """
    exact = {name: count * weight / sum(weights.values()) for name, weight in weights.items()}
    given = {name: int(share) for name, share in exact.items()}
    left = count - sum(given.values())
    for name in sorted(exact, key=lambda name: given[name] - exact[name])[:left]:
        given[name] += 1
    if none := [name for name in given if not given[name]]:
        raise RecipeError(
            f"{none[0]}: a weight of {weights[none[0]]:g} is not one of the run's {count} {what}; raise it",
            key="tasks",
        )
    return given


def take_turns(lists: list[list]) -> list:
    """Merges lists: each keeps its order and is spread evenly over the whole; in a tie the earlier list comes first.

    Example: `take_turns([["a", "b", "c", "d"], ["x", "y"]])` is `["a", "x", "b", "c", "y", "d"]`.
    """
    places = [
        ((turn + 0.5) / len(own), number, one) for number, own in enumerate(lists) for turn, one in enumerate(own)
    ]
    return [one for *_, one in sorted(places, key=lambda place: place[:2])]


def load_part_rewards(parts: list[Part], as_asked: bool = True) -> list[Reward]:
    """Loads the rewards of all parts, each once, in the order in which they are first named.

    A row's column `rewards` names those that are due; the others give None for it.

    Args:
        as_asked: refuse a format reward for another form than a part's template asks for.

    Raises:
        RecipeError: as `load_rewards`, or where two parts mean different rewards by one name, for which TRL has one
            column.
    """
    found: dict[str, tuple[Reward, Part, dict]] = {}
    for part in parts:
        args = part.args
        with part.blame():
            template = part.template if as_asked else None
            loaded = load_rewards(args.reward_funcs, args.reward_values, args.require_format, part.task, template)
        for entry, reward in zip(args.reward_funcs, loaded, strict=True):
            meant = _meant(entry, part)
            _, other, before = found.setdefault(reward.__name__, (reward, part, meant))
            if differing := [what for what in meant if meant[what] != before[what]]:
                raise RecipeError(
                    f"{part.name} and {other.name} give {reward.__name__} different {differing[0]}, and it can be one "
                    "reward only; make them equal, or name another reward",
                    key="tasks",
                )
    return [reward for reward, *_ in found.values()]


def _meant(entry: str | dict, part: Part) -> dict[str, Any]:
    """Everything that an entry of `reward_funcs` depends on, by what an error calls it."""
    name, arguments = read_entry(entry)
    return {
        "functions": (name, getattr(part.task, name, getattr(shipped, name, None))),
        "arguments": arguments,
        "reward_values": (part.args.reward_values or {}).get(name),
        "require_format": part.template.format_reward if name in (part.args.require_format or []) else None,
    }


def check_parts(parts: list[Part], loaded: list[Reward]) -> None:
    """Checks that this machine can give the rewards of a run, and those that its tasks are measured with."""
    for part in parts:
        with part.blame():
            check_available([reward for reward in loaded if reward.__name__ in part.rewards], part.task)


def find_part(parts: list[Part]) -> Callable[[dict], Part]:
    """Returns a function from a row of `to_datasets` to its part."""
    by_task = {part.name: part for part in parts}
    return lambda row: by_task[row["task"]] if parts[0].mixed else parts[0]


def chat_of(parts: list[Part]) -> Callable[[dict], list[dict]]:
    """Returns a function from a row of `to_datasets` to its conversation (`prompts.messages`)."""
    part_of = find_part(parts)

    def chat(row: dict) -> list[dict]:
        part = part_of(row)
        return prompts.messages(part.template, part.task, row)

    return chat
