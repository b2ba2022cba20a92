r"""GSM8K: grade-school word problems; the answer is one number.

One real row (hub id openai/gsm8k, config main, split train; https://huggingface.co/datasets/openai/gsm8k,
arXiv:2110.14168):
    {"question": "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How
                  many clips did Natalia sell altogether in April and May?",
     "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nNatalia sold 48+24 = <<48+24=72>>72 clips altogether
                in April and May.\n#### 72"}
"""

import random
import re
import unicodedata
from collections.abc import Sequence

from mini_r1.rewards.number import number_vote, parse_gold
from mini_r1.tasks._gsm8k_problems import TEMPLATES, fill
from mini_r1.tasks._traces import attempts, closing, in_two_languages

HUB_ID = "openai/gsm8k"
REWARD = "number_reward"
ANSWER_EXAMPLE = "72"

# The calculation steps that golds are annotated with, and one of two numbers, as generated golds have them.
_STEP = re.compile(r"<<([^<>]*)>>")
_TWO_NUMBERS = re.compile(r"([0-9.]+)([-+*/])([0-9.]+)=([0-9.]+)")
# A trace's phrases in Chinese, where it mixes languages.
_CHINESE = {"Next": "下一步", "Done": "算完了", "I stop here": "我就停在这里"}
# What tells questions apart: numbers with their sign and decimals, words with their combining marks (which `\w` lacks;
# nearly all of them are in the first two planes), and the signs that change what a number means.
_MARKS = "".join(mark for mark in map(chr, range(0x300, 0x20000)) if unicodedata.category(mark).startswith("M"))
_NUMBER = r"-?[$€£]?(?:\d+(?:,\d{3}(?!\d))*(?:\.\d+)?|(?<!\w)\.\d+)"
_WORD = re.compile(rf"{_NUMBER}|(?:[^\W\d_]|[{_MARKS}])[^\W\d_]*(?:[{_MARKS}][^\W\d_]*)*|[%/*+=<>≤≥≠^×÷±√]")
# One way to write apostrophes (none), and minus signs.
_SAME_SIGNS = str.maketrans({"'": None, "’": None, "−": "-", "–": "-"})
_NOT_IN_NUMBERS = str.maketrans("", "", ",$€£")


def parse_row(raw: dict) -> dict:
    r"""A raw row, or a parsed one -> the task's columns and `difficulty`.

    Returns:
        {"question": str, "answer": the gold number as it stands, such as "1,234", "rationale": what stands before
        `####` ("" where the answer is a bare number), "template": name of the generated problem's template, None for a
        real row, "difficulty": how many calculation steps the gold has}. Steps are the annotations `<<48/2=24>>`; where
        there are none (104 of 8,133 real rows), the lines with a `=`; at least 1.

    Raises:
        ValueError: naming the column, where it is missing, of the wrong type or blank, or holds no number.
    """
    for column in ("question", "answer"):
        if column not in raw:
            raise ValueError(f"column {column!r} is missing")
        if not isinstance(raw[column], str) or not raw[column].strip():
            raise ValueError(f"column {column!r} must be a text that is not blank, not {raw[column]!r}")
    for column in ("rationale", "template"):
        if not isinstance(raw.get(column), str | None):
            raise ValueError(f"column {column!r} must be a text, not {raw[column]!r}")
    rationale, marked, answer = raw["answer"].rpartition("####")
    if not marked:
        rationale = raw.get("rationale") or ""
    try:
        parse_gold(answer)
    except ValueError as error:
        raise ValueError(f"column 'answer': {error}") from error
    steps = len(_STEP.findall(rationale)) or sum("=" in line for line in rationale.split("\n"))
    return {
        "question": raw["question"],
        "answer": answer.strip(),
        "rationale": rationale.rstrip(),
        "template": raw.get("template"),
        "difficulty": max(1, steps),
    }


def key(row: dict) -> str:
    """The question's words and numbers: case, blanks and punctuation do not make another problem; a decimal point, a
    minus directly before a number and the signs of a calculation do.

    Example: "It's 1,200 apples!" and "its 1200  Apples" are "its 1200 apples".
    """
    words = _WORD.findall(row["question"].casefold().translate(_SAME_SIGNS))
    return " ".join(words).translate(_NOT_IN_NUMBERS)


def question(row: dict) -> str:
    return row["question"]


def gold_answer(row: dict) -> str:
    return row["answer"]


def held_out(row: dict) -> bool | None:
    """True for a problem of a reserved template, which is never trained on; None leaves it to the problem's key."""
    template = TEMPLATES.get(row["template"])
    return True if template and template.held_out else None


def vote(text: str, row: dict) -> str | None:
    return number_vote(text, row["answer"])


def generate(
    n: int,
    seed: int,
    *,
    steps: Sequence[int] = (1, 2, 3, 4),
    largest: int = 1000,
    prices: bool = True,
    distractors: float = 0.25,
    templates: str | Sequence[str] = "all",
) -> list[dict]:
    """`n` different problems as raw rows, with a column `template`; the same for the same arguments.

    Every problem's template is drawn uniformly, and drawn anew where 300 tries give no new problem of it: so templates
    are about equally frequent, but those whose numbers seldom come out with these settings are rarer.

    Args:
        steps: a list of how many calculation steps a problem may have, 1 to 4.
        largest: the largest number anywhere in a problem and its steps. Templates have their own, everyday ranges, so
            that few problems have numbers beyond 1000.
        prices: whether money may have cents; otherwise it is whole dollars, and every number an integer.
        distractors: probability of a sentence with a number that is not needed, in those templates that have one. It
            is left out where `largest` and the problem's other numbers leave no sensible number for it.
        templates: "all", "train" (those that are not reserved for testing), "test" (the reserved), or a list of names.
            Problems of reserved templates are always for testing: with "all", about a quarter of the problems are held
            out on top of the recipe's test_fraction.

    Raises:
        ValueError: where a setting is of the wrong kind or out of its range, or the settings allow fewer than `n`
            different problems.
    """
    if not isinstance(steps, list | tuple) or not steps or any(type(k) is not int or not 1 <= k <= 4 for k in steps):
        raise ValueError(f"steps must list numbers of steps from 1 to 4, such as [2, 3], not {steps!r}")
    if type(largest) is not int:
        raise ValueError(f"largest must be an integer, such as 1000, not {largest!r}")
    if not isinstance(prices, bool):
        raise ValueError(f"prices must be true or false, not {prices!r}")
    if not isinstance(distractors, int | float) or not 0 <= distractors <= 1:
        raise ValueError(f"distractors must be a probability from 0 to 1, not {distractors!r}")
    chosen = [template for template in _choose(templates) if len(template.steps) in steps]
    if not chosen:
        raise ValueError(f"no template of {templates!r} has a number of steps in {list(steps)}")
    rng = random.Random(seed)
    rows, seen, misses = [], set(), 0
    while len(rows) < n:
        template = rng.choice(chosen)
        for _ in range(300):  # a template whose numbers seldom come out is not to be rarer than the others
            row = fill(template, rng, largest=largest, prices=prices, distractors=distractors)
            if row and (identity := key(row)) not in seen:
                seen.add(identity)
                rows.append(row)
                misses = 0
                break
            misses += 1
        if misses > 20_000:
            raise ValueError(f"these settings allow only about {len(rows)} different problems, {n} were asked for")
    return rows


def _choose(templates: str | Sequence[str]) -> list:
    """The templates of a group or a list of names."""
    groups = {
        "all": list(TEMPLATES),
        "train": [name for name, template in TEMPLATES.items() if not template.held_out],
        "test": [name for name, template in TEMPLATES.items() if template.held_out],
    }
    if not isinstance(templates, str | list | tuple) or (isinstance(templates, str) and templates not in groups):
        raise ValueError(f"templates must be one of {', '.join(groups)}, or a list of names, not {templates!r}")
    names = groups[templates] if isinstance(templates, str) else templates
    for name in names:
        if name not in list(TEMPLATES):
            raise ValueError(f"there is no template {name!r}; choose among: {', '.join(TEMPLATES)}")
    return [TEMPLATES[name] for name in names]


def trace(
    row: dict,
    rng: random.Random,
    *,
    give_up: float = 0.0,
    pushed: bool = False,
    break_format: float = 0.0,
    mixed: float = 0.0,
    summary: bool = False,
) -> list[tuple[str, bool]]:
    """A worked completion, from after `<think>`: the gold's calculations one after the other, then the answer.

    For generated rows. Whether to go on after a calculation is one phrase: "Next: ", "Done." or "I stop here.".

    Args:
        give_up: probability, after each calculation but the last, to stop and answer its result, which is wrong. Where
            it happens to equal the gold, the trace goes on.
        pushed: see `tasks/_traces.py`; for practising late calculations without learning patience.
        break_format: probability to leave out one of the tags.
        mixed: probability that some of the reasoning's phrases are Chinese, so that a reward for one language has
            something to mend.
        summary: end in the readable form, a summary with the answer in it; given where the recipe's template asks.

    Returns:
        Pieces of text and whether each is to be learned; joined, they are the completion.

    Raises:
        ValueError: where the rationale is not made of calculations with two numbers that end in the answer.
    """
    steps = [_TWO_NUMBERS.fullmatch(step) for step in _STEP.findall(row["rationale"])]
    if not steps or not all(steps) or steps[-1][4] != row["answer"]:
        raise ValueError("a trace needs a generated row, whose rationale has steps of two numbers, such as <<6*4=24>>")
    lines = ["{} {} {} = {}\n".format(*step.groups()) for step in steps]
    wrong = [step[4] != row["answer"] for step in steps]
    stop = "I stop here.\n"
    pieces, ended = attempts(lines, rng, go_on="Next: ", stop=stop, give_up=give_up, pushed=pushed, may_stop=wrong)
    if ended + 1 == len(steps):
        pieces.append(("Done.\n", True))
        words = "All the steps are done, and the last of them gives {}."
    else:
        words = "I stopped before all the steps were done, at {}."
    pieces = in_two_languages(pieces, rng, mixed, _CHINESE)
    return [*pieces, closing(steps[ended][4], rng, break_format, words if summary else "")]
