"""The Parquet files of a run's completions: what is in which, without reading it; and rows of a few."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mini_r1.rewards import FORMAT_REWARDS

TEXTS = ("prompt", "completion")
NOT_REWARDS = frozenset(
    {"step", "prompt", "completion", "advantage", "difficulty", "right", "well_formed", "tokens", "cut_off", "prefill"}
    | {"row", "problem", "sample", "vote", "outcome"}
)


@dataclass(frozen=True)
class RolloutFile:
    """One file, from its footer. `step` is that of its rows (they share one); `columns` its column names."""

    path: Path
    step: int
    rows: int
    columns: tuple[str, ...]


@dataclass
class Rollouts:
    """All files of one run that can be read, by step; `damaged` names those that cannot."""

    files: list[RolloutFile]
    damaged: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    def read(self, file: RolloutFile, columns: Iterable[str] | None = None) -> pd.DataFrame | None:
        """The columns (all by default) that the file has, with `step`; None, and a note, where it is damaged."""
        wanted = file.columns if columns is None else [name for name in columns if name in file.columns]
        frame = read_parquet(file.path, list(wanted))
        if frame is None:
            self.damaged.append(file.path.name)
            return None
        return frame.assign(step=file.step)

    def note(self) -> str | None:
        """A sentence on what could not be read, or None."""
        names = sorted(set(self.damaged))
        if names:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            return f"{len(names)} file(s) of completions/ cannot be read and are left out: {shown}."
        return None if self.files else "completions/ has no completions: there are no samples of training."


def read_parquet(path: Path, columns: list[str] | None = None, filters: list | None = None) -> pd.DataFrame | None:
    """The columns (all by default) of a file's rows that pass `filters`, or None where it is damaged."""
    try:
        if filters is None:  # the plain reader is several times faster on small files
            return pq.ParquetFile(path).read(columns, use_threads=False).to_pandas()
        return pq.read_table(path, columns=columns, filters=filters, use_threads=False).to_pandas()
    except (pa.ArrowException, OSError):
        return None


def index(folder: Path) -> Rollouts:
    """The files of `folder`/completions by step, from their footers alone: a fraction of a millisecond each.

    Where one rollout serves several steps, the trainer writes its completions again at each of them: only the first is
    kept. Two files may hold the same where the sizes in their footers agree; only then their bytes are compared.
    """
    rollouts, found = Rollouts([]), []
    for path in sorted((folder / "completions").glob("*.parquet")):
        try:
            meta = pq.read_metadata(path)
            if meta.num_rows and "completion" in meta.schema.names:
                file = RolloutFile(path, _step(path, meta), meta.num_rows, tuple(meta.schema.names))
                found.append((file, _places(meta)))
        except (pa.ArrowException, OSError):
            rollouts.damaged.append(path.name)
    kept_places, kept_bytes = [], None
    for file, places in sorted(found, key=lambda pair: pair[0].step):
        texts = None
        if rollouts.files and [size for _, size in places] == [size for _, size in kept_places]:
            kept_bytes = kept_bytes or _bytes(rollouts.files[-1].path, kept_places)
            texts = _bytes(file.path, places)
            if texts and texts == kept_bytes and file.rows == rollouts.files[-1].rows:
                continue
        rollouts.files.append(file)
        kept_places, kept_bytes = places, texts
    return rollouts


def _places(meta: pq.FileMetaData) -> list[tuple[int, int]]:
    """(offset, size), in bytes, of what is stored of the prompts and completions."""
    found = []
    for i in (meta.schema.names.index(name) for name in TEXTS if name in meta.schema.names):
        for group in range(meta.num_row_groups):
            chunk = meta.row_group(group).column(i)
            start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
            found.append((start, chunk.total_compressed_size))
    return found


def _bytes(path: Path, places: list[tuple[int, int]]) -> bytes | None:
    """These parts of a file as they are stored: one writer stores equal texts as equal bytes, and they are cheap."""
    try:
        with path.open("rb") as file:
            return b"".join(file.read(size) for start, size in places if file.seek(start) == start)
    except OSError:
        return None


def _step(path: Path, meta: pq.FileMetaData) -> int:
    """The step in the footer's statistics, else in the column, else in the file's name."""
    names = meta.schema.names
    if "step" in names:
        statistics = meta.row_group(0).column(names.index("step")).statistics
        if statistics is not None and statistics.has_min_max:
            return int(statistics.max)
        return int(pq.read_table(path, columns=["step"])["step"][0].as_py())
    found = re.search(r"(\d+)", path.stem)
    return int(found[1]) if found else 0


def prompts_by_file(rollouts: Rollouts) -> dict[str, list[RolloutFile]]:
    """prompt -> the files with completions of it, by step. Reads that column only."""
    places: dict[str, list[RolloutFile]] = defaultdict(list)
    for file in rollouts.files:
        try:
            prompts = pq.ParquetFile(file.path).read(["prompt"], use_threads=False).column("prompt").unique()
        except (pa.ArrowException, OSError, KeyError):  # damaged, or without that column
            continue
        for prompt in prompts.drop_null().to_pylist():
            places[prompt].append(file)
    return places


def outcomes(frame: pd.DataFrame) -> pd.Series:
    """The outcome of each row: "right", "wrong answer", "wrong format" or "unknown".

    From the columns `right` and `well_formed`. Files of older runs have neither: there the rewards say it, positive
    being right.
    """
    answers = [name for name in frame.columns if name not in NOT_REWARDS and name not in FORMAT_REWARDS]
    right = frame["right"] if "right" in frame else (frame[answers[0]] > 0 if answers else None)
    formed = frame.get("well_formed", frame["format_reward"] > 0 if "format_reward" in frame else None)
    found = pd.Series("unknown", index=frame.index)
    if right is not None:
        found[right.notna()] = "wrong answer"
        found[right == True] = "right"  # noqa: E712 (a column of true, false and null)
    if formed is not None:
        found[formed == False] = "wrong format"  # noqa: E712
    return found


def row_columns(text: object) -> dict | None:
    """The task's columns of a sample from the JSON in its column `row`; None where there are none."""
    if not isinstance(text, str):
        return None
    try:
        values = json.loads(text)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None
