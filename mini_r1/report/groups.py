"""Run directories together: which are seeds of one recipe, what to call them, and what a control takes over."""

import os
import re
from collections import Counter
from pathlib import Path

import yaml

from mini_r1.report.figures import colour, dash
from mini_r1.report.runs import Group, ReportedRun, read_run
from mini_r1.run.run_dir import short_name


def group_runs(folders: list[Path], beside: list[Path]) -> list[Group]:
    """The runs in `folders`, what the report is about, and their controls, in groups that share a recipe.

    Seeds of one recipe lie in the same folder runs/ and differ in -s<digits> only: runs/study-s2/grpo is one of
    study/grpo. Elsewhere the same name is another group, and gets more of its path to be told apart.

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
    """For each (folder, name in it) as much of the folder's end as makes the names unique: "" where they are."""
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
    """Give a supervised control, which has no `before`, that of the main run whose training starts from its model.

    Same seed, same model, and as many held-out problems; see `ReportedRun.before_of`.
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
    """The model that a run started from, or None where its recipe does not say."""
    try:
        settings = yaml.safe_load(run.recipe)
    except yaml.YAMLError:
        return None
    model = settings.get("model_name_or_path") if isinstance(settings, dict) else None
    return model.rstrip("/") if isinstance(model, str) else None
