"""Why a completion is right or wrong, in one plain sentence, for people who read samples."""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence

from mini_r1.rewards import code, equation, needs, number
from mini_r1.rewards.format_fault import format_fault, times
from mini_r1.rewards.roles import ANSWER_CAP as ROLES_CAP
from mini_r1.rewards.roles import _gold_roles, _read, roles_verdict
from mini_r1.rewards.sandbox import SandboxError
from mini_r1.rewards.text import answer_block
from mini_r1.rewards.verdict import Verdict
from mini_r1.rewards.votes import first_number, read_number, read_roles

_MOST = 3  # reasons, people or numbers named in one sentence
_LONG = 60  # characters of an answer, and of a number, that are quoted
_WORD = re.compile(r"[^\W\d_]+|\S")


def explain(text: str, row: dict) -> str:
    """One sentence that begins with the verdict on the answer, then says what is at fault, the format first.

    Args:
        text: prefill and completion.
        row: the task's columns, and any others: `nums` and `target`, `names` and `roles`, `needs` and `bans`, `tests`,
            or `answer`. Without any of these the sentence is about the format alone. With `tests` the answer's program
            is run (again). `format_reward`, where there, names the reward for the format that was asked for.

    Returns:
        "right: ..." or "right, but ..." (the format is not) where the task's verdict is CORRECT, "wrong: ..." for
        WRONG, "no answer: ..." for UNPARSEABLE, "no verdict: ..." where the gold is unusable, or a program cannot be
        run on this machine. Never more than one line.

    Example:
        >>> explain("<think>hm</think><answer>2 + 3</answer>", {"nums": [2, 3], "target": 8})
        'wrong: 2 + 3 makes 5, not 8'
    """
    fault = format_fault(text, row.get("format_reward", "format_reward"))
    columns, verdict_on, reason_for = _task_of(row)
    if not columns:
        return f"wrong: {fault}" if fault else "right: the format is as asked for"
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
    """The entry of `_TASKS` whose columns the row has; where tasks are mixed, those of the others are null."""
    there = [task for task in _TASKS if all(column in row for column in task[0])]
    filled = [task for task in there if any(row[column] is not None for column in task[0])]
    return next(iter([*filled, *there]), ((), None, None))


def _listed(parts: Sequence[str], word: str = "and") -> str:
    """a, b and c; of many the first few."""
    parts = list(parts)
    if len(parts) > _MOST:
        parts = [*parts[:_MOST], f"{len(parts) - _MOST} more"]
    return f" {word} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _short(text: str) -> str:
    """On one line, cut, and without anything that cannot be printed."""
    text = " ".join(text.split())
    text = text if len(text) <= _LONG else text[:_LONG] + "..."
    return text if text.isprintable() else ascii(text)[1:-1]


def _too_long(block: str, cap: int) -> str | None:
    if len(block) <= cap:
        return None
    return f"the answer has {len(block):,} characters, more than the {cap:,} that are read"


def _on_equation(block: str, text: str, nums: list[int], target: int) -> str:
    if too_long := _too_long(block, equation.ANSWER_CAP):
        return too_long
    tokens = equation._TOKEN.findall(block)
    for left, right in itertools.pairwise(tokens):
        if left == right and left in "*/":
            return f"{left}{right} is not allowed"
    strange = next((token for token in tokens if token[0] not in equation._DIGITS and token not in "+-*/()"), None)
    if strange:
        word = next((word for word in _WORD.findall(block) if strange in word), strange)
        return f"'{_short(word)}' is not allowed, only + - * / and parentheses"
    if faults := _wrong_numbers(tokens, [str(int(number)) for number in nums]):
        return _listed(faults)
    try:
        value = equation.evaluate(tokens)
    except ZeroDivisionError:
        return "it divides by zero"
    except equation.NotAnExpression as error:
        return f"it is no expression: {_short(str(error))}"
    made = "" if value == target else f", not {_short_number(target)}"
    return f"{_short(block)} makes {_short_number(value)}{made}"


def _short_number(value) -> str:
    huge = max(abs(value.numerator), value.denominator) >= 10**_LONG
    return f"a number of more than {_LONG} digits" if huge else str(value)


def _wrong_numbers(tokens: Sequence[str], given: list[str]) -> list[str]:
    """What is wrong with the numbers that an expression uses, in the order in which it uses them."""
    used, due = Counter(token for token in tokens if token[0] in equation._DIGITS), Counter(given)
    faults = []
    for literal, count in used.items():
        if literal not in due:
            zero = literal[0] == "0" and literal != "0"
            faults.append(f"{_short(literal)} {'begins with a zero' if zero else 'is not one of the numbers'}")
        elif count > due[literal]:
            available = "" if due[literal] == 1 else f", but given {times(due[literal])}"
            faults.append(f"{_short(literal)} is used {times(count)}{available}")
    for literal, count in due.items():
        if used[literal] < count:
            only = f"only {'once' if used[literal] == 1 else times(used[literal])}"
            faults.append(f"{_short(literal)} is {'used ' + only if used[literal] else 'not used'}")
    return faults


def _on_number(block: str, text: str, answer: str | int) -> str:
    if too_long := _too_long(block, number.ANSWER_CAP):
        return too_long
    gold = number.parse_gold(answer)
    value = read_number(block)
    if value == gold:
        return f"the answer is {_short_number(gold)}"
    if value is not None:
        return f"it says {_short_number(value)}, the answer is {_short_number(gold)}"
    if len(found := _different_numbers(block)) > 1:
        return (
            f"{'two' if len(found) == 2 else len(found)} different numbers: {_listed([_short(one) for one in found])}"
        )
    if not found:
        return "there is no number in the answer"
    first = first_number(block)
    if first is None:
        return f"{_short(block)} cannot be read as a number"
    # What a reader that looks for this very number stops at; with the sign that takes it further.
    readers = [number._Reader(block, sign * first) for sign in (1, -1)]
    for reader in readers:
        reader.is_gold()
    spoilt_by = max(readers, key=lambda reader: reader.seen).spoilt_by.strip()
    because = f" (because of '{_short(spoilt_by)}')" if spoilt_by.isalpha() else ""
    return f"it is not plainly one number: {_short(block)}{because}"


def _different_numbers(block: str) -> list[str]:
    """The numbers in an answer block as they stand there, one for each value."""
    found = {}
    for token in number._TOKEN.finditer(number._Reader(block, 0).block):
        digits = token[0].rstrip(".,")
        if token.lastgroup in {"number", "fraction"} and digits:
            value = number._read(digits)
            found.setdefault(digits if value is None else value, digits)
    return list(found.values())


def _on_roles(block: str, text: str, names: list[str], roles: list[str]) -> str:
    if too_long := _too_long(block, ROLES_CAP):
        return too_long
    gold = _gold_roles(tuple(names), tuple(roles))
    tokens, kinds = _read(block, gold)
    if "N" not in kinds:
        return f"nothing said about {_listed(names, 'or')}"
    if not set(kinds) & set("KVPQ"):
        return "nobody is called a knight or a knave"
    claims = read_roles(text, names, roles)
    if claims is None:
        unknown = next((token for token, kind in zip(tokens, kinds, strict=True) if kind == "?"), None)
        return f"it cannot be read as a list of roles{f': {_short(unknown)!r}' if unknown else ''}"
    faults = [f"two roles for {name}" for name, said in claims.items() if len(set(said)) > 1]
    named = {name: len(said) for name, said in claims.items() if len(set(said)) == 1}
    faults += [f"{name} is named {times(count)}" for name, count in named.items() if count > 1]
    right = dict(zip(names, roles, strict=True))
    wrong = [f"{name} is a {right[name]}, not a {claims[name][0]}" for name in named if claims[name][0] != right[name]]
    if wrong:
        faults.append(_listed(wrong))
    if silent := [name for name, said in claims.items() if not said]:
        faults.append(f"nothing said about {_listed(silent, 'or')}")
    return ", and ".join(faults) or _listed([f"{name} is a {role}" for name, role in right.items()])


def _on_code(block: str, text: str, tests: list[dict] | str) -> str:
    program, pairs = code.program_in(block), code.read_tests(tests)
    if program is None:
        return "it is not one Python program, bare or in one fenced block"
    if too_long := _too_long(program, code.PROGRAM_CAP):
        return too_long
    failure = code.first_failure(program, pairs)
    if failure is None:
        return f"it passes all {len(pairs)} tests" if len(pairs) > 1 else "it passes the only test"
    outcome, limits = failure.outcome, code.LIMITS
    last = _short((outcome.stderr.strip().splitlines() or ["nothing on stderr"])[-1])
    if outcome.ended == "compile":
        return f"it is no Python program: {last}"
    how = {
        "ok": f"expected {_short(failure.expected)!r}, got {_short(outcome.stdout)!r}",
        "exit": f"it ends with status {outcome.code}: {last}",
        "cpu": f"it takes more than {limits.cpu_seconds} s of CPU",
        "wall": f"it takes more than {limits.wall_seconds:g} s",
        "signal": f"it is ended by signal {outcome.code}",
        "output": f"it writes more than {limits.output_bytes:,} bytes",
    }
    return f"test {failure.test}: {how[outcome.ended]}"


def _on_needs(block: str, text: str, due: list[str] | None, bans: list[str] | None) -> str:
    if too_long := _too_long(block, needs.ANSWER_CAP):
        return too_long
    faults = [f"the answer lacks '{_short(need)}'" for need in needs.missing(block, due)]
    faults += [f"the response has '{_short(ban)}', which is banned" for ban in needs.banned(text, bans)]
    return _listed(faults) if faults else "it has what is asked for, and nothing that is banned"


# The columns by which a row's task is known, its verdict, and the reason for it: (block, text, *columns) -> str.
_TASKS: list[tuple[tuple[str, ...], Callable, Callable]] = [
    (("nums", "target"), equation.equation_verdict, _on_equation),
    (("names", "roles"), roles_verdict, _on_roles),
    (("needs", "bans"), needs.needs_verdict, _on_needs),
    (("tests",), code.code_verdict, _on_code),
    (("answer",), number.number_verdict, _on_number),
]
