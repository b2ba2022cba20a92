"""Reads the Parquet files of a run's completions, and chooses the samples that the page embeds.

The choice is bounded, and spread over steps and outcomes. page.js lists the samples with native <details>, <input> and
<select>: DataTables, as PyPI's `itables` bundles it, adds 0.7 MB and needs jQuery and columns too wide for a phone.
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
from mini_r1.rewards import explain

NOT_REWARDS = frozenset(  # of the columns that are numbers
    ["step", "advantage", "difficulty", "right", "well_formed", "tokens", "cut_off", "problem", "sample", "language"]
)
MOST_ROLLOUTS, MOST_PAIRS = 600, 60  # completions of training, and held-out problems, of one page
CHARACTERS = 20_000  # of one text on the page
MOST_TEXT = 3_000_000  # characters of all samples together
SENTENCE_END = re.compile(r"(?<=[.?])\s+|\n")
BOUNDS = re.compile("(?=<think>|<answer>)|(?<=</think>)|(?<=</answer>)")  # between the parts of a text


@dataclass(frozen=True)
class RolloutFile:
    """One file. All its rows have the same `step`."""

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
        """Reads a file, with columns `step` and `outcome`; None, and an entry in `damaged`, where that fails."""
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
    """Reads the rows of a file that pass `filters`, with a column `outcome`; None where the file is damaged."""
    try:
        frame = pd.read_parquet(path, filters=filters, partitioning=None)
    except (pa.ArrowException, OSError):
        return None
    return frame.assign(outcome=outcomes(frame))


def index(folder: Path) -> Rollouts:
    """Indexes the files of `folder`/completions by step, from their footers alone: a fraction of a millisecond each.

    Where one rollout serves several steps, the trainer writes its completions again at each step. The index keeps the
    first file of those whose footers agree on the sizes and on the first and last texts in alphabetical order.
    """
    rollouts, last = Rollouts([]), None
    for path in sorted((folder / "completions").glob("completions_*.parquet")):
        try:
            meta = pq.read_metadata(path)
        except (pa.ArrowException, OSError):
            rollouts.damaged.append(path.name)
            continue
        texts = _texts_in_footer(meta) if meta.num_rows else last
        if texts != last:
            rollouts.files.append(RolloutFile(path, int(path.stem.removeprefix("completions_")), meta.num_rows))
            last = texts
    return rollouts


def _texts_in_footer(meta: pq.FileMetaData) -> list[tuple]:
    """Size in bytes, smallest and largest text of the stored prompts and completions."""
    columns = [meta.row_group(0).column(meta.schema.names.index(name)) for name in ("prompt", "completion")]
    return [(c.total_compressed_size, c.statistics and (c.statistics.min, c.statistics.max)) for c in columns]


def prompts_by_file(rollouts: Rollouts) -> dict[str, list[RolloutFile]]:
    """prompt -> the files with its completions, by step. Reads that column only."""
    places: dict[str, list[RolloutFile]] = defaultdict(list)
    for file in rollouts.files:
        try:
            prompts = pq.ParquetFile(file.path).read(["prompt"], use_threads=False).column("prompt").unique()
        except (pa.ArrowException, OSError):
            continue
        for prompt in prompts.drop_null().to_pylist():
            places[prompt].append(file)
    return places


def outcomes(frame: pd.DataFrame) -> pd.Series:
    """The outcome of each row: "right", "wrong answer", "wrong format", or "unknown" where no verifier applied."""
    graded = frame.reindex(columns=["right", "well_formed"])  # of true, false and null
    found = pd.Series("unknown", index=frame.index)
    found[graded["right"].notna()] = "wrong answer"
    found[graded["right"] == True] = "right"  # noqa: E712
    found[graded["well_formed"] == False] = "wrong format"  # noqa: E712
    return found


def choose(rollouts: Rollouts, most: int) -> list[pd.Series]:
    """Chooses at most `most` rows: from files evenly spread over the run, and in each file outcome by outcome.

    The rarest outcome comes first. Rows of one outcome are drawn at random, with a fixed seed.
    """
    if not rollouts.files or most < 1:
        return []
    rng = np.random.default_rng(0)
    count = min(len(rollouts.files), max(1, most // 4))
    places = np.unique(np.linspace(0, len(rollouts.files) - 1, count).round().astype(int))
    chosen = []
    for i, place in enumerate(places):
        frame = rollouts.read(rollouts.files[place])
        if frame is not None and len(frame):
            quota = (most - len(chosen)) // (len(places) - i)
            frame = frame.sample(frac=1, random_state=rng.integers(2**31))
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
                tables[when] = frame.set_index("problem")
    problems = sorted(set().union(*(table.index for table in tables.values())))
    places = np.unique(np.linspace(0, len(problems) - 1, min(most, len(problems))).round().astype(int))
    for problem in (problems[place] for place in places):
        yield int(problem), {when: table.loc[problem] for when, table in tables.items() if problem in table.index}


def record(row: pd.Series, run: str, where: str) -> dict:
    """One completion as JSON for the page: texts of at most `CHARACTERS`, the verdict as a sentence."""
    text = row.get("prefill", "") + row["completion"]
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
        "prompt": row["prompt"][:CHARACTERS],
        "parts": parts(text[:CHARACTERS]),
        "verdict": explain(text, json.loads(row["row"]), row.get("right")) if row.get("row") else None,
    }


def parts(text: str) -> list[tuple[str, str]]:
    """Splits a text into (kind, piece): "think", "answer" or "other". The pieces, tags included, add up to the text."""
    found: list[tuple[str, str]] = []
    for piece in BOUNDS.split(text):
        if found and not piece.strip():  # a line break between two blocks joins the first
            found[-1] = (found[-1][0], found[-1][1] + piece)
        elif piece:
            tag = re.match("<(think|answer)>", piece)
            found.append((tag[1] if tag else "other", piece))
    return found


def name_problems(records: list[dict]) -> None:
    """Sets `problem` in each record: the sentences of its prompt that not all prompts have, as a short line."""
    sentences = {record["prompt"]: SENTENCE_END.split(record["prompt"]) for record in records}
    shared = set.intersection(*map(set, sentences.values())) if len(sentences) > 1 else set()
    for record in records:
        text = " ".join(" ".join(one for one in sentences[record["prompt"]] if one not in shared).split())
        record["problem"] = text if len(text) <= 160 else text[:159] + "…"


def embed(records: list[dict]) -> list[dict]:
    """Keeps every k-th record, so that they have at most `MOST_TEXT` characters in all; pairs stay together."""
    total = sum(min(record["length"], CHARACTERS) + len(record["prompt"]) for record in records)
    keep_of = -(-total // MOST_TEXT) if total else 1
    groups: dict[object, list[dict]] = {}
    for i, one in enumerate(records):
        groups.setdefault(one.get("pair", i), []).append(one)
    return [one for group in list(groups.values())[::keep_of] for one in group]


def _whole(value: object) -> int | None:
    return None if pd.isna(value) else int(value)
