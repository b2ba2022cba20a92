"""Small programming problems for tasks/code.py: a line of numbers or words, a few steps, and what to print.

A problem is made from its solution: each step is one sentence, one line of Python, and the same as a function, from
which the expected outputs are computed. No step is idle: left out, it would change the output of some test.
"""

import random
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import NamedTuple

TESTS = 6  # of each problem
_MISSES = 2_000  # draws in a row without a new problem, after which there are no more


class Step(NamedTuple):
    """`{c}` stands for a constant drawn from `constants`; a step without one has (0,)."""

    sentence: str
    line: str
    apply: Callable[[list, int], object]
    constants: range | tuple = (0,)


class Kind(NamedTuple):
    """Problems about one sort of item: how they are read, drawn, changed (`steps`), and what is printed (`ends`)."""

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
        Step(
            "Add {c} to each number.", "items = [x + {c} for x in items]", lambda x, c: [i + c for i in x], range(2, 30)
        ),
        Step(
            "Multiply each by {c}.", "items = [x * {c} for x in items]", lambda x, c: [i * c for i in x], range(2, 10)
        ),
        Step("Square each number.", "items = [x * x for x in items]", lambda x, c: [i * i for i in x]),
        Step("Replace each by its absolute value.", "items = [abs(x) for x in items]", lambda x, c: [*map(abs, x)]),
        Step(
            "Keep the even ones only.",
            "items = [x for x in items if x % 2 == 0]",
            lambda x, c: [i for i in x if i % 2 == 0],
        ),
        Step(
            "Keep those larger than {c}.",
            "items = [x for x in items if x > {c}]",
            lambda x, c: [i for i in x if i > c],
            range(-5, 20),
        ),
        Step(
            "Drop those divisible by {c}.",
            "items = [x for x in items if x % {c}]",
            lambda x, c: [i for i in x if i % c],
            range(3, 8),
        ),
        Step(
            "Drop every repetition; the first of each stays.",
            "items = list(dict.fromkeys(items))",
            lambda x, c: [*dict.fromkeys(x)],
        ),
        Step("Sort them, smallest first.", "items = sorted(items)", lambda x, c: sorted(x)),
        Step("Reverse their order.", "items = items[::-1]", lambda x, c: x[::-1]),
        Step("Keep the first {c} only.", "items = items[:{c}]", lambda x, c: x[:c], range(2, 6)),
        Step(
            "Replace each by the sum of it and all before it.",
            "items = [sum(items[: i + 1]) for i in range(len(items))]",
            lambda x, c: [*accumulate(x)],
        ),
        Step(
            "Replace them by the differences of neighbours, each minus the one before it.",
            "items = [b - a for a, b in zip(items, items[1:])]",
            lambda x, c: [b - a for a, b in pairwise(x)],
        ),
    ),
    (
        Step("print their sum", "print(sum(items))", lambda x, c: sum(x)),
        Step("print the largest, or 0 if none is left", "print(max(items, default=0))", lambda x, c: max(x, default=0)),
        Step("print how many there are", "print(len(items))", lambda x, c: len(x)),
        Step("print them on one line with single spaces", "print(*items)", lambda x, c: " ".join(map(str, x))),
        Step(
            "print each on a line of its own, last one first",
            'print("\\n".join(str(x) for x in items[::-1]))',
            lambda x, c: "\n".join(map(str, x[::-1])),
        ),
    ),
)
WORDS = Kind(
    "words",
    "items = input().split()",
    lambda rng: rng.choice(_WORDS),
    (
        Step("Write each in capitals.", "items = [x.upper() for x in items]", lambda x, c: [i.upper() for i in x]),
        Step("Write each backwards.", "items = [x[::-1] for x in items]", lambda x, c: [i[::-1] for i in x]),
        Step(
            "Keep those of more than {c} letters.",
            "items = [x for x in items if len(x) > {c}]",
            lambda x, c: [i for i in x if len(i) > c],
            range(2, 6),
        ),
        Step(
            "Cut each to its first {c} letters.",
            "items = [x[:{c}] for x in items]",
            lambda x, c: [i[:c] for i in x],
            range(1, 5),
        ),
        Step(
            "Write each {c} times in a row, without a space.",
            "items = [x * {c} for x in items]",
            lambda x, c: [i * c for i in x],
            range(2, 5),
        ),
        Step(
            "Drop every repetition; the first of each stays.",
            "items = list(dict.fromkeys(items))",
            lambda x, c: [*dict.fromkeys(x)],
        ),
        Step("Sort them from a to z.", "items = sorted(items)", lambda x, c: sorted(x)),
        Step("Reverse the order of the words.", "items = items[::-1]", lambda x, c: x[::-1]),
        Step("Keep every second word, beginning with the first.", "items = items[::2]", lambda x, c: x[::2]),
        Step("Leave out the first {c} words.", "items = items[{c}:]", lambda x, c: x[c:], range(1, 4)),
    ),
    (
        Step("print them on one line with single spaces", "print(*items)", lambda x, c: " ".join(x)),
        Step("print how many letters they have together", 'print(len("".join(items)))', lambda x, c: len("".join(x))),
        Step(
            "print the first letters of all, without spaces",
            'print("".join(x[0] for x in items))',
            lambda x, c: "".join(i[0] for i in x),
        ),
        Step(
            "print each with its length, as in tree:4, one a line",
            'print("\\n".join(f"{{x}}:{{len(x)}}" for x in items))',
            lambda x, c: "\n".join(f"{i}:{len(i)}" for i in x),
        ),
    ),
)


def draw_problem(rng: random.Random, steps: int) -> dict | None:
    """A raw row with `steps` steps before the printing; None where one of them is idle on its tests, or the
    outputs are too much alike."""
    kind = rng.choice((NUMBERS, WORDS))
    chosen = [*rng.sample(kind.steps, min(steps, len(kind.steps))), rng.choice(kind.ends)]
    plan = [(step, rng.choice(step.constants)) for step in chosen]
    inputs = [[kind.draw(rng) for _ in range(size)] for size in (1, *(rng.randint(5, 12) for _ in range(TESTS - 1)))]
    outputs = _outputs(plan, inputs)
    idle = any(_outputs(plan[:i] + plan[i + 1 :], inputs) == outputs for i in range(len(plan) - 1))
    if idle or len(set(outputs)) < TESTS // 2:
        return None
    *changes, last = [step.sentence.format(c=constant) for step, constant in plan]
    lines = [kind.read, *(step.line.format(c=constant) for step, constant in plan)]
    return {
        "question": f"The input is one line of {kind.items}, separated by spaces. {' '.join(changes)} Then {last}.",
        "tests": [
            {"input": " ".join(map(str, items)) + "\n", "output": f"{output}\n"}
            for items, output in zip(inputs, outputs, strict=True)
        ],
        "solution": "```python\n" + "\n".join(lines) + "\n```",
        "difficulty": steps,
    }


def _outputs(plan: list[tuple[Step, int]], inputs: list[list]) -> list[str]:
    return [str(_run(plan, items)) for items in inputs]


def _run(plan: list[tuple[Step, int]], value: object) -> object:
    for step, constant in plan:
        value = step.apply(value, constant)
    return value


def draw_problems(n: int, rng: random.Random, steps: tuple[int, ...]) -> list[dict]:
    """`n` raw rows with different questions.

    Raises:
        ValueError: where there are not so many.
    """
    rows, misses = {}, 0
    while len(rows) < n:
        if misses > _MISSES:
            raise ValueError(f"these settings allow only about {len(rows)} different problems, {n} were asked for")
        misses += 1
        row = draw_problem(rng, rng.choice(steps))
        if row and row["question"] not in rows:
            rows[row["question"]] = row
            misses = 0
    return list(rows.values())
