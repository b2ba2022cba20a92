"""Graded completions of an evaluation, one a row: their table, its summary, and the comparison of two tables."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mini_r1.errors import RecipeError
from mini_r1.evaluation.metrics import majority_is_right, paired_difference, pass_at_k, ratio_intervals

SCHEMA = pa.schema(
    {
        "problem": pa.int64(),
        "sample": pa.int64(),
        "difficulty": pa.int64(),
        "prompt": pa.large_string(),
        "prefill": pa.string(),
        "completion": pa.large_string(),
        "right": pa.bool_(),
        "well_formed": pa.bool_(),
        "tokens": pa.int64(),
        "cut_off": pa.bool_(),
        "vote": pa.string(),
        "language": pa.float64(),
        "row": pa.string(),
    }
)
TASK = pa.field("task", pa.string())  # beside SCHEMA, of a run that mixes tasks
FOLDER = "evaluation"


def write_records(run: Path, name: str, records: list[dict]) -> None:
    """Writes `<run>/evaluation/<name>.parquet`: the columns of `SCHEMA`, and `task` where the records have it."""
    schema = SCHEMA.append(TASK) if records and "task" in records[0] else SCHEMA
    write_table(run / FOLDER / f"{name}.parquet", records, schema)


def write_table(path: Path, rows: list[dict], schema: pa.Schema) -> None:
    """Writes a parquet file, whole or not at all; keys of the rows that the schema lacks are dropped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), scratch)
    os.replace(scratch, path)


def summarise(records: list[dict]) -> dict:
    """Summarises a model's graded completions, the same number for each problem.

    Returns:
        n: problems; samples: of each; pass@1, pass@2, pass@4, ... up to all samples: the unbiased estimates, means over
        problems; maj@n for n samples: the most frequent answer is correct (where any answer can be read as a vote);
        format: share of completions in the right format; right_given_format: share of those that are correct; cut_off:
        share that reached the limit of tokens; language: share of the reasoning's words in the target language, mean
        over completions; mean_length: tokens; lengths: of correct completions, of wrong ones that ended, of truncated
        ones, {"mean", "min", "max", "n"}; intervals: 95% for each of the shares and the mean length, bootstrap over
        problems; by_difficulty: {difficulty: n, pass@1, format, right_given_format, language, mean_length, interval (of
        pass@1)}; by_task, where records have a task: {task: the same, and its by_difficulty}, while all other numbers
        are over the problems of all tasks, whose difficulties differ; ungraded, where there are any: the number of
        problems without a usable gold, which count nowhere else.

    Raises:
        RecipeError: where no problem has a usable gold.
    """
    unusable = {record["problem"] for record in records if record["right"] is None}
    problems: dict[int, list[dict]] = {}
    for record in records:
        if record["problem"] not in unusable:
            problems.setdefault(record["problem"], []).append(record)
    groups = list(problems.values())
    if not groups:
        raise RecipeError(
            "no held-out problem has a gold that can be used; take rows that have one, or, to train on them all the "
            "same, hold none out (test_fraction: 0)",
            key="dataset_id_or_path",
        )
    summary = _summary(groups)
    summary["lengths"] = {
        "right": _lengths([r["tokens"] for r in records if r["right"]]),
        "wrong": _lengths([r["tokens"] for r in records if r["right"] is False and not r["cut_off"]]),
        "cut_off": _lengths([r["tokens"] for r in records if r["cut_off"] and r["right"] is not None]),
    }
    summary["by_difficulty"] = _by_difficulty(groups)
    if "task" in groups[0][0]:
        by_task = _by_column(groups, "task").items()
        summary["by_task"] = {task: {**_level(own), "by_difficulty": _by_difficulty(own)} for task, own in by_task}
    return {**summary, "ungraded": len(unusable)} if unusable else summary


def compare(sources: list[Path]) -> str:
    """pass@1 of the second source minus that of the first, over the problems that both have, as text for people.

    Args:
        sources: two run directories (their `evaluation/after.parquet`), or parquet files of evaluations.

    Raises:
        RecipeError: where there are not two, one has no evaluation, or no problem is in both.
    """
    if len(sources) != 2:
        raise RecipeError(f"takes two runs, or two files of evaluation/, and got {len(sources)}", key="--compare")
    (first, levels), (second, _) = (_scores(source) for source in sources)
    both = [problem for problem in first if problem in second]
    if not both:
        raise RecipeError(
            f"{sources[0]} and {sources[1]} have no problem in common; under another prompt template it is another one",
            key="--compare",
        )
    lines = [f"{sources[1]} less {sources[0]}, pass@1, the same problems, 95% interval"]
    groups = {"all": both}
    if len(found := sorted({levels[problem] for problem in both})) > 1:
        groups |= {f"difficulty {level}": [p for p in both if levels[p] == level] for level in found}
    for name, problems in groups.items():
        ours, theirs = (np.array([scores[problem] for problem in problems]) for scores in (second, first))
        gap, low, high = paired_difference(ours, theirs)
        means = f"{theirs.mean():.3f} -> {ours.mean():.3f}"
        lines.append(f"{name:<14}n {len(problems):>5}   {means}   {gap:+.3f} ({low:+.3f} to {high:+.3f})")
    if alone := len(first) + len(second) - 2 * len(both):
        lines.append(f"{alone} problems were asked of one alone and are left out")
    return "\n".join(lines)


def _scores(source: Path) -> tuple[dict[str, float], dict[str, int]]:
    """Returns {prompt: share of correct samples}, where the gold is usable, and {prompt: difficulty}."""
    path = source if source.suffix == ".parquet" else source / FOLDER / "after.parquet"
    if not path.is_file():
        raise RecipeError(f"there is no {path}; a run that measured held-out problems has it", key="--compare")
    try:
        records = pq.read_table(path, columns=["prompt", "right", "difficulty"]).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"{path} is no file of evaluation/: {reason}", key="--compare") from error
    outcomes: dict[str, list[bool]] = {}
    for record in records:
        if record["right"] is not None:
            outcomes.setdefault(record["prompt"], []).append(record["right"])
    levels = {record["prompt"]: record["difficulty"] for record in records}
    return {prompt: sum(right) / len(right) for prompt, right in outcomes.items()}, levels


def _summary(groups: list[list[dict]]) -> dict:
    """The summary without lengths, difficulties and tasks, of problems with equally many samples."""
    samples = len(groups[0])
    right, well_formed, tokens, cut_off, language = (
        np.array([[record[column] for record in group] for group in groups], dtype=float)
        for column in ("right", "well_formed", "tokens", "cut_off", "language")
    )
    ones = np.ones(len(groups))
    metrics = {"pass@1": (right.mean(axis=1), ones)}
    for k in _powers(samples):
        metrics[f"pass@{k}"] = (np.array([pass_at_k(samples, int(c), k) for c in right.sum(axis=1)]), ones)
    if samples > 1 and any(record["vote"] is not None for group in groups for record in group):
        metrics[f"maj@{samples}"] = (np.array([_majority(group) for group in groups]), ones)
    metrics["format"] = (well_formed.mean(axis=1), ones)
    metrics["right_given_format"] = ((right * well_formed).sum(axis=1), well_formed.sum(axis=1))
    metrics["cut_off"] = (cut_off.mean(axis=1), ones)
    metrics["language"] = (language.mean(axis=1), ones)
    metrics["mean_length"] = (tokens.mean(axis=1), ones)
    found = {name: float(a.sum() / b.sum()) if b.any() else None for name, (a, b) in metrics.items()}
    bounds = ratio_intervals(metrics, numbers=["mean_length"])
    intervals = {name: None if np.isnan(low) else [low, high] for name, (low, high) in bounds.items()}
    return {**found, "n": len(groups), "samples": samples, "intervals": intervals}


def _level(groups: list[list[dict]]) -> dict:
    found = _summary(groups)
    kept = {name: found[name] for name in ("n", "pass@1", "format", "right_given_format", "language", "mean_length")}
    return {**kept, "interval": found["intervals"]["pass@1"]}


def _by_difficulty(groups: list[list[dict]]) -> dict[str, dict]:
    return {str(level): _level(own) for level, own in sorted(_by_column(groups, "difficulty").items())}


def _by_column(groups: list[list[dict]], column: str) -> dict[Any, list[list[dict]]]:
    found: dict[Any, list[list[dict]]] = {}
    for group in groups:
        found.setdefault(group[0][column], []).append(group)
    return found


def _majority(group: list[dict]) -> float:
    return majority_is_right([r["vote"] for r in group], next((r["vote"] for r in group if r["right"]), None))


def _powers(samples: int) -> list[int]:
    """2, 4, 8, ... below the number of samples, and that number; nothing for one sample."""
    return [*(2**i for i in range(1, samples.bit_length()) if 2**i < samples), samples] if samples > 1 else []


def _lengths(tokens: list[int]) -> dict:
    if not tokens:
        return {"n": 0}
    return {"mean": sum(tokens) / len(tokens), "min": min(tokens), "max": max(tokens), "n": len(tokens)}
