"""Loads or generates the problems of a run, removes duplicates, splits them by their keys, and renders the prompts."""

import csv
import hashlib
import inspect
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from mini_r1.config.arguments import RecipeArguments
from mini_r1.data.hub import check_text_survives, is_lfs_pointer, looks_local, missing_shards
from mini_r1.data.mixture import Part
from mini_r1.data.prompts import prompt_ids, render
from mini_r1.errors import RecipeError

PROBED = 20  # rows of which prompt and gold are seen to survive the tokenizer
SUFFIXES = (".parquet", ".jsonl", ".json", ".csv")


@dataclass
class Rows:
    """The problems of a task, split, and how many rows were left out."""

    train: list[dict]
    test: list[dict]
    source: str
    duplicates: int = 0
    bad: int = 0

    def describe(self) -> str:
        said = f"{len(self.train)} training and {len(self.test)} held-out problems from {self.source}"
        said += f", {self.duplicates} duplicates removed" if self.duplicates else ""
        return said + (f", {self.bad} bad rows skipped" if self.bad else "")


def load_rows(args: RecipeArguments, task: ModuleType) -> Rows:
    """The problems that a recipe asks for, split by key, whatever their order and the seed.

    A dataset's test split is held out as a whole, and so is what the task's `held_out` claims.

    Raises:
        RecipeError: for a dataset that is not there, a bad row (unless `skip_bad_rows`), or no row to train on.
    """
    source = args.dataset_id_or_path
    if source is None:
        source = f"the {args.task} generator"
        raw = {"train": generate(args, task)}
    else:
        raw = {"train": read_split(source, args.dataset_train_split, args.dataset_config)}
        if split := args.dataset_test_split:
            if Path(source).expanduser().is_file():
                raise RecipeError(f"{source} is one file and has no split {split!r}", key="dataset_test_split")
            raw["test"] = read_split(source, split, args.dataset_test_config or args.dataset_config)
    reserved = getattr(task, "held_out", lambda row: None)
    rows, seen = Rows([], [], source), set[str]()
    for split in ("test", "train"):  # test first: a problem in both is held out
        for number, values in enumerate(raw.get(split, [])):
            try:
                row = task.parse_row(_renamed(values, args.dataset_columns or {}))
            except ValueError as error:
                if not args.skip_bad_rows:
                    named = ", ".join(map("{0[1]} as {0[0]}".format, (args.dataset_columns or {}).items()))
                    raise RecipeError(
                        f"row {number} of {source} (split {split}): {error}; its columns are {', '.join(values)} "
                        f"({f'dataset_columns takes {named}' if named else 'see dataset_columns'}); mend it or set "
                        "skip_bad_rows: true",
                        key="dataset_id_or_path",
                    ) from None
                rows.bad += 1
                continue
            problem = task.key(row)
            if problem in seen:
                rows.duplicates += 1
                continue
            seen.add(problem)
            if args.difficulty and row["difficulty"] not in args.difficulty:
                continue
            drawn = "test" not in raw and uniform(problem, "split") < args.test_fraction
            held_out = split == "test" or drawn or reserved(row)
            (rows.test if held_out else rows.train).append(row)
    rows.train = _at_most(args.max_train_rows, rows.train, task)
    rows.test = _at_most(args.max_eval_rows, rows.test, task)
    if not rows.train and args.needs_training_rows:
        why = f"; all {len(rows.test)} are held out" if rows.test else ""
        key = "task_args" if args.dataset_id_or_path is None else "dataset_id_or_path"
        raise RecipeError(f"no training rows are left of {source}{why}", key=key)
    return rows


def _renamed(row: dict, columns: dict) -> dict:
    """The row under the task's names of its columns.

    Raises:
        ValueError: for a column that the row lacks.
    """
    for ours, theirs in columns.items():
        if theirs not in row:
            raise ValueError(f"column {theirs!r}, which dataset_columns names for {ours}, is missing")
    kept = {name: value for name, value in row.items() if name not in columns.values()}
    return kept | {ours: row[theirs] for ours, theirs in columns.items()}


def generate(args: RecipeArguments, task: ModuleType) -> list[dict]:
    """Raw rows from the task's generator. Their seed is not the run's: all runs are tested on the same problems."""
    if not hasattr(task, "generate"):
        raise RecipeError(f"this task makes no problems; name a dataset: {task.HUB_ID}", key="dataset_id_or_path")
    settings = {"n": 10_000, "seed": 0, **(args.task_args or {})}
    known = inspect.signature(task.generate).parameters
    for name in settings:
        if name not in known:
            raise RecipeError(f"{name!r} is no setting of this generator; it knows {', '.join(known)}", key="task_args")
    try:
        return task.generate(**settings)
    except ValueError as error:
        raise RecipeError(str(error), key="task_args") from error
    except TypeError as error:  # a number where it takes a list, say
        raise RecipeError(f"the generator cannot use {settings}: {error}", key="task_args") from error


def read_split(name: str, split: str, config: str | None = None) -> list[dict]:
    """Reads the raw rows of one split of a local file (which has one), a local folder or a hub dataset.

    A folder's files belong to the split that their names begin with, such as `data/test-00000-of-00001.parquet`. With a
    `config`, a folder that has a README.md is a clone of a hub dataset, whose README.md says which file belongs where.
    """
    path = Path(name).expanduser()
    clone = bool(config) and (path / "README.md").is_file()
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise RecipeError(f"{path} is none of {', '.join(SUFFIXES)}", key="dataset_id_or_path")
        return _read_file(path)
    if path.is_dir() and not clone:
        files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
        own = [file for file in files if file.name.startswith(split)]
        if not own:
            there = ", ".join(sorted(file.name for file in files)[:5]) or "nothing of the kind"
            raise RecipeError(
                f"{name} has no {', '.join(SUFFIXES)} file whose name begins with {split!r}; there is {there}",
                key="dataset_id_or_path",
            )
        if lacking := missing_shards([file.name for file in own]):
            raise RecipeError(f"{name} lacks {lacking[0]}; download the folder again", key="dataset_id_or_path")
        return [row for file in own for row in _read_file(file)]
    if clone or not (looks_local(name) or path.suffix in SUFFIXES):
        from datasets import load_dataset  # takes a second
        from datasets.exceptions import DatasetsError

        try:
            return load_dataset(str(path) if clone else name, config, split=split).to_list()
        except (ConnectionError, DatasetsError, FileNotFoundError, ValueError) as error:
            where = "cannot be loaded" if clone else "is no folder here and cannot be loaded from the hub"
            raise RecipeError(f"{name} {where}: {_first_line(error)}", key="dataset_id_or_path") from error
    raise RecipeError(
        f"there is no file or folder {name}; paths start at {Path.cwd()}, and without this key the task generates "
        "its problems",
        key="dataset_id_or_path",
    )


def _read_file(file: Path) -> list[dict]:
    """Reads the rows of a file of one of `SUFFIXES`.

    `datasets` would turn all integers of a JSON column into floats because of one 2.5, which makes every row bad.
    """
    import pyarrow.parquet  # takes a while

    if is_lfs_pointer(file):
        problem = f"{file} is a Git LFS pointer, not the data; run git lfs pull in its folder"
        raise RecipeError(problem, key="dataset_id_or_path")
    try:
        if file.suffix == ".parquet":
            return pyarrow.parquet.ParquetFile(file).read().to_pylist()
        text = file.read_text(encoding="utf-8-sig")  # with or without a byte order mark
        if file.suffix == ".csv":
            return _parse_csv(text)
        one_list = file.suffix == ".json" and text.lstrip().startswith("[")
        rows = json.loads(text) if one_list else _parse_lines(text)
    except (ValueError, OSError) as error:  # what json and pyarrow raise for a broken file are ValueErrors
        raise RecipeError(f"{file} cannot be read: {_first_line(error)}", key="dataset_id_or_path") from error
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RecipeError(f"row {number} of {file} is no map of columns to values", key="dataset_id_or_path")
    return rows


def _parse_csv(text: str) -> list[dict]:
    """Parses CSV with a header. A cell that is a number, list or map in JSON becomes that, an empty one None."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = list(reader)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from error
    for number, row in enumerate(rows):
        if None in row or None in row.values():
            raise ValueError(f"row {number} has another number of cells than the header")
    return [{name: _cell(value) for name, value in row.items()} for row in rows]


def _cell(text: str) -> object:
    if not text:
        return None
    if text[0] not in "-0123456789[{":
        return text
    try:
        return json.loads(text)
    except ValueError:  # such as 007, or a text that begins with a digit
        return text


def _parse_lines(text: str) -> list:
    """Parses one JSON value a line; blank lines do not count."""
    values = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            values += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number}, column {error.colno}: {error.msg}") from error
    return values


def uniform(key: str, purpose: str) -> float:
    """A number in [0, 1) that depends on the key alone; `purpose` makes independent ones."""
    return int.from_bytes(hashlib.sha256(f"{purpose}:{key}".encode()).digest()[:8]) / 2**64


def _at_most(limit: int | None, rows: list[dict], task: ModuleType) -> list[dict]:
    """`limit` of the rows, chosen by key, in their order."""
    if limit is None or len(rows) <= limit:
        return rows
    chosen = set(sorted(map(task.key, rows), key=lambda key: uniform(key, "sample"))[:limit])
    return [row for row in rows if task.key(row) in chosen]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def load_parts(parts: Sequence[Part]) -> list[Rows]:
    """Loads the problems of each part, split as in a run of that task alone."""
    rows = []
    for part in parts:
        with part.blame():
            rows.append(load_rows(part.args, part.task))
    return rows


def describe_rows(parts: Sequence[Part], rows: list[Rows]) -> str:
    """Describes the problems: of a mixed run in a line for each task."""
    return "\n".join(
        f"{part.name}: {own.describe()}" if part.mixed else own.describe()
        for part, own in zip(parts, rows, strict=True)
    )


def to_datasets(parts: Sequence[Part], rows: list[list[dict]], tokenizer):
    """Makes a `datasets.Dataset` with `prompt` and `prefill` of the rows of all parts, one part after the other.

    Prompts over `max_prompt_tokens` are dropped, and parts without rows are left out.

    Returns:
        (dataset, how many prompts were dropped, tokens of the longest prompt kept).

    Raises:
        RecipeError: where no prompt of a part is short enough, or two tasks have a column of different types.
    """
    from datasets import Dataset  # takes a second

    kept: list[tuple[str, list[dict]]] = []
    lengths: list[int] = []
    for part, own in zip(parts, rows, strict=True):
        if own:
            with part.blame():
                rendered, tokens = _rendered(own, part, tokenizer)
            kept.append((part.name, rendered))
            lengths += tokens
    check_types(kept)
    columns = dict.fromkeys(name for _, own in kept for name in own[0])
    every = [{name: row.get(name) for name in columns} for _, own in kept for row in own]
    return Dataset.from_list(every), sum(map(len, rows)) - len(every), max(lengths)


def _rendered(rows: list[dict], part: Part, tokenizer) -> tuple[list[dict], list[int]]:
    """Renders a part's rows. Returns those whose prompts are short enough, and the tokens of each prompt."""
    prompts = [render(part.template, part.task, row, tokenizer) for row in rows]
    for row, prompt in list(zip(rows, prompts, strict=True))[:PROBED]:
        check_text_survives(prompt.text, part.task.gold_answer(row), tokenizer)
    kept, lengths, most = [], [], part.args.max_prompt_tokens
    for row, prompt, ids in zip(rows, prompts, prompt_ids([one.text for one in prompts], tokenizer), strict=True):
        if len(ids) <= most:
            kept.append({"prompt": prompt.text, "prefill": prompt.prefill, **row, **part.columns})
            lengths.append(len(ids))
    if not kept:
        raise RecipeError(f"all {len(rows)} prompts are longer than {most} tokens; raise it", key="max_prompt_tokens")
    return kept, lengths


def check_types(rows: list[tuple[str, list[dict]]]) -> None:
    """Refuses a column that has two Arrow types in two tasks, which no dataset can hold as both tasks expect it.

    Args:
        rows: a task's name and its rows, of each task. A column of nulls has any type.
    """
    import pyarrow as pa  # takes a while

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
    """Describes in a line for each task how often it is asked, and how often its rows come again.

    Args:
        rows, asked: the column `task` of the training rows, and of all prompts of the run.
    """
    had, gets = Counter(rows), Counter(asked)
    return "\n".join(
        f"{task}: {gets[task]} of {len(asked)} prompts, {gets[task] / had[task]:.2f} passes over its {had[task]} rows"
        for task in had
    )
