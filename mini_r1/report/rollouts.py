"""The Parquet files of a run's completions, indexed without reading them; and the samples that the page embeds.

Samples are a bounded choice of rollouts, spread over steps and outcomes, and of held-out pairs. page.js lists them with
native <details>, <input> and <select> instead of a library: DataTables, as PyPI's `itables` bundles it, adds 0.7 MB and
needs jQuery and columns, which a phone has no room for; eight filters and a sort over some hundred rows take 100 lines.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mini_r1.report.runs import ReportedRun
from mini_r1.rewards import FORMAT_REWARDS, explain

TEXTS = ("prompt", "completion")
NOT_REWARDS = frozenset(
    {"step", "prompt", "completion", "advantage", "difficulty", "right", "well_formed", "tokens", "cut_off", "prefill"}
    | {"row", "problem", "sample", "vote", "outcome"}
)
MOST_ROLLOUTS, MOST_PAIRS = 600, 60  # completions of training, and held-out problems, of one page
CHARACTERS = 20_000  # of one text on the page
MOST_TEXT = 3_000_000  # characters of all samples together
STOPS = (". ", "? ", "\n")  # that end a sentence
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


@dataclass(frozen=True)
class RolloutFile:
    """One file, as its footer describes it. All its rows have the same `step`."""

    path: Path
    step: int
    rows: int


@dataclass
class Rollouts:
    """The readable files of one run, by step; `damaged` names the others."""

    files: list[RolloutFile]
    damaged: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    def read(self, file: RolloutFile) -> pd.DataFrame | None:
        """Reads the rows of a file, with a column `step`; None, and an entry in `damaged`, where that fails."""
        frame = read_parquet(file.path)
        if frame is None:
            self.damaged.append(file.path.name)
            return None
        return frame.assign(step=file.step)

    def note(self) -> str | None:
        """A sentence that names the unreadable files, or None."""
        names = sorted(set(self.damaged))
        if names:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            return f"{len(names)} file(s) of completions/ cannot be read and are left out: {shown}."
        return None if self.files else "completions/ has no completions: there are no samples of training."


def read_parquet(path: Path, filters: list | None = None) -> pd.DataFrame | None:
    """Reads the rows of a file that pass `filters`; None where the file is damaged."""
    try:
        if filters is None:  # this reader is several times faster on small files
            return pq.ParquetFile(path).read(use_threads=False).to_pandas()
        return pq.read_table(path, filters=filters, use_threads=False).to_pandas()
    except (pa.ArrowException, OSError):
        return None


def index(folder: Path) -> Rollouts:
    """Indexes the files of `folder`/completions by step, from their footers alone: a fraction of a millisecond each.

    Where one rollout serves several steps, the trainer writes its completions again at each step; the index keeps the
    first file. It compares the bytes of two files only where the sizes in their footers agree.
    """
    rollouts, found = Rollouts([]), []
    for path in sorted((folder / "completions").glob("*.parquet")):
        try:
            meta = pq.read_metadata(path)
            if meta.num_rows and "completion" in meta.schema.names:
                file = RolloutFile(path, _step(path, meta), meta.num_rows)
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
    """(offset, size) in bytes of the stored columns of prompts and completions."""
    found = []
    for i in (meta.schema.names.index(name) for name in TEXTS if name in meta.schema.names):
        for group in range(meta.num_row_groups):
            chunk = meta.row_group(group).column(i)
            start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
            found.append((start, chunk.total_compressed_size))
    return found


def _bytes(path: Path, places: list[tuple[int, int]]) -> bytes | None:
    """Reads parts of a file as they are stored: one writer stores equal texts as equal bytes."""
    try:
        with path.open("rb") as file:
            return b"".join(file.read(size) for start, size in places if file.seek(start) == start)
    except OSError:
        return None


def _step(path: Path, meta: pq.FileMetaData) -> int:
    """The step from the footer's statistics, else from the column, else from the file's name."""
    names = meta.schema.names
    if "step" in names:
        statistics = meta.row_group(0).column(names.index("step")).statistics
        if statistics is not None and statistics.has_min_max:
            return int(statistics.max)
        return int(pq.read_table(path, columns=["step"])["step"][0].as_py())
    found = re.search(r"(\d+)", path.stem)
    return int(found[1]) if found else 0


def prompts_by_file(rollouts: Rollouts) -> dict[str, list[RolloutFile]]:
    """prompt -> the files with its completions, by step. Reads that column only."""
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

    The columns `right` and `well_formed` say it. Files of old runs have neither; there, a positive reward means
    correct.
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
    """The task's columns of a sample, parsed from the JSON in its column `row`; None where it has none."""
    if not isinstance(text, str):
        return None
    try:
        values = json.loads(text)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None


def choose(rollouts: Rollouts, most: int, seed: int = 0) -> list[pd.Series]:
    """Chooses at most `most` rows: from files evenly spread over the run, and in each file outcome by outcome.

    The rarest outcome comes first. Rows of one outcome are drawn at random, with a fixed seed. Each row has an
    `outcome`, see `outcomes`.
    """
    if not rollouts.files or most < 1:
        return []
    rng = np.random.default_rng(seed)
    count = min(len(rollouts.files), max(1, most // 4))
    places = np.unique(np.linspace(0, len(rollouts.files) - 1, count).round().astype(int))
    chosen = []
    for i, place in enumerate(places):
        frame = rollouts.read(rollouts.files[place])
        if frame is not None and len(frame):
            quota = (most - len(chosen)) // (len(places) - i)
            frame = frame.sample(frac=1, random_state=rng.integers(2**31)).assign(outcome=outcomes(frame))
            frame["turn"] = frame.groupby("outcome").cumcount()
            frame["rarity"] = frame.groupby("outcome")["outcome"].transform("size")
            frame = frame.sort_values(["turn", "rarity"], kind="stable").drop(columns=["turn", "rarity"])
            chosen += [row for _, row in frame.head(quota).iterrows()]
    return chosen


def held_out(run: ReportedRun, most: int) -> Iterator[tuple[int, dict[str, pd.Series]]]:
    """Yields (problem, {"before": row, "after": row}): the first sample of at most `most` evenly spread problems.

    A run may have one of the two measurements only. A damaged file becomes a note of the run.
    """
    tables = {}
    for when in ("before", "after"):
        path = run.folder / f"evaluation/{when}.parquet"
        if path.exists():
            frame = read_parquet(path, filters=[("sample", "==", 0)])
            if frame is None:
                run.notes.append(f"evaluation/{when}.parquet is damaged; its answers are left out.")
            else:
                frame = frame.drop_duplicates("problem").set_index("problem")
                tables[when] = frame.assign(outcome=outcomes(frame))
    problems = sorted(set.union(*(set(table.index) for table in tables.values()))) if tables else []
    places = np.unique(np.linspace(0, len(problems) - 1, min(most, len(problems))).round().astype(int))
    for problem in (problems[place] for place in places):
        yield int(problem), {when: table.loc[problem] for when, table in tables.items() if problem in table.index}


def record(row: pd.Series, run: str, where: str) -> dict:
    """One completion as JSON for the page: texts of at most `CHARACTERS`, the verdict as a sentence."""
    columns = row_columns(row.get("row"))
    text = _text(row.get("prefill")) + _text(row.get("completion"))
    rewards = {
        name: float(value)
        for name, value in row.items()
        if name not in NOT_REWARDS and isinstance(value, float | int) and np.isfinite(value)
    }
    return {
        "run": run,
        "where": where,
        "step": _whole(row.get("step")),
        "difficulty": _whole(row.get("difficulty")),
        "outcome": row.get("outcome", "unknown"),
        "tokens": _whole(row.get("tokens")),
        "length": len(text),
        "cut_off": bool(row.get("cut_off") == True),  # noqa: E712 (may be null)
        "rewards": {name: round(value, 4) for name, value in rewards.items()},
        "total": round(sum(rewards.values()), 4) if rewards else None,
        "prompt": _text(row.get("prompt"))[:CHARACTERS],
        "parts": parts(text[:CHARACTERS]),
        "verdict": explain(text, columns) if columns is not None else None,
    }


def parts(text: str) -> list[tuple[str, str]]:
    """Splits a text into (kind, piece): "think", "answer" or "other". The pieces, tags included, add up to the text."""
    pieces, kind, start, place = [], "other", 0, 0
    while found := [(at, tag) for tag in TAGS if (at := text.find(tag, place)) >= 0]:
        at, tag = min(found)
        place = at + len(tag)
        end = place if tag.startswith("</") else at
        pieces.append((kind, text[start:end]))
        kind, start = ("other" if tag.startswith("</") else tag[1:-1]), end
    joined: list[tuple[str, str]] = []
    for sort, piece in [*pieces, (kind, text[start:])]:
        if joined and not piece.strip():  # a line break between two blocks joins the first
            joined[-1] = (joined[-1][0], joined[-1][1] + piece)
        elif piece:
            joined.append((sort, piece))
    return joined


def name_problems(records: list[dict]) -> None:
    """Sets `problem` in each record: the sentences of its prompt that differ from other prompts, as a short line."""
    prompts = list({record["prompt"] for record in records})
    several = len(prompts) > 1
    start = _shared(prompts) if several else 0
    shared_end = _shared([prompt[start:][::-1] for prompt in prompts]) if several else 0
    for record in records:
        prompt = record["prompt"]
        begins = (prompt.rfind(stop, 0, start) + len(stop) for stop in STOPS if stop in prompt[:start])
        ends = (prompt.find(stop, max(0, len(prompt) - shared_end - 1)) for stop in STOPS)
        end = min((end + 1 for end in ends if end >= 0), default=len(prompt))
        text = " ".join(prompt[max(begins, default=0) : end].split())
        record["problem"] = text if len(text) <= 160 else text[:159] + "…"


def _shared(texts: list[str]) -> int:
    """The length of the start that all texts share."""
    shortest = min(map(len, texts))
    return next((i for i, letters in enumerate(zip(*texts, strict=False)) if len(set(letters)) > 1), shortest)


def embed(records: list[dict], most: int = MOST_TEXT) -> list[dict]:
    """Keeps every k-th record, so that they have at most `most` characters in all; pairs stay together."""
    total = sum(min(record["length"], CHARACTERS) + len(record["prompt"]) for record in records)
    keep_of = -(-total // most) if total else 1
    groups: dict[object, list[dict]] = {}
    for i, one in enumerate(records):
        groups.setdefault(one.get("pair", i), []).append(one)
    return [one for group in list(groups.values())[::keep_of] for one in group]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int | None:
    return int(value) if value is not None and np.isreal(value) and np.isfinite(value) else None
