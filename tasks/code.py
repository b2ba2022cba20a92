r"""Programming problems: the answer is a Python program that reads standard input and writes standard output.

A row of https://huggingface.co/datasets/open-r1/verifiable-coding-problems-python, split train, has these columns and
others; the values are made up. Similar datasets call the text `prompt` or `question`:
    {"problem": "Given two integers on one line, print their sum.",
     "verification_info": {"language": "python", "test_cases": [
         {"fn_name": null, "input": "1 2\n", "output": "3\n", "type": "stdin_stdout"}]},
     "gold_standard_solution": "```python\nprint(sum(map(int, input().split())))\n```"}
Rows of your own may have the plain form: {"question": str, "tests": [{"input": str, "output": str}], "solution": str}.
"""

import functools
import io
import json
import random
from collections.abc import Callable, Sequence
from types import CodeType
from typing import NamedTuple

from mini_r1.rewards.code import read_tests

HUB_ID = "open-r1/verifiable-coding-problems-python"
REWARD = "code_reward"
ANSWER_EXAMPLE = "print(int(input()) * 2)"
_TEXTS = ("question", "problem", "prompt")
_SOLUTIONS = ("solution", "gold_standard_solution")


def parse_row(raw: dict) -> dict:
    """A raw row, or a parsed one -> the task's columns and `difficulty`.

    Returns:
        {"question": str, "tests": list of {"input": str, "output": str}, not empty, "solution": the row's program,
        which should pass them, or None, "difficulty": the row's, where it is a positive integer, or 1}.

    Raises:
        ValueError: naming the column, where it is missing or of the wrong type, and where tests call a function or
            are for another language.
    """
    column, text = next(((name, raw[name]) for name in _TEXTS if raw.get(name) is not None), ("question", None))
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"column {column!r} must be a text that is not blank, not {text!r}")
    if raw.get("tests") is not None:
        column, tests = "tests", raw["tests"]
    elif raw.get("verification_info") is not None:
        column, tests = "verification_info", _test_cases(raw["verification_info"])
    else:
        raise ValueError("there is neither a column 'tests' nor a column 'verification_info'")
    pairs = read_tests(tests)
    if pairs is None:
        raise ValueError(f"column {column!r} must hold tests, each with the texts 'input' and 'output'")
    solution = next((raw[name] for name in _SOLUTIONS if raw.get(name)), None)
    if not isinstance(solution, str | None):
        raise ValueError(f"column 'solution' must be a text, not {solution!r}")
    level = raw.get("difficulty")
    return {
        "question": text.strip(),
        "tests": [{"input": given, "output": expected} for given, expected in pairs],
        "solution": solution,
        "difficulty": level if type(level) is int and level > 0 else 1,
    }


def _test_cases(info: object) -> object:
    if isinstance(info, str):
        try:
            info = json.loads(info)
        except json.JSONDecodeError as error:
            raise ValueError(f"column 'verification_info' is no JSON: {error}") from error
    if not isinstance(info, dict):
        raise ValueError(f"column 'verification_info' must be a map, not {info!r}")
    if info.get("language", "python") != "python":
        raise ValueError(f"column 'verification_info' is for {info['language']!r}; only Python is run")
    cases = info.get("test_cases")
    for case in cases if isinstance(cases, list) else ():
        if isinstance(case, dict) and (case.get("fn_name") or case.get("type", "stdin_stdout") != "stdin_stdout"):
            raise ValueError("column 'verification_info' has tests that call a function; only stdin_stdout is run")
    return cases


def key(row: dict) -> str:
    """The question in lower case, with single blanks."""
    return " ".join(row["question"].split()).casefold()


def question(row: dict) -> str:
    return f"{row['question']}\n\nWrite a Python program that reads standard input and writes standard output."


def gold_answer(row: dict) -> str | None:
    """The row's own solution, or None where it has none."""
    return row["solution"]


def generate(n: int, seed: int, *, steps: Sequence[int] = (1, 2, 3)) -> list[dict]:
    """`n` different problems about a line of numbers or words, in the plain form; the same for the same arguments.

    Args:
        steps: a list of how many steps a problem may have before it prints; this is its `difficulty`.

    Raises:
        ValueError: where a setting is out of its range, or they allow fewer than `n` different problems.
    """
    if not steps or min(steps) < 1 or max(steps) > MOST_STEPS:
        raise ValueError(f"steps must list numbers from 1 to {MOST_STEPS}, such as [1, 2, 3], not {steps!r}")
    rng = random.Random(seed)
    rows: dict[str, dict] = {}
    misses = 0
    while len(rows) < n:
        if misses > _MISSES:
            raise ValueError(f"these settings allow only about {len(rows)} different problems, {n} were asked for")
        misses += 1
        row = _draw_problem(rng, rng.choice(steps))
        if row and row["question"] not in rows:
            rows[row["question"]] = row
            misses = 0
    return list(rows.values())


# Generated problems: a line of numbers or words, a few steps, and what to print. A problem is made from its solution:
# each step is one sentence and one line of Python, and the tests expect what these lines print. No step is idle: a
# program without it gives another output on some test.

TESTS = 6  # of each problem
_MISSES = 2_000  # draws in a row without a new problem, after which there are no more


class Step(NamedTuple):
    """A sentence of a problem and its line of Python; `{c}` in them stands for one of `constants`."""

    sentence: str
    line: str
    constants: range | tuple = (0,)  # where there is no {c}


class Kind(NamedTuple):
    """Problems about one sort of item: how items are read, drawn, changed (`steps`) and printed (`ends`)."""

    items: str
    read: str
    draw: Callable[[random.Random], object]
    steps: tuple[Step, ...]
    ends: tuple[Step, ...]


_WORDS = ("apple", "river", "stone", "cloud", "amber", "ink", "ox", "maple", "sky", "onion", "lantern", "bee", "mirror")
NUMBERS = Kind(
    "integers",
    "items = [int(word) for word in input().split()]",
    lambda rng: rng.randint(-20, 50),
    (
        Step("Add {c} to each number.", "items = [x + {c} for x in items]", range(2, 30)),
        Step("Multiply each by {c}.", "items = [x * {c} for x in items]", range(2, 10)),
        Step("Square each number.", "items = [x * x for x in items]"),
        Step("Replace each by its absolute value.", "items = [abs(x) for x in items]"),
        Step("Keep the even ones only.", "items = [x for x in items if x % 2 == 0]"),
        Step("Keep those larger than {c}.", "items = [x for x in items if x > {c}]", range(-5, 20)),
        Step("Drop those divisible by {c}.", "items = [x for x in items if x % {c}]", range(3, 8)),
        Step("Drop every repetition; the first of each stays.", "items = list(dict.fromkeys(items))"),
        Step("Sort them, smallest first.", "items = sorted(items)"),
        Step("Reverse their order.", "items = items[::-1]"),
        Step("Keep the first {c} only.", "items = items[:{c}]", range(2, 6)),
        Step(
            "Replace each by the sum of it and all before it.",
            "items = [sum(items[: i + 1]) for i in range(len(items))]",
        ),
        Step(
            "Replace them by the differences of neighbours, each minus the one before it.",
            "items = [b - a for a, b in zip(items, items[1:])]",
        ),
    ),
    (
        Step("print their sum", "print(sum(items))"),
        Step("print the largest, or 0 if none is left", "print(max(items, default=0))"),
        Step("print how many there are", "print(len(items))"),
        Step("print them on one line with single spaces", "print(*items)"),
        Step("print each on a line of its own, last one first", 'print("\\n".join(str(x) for x in items[::-1]))'),
    ),
)
WORDS = Kind(
    "words",
    "items = input().split()",
    lambda rng: rng.choice(_WORDS),
    (
        Step("Write each in capitals.", "items = [x.upper() for x in items]"),
        Step("Write each backwards.", "items = [x[::-1] for x in items]"),
        Step("Keep those of more than {c} letters.", "items = [x for x in items if len(x) > {c}]", range(2, 6)),
        Step("Cut each to its first {c} letters.", "items = [x[:{c}] for x in items]", range(1, 5)),
        Step("Write each {c} times in a row, without a space.", "items = [x * {c} for x in items]", range(2, 5)),
        Step("Drop every repetition; the first of each stays.", "items = list(dict.fromkeys(items))"),
        Step("Sort them from a to z.", "items = sorted(items)"),
        Step("Reverse the order of the words.", "items = items[::-1]"),
        Step("Keep every second word, beginning with the first.", "items = items[::2]"),
        Step("Leave out the first {c} words.", "items = items[{c}:]", range(1, 4)),
    ),
    (
        Step("print them on one line with single spaces", "print(*items)"),
        Step("print how many letters they have together", 'print(len("".join(items)))'),
        Step("print the first letters of all, without spaces", 'print("".join(x[0] for x in items))'),
        Step(
            "print each with its length, as in tree:4, one a line",
            'print("\\n".join(f"{{x}}:{{len(x)}}" for x in items))',
        ),
    ),
)
MOST_STEPS = min(len(NUMBERS.steps), len(WORDS.steps))


def _draw_problem(rng: random.Random, steps: int) -> dict | None:
    """A raw row with `steps` steps before it prints; None where one is idle, or too few outputs differ."""
    kind = rng.choice((NUMBERS, WORDS))
    chosen = [*rng.sample(kind.steps, steps), rng.choice(kind.ends)]
    plan = [(step, rng.choice(step.constants)) for step in chosen]
    lines = [kind.read, *(step.line.format(c=constant) for step, constant in plan)]
    sizes = [1, *(rng.randint(5, 12) for _ in range(TESTS - 1))]
    inputs = [" ".join(str(kind.draw(rng)) for _ in range(size)) + "\n" for size in sizes]
    outputs = _outputs(lines, inputs)
    idle = any(_outputs(lines[:i] + lines[i + 1 :], inputs) == outputs for i in range(1, steps + 1))
    if idle or len(set(outputs)) < TESTS // 2:
        return None
    *changes, last = [step.sentence.format(c=constant) for step, constant in plan]
    return {
        "question": f"The input is one line of {kind.items}, separated by spaces. {' '.join(changes)} Then {last}.",
        "tests": [{"input": given, "output": output} for given, output in zip(inputs, outputs, strict=True)],
        "solution": "```python\n" + "\n".join(lines) + "\n```",
        "difficulty": steps,
    }


def _outputs(lines: list[str], inputs: list[str]) -> list[str]:
    """What a program prints on each input. Its lines are from the tables above, so that it needs no sandbox."""
    printed = [io.StringIO() for _ in inputs]
    for given, file in zip(inputs, printed, strict=True):
        names = {"input": iter([given]).__next__, "print": functools.partial(print, file=file)}
        for line in lines:
            exec(_compiled(line), names)
    return [file.getvalue() for file in printed]


@functools.cache  # compiling takes most of the time otherwise
def _compiled(line: str) -> CodeType:
    return compile(line, "<solution>", "exec")
