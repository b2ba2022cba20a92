"""Run directories as data, finished, running, killed, old or damaged; and which of them are seeds of one recipe.

Whatever is missing or damaged becomes a note.
"""

import json
import math
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import yaml

from mini_r1.config.recipe_file import find_recipe
from mini_r1.config.yaml_file import load_yaml
from mini_r1.errors import RecipeError
from mini_r1.report.figures import colour, dash
from mini_r1.run.run_dir import short_name

NOT_CURVES = ("eval_", "train_", "epoch", "step", "total_flos")


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
        """Seconds by part of the run, without damaged ones."""
        found = self.summary.get("seconds")
        return {k: v for k, v in found.items() if _is_number(v)} if isinstance(found, dict) else {}

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
    """The folders runs/NAME-s<digits> of a recipe, by seed.

    Raises:
        RecipeError: where the recipe cannot be read, or has no run.
    """
    load_yaml(find_recipe(recipe)[0])
    stem = Path(recipe).name.removesuffix(".yaml")
    folders = seed_folders(stem)
    if not folders:
        raise RecipeError(f"no run of it in runs/; first run: make train-{stem}", file=recipe)
    return folders


def seed_folders(stem: str) -> list[Path]:
    """The folders runs/STEM-s<digits>, by seed. Others, such as runs/STEM-s1.old-1, do not count."""
    seeds = {folder: folder.name.removeprefix(f"{stem}-s") for folder in Path("runs").glob(f"{stem}-s*")}
    folders = [folder for folder, seed in seeds.items() if seed.isdecimal() and folder.is_dir()]
    return sorted(folders, key=lambda folder: int(seeds[folder]))


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
    summary = _read_map(folder / "summary.json", notes, "the run has not finished") or {}
    stages = [name for name in _stage_names(summary.get("stages"), notes) if (folder / name).is_dir()]
    if stages and not summary.get("after"):
        raise RecipeError(f"holds a pipeline's runs, name one: {', '.join(stages)}", file=str(folder))
    stage = str(summary.get("stage", ""))
    trains = stage not in ("build", "evaluate")
    metrics = _metrics(folder, inside, notes) if trains else {}
    if not stage and metrics:
        stage = "r1_grpo" if "reward" in metrics else "sft" if "mean_token_accuracy" in metrics else ""
    stage = stage or ("r1_grpo" if "completions" in inside else "")
    before = summary.get("before")
    if stage in ("r1_grpo", ""):
        before = _read_map(folder / "before.json", notes, "the model was not measured before training") or before
    after = summary.get("after")
    if summary and not after and stage != "build":
        notes.append("summary.json has no measurement after training.")
    ended = "summary.json" in inside
    measured = {"before": stage == "r1_grpo" and before, "after": stage in ("r1_grpo", "evaluate") and ended}
    for when in measured:
        if measured[when] and not (folder / f"evaluation/{when}.parquet").exists():
            notes.append(f"evaluation/{when}.parquet is missing: the held-out answers were not kept.")
    manifest = _read_map(folder / "manifest.json", notes, "versions, commit and hardware are unknown") or {}
    name = name or short_name(folder)
    seeds = [seed for source in (summary, manifest) if type(seed := source.get("seed")) is int]
    if not seeds and (found := re.search(r"-s(\d+)(/|$)", name)):
        seeds = [int(found[1])]
    recipe = _read_text(folder / "recipe.yaml", notes, "the settings are unknown")
    before, after = (_measured(m, notes) for m in (before, after))
    if not isinstance(summary.get("seconds", {}), dict):
        notes.append("summary.json, seconds: damaged; left out.")
    seed = seeds[0] if seeds else None
    return ReportedRun(folder, name, seed, stage, metrics, before, after, summary, manifest, recipe, notes)


def _metrics(folder: Path, inside: set[str], notes: list[str]) -> dict[str, pd.Series]:
    """Reads the metrics from metrics.jsonl, else from trainer_state.json, here or in the last checkpoint."""
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
                columns.setdefault(name, {})[entry["step"]] = float(
                    value
                )  # a resumed run repeats steps: the last value counts
    return {name: pd.Series(values).sort_index() for name, values in columns.items()}


def _json(line: str) -> object:
    """The value of a line of JSON; None where the line is torn."""
    try:
        return json.loads(line)
    except ValueError:
        return None


def _is_log(entry: object) -> bool:
    return isinstance(entry, dict) and type(entry.get("step")) is int


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _stage_names(stages: object, notes: list[str]) -> list[str]:
    """The names in a pipeline's list of stages."""
    if stages is None:
        return []
    found = stages if isinstance(stages, list) else [stages]
    names = [name for stage in found if isinstance(stage, dict) and isinstance(name := stage.get("name"), str) and name]
    if len(names) < len(found):
        notes.append("summary.json, stages: damaged; left out.")
    return names


def _measured(values: object, notes: list[str]) -> dict | None:
    """A held-out measurement without its damaged values; it always has `intervals` and `by_difficulty`."""
    if values is None:
        return None
    if not (isinstance(values, dict) and _is_number(values.get("pass@1"))):
        notes.append("A held-out measurement has no pass@1; it is left out.")
        return None
    kept = {name: value for name, value in values.items() if _is_number(value)}
    kept["intervals"] = {name: pair for name, pair in _items(values.get("intervals")) if _is_interval(pair)}
    parts = {name: part for name, part in _items(values.get("by_difficulty")) if name.isdecimal()}
    kept["by_difficulty"] = {
        name: {key: value for key, value in part.items() if (_is_interval if key == "interval" else _is_number)(value)}
        for name, part in parts.items()
        if isinstance(part, dict) and _is_number(part.get("pass@1"))
    }
    whole = {"intervals": len(_items(values.get("intervals"))), "by_difficulty": len(parts)}
    lost = [name for name in whole if name in values and not isinstance(values[name], dict)]
    lost += [name for name, count in whole.items() if len(kept[name]) < count]
    if lost:
        notes.append(f"A held-out measurement, {', '.join(lost)}: damaged in part or whole; left out.")
    return kept


def _items(values: object) -> list[tuple]:
    return list(values.items()) if isinstance(values, dict) else []


def _is_interval(values: object) -> bool:
    return isinstance(values, list) and len(values) == 2 and all(map(_is_number, values)) and values[0] <= values[1]


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


def group_runs(folders: list[Path], beside: list[Path]) -> list[Group]:
    """Groups run directories by recipe: those in `folders`, which the report is about, and the controls in `beside`.

    Seeds of one recipe lie in the same folder and differ in -s<digits> only: runs/study-s2/grpo is a seed of
    study/grpo. The same name in another folder is another group, whose name gets enough of the path to tell them apart.

    Raises:
        RecipeError: for a folder that cannot be read, or holds other runs instead of one.
    """
    places: dict[Path, Path] = {}
    for folder in [*folders, *beside]:
        places.setdefault(folder.resolve(), folder)  # a folder that is named twice counts once
    main = {folder.resolve() for folder in folders}
    found: dict[tuple[Path, str, bool], list[Path]] = {}
    for place, folder in places.items():
        path = os.path.abspath(folder)
        below = short_name(Path(path))
        above = Path(path.removesuffix(below))
        found.setdefault((above, _without_seed(below), place not in main), []).append(folder)
    prefixes = _prefixes([key[:2] for key in found])
    groups = []
    for i, ((above, name, control), members) in enumerate(found.items()):
        prefix = prefixes[above, name]
        runs = [read_run(folder, prefix + short_name(Path(os.path.abspath(folder)))) for folder in members]
        groups.append(Group(prefix + name, runs, colour(i), dash(i), control))
    _share_before(groups)
    return groups


def _without_seed(name: str) -> str:
    return re.sub(r"-s\d+(?=/|$)", "", name)


def _prefixes(keys: list[tuple[Path, str]]) -> dict[tuple[Path, str], str]:
    """For each (folder, name in it) the shortest end of the folder that makes all names unique, or ""."""
    keys = list(dict.fromkeys(keys))
    length = dict.fromkeys(keys, 0)

    def prefix(key: tuple[Path, str]) -> str:
        return "".join(f"{part}/" for part in key[0].parts[len(key[0].parts) - length[key] :])

    while True:
        names = Counter(prefix(key) + key[1] for key in keys)
        same = [key for key in keys if names[prefix(key) + key[1]] > 1 and length[key] < len(key[0].parts)]
        if not same:
            return {key: prefix(key) for key in keys}
        for key in same:
            length[key] += 1


def _share_before(groups: list[Group]) -> None:
    """Gives a supervised control, which has no `before`, the one of a main run that starts from the same model.

    Both must have the same seed, model and number of held-out problems; see `ReportedRun.before_of`.
    """
    main = [run for group in groups if not group.control for run in group.runs if run.before]
    controls = [run for group in groups if group.control for run in group.runs if run.stage == "sft"]
    for control in controls:
        model = _model(control)
        for run in main if model and control.after and not control.before else ():
            same_problems = run.before.get("n") == control.after.get("n")
            if run.seed == control.seed and run.seed is not None and _model(run) == model and same_problems:
                control.before, control.before_of = run.before, run.name
                break


def _model(run: ReportedRun) -> str | None:
    """The model that a run starts from, or None where its recipe does not name one."""
    try:
        settings = yaml.safe_load(run.recipe)
    except yaml.YAMLError:
        return None
    model = settings.get("model_name_or_path") if isinstance(settings, dict) else None
    return model.rstrip("/") if isinstance(model, str) else None
