"""Tasks: what is asked. One task a file; its name in recipes is the file's name, or the dotted path of your own module.

To add one, copy tasks/countdown.py; `Task` below says what a task has. One of your own (`task: my_pkg.my_task`) may
stand anywhere on the import path.
"""

import difflib
import importlib
import pkgutil
from types import FunctionType, ModuleType
from typing import Protocol

from mini_r1.errors import RecipeError

if __name__ != "mini_r1.tasks":  # under two names a task would be two modules
    raise ModuleNotFoundError(f"{__name__} is imported as mini_r1.tasks", name=__name__)

NO_TASKS = ("traces",)  # modules of this package that tasks have in common


class Task(Protocol):
    """What a task has; a module with these constants and functions is one.

    It makes problems, or has some raw rows to show what they look like:
        generate(n, seed, **task_args) -> list[dict]    `n` new raw rows, all different, the same for the same arguments
        EXAMPLES                                        a tuple of raw rows

    It may have, besides:
        held_out(row) -> bool | None        True where a problem is always for testing, None where its key decides
        trace(row, rng, **trace_args) -> list[tuple[str, bool]]     a worked completion for a cold start, from after
            `<think>`, in pieces, each with whether to learn it; with summary=True, which a template that asks for a
            summary passes, it ends in one that holds the answer. tasks/traces.py has what traces share
        vote(text, row) -> str | None       what a completion, prefill and all, votes for where the majority decides
            (maj@k, cons@64: self-consistency, Wang et al., arXiv:2203.11171): the answer's value as a text, so that
            all right answers are one vote, however they are written, and no wrong one is that vote; None where no
            answer can be read, with the limits of the reward
        PHRASES                             a regular expression of what a tiny tokenizer should make one token each
        my_reward(completions, ...)         a reward of its own, see `math_reward` in tasks/math.py
    """

    HUB_ID: str  # where the real rows are
    REWARD: str  # name of the reward that decides whether an answer is right
    ANSWER_EXAMPLE: str  # what an answer block looks like, shown in the prompt

    def parse_row(self, raw: dict) -> dict:
        """A raw row of the data set -> the task's columns and `difficulty`; ValueError names column and fault."""

    def key(self, row: dict) -> str:
        """The problem's identity: equal for equal problems, whatever the order of their parts."""

    def question(self, row: dict) -> str:
        """The question, without any word on tags."""

    def gold_answer(self, row: dict) -> str | None:
        """An answer that the task's reward scores 1.0; None where the row has none."""


def names() -> list[str]:
    """Names of all tasks that are shipped: the modules of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in NO_TASKS)


def examples(task: ModuleType, n: int) -> list[dict]:
    """`n` raw rows or fewer: generated ones, or the task's own `EXAMPLES`."""
    return task.generate(n, 0) if hasattr(task, "generate") else list(task.EXAMPLES[:n])


def get(name: str | None) -> ModuleType:
    """The task of that name, or at that dotted path.

    Raises:
        RecipeError: with the nearest name or all names where there is none, and with what is missing where a module
            is no task.
    """
    choices = "choose one of: " + ", ".join(names())
    if name is None:
        raise RecipeError(f"is missing; {choices}, or a dotted path such as my_pkg.my_task", key="task")
    if name in names():
        return importlib.import_module(f"{__name__}.{name}")
    own = name.removeprefix("mini_r1.").removeprefix("tasks.")  # where the path is one into this package
    if "." not in name or name == f"{__name__}.{own}":
        near = difflib.get_close_matches(own, names(), n=1)
        hint = f"did you mean {near[0]}?" if near else choices
        raise RecipeError(f"there is no task {name!r}; {hint}", key="task")
    if not all(part.isidentifier() for part in name.split(".")):
        raise RecipeError(f"{name!r} is no dotted path such as my_pkg.my_task", key="task")
    task = import_dotted(name, "task", f"use {own}" if own in names() else "")
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
        key: the recipe's.
        successor: what to write instead, where the module is not there; "" for nothing better than to install it.

    Raises:
        RecipeError: where the module, or a package around it, is missing. What is missing inside a module of the
            user's is for the user to see in full: that propagates.
    """
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if not f"{path}.".startswith(f"{error.name}."):
            raise
        here = f"ours is mini_r1.{error.name}" if error.name in ("rewards", "tasks") else "install it"
        remedy = successor or f"{here}, or set PYTHONPATH to the folder that holds it"
        raise RecipeError(f"there is no module {error.name!r}; {remedy}", key=key) from error
