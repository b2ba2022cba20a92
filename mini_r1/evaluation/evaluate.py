"""Measures any model on held-out rows, with the prompts, sampling, parser and rewards of training."""

from collections.abc import Iterator
from pathlib import Path

from mini_r1.evaluation.completion_log import CompletionLog, progress_bar
from mini_r1.evaluation.grading import Grader
from mini_r1.evaluation.records import summarise, write_records
from mini_r1.evaluation.sampler import Sampler


def measure(run: Path, name: str, rows: list[dict], sampler: Sampler, grader: Grader) -> dict | None:
    """Samples (see `sample_all`) and grades all problems, and writes `evaluation/<name>.parquet`.

    Returns:
        The result of `records.summarise`; None on processes other than the main one.
    """
    log = sample_all(run, name, rows, sampler, grader)
    if log is None:
        return None
    records = [record for drawn in to_records(rows, log.read(), grader) for record in drawn]
    write_records(run, name, records)
    return summarise(records)


def sample_all(run: Path, name: str, rows: list[dict], sampler: Sampler, grader: Grader | None) -> CompletionLog | None:
    """Samples completions of every problem, and goes on where an earlier attempt was killed.

    Every finished problem is logged at once and never sampled again.

    Args:
        run: the run directory.
        rows: the problems, with `prompt`, `prefill` and `difficulty`. A problem's number is its place.
        grader: for the share of correct completions beside the progress bar; None: the bar shows none.

    Returns:
        The log of all completions; None on processes other than the main one.
    """
    from accelerate import PartialState  # imports torch

    process = PartialState()
    log = CompletionLog(run, name, process.process_index)
    done = log.read()
    process.wait_for_everyone()  # each has read before another writes
    todo = {number: row["prompt"] for number, row in enumerate(rows) if number not in done}
    right = sum(_right(grader, rows, done)) if grader else 0.0
    with progress_bar(name, "problems", len(rows), len(done), shown=process.is_main_process) as bar:
        for finished in sampler.sample(todo):
            log.add(finished)
            done |= finished
            if grader:
                right += sum(_right(grader, rows, finished))
                bar.set_postfix_str(f"{right / len(done):.3f} right", refresh=False)
            bar.update(len(finished) * process.num_processes)  # the others are about as far
    process.wait_for_everyone()
    return log if process.is_main_process else None


def to_records(rows: list[dict], completions: dict[int, list], grader: Grader) -> Iterator[list[dict]]:
    """Yields, for each problem in order, one row of `records.SCHEMA` for each of its completions."""
    for number, row in enumerate(rows):
        drawn = completions[number]
        texts, repeated = [one.text for one in drawn], [row] * len(drawn)
        columns = {
            **grader.grade(repeated, texts),
            "vote": grader.votes(repeated, texts),
            "language": grader.language(repeated, texts),
            "completion": texts,
            "tokens": [one.tokens for one in drawn],
            "cut_off": [one.cut_off for one in drawn],
        }
        yield [
            {"problem": number, "sample": sample, "prompt": row["prompt"], **dict(zip(columns, values, strict=True))}
            for sample, values in enumerate(zip(*columns.values(), strict=True))
        ]


def _right(grader: Grader, rows: list[dict], completions: dict[int, list]) -> list[float]:
    """The share of correct completions of each problem, for the progress bar."""
    shares = []
    for number, drawn in completions.items():
        right = grader.grade([rows[number]] * len(drawn), [one.text for one in drawn])["right"]
        shares.append(sum(map(bool, right)) / len(right))
    return shares
