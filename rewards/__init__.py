"""Rewards: text in, verdict out. Standard library only; no IO, no torch, no TRL.

One exception to "no IO": `code_reward` starts processes, as it runs the answer's program (`rewards/sandbox.py`).

To add one, write `my_verdict(text, <columns>)` in a new file here, name it with `reward_from("my_reward", my_verdict)`,
and export it below. Every exported name that ends in `_reward` can be used in a recipe's `reward_funcs`.
"""

if __name__ != "mini_r1.rewards":  # under two names there would be two `Verdict`s, unequal: every reward silently 0
    raise ImportError(f"{__name__} is imported as mini_r1.rewards", name=__name__)

from mini_r1.rewards.code import code_reward, code_verdict
from mini_r1.rewards.control import random_reward
from mini_r1.rewards.equation import equation_reward, equation_verdict
from mini_r1.rewards.format import format_reward, format_verdict
from mini_r1.rewards.language import language_consistency_reward
from mini_r1.rewards.needs import needs_reward, needs_verdict
from mini_r1.rewards.number import number_reward, number_verdict
from mini_r1.rewards.roles import roles_reward, roles_verdict
from mini_r1.rewards.summary_format import summary_format_reward, summary_format_verdict
from mini_r1.rewards.text import answer_block, full_text, has_right_format
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
    "format_reward",
    "format_verdict",
    "full_text",
    "has_right_format",
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

# The rewards that ask for a form, whatever the answer says. A prompt template names the one that its prompts ask for.
FORMAT_REWARDS = ("format_reward", "summary_format_reward")
