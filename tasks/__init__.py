"""One file per task. A task is a module with the functions of tasks/countdown.py; its file name is its name in recipes.

A task module offers:
    HUB_ID              where the real rows are
    REWARD              name of the reward that decides whether an answer is right
    ANSWER_EXAMPLE      what an answer block looks like, shown in the prompt
    parse_row(raw)      a raw dataset row -> the task's columns and `difficulty`; ValueError names column and fault
    key(row)            the problem's identity: equal for equal problems, whatever the order of their parts
    question(row)       the question, without any word on tags
    gold_answer(row)    an answer that its reward scores 1.0
    generate(n, seed, **task_args)      `n` new raw rows, all different, the same for the same arguments; a task that
                                        makes none has EXAMPLES instead, some raw rows
    held_out(row)       optional: True where a problem is always for testing, None where its key decides
    trace(row, rng, **trace_args)       optional: a worked completion for a cold start, from after `<think>`, as a list
                                        of (text, whether to learn it); with summary=True, which a template that
                                        asks for a summary passes, it ends in one that holds the answer
    vote(text, row)     optional: what a completion, prefill and all, votes for where the majority decides: a text that
                        all right answers share and no wrong one, None without an answer; see rewards/equation.py
    PHRASES             optional: a regular expression of what a tiny tokenizer should make one token each
"""

import difflib
import importlib
import pkgutil
from types import ModuleType

from mini_r1.errors import RecipeError

if __name__ != "mini_r1.tasks":  # under two names a task would be two modules
    raise ImportError(f"{__name__} is imported as mini_r1.tasks", name=__name__)


NO_TASKS = ("traces",)  # modules of this package that tasks have in common


def names() -> list[str]:
    """Names of all tasks that are shipped: the modules of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in NO_TASKS)


def examples(task: ModuleType, n: int) -> list[dict]:
    """`n` raw rows or fewer: generated ones, or the task's own `EXAMPLES`."""
    return task.generate(n, 0) if hasattr(task, "generate") else list(task.EXAMPLES[:n])


def get(name: str | None) -> ModuleType:
    """The task module called `name`. Raises `RecipeError` with the nearest name where there is none."""
    if name not in names():
        near = difflib.get_close_matches(str(name), names(), n=1)
        hint = f"did you mean {near[0]}?" if near else "choose one of: " + ", ".join(names())
        raise RecipeError(f"there is no task {name!r}; {hint}", key="task")
    return importlib.import_module(f"{__name__}.{name}")
