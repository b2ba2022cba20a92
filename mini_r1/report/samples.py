"""The samples that the page embeds: a bounded choice of rollouts, spread over steps and outcomes, and held-out pairs.

The page's table of samples is plain JavaScript over native <details>, <input> and <select> (page.js), not a library:
DataTables, as PyPI's `itables` bundles it, adds 0.7 MB and wants jQuery and columns, which a phone has no room for;
what is asked of it here, eight filters and a sort over some hundred rows, takes 100 lines.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from mini_r1.report.rollouts import NOT_REWARDS, Rollouts, outcomes, read_parquet, row_columns
from mini_r1.report.runs import ReportedRun
from mini_r1.rewards import explain

ROLLOUTS, PAIRS = 600, 60  # completions of training, held-out problems: at most, in one page
CHARACTERS = 20_000  # of one text on the page
MOST_TEXT = 3_000_000  # characters of all samples together
STOPS = (". ", "? ", "\n")  # ends of a sentence
TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def choose(rollouts: Rollouts, most: int, seed: int = 0) -> list[pd.Series]:
    """At most `most` rows: files evenly spread over the run, in each file the outcomes in turn, the rarest first.

    Within an outcome the row is drawn by lot, the same at each call. Rows get an `outcome`, see `outcomes`.
    """
    if not rollouts.files or most < 1:
        return []
    lot = np.random.default_rng(seed)
    count = min(len(rollouts.files), max(1, most // 4))
    places = np.unique(np.linspace(0, len(rollouts.files) - 1, count).round().astype(int))
    chosen = []
    for i, place in enumerate(places):
        frame = rollouts.read(rollouts.files[place])
        if frame is not None and len(frame):
            quota = (most - len(chosen)) // (len(places) - i)
            frame = frame.sample(frac=1, random_state=lot.integers(2**31)).assign(outcome=outcomes(frame))
            frame["turn"] = frame.groupby("outcome").cumcount()
            frame["rarity"] = frame.groupby("outcome")["outcome"].transform("size")
            frame = frame.sort_values(["turn", "rarity"], kind="stable").drop(columns=["turn", "rarity"])
            chosen += [row for _, row in frame.head(quota).iterrows()]
    return chosen


def held_out(run: ReportedRun, most: int) -> Iterator[tuple[int, dict[str, pd.Series]]]:
    """(problem, {"before": row, "after": row}) of the first sample of held-out problems, spread over those there are.

    A run may have either measurement alone. What is damaged becomes a note of the run.
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
    """What the page needs of one completion, as plain JSON: texts cut to `CHARACTERS`, the verdict in a sentence."""
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
    """The text as (kind, text) pieces, tags included: "think", "answer" or "other". Joined, they are the text."""
    pieces, kind, start, place = [], "other", 0, 0
    while found := [(at, tag) for tag in TAGS if (at := text.find(tag, place)) >= 0]:
        at, tag = min(found)
        place = at + len(tag)
        end = place if tag.startswith("</") else at
        pieces.append((kind, text[start:end]))
        kind, start = ("other" if tag.startswith("</") else tag[1:-1]), end
    joined: list[tuple[str, str]] = []
    for sort, piece in [*pieces, (kind, text[start:])]:
        if joined and not piece.strip():  # a line break between two blocks is no piece of its own
            joined[-1] = (joined[-1][0], joined[-1][1] + piece)
        elif piece:
            joined.append((sort, piece))
    return joined


def name_problems(records: list[dict]) -> None:
    """Give each record `problem`: the sentences of its prompt that differ from the other prompts, as a short line."""
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
    """How many characters all texts begin with."""
    shortest = min(map(len, texts))
    return next((i for i, letters in enumerate(zip(*texts, strict=False)) if len(set(letters)) > 1), shortest)


def embed(records: list[dict], most: int = MOST_TEXT) -> list[dict]:
    """The records, every k-th one where all together have more than `most` characters; pairs keep together."""
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
