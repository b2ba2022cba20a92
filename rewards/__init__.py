"""Verifiers map a text to a verdict, rewards map verdicts to numbers; with the standard library only, no torch, no TRL.

They do no input and output. The one exception is `code_reward`, which runs the answer's program in a sandbox.

The file of a verifier has, in this order, its verdict, its reward, its vote (what a completion counts for in majority
voting) and its reason (why the answer is right or wrong, in words); not all have the last two. To add a verifier, write
`my_verdict(text, <columns>)` in a new file here, make it a reward with `reward_from("my_reward", my_verdict)`, and
export both below. A recipe's `reward_funcs` can name every exported function whose name ends in `_reward`.
"""

if __name__ != "mini_r1.rewards":  # under two names there would be two `Verdict`s, unequal: every reward silently 0
    raise ModuleNotFoundError(f"{__name__} is imported as mini_r1.rewards", name=__name__)

from collections.abc import Callable

from mini_r1.rewards.code import code_reason, code_reward, code_verdict
from mini_r1.rewards.control import random_reward
from mini_r1.rewards.equation import equation_reason, equation_reward, equation_verdict
from mini_r1.rewards.format import (
    format_fault,
    format_reward,
    format_verdict,
    summary_format_reward,
    summary_format_verdict,
)
from mini_r1.rewards.language import language_consistency_reward
from mini_r1.rewards.needs import needs_reason, needs_reward, needs_verdict
from mini_r1.rewards.number import number_reason, number_reward, number_verdict
from mini_r1.rewards.roles import roles_reason, roles_reward, roles_verdict
from mini_r1.rewards.sandbox import SandboxError
from mini_r1.rewards.text import answer_block, full_text
from mini_r1.rewards.verdict import DEFAULT_VALUES, Verdict, reward_from

__all__ = [
    "DEFAULT_VALUES",
    "FORMAT_REWARDS",
    "Verdict",
    "answer_block",
    "code_reward",
    "code_verdict",
    "equation_reward",
    "equation_verdict",
    "explain",
    "format_reward",
    "format_verdict",
    "full_text",
    "language_consistency_reward",
    "needs_reward",
    "needs_verdict",
    "number_reward",
    "number_verdict",
    "random_reward",
    "reward_from",
    "roles_reward",
    "roles_verdict",
    "summary_format_reward",
    "summary_format_verdict",
]

# The rewards for the format, whatever the answer says. A prompt template names the one that its prompts ask for.
FORMAT_REWARDS = ("format_reward", "summary_format_reward")

# (columns of a task's rows, its verifier, the reason for the verdict: (block, text, *columns) -> str).
_EXPLAINED: list[tuple[tuple[str, ...], Callable, Callable]] = [
    (("nums", "target"), equation_verdict, equation_reason),
    (("names", "roles"), roles_verdict, roles_reason),
    (("needs", "bans"), needs_verdict, needs_reason),
    (("tests",), code_verdict, code_reason),
    (("answer",), number_verdict, number_reason),
]


WELL_FORMED = "the format is as asked for"


def explain(text: str, row: dict, right: bool | None = None) -> str:
    """Says in one line why a completion is right or wrong: the verdict, then the faults, the format's first.

    Args:
        text: prefill and completion.
        row: the task's columns, and any others: `nums` and `target`, `names` and `roles`, `needs` and `bans`, `tests`,
            or `answer`. Without any of these the line is about the format alone. `tests` make the answer's program
            run (again). `format_reward`, if present, names the reward for the format that the prompt asked for.
        right: the verdict of another verifier, for a row without any of these columns.

    Returns:
        "right: ..." or, where the format is wrong, "right, but ..." for the verdict CORRECT, "wrong: ..." for WRONG,
        "no answer: ..." for UNPARSEABLE, "no verdict: ..." where the gold is unusable or this machine cannot run
        programs.

    Example:
        >>> explain("<think>hm</think><answer>2 + 3</answer>", {"nums": [2, 3], "target": 8})
        'wrong: 2 + 3 makes 5, not 8'
    """
    fault = format_fault(text, row.get("format_reward", "format_reward"))
    columns, verdict_on, reason_for = _task_of(row)
    if not columns:
        if right is None:
            right = not fault
        return f"right, but {fault}" if right and fault else f"{'right' if right else 'wrong'}: {fault or WELL_FORMED}"
    gold = [row[column] for column in columns]
    try:
        verdict = verdict_on(text, *gold)
    except SandboxError as error:
        return f"no verdict: {error}"
    if verdict is None:
        return "no verdict: the row's gold cannot be used"
    block = answer_block(text)
    if verdict is Verdict.CORRECT:
        sentence = f"right, but {fault}" if fault else f"right: {reason_for(block, text, *gold)}"
    else:
        reasons = [fault] if fault else []
        if block is not None and block.strip():
            reasons.append(reason_for(block, text, *gold))
        sentence = f"{'wrong' if verdict is Verdict.WRONG else 'no answer'}: {', and '.join(reasons)}"
    return " ".join(sentence.split())


def _task_of(row: dict) -> tuple:
    """The entry of `_EXPLAINED` whose columns the row has; a mixed run sets the columns of other tasks to null."""
    there = [task for task in _EXPLAINED if all(column in row for column in task[0])]
    filled = [task for task in there if any(row[column] is not None for column in task[0])]
    return next(iter([*filled, *there]), ((), None, None))
