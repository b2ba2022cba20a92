"""The data set that rejection sampling leaves: every sample with the verdict on it, and the kept ones as conversations.

`generated/samples.parquet` has all completions and why each was left out; `dataset/train.parquet` the kept ones, with
`dataset/README.md`, its card: `load_dataset("runs/NAME-s42/dataset")` reads it, and a recipe's `sft_datasets`.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mini_r1.data.mixture import Part, chat_of, find_part
from mini_r1.errors import RecipeError
from mini_r1.evaluation.judged import describe_judge
from mini_r1.evaluation.records import SCHEMA
from mini_r1.evaluation.rejection import REASONS, Filters, balance, reasons

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
ROWS_AT_ONCE = 5000  # of the table of samples


def write_generated(
    run: Path,
    problems: Iterator[list[dict]],
    conversation: Callable[[dict], tuple[str, list[dict]]],
    filters: Filters,
    most: int,
    balanced: bool,
) -> dict:
    """Choose what is kept, and write both tables, each whole or not at all.

    Args:
        problems: for each problem its graded completions, see `evaluation.to_records`.
        conversation: a record -> the name of its task, and its messages, the assistant's last and whole.
        most: of each problem.
        balanced: as many of each difficulty as of the scarcest one.

    Returns:
        {"problems", "samples", "right": share of samples, "kept", "problems_kept", "left_out": {reason: samples},
        "by_difficulty": {difficulty: {"problems", "right", "kept"}}}

    Raises:
        RecipeError: where nothing is kept.
    """
    kept: list[dict] = []
    seen = Counter()
    right: Counter = Counter()
    samples: Counter = Counter()
    left_out: Counter = Counter()
    with _Table(run / SAMPLES, SAMPLED) as table:
        for drawn in problems:
            why = reasons(drawn, filters, most)
            table.add([{**record, "left_out": reason} for record, reason in zip(drawn, why, strict=True)])
            left_out.update(filter(None, why))
            kept += [record for record, reason in zip(drawn, why, strict=True) if reason is None]
            difficulty = drawn[0]["difficulty"]
            seen[difficulty] += 1
            samples[difficulty] += len(drawn)
            right[difficulty] += sum(bool(record["right"]) for record in drawn)
    if balanced:
        stays = balance([record["difficulty"] for record in kept], [record["problem"] for record in kept])
        left_out["unbalanced"] = stays.count(False)
        kept = [record for record, stay in zip(kept, stays, strict=True) if stay]
    if not kept:
        told = ", ".join(f"{left_out[reason]} {reason}" for reason in REASONS if left_out[reason])
        raise RecipeError(
            f"none of {samples.total()} samples is kept ({told}): sample from a better model, more of each problem "
            "(num_generations), or turn a filter off",
            key="filters",
        )
    with _Table(run / DATASET, CONVERSATIONS) as table:
        for record in kept:
            task, turns = conversation(record)
            table.add([{**record, "messages": turns, "task": task}])
    count = Counter(record["difficulty"] for record in kept)
    return {
        "problems": seen.total(),
        "samples": samples.total(),
        "right": right.total() / samples.total(),
        "kept": len(kept),
        "problems_kept": len({record["problem"] for record in kept}),
        "left_out": {reason: left_out[reason] for reason in REASONS if left_out[reason]},
        "by_difficulty": {
            str(level): {"problems": seen[level], "right": right[level] / samples[level], "kept": count[level]}
            for level in sorted(seen)
        },
    }


def conversation_of(parts: list[Part], problems: list[dict]) -> Callable[[dict], tuple[str, list[dict]]]:
    """A function from a record to its task's name and its messages: what was asked, and the answer with its prefill."""
    chat, part_of = chat_of(parts), find_part(parts)

    def conversation(record: dict) -> tuple[str, list[dict]]:
        problem = problems[record["problem"]]
        part = part_of(problem)
        *asked, prefill = chat(problem)
        begun = prefill["content"] if record["prefill"] == part.template.answer_prefill else ""  # a chat begins itself
        return part.name, [*asked, {**prefill, "content": begun + record["completion"]}]

    return conversation


def describe(found: dict) -> str:
    """What was kept, and why the rest was not, in lines for people."""
    lines = [
        f"kept {found['kept']} of {found['samples']} samples, of {found['problems_kept']} of {found['problems']} "
        f"problems; {found['right']:.3f} of the samples are right",
        *([describe_judge(found["judge"])] if "judge" in found else []),
        "left out: " + (", ".join(f"{count} {name}" for name, count in found["left_out"].items()) or "none"),
    ]
    for level, part in found["by_difficulty"].items():
        lines.append(
            f"difficulty {level}: {part['problems']} problems, {part['right']:.3f} right, {part['kept']} samples kept"
        )
    return "\n".join(lines)


class _Table:
    """A parquet file written piece by piece, there only once it is whole; what the schema lacks is left out."""

    def __init__(self, path: Path, schema: pa.Schema):
        self.path, self.schema, self.scratch = path, schema, path.with_suffix(".tmp")
        self.waiting: list[dict] = []

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.writer = pq.ParquetWriter(self.scratch, self.schema)
        return self

    def add(self, rows: list[dict]) -> None:
        self.waiting += rows
        if len(self.waiting) >= ROWS_AT_ONCE:
            self._write()

    def _write(self) -> None:
        self.writer.write_table(pa.Table.from_pylist(self.waiting, schema=self.schema))
        self.waiting = []

    def __exit__(self, kind, error, traceback):
        if kind is None:
            self._write()
        self.writer.close()
        if kind is None:
            os.replace(self.scratch, self.path)
