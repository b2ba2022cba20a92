"""Countdown: does the answer make the target out of exactly the given numbers?"""

import operator
import re
from fractions import Fraction
from numbers import Integral

from mini_r1.rewards.text import answer_block
from mini_r1.rewards.verdict import Verdict, reward_from

# Bounds the answer block, never the reasoning. Room for 1,000 numbers of four digits, each with an operator,
# two parentheses and three spaces; puzzles have 3 to 6 numbers.
ANSWER_CAP = 10_000
MAX_NESTING = 100
TOO_LARGE = 10**4000  # Python refuses to write numbers of more than 4,300 digits

# A number, or any one character but ASCII whitespace. No two alternatives begin alike, so nothing backtracks.
_TOKEN = re.compile(r"[0-9]+|[^0-9 \t\n\r\f\v]")
_DIGITS = frozenset("0123456789")
_NEGATE = "negate"
_PRECEDENCE = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2, _NEGATE: 3}
_BINARY = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda left, right: Fraction(left) / right,
}


class NotAnExpression(ValueError):
    """The tokens break the grammar of an expression."""


def evaluate(tokens: list[str]) -> int | Fraction:
    """Exact value of an infix expression over `+ - * /`, parentheses, unary minus and integers (shunting-yard).

    Raises `NotAnExpression` where the grammar is broken or parentheses nest deeper than `MAX_NESTING`, and
    `ZeroDivisionError`. One pass with two stacks: no recursion, so no depth that Python could refuse.

    Example: `evaluate(["-", "(", "1", "-", "2", ")", "/", "3"])` is `Fraction(1, 3)`.
    """
    values: list[int | Fraction] = []
    operators: list[str] = []
    nesting = 0
    operand_due = True

    def apply_last() -> None:
        last = operators.pop()
        right = values.pop()
        values.append(-right if last == _NEGATE else _BINARY[last](values.pop(), right))

    for token in tokens:
        if operand_due:
            if token[0] in _DIGITS:
                values.append(int(token))
                operand_due = False
            elif token == "-":
                operators.append(_NEGATE)
            elif token == "(" and nesting < MAX_NESTING:
                nesting += 1
                operators.append(token)
            else:
                raise NotAnExpression(f"{token!r} where a number is due, or nested too deep")
        elif token in _BINARY:
            while operators and _PRECEDENCE[operators[-1]] >= _PRECEDENCE[token]:
                apply_last()
            operators.append(token)
            operand_due = True
        elif token == ")" and nesting:
            nesting -= 1
            while operators[-1] != "(":
                apply_last()
            operators.pop()
        else:
            raise NotAnExpression(f"{token!r} where an operator is due")
    if operand_due or nesting:
        raise NotAnExpression("the expression ends too early")
    while operators:
        apply_last()
    return values[0]


def _is_int(value: object) -> bool:
    # `int` first spares the slow abstract check, which is there for the integers of other libraries.
    return isinstance(value, (int, Integral)) and not isinstance(value, bool)


def _usable(nums: object, target: object) -> bool:
    """A literal has no sign, so that no answer could use a negative number: such a gold is unusable, too."""
    if not isinstance(nums, (list, tuple)) or not nums or not _is_int(target):
        return False
    return all(_is_int(number) and 0 <= number < TOO_LARGE for number in nums)


def equation_verdict(text: str, nums: list[int], target: int) -> Verdict | None:
    """Correct where the answer is one expression that uses each of `nums` exactly once and equals `target` exactly.

    Allowed are `+ - * /`, parentheses, unary minus, plain integer literals in ASCII digits, and ASCII whitespace.
    Any other character makes it wrong (`**`, `//`, `=`, decimals, words, LaTeX), and so do two numbers side by side,
    leading zeros, division by zero, nesting deeper than `MAX_NESTING` and more than `ANSWER_CAP` characters.
    Unparseable where there is no answer block. None where the gold is unusable: `nums` not a nonempty list of ints
    from 0 up to 4,000 digits, or `target` not an int.

    Example:
        >>> completions = ["3*5 = 15</think><answer>(1 + 2) * 5</answer>", "hm</think><answer>15</answer>"]
        >>> equation_reward(completions, prefill=["<think>"] * 2, nums=[[1, 2, 5]] * 2, target=[15, 15])
        [1.0, 0.0]
    """
    if not _usable(nums, target):
        return None
    answer = answer_block(text)
    if answer is None:
        return Verdict.UNPARSEABLE
    if len(answer) > ANSWER_CAP:
        return Verdict.WRONG
    tokens = _TOKEN.findall(answer)
    # Compared as text and before any arithmetic: leading zeros fall out, and no literal that the puzzle does not
    # have, however long, is ever turned into a number or multiplied.
    if sorted(token for token in tokens if token[0] in _DIGITS) != sorted(str(int(n)) for n in nums):
        return Verdict.WRONG
    try:
        value = evaluate(tokens)
    except (NotAnExpression, ZeroDivisionError):
        return Verdict.WRONG
    return Verdict.CORRECT if value == int(target) else Verdict.WRONG


equation_reward = reward_from("equation_reward", equation_verdict)
