"""Reads run directories, finished, running, killed or damaged, and groups the seeds of one recipe.

Whatever is missing or damaged becomes a note.
"""

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from mini_r1.config.recipe_file import find_recipe
from mini_r1.errors import RecipeError
from mini_r1.report.figures import colour, dash
from mini_r1.run.run_dir import short_name


@dataclass
class ReportedRun:
    """One run directory.

    Attributes:
        name: its path below runs/.
        metrics: metric -> values by step (index: step, ascending, each once; finite values only).
        before, after: the held-out measurements, or None.
        summary, manifest: empty where missing or damaged.
        recipe: the text of its resolved recipe, or "".
        notes: sentences on whatever is missing or damaged.
        before_of: the run whose `before` this one shares, or "".
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
    before_of: str = ""

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by part of the run."""
        return self.summary.get("seconds", {})

    @property
    def finished(self) -> bool:
        return bool(self.summary)

    @property
    def last_step(self) -> int:
        return max((int(series.index[-1]) for series in self.metrics.values()), default=0)

    def metric(self, name: str) -> pd.Series:
        """Values by step; empty where the run did not record it."""
        return self.metrics.get(name, pd.Series(dtype=float))


@dataclass
class Group:
    """The seeds of one recipe.

    Attributes:
        control: whether it stands beside the runs that the report is about.
    """

    name: str
    runs: list[ReportedRun]
    colour: str
    dash: str
    control: bool = False

    def has(self, metric: str) -> bool:
        return any(metric in run.metrics for run in self.runs)


def seeds_of(recipe: str) -> list[Path]:
    """Returns the folders runs/NAME-s<digits> of a recipe, by seed.

    Raises:
        RecipeError: where there is no such recipe, or no run of it.
    """
    find_recipe(recipe)
    stem = Path(recipe).name.removesuffix(".yaml")
    folders = seed_folders(stem)
    if not folders:
        raise RecipeError(f"no run of it in runs/; first run: make train-{stem}", file=recipe)
    return folders


def seed_folders(stem: str) -> list[Path]:
    """Returns the folders runs/STEM-s<digits>, by seed. Others, such as runs/STEM-s1.old-1, do not count."""
    found = [(folder.name.removeprefix(f"{stem}-s"), folder) for folder in Path("runs").glob(f"{stem}-s*/")]
    return [folder for _, folder in sorted((int(seed), folder) for seed, folder in found if seed.isdecimal())]


def read_run(folder: Path, name: str | None = None) -> ReportedRun:
    """Reads everything about a run except its texts.

    Args:
        name: how the page calls it; by default its path below runs/.

    Raises:
        RecipeError: where there is no such folder, it cannot be read, or it holds other runs instead of one.
    """
    try:
        inside = set(os.listdir(folder))
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}; expected a run directory", file=str(folder)) from error
    notes: list[str] = []
    summary = _read_map(folder / "summary.json", notes, "the run has not finished")
    after = summary.get("after")
    stages = [part["name"] for part in summary.get("stages", []) if (folder / part["name"]).is_dir()]
    if stages and not after:
        raise RecipeError(f"holds a pipeline's runs, name one: {', '.join(stages)}", file=str(folder))
    stage = summary.get("stage", "")
    metrics = _metrics(folder, notes) if stage not in ("build", "evaluate") else {}
    if not stage and ("reward" in metrics or "completions" in inside):
        stage = "r1_grpo"
    elif not stage and "mean_token_accuracy" in metrics:
        stage = "sft"
    before = summary.get("before")
    if stage in ("r1_grpo", ""):
        before = _read_map(folder / "before.json", notes, "the model was not measured before training") or before
    if summary and not after and stage != "build":
        notes.append("summary.json has no measurement after training.")
    for when, measured in (("before", before), ("after", after)):
        if measured and stage in ("r1_grpo", "evaluate") and not (folder / f"evaluation/{when}.parquet").exists():
            notes.append(f"evaluation/{when}.parquet is missing: the held-out answers were not kept.")
    manifest = _read_map(folder / "manifest.json", notes, "versions, commit and hardware are unknown")
    name = name or short_name(folder)
    seed = summary.get("seed", manifest.get("seed"))
    if seed is None and (found := re.search(r"-s(\d+)(/|$)", name)):
        seed = int(found[1])
    recipe = _read_text(folder / "recipe.yaml", notes, "the settings are unknown")
    before, after = (_measured(values, notes) for values in (before, after))
    return ReportedRun(folder, name, seed, stage, metrics, before, after, summary, manifest, recipe, notes)


def _metrics(folder: Path, notes: list[str]) -> dict[str, pd.Series]:
    """Reads the numbers of metrics.jsonl. A resumed run may repeat steps; then the last value counts."""
    path = folder / "metrics.jsonl"
    lines = _read_text(path, notes, "there are no curves").splitlines()
    entries = [entry for entry in map(_map, lines) if "step" in entry]
    if len(entries) < len(lines):
        broken = len(lines) - len(entries)
        notes.append(f"metrics.jsonl has {broken} broken line(s), as a killed run leaves them; they are left out.")
    if not entries:
        if path.exists():
            notes.append("metrics.jsonl has no step: there are no curves.")
        return {}
    table = pd.DataFrame(entries).set_index("step").astype(float).groupby(level=0).last()
    return {name: values.dropna() for name, values in table.dropna(axis="columns", how="all").items()}


def _measured(values: dict | None, notes: list[str]) -> dict | None:
    """A held-out measurement, or None where it has no pass@1."""
    if values and "pass@1" not in values:
        notes.append("A held-out measurement has no pass@1; it is left out.")
        return None
    return values


def _map(text: str) -> dict:
    """The JSON object that a text holds; empty where the text is torn or holds something else."""
    try:
        values = json.loads(text)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _read_text(path: Path, notes: list[str], meaning: str) -> str:
    if path.exists():
        return path.read_text(encoding="utf-8", errors="replace")
    notes.append(f"{path.name} is missing: {meaning}.")
    return ""


def _read_map(path: Path, notes: list[str], meaning: str) -> dict:
    values = _map(_read_text(path, notes, meaning))
    if not values and path.exists():
        notes.append(f"{path.name} is damaged: {meaning}.")
    return values


def group_runs(folders: list[Path], beside: list[Path]) -> list[Group]:
    """Groups run directories by recipe: those in `folders`, which the report is about, and the controls in `beside`.

    Seeds of one recipe lie in the same folder and differ in -s<digits> only: runs/study-s2/grpo is a seed of
    study/grpo. The same name in another folder is another group, whose name gets enough of the path to tell them apart.

    Raises:
        RecipeError: for a folder that cannot be read, or holds other runs instead of one.
    """
    main = {os.path.abspath(folder) for folder in folders}
    places: dict[str, Path] = {}
    for folder in [*folders, *beside]:
        places.setdefault(os.path.abspath(folder), folder)  # a folder that is named twice counts once
    found: dict[tuple[str, str, bool], list[Path]] = {}
    for path, folder in places.items():
        below = short_name(Path(path))
        key = path.removesuffix(below), re.sub(r"-s\d+(?=/|$)", "", below), path not in main
        found.setdefault(key, []).append(folder)
    groups = []
    for i, ((above, name, control), members) in enumerate(found.items()):
        namesakes = {other for other, same, _ in found if same == name}
        prefix = f"{os.path.relpath(above, os.path.commonpath(namesakes))}/" if len(namesakes) > 1 else ""
        runs = [read_run(folder, prefix + short_name(Path(os.path.abspath(folder)))) for folder in members]
        groups.append(Group(prefix + name, runs, colour(i), dash(i), control))
    _share_before(groups)
    return groups


def _share_before(groups: list[Group]) -> None:
    """Gives a supervised control, which has no `before`, the one of a main run that starts from the same model.

    Both must have the same seed, model and number of held-out problems; see `ReportedRun.before_of`.
    """
    main = [run for group in groups if not group.control for run in group.runs if run.before and _model(run)]
    starts = {(run.seed, _model(run), run.before["n"]): run for run in main}
    for control in (run for group in groups if group.control for run in group.runs):
        if control.stage == "sft" and control.after and not control.before:
            same = starts.get((control.seed, _model(control), control.after["n"]))
            if same:
                control.before, control.before_of = same.before, same.name


def _model(run: ReportedRun) -> str | None:
    """The model that a run starts from, or None where its recipe is missing."""
    found = re.search(r"^model_name_or_path: *(.+?)/?$", run.recipe, re.MULTILINE)
    return found and found[1]
