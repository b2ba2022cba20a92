r"""Mathematics with an answer that can be boxed, for evaluation only: MATH-500, AIME and datasets like them.

One real row each, shortened (https://huggingface.co/datasets/HuggingFaceH4/MATH-500, arXiv:2305.20050, and
https://huggingface.co/datasets/Maxwell-Jia/AIME_2024):
    {"problem": "Convert the point $(0,3)$ in rectangular coordinates to polar coordinates. [...]",
     "solution": "We have that $r = \\sqrt{0^2 + 3^2} = 3.$ [...] \\boxed{\\left( 3, \\frac{\\pi}{2} \\right)}.$",
     "answer": "\\left( 3, \\frac{\\pi}{2} \\right)", "subject": "Precalculus", "level": 2, "unique_id": "[...]"}
    {"ID": "2024-II-4", "Problem": "Let $x,y$ and $z$ be positive real numbers [...] Find $m+n$.",
     "Solution": "[...] $\\boxed{033}$", "Answer": 33}

math-verify compares the answers; it reads LaTeX with sympy. It is the only verifier that is not the project's own: its
time is not linear in the length of an answer, and a signal ends it after `SECONDS`, so that it works in the main thread
only. It is for measuring, not for training: among other things it splits `E`, `e` and `\text{...}` into letters.
"""

import re
from math import isfinite

from mini_r1.errors import RecipeError
from mini_r1.rewards.text import answer_block
from mini_r1.rewards.verdict import Verdict, reward_from

HUB_ID = "HuggingFaceH4/MATH-500"
REWARD = "math_reward"
ANSWER_EXAMPLE = r"\frac{3}{4}"
EXAMPLES = (  # raw rows of ours, since this task generates no problems
    {"problem": "What is $\\frac{1}{4} + \\frac{1}{2}$?", "answer": "\\frac{3}{4}", "level": 1},
    {"Problem": "How many positive integers divide $12$?", "Solution": "They are six: $\\boxed{6}$.", "Answer": 6},
    {"question": "Solve $x^2 = 2$ for $x > 0$.", "solution": "It is $\\boxed{\\sqrt{2}}$.", "level": 2},
)
ANSWER_CAP = 1_000  # characters; of the answer block, never of the reasoning
SECONDS = 5  # for reading an answer, and again for comparing it
MISSING = "the task math needs math-verify; run: pip install math-verify==0.9.0"

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
_LEVEL = re.compile(r"\s*(?:level\s*)?([0-9]{1,3})\s*", re.IGNORECASE)


def parse_row(raw: dict) -> dict:
    r"""A raw row, or a parsed one -> the task's columns and `difficulty`. The case of column names does not matter.

    Returns:
        {"question": `problem` or `question`, "answer": `answer`, or what is in its \boxed{}; without an answer, what is
        in the last \boxed{} of `solution`, "difficulty": the number in `level`, or 1}.

    Raises:
        ValueError: naming the column, where it is missing, of the wrong type or blank.
    """
    columns = {name.lower(): value for name, value in raw.items() if isinstance(name, str)}
    question = next((columns[name] for name in ("problem", "question") if name in columns), None)
    if not isinstance(question, str) or not question.strip():
        raise ValueError(f"column 'problem' (or 'question') must be a text that is not blank, not {question!r}")
    answer = columns.get("answer")
    if isinstance(answer, float) and isfinite(answer) and not answer.is_integer():
        answer = str(answer)
    elif isinstance(answer, int | float) and isfinite(answer) and not isinstance(answer, bool):
        answer = str(int(answer))
    if answer is None:
        solution = columns.get("solution")
        answer = boxed(solution) if isinstance(solution, str) else None
        if answer is None:
            raise ValueError("there is neither a column 'answer' nor a \\boxed{...} in a column 'solution'")
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError(f"column 'answer' must be a number or a text that is not blank, not {answer!r}")
    level = _LEVEL.fullmatch(str(columns.get("level", columns.get("difficulty", ""))))
    inside = boxed(answer)
    return {
        "question": question,
        "answer": (answer if inside is None else inside).strip(),
        "difficulty": max(1, int(level[1])) if level else 1,
    }


def key(row: dict) -> str:
    """The question in lower case, with single blanks."""
    return " ".join(row["question"].split()).casefold()


def question(row: dict) -> str:
    return row["question"]


def gold_answer(row: dict) -> str:
    return row["answer"]


def held_out(row: dict) -> bool:
    """True: all rows are for testing."""
    return True


def boxed(text: str) -> str | None:
    r"""The content of the last \boxed{...} (or \fbox{...}, \boxed 7) of the text; None where there is none, or no end.

    Example: `boxed("It is \\boxed{\\frac{1}{2}}.")` is `"\\frac{1}{2}"`.
    """
    boxes = [match.end() for match in _BOX.finditer(text)]
    if not boxes:
        return None
    start = boxes[-1]
    if not text.startswith("{", start):
        words = re.match(r"[^\s$.,\\{}]+", text[start:])
        return words[0] if words else None
    depth = 0
    for place in range(start, len(text)):
        if text[place] in "{}" and text[place - 1] != "\\":
            depth += 1 if text[place] == "{" else -1
            if depth == 0:
                return text[start + 1 : place]
    return None


def math_verdict(text: str, answer: str) -> Verdict | None:
    """Whether the answer block, or the last box in it, has the value of `answer`.

    The verdict is None where math-verify cannot read the gold, unparseable where it cannot read the answer within
    `SECONDS`, and wrong where it cannot compare the two within `SECONDS`.

    Raises:
        RecipeError: where math-verify is not installed.
    """
    gold = _parsed(answer)
    if not gold:
        return None
    said = _said(text)
    if not said:
        return Verdict.UNPARSEABLE
    return Verdict.CORRECT if _same(gold, said) else Verdict.WRONG


math_reward = reward_from(REWARD, math_verdict)


def math_vote(text: str, answer: str) -> str | None:
    """The answer's value as sympy writes it; the gold's where they are equal, so that all right answers are one vote.

    Example: for the gold "0.5", `\\frac{1}{2}` and `50\\%` both vote "1/2".
    """
    gold, said = _parsed(answer), _said(text)
    if not gold or not said:
        return None
    return str(gold[0]) if _same(gold, said) else str(said[0])


def vote(text: str, row: dict) -> str | None:
    return math_vote(text, row["answer"])


def _said(text: str) -> list:
    block = answer_block(text)
    if block is None or not block.strip() or len(block) > ANSWER_CAP:
        return []
    inside = boxed(block)
    return _parsed(block if inside is None else inside)


def _parsed(answer: str) -> list:
    """[value, its text], as math-verify reads them; empty where it cannot read the answer."""
    try:
        # imported late, as is `verify`, since it brings sympy, which only this task needs
        from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse
    except ModuleNotFoundError as error:
        raise RecipeError(MISSING, key="task") from error
    answer = answer.strip().removeprefix("$").removesuffix("$")
    kinds = [LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig()]
    return parse(f"\\boxed{{{answer}}}", kinds, fallback_mode="no_fallback", parsing_timeout=SECONDS)


def _same(gold: list, said: list) -> bool:
    from math_verify import verify  # takes a while

    return verify(gold, said, timeout_seconds=SECONDS)
