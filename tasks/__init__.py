"""Tasks say what is asked. Each task is one file; a recipe names it by the file's name.

To add one, copy tasks/countdown.py; `Task` below says what a task has. A module of your own may stand anywhere on the
import path; a recipe names it by its dotted path (`task: my_pkg.my_task`).
"""

import difflib
import importlib
import os
import pkgutil
import sys
from types import FunctionType, ModuleType
from typing import Protocol

from mini_r1.errors import RecipeError

if __name__ != "mini_r1.tasks":  # under two names a task would be two modules
    raise ModuleNotFoundError(f"{__name__} is imported as mini_r1.tasks", name=__name__)

NO_TASKS = ("traces",)  # modules of this package that tasks share


class Task(Protocol):
    """A module with these constants and functions.

    A task also generates problems, or has a few raw rows as examples:
        generate(n, seed, **task_args) -> list[dict]    `n` new raw rows, all different, the same for the same arguments
        EXAMPLES                                        a tuple of raw rows

    Optional are:
        held_out(row) -> bool | None        True where a problem is always for testing, None where its key decides
        trace(row, rng, **trace_args) -> list[tuple[str, bool]]     a worked completion for a cold start, from after
            `<think>` on, in pieces, each with whether to learn it. A template that asks for a summary passes
            summary=True; the trace then ends in a summary that holds the answer. See tasks/traces.py
        vote(text, row) -> str | None       what a completion with its prefill votes for where the majority decides
            (maj@k, cons@64: self-consistency, Wang et al., arXiv:2203.11171): the answer's value as a text, so that
            all right answers are one vote, however they are written, and no wrong answer has that vote; None where no
            answer can be read, with the limits of the reward
        PHRASES                             a regular expression; a tiny tokenizer makes each match one token
        my_reward(completions, ...)         a reward of its own, see `math_reward` in tasks/math.py
    """

    HUB_ID: str  # the dataset with the real rows; "none" where there is none
    REWARD: str  # name of the reward that decides whether an answer is right
    ANSWER_EXAMPLE: str  # an answer block's content, shown in the prompt

    def parse_row(self, raw: dict) -> dict:
        """A raw row of the dataset -> the task's columns and `difficulty`; a ValueError names column and fault."""

    def key(self, row: dict) -> str:
        """The problem's identity: equal for equal problems, whatever the order of their parts."""

    def question(self, row: dict) -> str:
        """The question; it does not mention the tags."""

    def gold_answer(self, row: dict) -> str | None:
        """An answer that the task's reward scores 1.0; None where the row has none."""


def names() -> list[str]:
    """The names of all shipped tasks: the modules of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in NO_TASKS)


def examples(task: ModuleType, n: int) -> list[dict]:
    """At most `n` raw rows: generated ones, or the task's own `EXAMPLES`."""
    return task.generate(n, 0) if hasattr(task, "generate") else list(task.EXAMPLES[:n])


def get(name: str | None) -> ModuleType:
    """The task with that name, or at that dotted path.

    Raises:
        RecipeError: where there is no such task, with the nearest name or all names; where a module is no task, with
            what it lacks.
    """
    choices = "choose one of: " + ", ".join(names())
    if name is None:
        raise RecipeError(f"is missing; {choices}, or a dotted path such as my_pkg.my_task", key="task")
    if name in names():
        return _whole(importlib.import_module(f"{__name__}.{name}"), name)
    own = name.removeprefix("mini_r1.").removeprefix("tasks.")  # where the path is one into this package
    if "." not in name or name == f"{__name__}.{own}":
        near = difflib.get_close_matches(own, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else choices
        raise RecipeError(f"there is no task {name!r}; {hint}", key="task")
    if not all(part.isidentifier() for part in name.split(".")):
        raise RecipeError(f"{name!r} is no dotted path such as my_pkg.my_task", key="task")
    return _whole(import_dotted(name, "task", f"use {own}" if own in names() else ""), name)


def _whole(task: ModuleType, name: str) -> ModuleType:
    if lacks := missing(task):
        raise RecipeError(f"{name} is no task, it lacks {', '.join(lacks)}; see tasks/__init__.py", key="task")
    return task


def missing(task: ModuleType) -> list[str]:
    """What a module lacks to be a `Task`."""
    constants = [name for name in Task.__annotations__ if not isinstance(getattr(task, name, None), str)]
    functions = [name for name, value in vars(Task).items() if isinstance(value, FunctionType) and name[0] != "_"]
    lacks = constants + [f"{name}()" for name in functions if not callable(getattr(task, name, None))]
    rows = callable(getattr(task, "generate", None)) or bool(getattr(task, "EXAMPLES", None))
    return lacks if rows else [*lacks, "generate() or EXAMPLES"]


def import_dotted(path: str, key: str, successor: str = "") -> ModuleType:
    """The module at a dotted path that a recipe names.

    Args:
        key: the recipe's key that names it.
        successor: what to write instead where the module is missing; "" where nothing is better than to install it.

    Raises:
        RecipeError: where the module, or a package around it, is missing. An error inside the user's module propagates,
            so that the user sees it in full.
    """
    here = os.getcwd()
    added = here not in sys.path
    if added:
        sys.path.append(here)  # last and for now: a folder of the user's, such as wandb/, is to pass for no package
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if not f"{path}.".startswith(f"{error.name}."):
            raise
        own = f"ours is mini_r1.{error.name}" if error.name in ("rewards", "tasks") else "install it"
        folder = "the folder that holds it (that in which you start is searched)"
        remedy = successor or f"{own}, or set PYTHONPATH to {folder}"
        raise RecipeError(f"there is no module {error.name!r}; {remedy}", key=key) from error
    finally:
        if added:
            sys.path.remove(here)
