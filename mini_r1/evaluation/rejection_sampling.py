"""Rejection sampling: chooses the sampled completions to train on, and writes them as a data set.

DeepSeek-R1 (arXiv:2501.12948, section 2.3.3) keeps the correct completions, and leaves out chains of thought with mixed
languages, long paragraphs and code blocks. `generated/samples.parquet` has all completions and why each was left out;
`dataset/train.parquet` has the kept ones: `load_dataset("runs/NAME-s42/dataset")` and `sft_datasets` read it.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from mini_r1.config.keys import did_you_mean
from mini_r1.data.mixture import Part, find_part
from mini_r1.data.prompts import messages
from mini_r1.errors import RecipeError
from mini_r1.evaluation.judge import describe_judge
from mini_r1.evaluation.records import SCHEMA, write_table
from mini_r1.evaluation.signals import read_signals

SAMPLES, DATASET = "generated/samples.parquet", "dataset/train.parquet"
SAMPLED = SCHEMA.append(pa.field("left_out", pa.string()))
MESSAGE = pa.struct({"role": pa.string(), "content": pa.large_string()})
CONVERSATIONS = pa.schema(
    {
        "messages": pa.list_(MESSAGE),
        "task": pa.string(),
        "row": pa.string(),  # the problem in the task's columns, as JSON
        "difficulty": pa.int64(),
        "problem": pa.int64(),
        "tokens": pa.int64(),
    }
)


@dataclass(frozen=True)
class Filters:
    """A recipe's `filters`: which completions are left out beside wrong and truncated ones.

    Attributes:
        wrong_format: not `<think>...</think> <answer>...</answer>`.
        mixed_languages, repetition: as `mini_r1.evaluation.signals.read_signals` finds them.
        code_block: a Markdown fence (```) in the reasoning; an answer may be code.
        paragraph_characters: the longest paragraph, which ends at a blank line; None: any length.
        tokens: the most generated tokens; None: any number.
        duplicate: the same text as a completion of this problem that is kept.
    """

    wrong_format: bool = True
    mixed_languages: bool = True
    repetition: bool = True
    code_block: bool = True
    paragraph_characters: int | None = 4000
    tokens: int | None = None
    duplicate: bool = True


NUMBERS = ("paragraph_characters", "tokens")
# Why a completion is left out, in the order of the checks; the first reason counts.
REASONS = ("ungraded", "cut_off", "wrong", *(field.name for field in fields(Filters)), "enough", "unbalanced")


def read_filters(given: Any) -> Filters:
    """Checks and types a recipe's `filters`.

    Raises:
        RecipeError: for anything but a map of known names to switches, or to numbers where the limit is one.
    """
    if given is not None and not isinstance(given, dict):
        raise RecipeError(f"must be a map such as {{code_block: false}}, not {given!r}", key="filters")
    names = [field.name for field in fields(Filters)]
    for name, value in (given or {}).items():
        if name not in names:
            hint = did_you_mean(str(name), names)
            raise RecipeError(f"there is no filter {name!r}; there are {', '.join(names)}{hint}", key="filters")
        is_number = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if name in NUMBERS and not (is_number or value is None):
            raise RecipeError(f"{name} is a limit: a whole number above 0, or null for none", key="filters")
        if name not in NUMBERS and not isinstance(value, bool):
            raise RecipeError(f"{name} is a switch: true or false", key="filters")
    return Filters(**(given or {}))


def reasons(drawn: list[dict], filters: Filters, most: int) -> list[str | None]:
    """Says why each completion of one problem is left out, as one of `REASONS`; None where it is kept.

    Args:
        drawn: the problem's graded completions, see `evaluate.to_records`.
        most: how many are kept at most, the first ones: samples are independent, so any choice is as good.
    """
    found: list[str | None] = []
    kept: set[str] = set()
    for record in drawn:
        own = record["completion"].strip()
        faults = _faults(record, filters) | {"duplicate": own in kept, "enough": found.count(None) >= most}
        reason = next((name for name, fault in faults.items() if fault and getattr(filters, name, True)), None)
        if reason is None:
            kept.add(own)
        found.append(reason)
    return found


def _faults(record: dict, filters: Filters) -> dict[str, bool]:
    """The reasons that lie in the completion itself, and whether each holds, also where its filter is off."""
    text = record["prefill"] + record["completion"]
    signals = read_signals(text)
    return {
        "ungraded": record["right"] is None,
        "cut_off": record["cut_off"],
        "wrong": not record["right"],
        "wrong_format": not record["well_formed"],
        "mixed_languages": signals.mixed_languages,
        "repetition": signals.repetition,
        "code_block": "```" in text.partition("<answer>")[0],
        "paragraph_characters": longest_paragraph(text) > (filters.paragraph_characters or 0),
        "tokens": record["tokens"] > (filters.tokens or 0),
    }


def longest_paragraph(text: str) -> int:
    """Counts the characters of the longest paragraph, in time linear in the text's length.

    Example: `longest_paragraph("a\\nb\\n\\nc")` is 3.
    """
    longest = size = 0
    for line in text.split("\n"):
        size = size + len(line) + 1 if line.strip() else 0
        longest = max(longest, size - 1)
    return longest


def balance(difficulties: list[int], problems: list[int]) -> list[bool]:
    """Chooses which of the kept completions stay, so that each difficulty has as many as the scarcest one.

    Takes turns over the problems of a difficulty, one completion of each at a time, so that most problems stay.

    Args:
        difficulties, problems: of each completion, in order.

    Returns:
        shape (completions,).
    """
    scarcest = min(Counter(difficulties).values(), default=0)
    turn: Counter = Counter()
    order = []
    for place, (difficulty, problem) in enumerate(zip(difficulties, problems, strict=True)):
        turn[problem] += 1
        order.append((difficulty, turn[problem], place))
    stays, left = [False] * len(order), dict.fromkeys(difficulties, scarcest)
    for difficulty, _, place in sorted(order):
        if left[difficulty]:
            left[difficulty] -= 1
            stays[place] = True
    return stays


def write_generated(
    run: Path,
    drawn: Iterable[list[dict]],
    parts: list[Part],
    problems: list[dict],
    filters: Filters,
    most: int,
    balanced: bool,
) -> dict:
    """Chooses the completions to keep, and writes both tables, each whole or not at all.

    Args:
        drawn: for each problem its graded completions, see `evaluate.to_records`.
        problems: the rows that were asked, by number.
        most: kept of each problem.
        balanced: whether each difficulty gets as many as the scarcest one.

    Returns:
        {"problems", "samples", "right": share of samples, "kept", "problems_kept", "left_out": {reason: samples},
        "by_difficulty": {difficulty: {"problems", "right", "kept"}}}

    Raises:
        RecipeError: where nothing is kept.
    """
    sampled: list[dict] = []
    seen: Counter = Counter()
    for records in drawn:
        seen[records[0]["difficulty"]] += 1
        for record, reason in zip(records, reasons(records, filters, most), strict=True):
            sampled.append({**record, "left_out": reason})
    write_table(run / SAMPLES, sampled, SAMPLED)
    kept = [record for record in sampled if record["left_out"] is None]
    left_out = Counter(record["left_out"] for record in sampled if record["left_out"])
    samples = Counter(record["difficulty"] for record in sampled)
    right = Counter(record["difficulty"] for record in sampled if record["right"])
    if balanced:
        stays = balance([record["difficulty"] for record in kept], [record["problem"] for record in kept])
        left_out["unbalanced"] = stays.count(False)
        kept = [record for record, stay in zip(kept, stays, strict=True) if stay]
    if not kept:
        told = ", ".join(f"{left_out[reason]} {reason}" for reason in REASONS if left_out[reason])
        raise RecipeError(
            f"none of {len(sampled)} samples is kept ({told}): sample from a better model, more of each problem "
            "(num_generations), or turn a filter off",
            key="filters",
        )
    conversations, part_of = [], find_part(parts)
    for record in kept:
        row = problems[record["problem"]]
        part = part_of(row)
        conversations.append({**record, "messages": _conversation(part, row, record), "task": part.name})
    write_table(run / DATASET, conversations, CONVERSATIONS)
    count = Counter(record["difficulty"] for record in kept)
    return {
        "problems": seen.total(),
        "samples": len(sampled),
        "right": right.total() / len(sampled),
        "kept": len(kept),
        "problems_kept": len({record["problem"] for record in kept}),
        "left_out": {reason: left_out[reason] for reason in REASONS if left_out[reason]},
        "by_difficulty": {
            str(level): {"problems": seen[level], "right": right[level] / samples[level], "kept": count[level]}
            for level in sorted(seen)
        },
    }


def _conversation(part: Part, row: dict, record: dict) -> list[dict]:
    """The question, and the answer with its prefill."""
    # in a chat the answer begins without the prefill; a model whose own template opens <think> has only that
    known, begun = part.template, record["prefill"]
    begun = known.prefill if begun == known.answer_prefill else begun
    return [*messages(known, part.task, row), {"role": "assistant", "content": begun + record["completion"]}]


def describe(result: dict) -> str:
    """Describes in lines for people what `write_generated` kept, and why it left out the rest."""
    lines = [
        f"kept {result['kept']} of {result['samples']} samples, of {result['problems_kept']} of {result['problems']} "
        f"problems; {result['right']:.3f} of the samples are right",
        *([describe_judge(result["judge"])] if "judge" in result else []),
        "left out: " + (", ".join(f"{count} {name}" for name, count in result["left_out"].items()) or "none"),
    ]
    for level, part in result["by_difficulty"].items():
        lines.append(
            f"difficulty {level}: {part['problems']} problems, {part['right']:.3f} right, {part['kept']} samples kept"
        )
    return "\n".join(lines)
