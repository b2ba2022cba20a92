r"""Programming problems: the answer is a Python program that reads standard input and writes standard output.

One row of the hub id open-r1/verifiable-coding-problems-python, split train (https://huggingface.co/datasets/ and the
id), has these columns, among others. The values here are ours, as the hub was out of reach when this was written; sets
like it call the text `prompt` or `question`:
    {"problem": "Given two integers on one line, print their sum.",
     "verification_info": {"language": "python", "test_cases": [
         {"fn_name": null, "input": "1 2\n", "output": "3\n", "type": "stdin_stdout"}]},
     "gold_standard_solution": "```python\nprint(sum(map(int, input().split())))\n```"}
The plain form, for rows of your own: {"question": str, "tests": [{"input": str, "output": str}], "solution": str}.
"""

import json
import random
from collections.abc import Sequence

from mini_r1.rewards.code import read_tests
from mini_r1.tasks._code_problems import NUMBERS, WORDS, draw_problems

HUB_ID = "open-r1/verifiable-coding-problems-python"
REWARD = "code_reward"
ANSWER_EXAMPLE = "print(int(input()) * 2)"
_TEXTS = ("question", "problem", "prompt")
_SOLUTIONS = ("solution", "gold_standard_solution")
MOST_STEPS = min(len(NUMBERS.steps), len(WORDS.steps))


def parse_row(raw: dict) -> dict:
    """A raw row, or a parsed one -> the task's columns and `difficulty`.

    Returns:
        {"question": str, "tests": list of {"input": str, "output": str}, not empty, "solution": a program that passes
        them, as the row claims, or None, "difficulty": an integer of the row's, or 1}.

    Raises:
        ValueError: naming the column, where it is missing or of the wrong type; where tests call a function, or are
            for another language.
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
    """The question with single blanks, and all letters small."""
    return " ".join(row["question"].split()).casefold()


def question(row: dict) -> str:
    return f"{row['question']}\n\nWrite a Python program that reads standard input and writes standard output."


def gold_answer(row: dict) -> str | None:
    """The row's own solution, or None where it has none."""
    return row["solution"]


def generate(n: int, seed: int, *, steps: Sequence[int] = (1, 2, 3)) -> list[dict]:
    """`n` different problems about a line of numbers or words, in the plain form; the same for the same arguments.

    Args:
        steps: how many steps a problem may have before it prints; its `difficulty`.

    Raises:
        ValueError: where a setting is out of its range, or they allow fewer than `n` different problems.
    """
    if not steps or min(steps) < 1 or max(steps) > MOST_STEPS:
        raise ValueError(f"steps must list numbers from 1 to {MOST_STEPS}, such as [1, 2, 3], not {steps!r}")
    return draw_problems(n, random.Random(seed), tuple(steps))
