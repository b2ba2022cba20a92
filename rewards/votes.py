"""What a completion votes for, for majority voting (maj@k, cons@64: self-consistency, Wang et al., arXiv:2203.11171).

A vote is the answer's value as a text, so that answers that mean the same are one vote, however they are written. All
right answers to a problem are one vote, and no wrong answer is that vote. None where there is no answer that can be
read: it votes for nothing. What can be read is what the rewards can read, with the same limits.
"""

from fractions import Fraction

from mini_r1.rewards import equation, number
from mini_r1.rewards.roles import ANSWER_CAP, _gold_roles, _read, _said_roles, roles_verdict
from mini_r1.rewards.text import answer_block

NOT_ALLOWED = "not allowed: "  # begins the vote of an expression against the rules; no value begins so
_KEPT = 100  # characters of such an expression that are told apart
_MOST_BITS = 2000  # Python may be told to write no integers of more than 640 digits; larger ones are in hexadecimal
ROLE_OF = {"K": "knight", "V": "knave"}


def equation_vote(text: str, nums: list[int], target: int) -> str | None:
    """The value of an expression that uses each of `nums` exactly once, such as "8" or "-1/3".

    An expression that breaks a rule of `equation_verdict` (other numbers, other characters, division by zero) votes for
    itself, without its blanks: `NOT_ALLOWED` and its first characters. None where there is no answer block, no digit
    in it or more characters than the cap, or where the gold is unusable.

    Example: `equation_vote("<think></think><answer>2 * 4</answer>", [4, 2], 9)` is "8".
    """
    if equation.equation_verdict(text, nums, target) is None:
        return None
    answer = answer_block(text)
    if answer is None or len(answer) > equation.ANSWER_CAP:
        return None
    tokens = equation._TOKEN.findall(answer)
    literals = [token for token in tokens if token[0] in equation._DIGITS]
    if not literals:
        return None
    if sorted(literals) == sorted(str(int(n)) for n in nums):
        try:
            return _written(equation.evaluate(tokens))
        except (equation.NotAnExpression, ZeroDivisionError):
            pass  # it breaks the rules
    return NOT_ALLOWED + "".join(tokens)[:_KEPT]


def _written(value: int | Fraction) -> str:
    parts = [value.numerator] if value.denominator == 1 else [value.numerator, value.denominator]
    return "/".join(str(part) if part.bit_length() <= _MOST_BITS else hex(part) for part in parts)


def read_number(block: str) -> Fraction | None:
    """The one number that an answer block gives, by the rules of `number_verdict`; None where it is not plainly one.

    Example: `read_number("It is $1,234.50.")` is `Fraction(2469, 2)`, `read_number("7 or 8")` is None.
    """
    if len(block) > number.ANSWER_CAP:
        return None
    value = first_number(block)
    if value is None:
        return None
    return next((Fraction(gold) for gold in (value, -value) if number._Reader(block, gold).is_gold()), None)


def first_number(block: str) -> Fraction | None:
    """The first number in an answer block, without its sign; None where there is none, or it is malformed."""
    for token in number._TOKEN.finditer(number._Reader(block, Fraction(0)).block):
        digits = token[0].rstrip(".,")
        if token.lastgroup == "fraction" or (token.lastgroup == "number" and digits):
            value = number._read(digits)
            return None if value is None else Fraction(value)
    return None


def number_vote(text: str, answer: str | int) -> str | None:
    """The number that the answer gives, as a whole number or a fraction in lowest terms: "72" for `$72.0`, "5/2".

    None where there is no answer block, where the answer is not plainly one number (`71 or 72`, `about 72`), and where
    it has more characters than the cap. The gold `answer` does not matter: a problem with an unusable one has votes.
    """
    block = answer_block(text)
    value = None if block is None else read_number(block)
    return None if value is None else str(value)


def roles_vote(text: str, names: list[str], roles: list[str]) -> str | None:
    """The roles that the answer gives, in the order of `names`: "Zoey is a knight, Noah is a knave".

    An answer that leaves people out votes for the roles it gives. None where there is no answer block, where the
    grammar of rewards/roles.py does not read the answer, where nobody is given a role or a person two, or where the
    gold is unusable.
    """
    claims = read_roles(text, names, roles)
    if not claims or any(len(said) > 1 for said in claims.values()):
        return None
    return ", ".join(f"{name} is a {said[0]}" for name, said in claims.items() if said) or None


def read_roles(text: str, names: list[str], roles: list[str]) -> dict[str, list[str]] | None:
    """For each of `names`, in their order, the roles that the answer gives to it: [] where it gives none.

    None where there is no answer block, where it cannot be read or has more characters than the cap, or where the gold
    is unusable.
    """
    if roles_verdict(text, names, roles) is None:
        return None
    answer = answer_block(text)
    if answer is None or len(answer) > ANSWER_CAP:
        return None
    gold = _gold_roles(tuple(names), tuple(roles))
    tokens, kinds = _read(answer, gold)
    said = _said_roles(kinds)
    if said is None:
        return None
    claims = {token: [] for token in gold}
    for token, role in zip([token for token in tokens if token in gold], said, strict=True):
        claims[token].append(ROLE_OF[role])
    return dict(zip(names, claims.values(), strict=True))
