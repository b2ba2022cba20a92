"""Pipelines: the stages of an experiment (mini_r1/config/recipe_file.py), or of a list whose recipes also run alone:

stages:
  - {name: cold-start, run: sft,     recipe: countdown-tiny-sft}
  - {name: rl,         run: r1_grpo, recipe: countdown-tiny, init_from: cold-start}
  - {name: no-kl,      run: r1_grpo, recipe: countdown-tiny, init_from: cold-start, set: {beta: 0.0}}
  - {name: samples,    run: generate, recipe: countdown-tiny-generate, init_from: rl}
  - {name: again,      run: sft,     recipe: ../mine.yaml, init_from: base, data_from: samples}
  - {name: small, run: distill, recipe: countdown-tiny-distill, init_from: student, teacher_from: rl}

What stages have left in their folders is looked at in mini_r1/pipeline/state.py.
"""

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mini_r1.config.keys import check_values, did_you_mean
from mini_r1.config.kinds import KINDS, ONLY_SAMPLE
from mini_r1.config.recipe import COMMAND_LINE, Recipe, flag_text, resolve
from mini_r1.config.recipe_file import RecipeFile, find_recipe, with_path
from mini_r1.config.run_config import RunConfig, read_run
from mini_r1.config.schema import keys_of_kind
from mini_r1.config.yaml_file import load_yaml, short_path
from mini_r1.data.hub import reward_models
from mini_r1.data.mixture import read_parts
from mini_r1.data.preferences import check_preferences
from mini_r1.data.teacher import KEY as TEACHER
from mini_r1.errors import RecipeError

NEEDED_KEYS = ("name", "run", "recipe")
STAGE_KEYS = (*NEEDED_KEYS, "init_from", "data_from", "teacher_from", "set")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")  # names a folder, and is typed after --from
SAID_BY = {
    "model_name_or_path": ("init_from", "what the stage begins with"),
    "sft_datasets": ("data_from", "what the stage learns from"),
    TEACHER: ("teacher_from", "who teaches the stage"),
}
REFUSED = {
    "extends": "name the recipe that extends it as the stage's recipe",
    "overwrite_output_dir": "it would start the stage anew each time; give --overwrite_output_dir true on the command "
    "line, with --from for this stage and all later ones",
    "resume_from_checkpoint": "a stage that was cut off goes on from its last whole checkpoint by itself",
    "dry_run": "nothing would be left for the next stage; give --dry_run on the command line",
}


@dataclass(frozen=True)
class Stage:
    """Which script runs which recipe into which folder.

    Attributes:
        flags: what the script is told beyond its recipe, as argv.
        resolved: the recipe with those flags.
        init_from: the model folder it begins with, where that is another stage's.
        parent: that stage's name.
        data_from: the name of the stage whose data set it learns from, where there is one.
        teacher_from: the name of the stage whose model teaches it, where there is one.
        judges: the names of the stages whose reward models its `reward_funcs` name by their folders.
        changes: the entry's `set`.
    """

    name: str
    kind: str
    recipe: str
    folder: Path
    flags: tuple[str, ...]
    resolved: Recipe
    init_from: Path | None
    parent: str | None
    data_from: str | None
    teacher_from: str | None
    judges: tuple[str, ...]
    changes: dict[str, Any]

    @property
    def argv(self) -> list[str]:
        """The command line of `scripts/launch.py --run KIND`."""
        return ["--config", self.recipe, *self.flags]


@dataclass(frozen=True)
class Pipeline:
    """A pipeline's file, the folder of its own summary, and its stages in order."""

    path: str
    folder: Path
    stages: list[Stage]

    def stage(self, name: str | None, flag: str) -> Stage:
        """Returns the stage of that name, which a flag gave; raises a `RecipeError` where there is none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        names = [stage.name for stage in self.stages]
        raise RecipeError(
            f"{self.path} has no stage {name!r}; it has {', '.join(names)}{did_you_mean(str(name), names)}",
            key=flag,
            file=COMMAND_LINE,
        )


def read_pipeline(path: str, seed: int | None, told: dict[str, Any] | None = None) -> Pipeline:
    """Reads a pipeline and checks every stage's recipe.

    Args:
        path: a file, or its name.
        told: `STAGE.key` of the command line, for an experiment's stages.

    Raises:
        RecipeError: for anything wrong in the pipeline's file or in a recipe it names.
    """
    path = _file(path)
    chosen, told = {} if seed is None else {"seed": seed}, told or {}
    if isinstance(load_yaml(Path(path)).get("stages"), list):
        if told:
            raise RecipeError(
                "is for an experiment, whose stages are a map; here, give the stage set: {...}",
                key=f"--{next(iter(told))}",
                file=COMMAND_LINE,
            )
        entries, alone = _read_entries(path, chosen)
        pipeline = Pipeline(path, _folder(path, alone[-1]), [])
        stages = (_listed_stage(entry, recipe, chosen, pipeline) for entry, recipe in zip(entries, alone, strict=True))
    else:
        file = RecipeFile(Path(path), chosen | told)
        file.told = {f"{name}.seed": own["seed"] for name, own in file.stages.items() if "seed" in own} | file.told
        if not file.stages:
            raise RecipeError("a pipeline needs stages: {NAME: {run: ..., ...}, ...}", key="stages", file=path)
        pipeline = Pipeline(path, _folder(path, resolve(path, file.told | {"stage": list(file.stages)[-1]})), [])
        stages = (_stage(name, file, pipeline) for name in file.stages)
    for stage in stages:
        for earlier in pipeline.stages:
            _keep_apart(stage, earlier, path)
        pipeline.stages.append(stage)
    return pipeline


def _file(path: str) -> str:
    """Returns the file of a path or a name."""
    file, stage = find_recipe(path)
    if stage is not None:
        raise RecipeError(f"is a stage of {file}; run it with --config {file.stem} --only {stage}", file=path)
    return str(file)


def _folder(path: str, last: Recipe) -> Path:
    """Returns the folder of the pipeline's own summary."""
    return Path("runs") / f"{Path(path).stem}-s{last.values.get('seed', 42)}"


def _read_entries(path: str, chosen: dict) -> tuple[list[dict], list[Recipe]]:
    """Returns the stages of a list, and their recipes as they run alone, with the pipeline's seed."""
    entries = load_yaml(Path(path)).get("stages")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise RecipeError("a pipeline needs a list of stages: [{name, run, recipe}, ...]", key="stages", file=path)
    for number, entry in enumerate(entries, 1):
        _check_entry(entry, number, path)
    return entries, [resolve(_recipe_of(entry, path), chosen, entry["run"]) for entry in entries]


def _recipe_of(entry: dict, path: str) -> str:
    """Returns the recipe that a stage of a list names: a path as seen from the pipeline's file, or a name."""
    beside = os.path.relpath(Path(path).parent / entry["recipe"])
    return entry["recipe"] if "/" not in entry["recipe"] and not Path(beside).exists() else beside


def _check_entry(entry: dict, number: int, path: str) -> None:
    """Refuses an entry of a list whose own keys are wrong, as far as the file alone says."""
    for key in entry:
        if key not in STAGE_KEYS:
            raise RecipeError(f"unknown key of a stage{did_you_mean(str(key), STAGE_KEYS)}", key=str(key), file=path)
    for key in NEEDED_KEYS:
        if not isinstance(entry.get(key), str):
            raise RecipeError(f"stage {number} needs a text here", key=key, file=path)
    if not NAME.fullmatch(entry["name"]):
        problem = f"got {entry['name']!r}, expected letters, digits, - and _, as it names a folder"
        raise RecipeError(problem, key="name", file=path)
    changes = entry.get("set")
    if changes is not None and (not isinstance(changes, dict) or not all(isinstance(key, str) for key in changes)):
        problem = f"stage {entry['name']} needs a map of recipe keys to values here, such as {{beta: 0.0}}"
        raise RecipeError(problem, key="set", file=path)
    if entry["run"] not in KINDS:
        problem = f"got {entry['run']!r}, expected one of {', '.join(KINDS)}{did_you_mean(entry['run'], KINDS)}"
        raise RecipeError(problem, key="run", file=path)


def _listed_stage(entry: dict, alone: Recipe, chosen: dict, pipeline: Pipeline) -> Stage:
    """Makes a stage of an entry of a list; checks its recipe with all that the pipeline changes of it.

    Args:
        alone: the recipe as it runs alone, with the pipeline's seed.
    """
    name, kind, changes = entry["name"], entry["run"], entry.get("set") or {}
    where, file = f"{pipeline.path}: stage {name}", _recipe_of(entry, pipeline.path)
    parent = _parent(entry, pipeline)
    data = _sampled(entry, pipeline)
    teacher = _teacher(entry, pipeline)
    given = dict(chosen)
    if parent:
        given["model_name_or_path"] = str(parent.folder)
    if data:
        given["sft_datasets"] = with_path(alone.values.get("sft_datasets"), str(data.folder / "dataset"))
    if teacher:
        given[TEACHER] = str(teacher.folder)
    if changes or any(given[key] != alone.values.get(key) for key in SAID_BY if key in given):
        given["output_dir"] = str(pipeline.folder / name)
    with _blame(changes, where):
        for key in changes:
            if key in REFUSED:
                raise RecipeError(f"cannot be set by a stage: {REFUSED[key]}", key=key, file=where)
            if key in given and key in SAID_BY:
                name_of, what = SAID_BY[key]
                problem = f"{name_of}: {entry[name_of]} says {what}; leave one of the two out"
                raise RecipeError(problem, key=key, file=where)
        check_values(changes, dict.fromkeys(changes, where), keys_of_kind(kind))
        flags = []
        for key, value in (given | changes).items():
            flags += [f"--{key}", flag_text(key, value)]
        config = _checked(["--config", file, *flags], kind)
    folder = Path(config.output_dir)
    init_from, earlier = parent.folder if parent else None, (entry.get(said_by) for said_by, _ in SAID_BY.values())
    judges = _judges(config, pipeline)
    return Stage(name, kind, file, folder, tuple(flags), config.recipe, init_from, *earlier, judges, changes)


def _stage(name: str, file: RecipeFile, pipeline: Pipeline) -> Stage:
    """Makes a stage of an experiment's. Finds what it starts from by run directory, also where another file says it."""
    path, where, kind = pipeline.path, f"{pipeline.path}: stage {name}", file.kind(name)
    named, source = file.references(name), file.source(name)
    if not NAME.fullmatch(name):
        problem = f"got {name!r}, expected letters, digits, - and _, as it names a folder"
        raise RecipeError(problem, key="stages", file=path)
    _check_references({"name": name, "run": kind, **named}, pipeline)
    stage, given = name, file.told
    if source:
        path, stage = short_path(source[0]), source[1]
        given = {key: value for key, value in given.items() if key == "seed"}
    flags = [] if stage is None else ["--stage", stage]
    for key, value in given.items():
        flags += [f"--{key}", flag_text(key, value)]
    config = _checked(["--config", path, *flags], kind)
    recipe = config.recipe
    for key in REFUSED.keys() & recipe.values.keys() - {"extends"}:
        raise RecipeError(f"cannot be set by a stage: {REFUSED[key]}", key=key, file=where)
    values, folders = recipe.values, {str(stage.folder): stage for stage in pipeline.stages}
    parent = folders.get(values.get("model_name_or_path"))
    data = [folders.get(str(one.get("path")).removesuffix("/dataset")) for one in values.get("sft_datasets") or []]
    teacher = folders.get(values.get(TEACHER))
    names = [each and each.name for each in (parent, next(filter(None, data), None), teacher)]
    changes = {key.rpartition(".")[2]: value for key, value in given.items() if key.rpartition(".")[0] == name}
    return Stage(
        name,
        kind,
        path,
        Path(values["output_dir"]),
        tuple(flags),
        recipe,
        parent and parent.folder,
        *names,
        _judges(config, pipeline),
        changes,
    )


def _check_references(entry: dict, pipeline: Pipeline) -> None:
    """Refuses a stage that cannot start from those that it names."""
    _parent(entry, pipeline)
    _teacher(entry, pipeline)
    _sampled(entry, pipeline)


def _checked(argv: list[str], kind: str) -> RunConfig:
    """The stage's run, with its tasks, every key and value checked."""
    config = read_run(kind, argv)
    with config.blame():
        if kind == "reward":
            check_preferences(config.args)
        else:
            config = replace(config, parts=read_parts(config.args))
        if not config.output_dir:
            raise RecipeError("is missing; a stage needs one, such as runs/{recipe}-s{seed}", key="output_dir")
    return config


def _sampled(entry: dict, pipeline: Pipeline) -> Stage | None:
    """Returns the earlier stage that `data_from` names."""
    data, name, kind = _earlier(entry, "data_from", pipeline), entry["name"], entry["run"]
    if data and (data.kind != "generate" or kind != "sft"):
        problem = f"stage {name}: a stage with run: sft learns from one with run: generate, not {kind} from {data.kind}"
        raise RecipeError(problem, key="data_from", file=pipeline.path)
    return data


def _parent(entry: dict, pipeline: Pipeline) -> Stage | None:
    """Returns the earlier stage that `init_from` names."""
    parent, path = _earlier(entry, "init_from", pipeline), pipeline.path
    if parent is None:
        return None
    if parent.kind in ONLY_SAMPLE:
        problem = f"stage {entry['name']} cannot begin with {parent.name}: {parent.kind} leaves no model"
        raise RecipeError(f"{problem}; name the stage that {parent.name} asks", key="init_from", file=path)
    if entry["run"] == "build_model":
        problem = f"stage {entry['name']} makes a model from nothing (run: build_model); leave init_from out"
        raise RecipeError(problem, key="init_from", file=path)
    return parent


def _teacher(entry: dict, pipeline: Pipeline) -> Stage | None:
    """Returns the earlier stage that `teacher_from` names."""
    teacher = _earlier(entry, "teacher_from", pipeline)
    if teacher and (entry["run"] != "distill" or teacher.kind in ONLY_SAMPLE):
        problem = f"a stage with run: distill learns from one that leaves a model, not {entry['run']} from"
        raise RecipeError(f"stage {entry['name']}: {problem} {teacher.kind}", key="teacher_from", file=pipeline.path)
    return teacher


def _judges(config: RunConfig, pipeline: Pipeline) -> tuple[str, ...]:
    """The earlier stages in whose folders the recipe's reward models are."""
    named = {os.path.abspath(model) for model in reward_models([part.args for part in config.parts])}
    return tuple(stage.name for stage in pipeline.stages if os.path.abspath(stage.folder) in named)


def _earlier(entry: dict, key: str, pipeline: Pipeline) -> Stage | None:
    """Returns the earlier stage that `init_from`, `data_from` or `teacher_from` names."""
    wanted = entry.get(key)
    found = next((stage for stage in pipeline.stages if stage.name == wanted), None)
    if wanted is not None and found is None:
        names = [stage.name for stage in pipeline.stages]
        problem = f"no earlier stage {wanted!r}; there is {', '.join(names) or 'none'}"
        raise RecipeError(f"{problem}{did_you_mean(str(wanted), names)}", key=key, file=pipeline.path)
    return found


def _keep_apart(stage: Stage, earlier: Stage, path: str) -> None:
    """Refuses two stages with one name or folder, and a later one whose folder, moved, takes an earlier one along."""
    if stage.name == earlier.name or os.path.abspath(stage.folder) == os.path.abspath(earlier.folder):
        raise RecipeError(
            f"{stage.name} and {earlier.name} share their name or their output_dir; give each its own",
            key="stages",
            file=path,
        )
    if Path(os.path.abspath(earlier.folder)).is_relative_to(os.path.abspath(stage.folder)):
        raise RecipeError(
            f"{earlier.name} would run in {earlier.folder}, inside the folder of the later stage {stage.name}; give "
            f"the pipeline's file another name, or {earlier.name} an output_dir (set: {{output_dir: ...}})",
            key="stages",
            file=path,
        )


@contextmanager
def _blame(changes: dict, where: str):
    """Inside, an error about a key that the stage sets names the pipeline and the stage, not the command line."""
    try:
        yield
    except RecipeError as error:
        if error.key in changes and error.file in (None, COMMAND_LINE):
            error.file = where
        raise
