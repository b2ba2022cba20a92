"""Verifies Countdown answers: an expression that uses exactly the given numbers and equals the target."""

import itertools
import operator
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from numbers import Integral

from mini_r1.rewards.text import answer_block
from mini_r1.rewards.verdict import Verdict, reward_from
from mini_r1.rewards.wording import listed, short, short_number, times, too_long

# Bounds the answer block, never the reasoning. Room for 1,000 numbers of four digits, each with an operator,
# two parentheses and three spaces; puzzles have 3 to 6 numbers.
ANSWER_CAP = 10_000
MAX_NESTING = 100
TOO_LARGE = 10**4000  # Python refuses to write numbers of more than 4,300 digits

NOT_ALLOWED = "not allowed: "  # the start of a vote for an expression that breaks a rule; no value starts so
_KEPT = 100  # characters of such an expression in its vote
_MOST_BITS = 2000  # Python may refuse to write integers of more than 640 digits; larger ones become hexadecimal

# A number, or any one character but ASCII whitespace. The two alternatives begin differently, so nothing backtracks.
_TOKEN = re.compile(r"[0-9]+|[^0-9 \t\n\r\f\v]")
_DIGITS = frozenset("0123456789")
_WORD = re.compile(r"[^\W\d_]+|\S")
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
                raise NotAnExpression(f"{token!r} where a number is expected, or nested too deep")
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
            raise NotAnExpression(f"{token!r} where an operator is expected")
    if operand_due or nesting:
        raise NotAnExpression("the expression ends too early")
    while operators:
        apply_last()
    return values[0]


def _is_int(value: object) -> bool:
    # `int` first avoids the slow abstract check, which is for the integers of other libraries.
    return isinstance(value, (int, Integral)) and not isinstance(value, bool)


def _usable(nums: object, target: object) -> bool:
    """Whether an answer could use these numbers. None could use a negative one, since a literal has no sign."""
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
    # The texts are compared before any arithmetic. This refuses leading zeros, and no literal that the puzzle does not
    # have, however long, is ever turned into a number or multiplied.
    if sorted(token for token in tokens if token[0] in _DIGITS) != sorted(str(int(n)) for n in nums):
        return Verdict.WRONG
    try:
        value = evaluate(tokens)
    except (NotAnExpression, ZeroDivisionError):
        return Verdict.WRONG
    return Verdict.CORRECT if value == int(target) else Verdict.WRONG


equation_reward = reward_from("equation_reward", equation_verdict)


def equation_vote(text: str, nums: list[int], target: int) -> str | None:
    """The value of an expression that uses each of `nums` exactly once, such as "8" or "-1/3".

    An expression that breaks a rule of `equation_verdict` (other numbers, other characters, division by zero) votes for
    itself, without its blanks: `NOT_ALLOWED` and its first characters. None where there is no answer block, no digit
    in it or more characters than the cap, or where the gold is unusable.

    Example: `equation_vote("<think></think><answer>2 * 4</answer>", [4, 2], 9)` is "8".
    """
    if equation_verdict(text, nums, target) is None:
        return None
    answer = answer_block(text)
    if answer is None or len(answer) > ANSWER_CAP:
        return None
    tokens = _TOKEN.findall(answer)
    literals = [token for token in tokens if token[0] in _DIGITS]
    if not literals:
        return None
    if sorted(literals) == sorted(str(int(n)) for n in nums):
        try:
            return _written(evaluate(tokens))
        except (NotAnExpression, ZeroDivisionError):
            pass  # it breaks the rules
    return NOT_ALLOWED + "".join(tokens)[:_KEPT]


def _written(value: int | Fraction) -> str:
    """A value as a text that is the same for equal values."""
    parts = [value.numerator] if value.denominator == 1 else [value.numerator, value.denominator]
    return "/".join(str(part) if part.bit_length() <= _MOST_BITS else hex(part) for part in parts)


def equation_reason(block: str, text: str, nums: list[int], target: int) -> str:
    """Why the answer block is right or wrong."""
    if fault := too_long(block, ANSWER_CAP):
        return fault
    tokens = _TOKEN.findall(block)
    for left, right in itertools.pairwise(tokens):
        if left == right and left in "*/":
            return f"{left}{right} is not allowed"
    strange = next((token for token in tokens if token[0] not in _DIGITS and token not in "+-*/()"), None)
    if strange:
        word = next((word for word in _WORD.findall(block) if strange in word), strange)
        return f"'{short(word)}' is not allowed, only + - * / and parentheses"
    if faults := _wrong_numbers(tokens, [str(int(number)) for number in nums]):
        return listed(faults)
    try:
        value = evaluate(tokens)
    except ZeroDivisionError:
        return "it divides by zero"
    except NotAnExpression as error:
        return f"it is not an expression: {short(str(error))}"
    made = "" if value == target else f", not {short_number(target)}"
    return f"{short(block)} makes {short_number(value)}{made}"


def _wrong_numbers(tokens: Sequence[str], given: list[str]) -> list[str]:
    """The faults of the numbers that an expression uses, in the order in which it uses them."""
    used, due = Counter(token for token in tokens if token[0] in _DIGITS), Counter(given)
    faults = []
    for literal, count in used.items():
        if literal not in due:
            zero = literal[0] == "0" and literal != "0"
            faults.append(f"{short(literal)} {'begins with a zero' if zero else 'is not one of the numbers'}")
        elif count > due[literal]:
            available = "" if due[literal] == 1 else f", but given {times(due[literal])}"
            faults.append(f"{short(literal)} is used {times(count)}{available}")
    for literal, count in due.items():
        if used[literal] < count:
            only = f"only {'once' if used[literal] == 1 else times(used[literal])}"
            faults.append(f"{short(literal)} is {'used ' + only if used[literal] else 'not used'}")
    return faults
