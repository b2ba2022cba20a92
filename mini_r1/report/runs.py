"""Run directories as data: finished, running, killed, older or damaged ones. What is missing becomes a note."""

import json
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from mini_r1.errors import RecipeError
from mini_r1.recipe import load_yaml

NOT_CURVES = ("eval_", "train_", "epoch", "step", "total_flos")


@dataclass
class ReportedRun:
    """One run directory.

    Attributes:
        name: its path below runs/.
        metrics: metric -> values by step (index: step, ascending, each once; finite values only).
        before, after: the held-out measurements, or None.
        summary, manifest: empty where missing or damaged.
        recipe: text of its resolved recipe, or "".
        notes: sentences on what is missing or damaged.
    """

    folder: Path
    name: str
    seed: int | None
    stage: str
    metrics: dict[str, pd.Series]
    before: dict | None
    after: dict | None
    summary: dict
    manifest: dict
    recipe: str
    notes: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        return bool(self.summary)

    @property
    def last_step(self) -> int:
        return max((int(series.index[-1]) for series in self.metrics.values()), default=0)

    def metric(self, name: str) -> pd.Series:
        """Values by step; empty where this was not recorded."""
        return self.metrics.get(name, pd.Series(dtype=float))


@dataclass
class Group:
    """The seeds of one recipe.

    Attributes:
        control: it stands beside what the report is about.
    """

    name: str
    runs: list[ReportedRun]
    colour: str
    dash: str
    control: bool = False

    def has(self, metric: str) -> bool:
        return any(metric in run.metrics for run in self.runs)


def seeds_of(recipe: str) -> list[Path]:
    """The folders runs/NAME-s<digits> of a recipe, by seed.

    Raises:
        RecipeError: where the recipe cannot be read, or has no run.
    """
    load_yaml(Path(recipe))
    stem = Path(recipe).stem
    seeds = [folder.name.removeprefix(f"{stem}-s") for folder in Path("runs").glob(f"{stem}-s*") if folder.is_dir()]
    folders = [Path("runs") / f"{stem}-s{seed}" for seed in sorted(filter(str.isdigit, seeds), key=int)]
    if not folders:
        raise RecipeError(f"no run of it in runs/; first run: make train-{stem}", file=recipe)
    return folders


def group_name(folder: Path) -> str:
    """What the seeds of one recipe share: runs/study-s2/grpo is of study/grpo."""
    return re.sub(r"-s\d+(?=/|$)", "", _name(folder))


def read_run(folder: Path) -> ReportedRun:
    """Everything about a run but its texts.

    Raises:
        RecipeError: where there is no such folder, it cannot be read, or it holds other runs instead of one.
    """
    try:
        inside = set(os.listdir(folder))
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}; expected a run directory", file=str(folder)) from error
    notes: list[str] = []
    summary = _read_map(folder / "summary.json", notes, "the run has not finished") or {}
    stages = [stage["name"] for stage in summary.get("stages", []) if (folder / str(stage.get("name"))).is_dir()]
    if stages and not summary.get("after"):
        raise RecipeError(f"holds a pipeline's runs, name one: {', '.join(stages)}", file=str(folder))
    stage = str(summary.get("stage", ""))
    trains = stage not in ("build", "evaluate")
    metrics = _metrics(folder, inside, notes) if trains else {}
    stage = stage or ("r1_grpo" if "reward" in metrics or "completions" in inside else "")
    before = summary.get("before")
    if stage in ("r1_grpo", ""):
        before = _read_map(folder / "before.json", notes, "the model was not measured before training") or before
    after = summary.get("after")
    if summary and not after and stage != "build":
        notes.append("summary.json has no measurement after training.")
    for when in ("before", "after") if stage == "r1_grpo" else ("after",):
        if not (folder / f"evaluation/{when}.parquet").exists() and stage in ("r1_grpo", "evaluate"):
            notes.append(f"evaluation/{when}.parquet is missing: the held-out answers were not kept.")
    manifest = _read_map(folder / "manifest.json", notes, "versions, commit and hardware are unknown") or {}
    seed = summary.get("seed", manifest.get("seed"))
    if seed is None and (found := re.search(r"-s(\d+)(/|$)", _name(folder))):
        seed = int(found[1])
    recipe = _read_text(folder / "recipe.yaml", notes, "the settings are unknown")
    before, after = (_measured(m, notes) for m in (before, after))
    return ReportedRun(folder, _name(folder), seed, stage, metrics, before, after, summary, manifest, recipe, notes)


def _name(folder: Path) -> str:
    parts = folder.absolute().parts
    if "runs" in parts[:-1]:
        return "/".join(parts[len(parts) - parts[::-1].index("runs") :])
    return parts[-1]


def _metrics(folder: Path, inside: set[str], notes: list[str]) -> dict[str, pd.Series]:
    """From metrics.jsonl, else from trainer_state.json here or in the last checkpoint."""
    entries = []
    if "metrics.jsonl" in inside:
        lines = _read_text(folder / "metrics.jsonl", notes, "").splitlines()
        entries = [entry for entry in map(_json, lines) if _is_log(entry)]
        if len(entries) < len(lines):
            broken = len(lines) - len(entries)
            notes.append(f"metrics.jsonl has {broken} broken line(s), as a killed run leaves them; they are left out.")
    if not entries:
        checkpoints = [name for name in inside if re.fullmatch(r"checkpoint-\d+", name)]
        places = ["", *sorted(checkpoints, key=lambda name: -int(name.split("-")[1]))]
        files = [file for place in places if (file := folder / place / "trainer_state.json").exists()]
        found = (_read_map(files[0], notes, "") or {}).get("log_history") if files else None
        entries = [entry for entry in found if _is_log(entry)] if isinstance(found, list) else []
        if entries:
            where = files[0].relative_to(folder)
            notes.append(f"metrics.jsonl is missing or empty (an older run?): the curves come from {where}.")
        else:
            notes.append("Neither metrics.jsonl nor trainer_state.json has a step: there are no curves.")
    columns: dict[str, dict[int, float]] = {}
    for entry in entries:
        for name, value in entry.items():
            if not name.startswith(NOT_CURVES) and _is_number(value):
                columns.setdefault(name, {})[entry["step"]] = float(value)  # after a resume the last one counts
    return {name: pd.Series(values).sort_index() for name, values in columns.items()}


def _json(line: str) -> object:
    """What a line holds; None where it is torn."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def _is_log(entry: object) -> bool:
    return isinstance(entry, dict) and type(entry.get("step")) is int


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _measured(values: object, notes: list[str]) -> dict | None:
    if values is not None and not (isinstance(values, dict) and _is_number(values.get("pass@1"))):
        notes.append("A held-out measurement has no pass@1; it is left out.")
        return None
    return values


def _read_text(path: Path, notes: list[str], meaning: str) -> str:
    if not path.exists():
        notes.append(f"{path.name} is missing{': ' + meaning if meaning else ''}.")
        return ""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        notes.append(f"{path.name} cannot be read ({error.strerror}){': ' + meaning if meaning else ''}.")
        return ""


def _read_map(path: Path, notes: list[str], meaning: str) -> dict | None:
    if not path.exists():
        _read_text(path, notes, meaning)
        return None
    values = _json(_read_text(path, notes, meaning))
    if not isinstance(values, dict):
        notes.append(f"{path.name} is damaged{': ' + meaning if meaning else ''}.")
        return None
    return values
