"""The rows of all tasks of a run as one dataset: see mini_r1/data/mixture.py."""

from collections import Counter

from mini_r1.data.mixture import Part
from mini_r1.data.problems import Rows, load_rows, render_rows, to_dataset
from mini_r1.errors import RecipeError


def load_parts(parts: list[Part]) -> list[Rows]:
    """`load_rows` of each part: a task's problems are split by themselves, as in a run of its own."""
    found = []
    for part in parts:
        with part.blame():
            found.append(load_rows(part.args, part.task))
    return found


def describe_rows(parts: list[Part], rows: list[Rows]) -> str:
    """What `Rows.describe` says, of a mixed run a line for each task."""
    said = [own.describe() for own in rows]
    return "\n".join(f"{part.name}: {text}" if part.mixed else text for part, text in zip(parts, said, strict=True))


def to_datasets(parts: list[Part], rows: list[list[dict]], tokenizer):
    """`to_dataset` for the rows of all parts, one after the other; parts without rows are left out.

    Returns:
        (dataset, how many prompts were dropped, tokens of the longest prompt kept).

    Raises:
        RecipeError: where no prompt of a part is short enough, or two tasks have a column of different types.
    """
    if not parts[0].mixed:
        (part,) = parts
        return to_dataset(rows[0], part.args, part.task, part.template, tokenizer)
    from datasets import Dataset

    united, dropped, longest = [], 0, 0
    for part, own in zip(parts, rows, strict=True):
        if not own:
            continue
        with part.blame():
            kept, too_long, tokens = render_rows(own, part.args, part.task, part.template, tokenizer)
        united.append((part.name, [{**row, **part.columns} for row in kept]))
        dropped, longest = dropped + too_long, max(longest, tokens)
    check_types(united)
    columns = dict.fromkeys(name for _, own in united for name in own[0])
    every = [{name: row.get(name) for name in columns} for _, own in united for row in own]
    return Dataset.from_list(every), dropped, longest


def check_types(rows: list[tuple[str, list[dict]]]) -> None:
    """Has every column one Arrow type, whichever task a row is of? A column of nulls has any.

    Raises:
        RecipeError: for the first that has two: a dataset cannot hold it, or only in a form that no task expects.
    """
    import pyarrow as pa

    first: dict[str, tuple[str, pa.DataType]] = {}
    for task, own in rows:
        for column in pa.Table.from_pylist(own).schema:
            if pa.types.is_null(column.type):
                continue
            other, kind = first.setdefault(column.name, (task, column.type))
            if kind != column.type:
                raise RecipeError(
                    f"{task} and {other} both have a column {column.name}, as {column.type} and {kind}; rename it in "
                    "one of the task files",
                    key="tasks",
                )


def describe_mix(rows: list[str], asked: list[str]) -> str:
    """How often each task is asked, and how often its rows come again, a line for each.

    Args:
        rows, asked: the column `task` of the training rows, and of all prompts of the run.
    """
    had, gets = Counter(rows), Counter(asked)
    return "\n".join(
        f"{task}: {gets[task]} of {len(asked)} prompts, {gets[task] / had[task]:.2f} passes over its {had[task]} rows"
        for task in had
    )
