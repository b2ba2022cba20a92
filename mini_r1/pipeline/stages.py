"""Reads pipelines: the stages of an experiment (mini_r1/config/recipe_file.py), or of a list.

The recipes of a list also run alone:

stages:
  - {name: cold-start, run: sft,     recipe: countdown-tiny-sft}
  - {name: rl,         run: r1_grpo, recipe: countdown-tiny, init_from: cold-start}
  - {name: no-kl,      run: r1_grpo, recipe: countdown-tiny, init_from: cold-start, set: {beta: 0.0}}
  - {name: samples,    run: generate, recipe: countdown-tiny-generate, init_from: rl}
  - {name: again,      run: sft,     recipe: ../mine.yaml, init_from: base, data_from: samples}
  - {name: small, run: distill, recipe: countdown-tiny-distill, init_from: student, teacher_from: rl}

mini_r1/pipeline/state.py looks at what stages have left in their folders.
"""

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mini_r1.config.keys import check_values, did_you_mean
from mini_r1.config.kinds import ONLY_SAMPLE, wrong_kind
from mini_r1.config.recipe import COMMAND_LINE, flag_text, resolve
from mini_r1.config.recipe_file import REFERENCES, RecipeFile, find_recipe, with_path
from mini_r1.config.run_config import RunConfig, read_run, run_config
from mini_r1.config.schema import keys_of_kind
from mini_r1.config.yaml_file import load_yaml, short_path
from mini_r1.data.hub import reward_models
from mini_r1.data.mixture import read_parts
from mini_r1.data.preferences import check_preferences
from mini_r1.errors import RecipeError

NEEDED_KEYS = ("name", "run", "recipe")
STAGE_KEYS = (*NEEDED_KEYS, *REFERENCES, "set")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")  # names a folder, and is typed after --from
SAYS = {
    "init_from": "what the stage begins with",
    "data_from": "what the stage learns from",
    "teacher_from": "who teaches the stage",
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
        recipe: the recipe's path.
        flags: what the script is told beyond its recipe, as argv.
        config: the checked run that these ask for.
        parents: names of the earlier stages whose model it starts from, whose data it learns from, or whose models
            teach or judge it.
        changes: the keys that the pipeline or the command line sets for this stage alone.
    """

    name: str
    recipe: str
    flags: tuple[str, ...]
    config: RunConfig
    parents: tuple[str, ...]
    changes: dict[str, Any]

    @property
    def kind(self) -> str:
        return self.config.kind

    @property
    def folder(self) -> Path:
        return Path(self.config.output_dir)

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
    found, named = find_recipe(path)
    if named is not None:
        raise RecipeError(f"is a stage of {found}; run it with --config {found.stem} --only {named}", file=path)
    path, chosen, told = str(found), {} if seed is None else {"seed": seed}, told or {}
    if isinstance(load_yaml(found).get("stages"), list):
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
        file = RecipeFile(found, chosen | told)
        file.told = {f"{name}.seed": own["seed"] for name, own in file.stages.items() if "seed" in own} | file.told
        if not file.stages:
            raise RecipeError("a pipeline needs stages: {NAME: {run: ..., ...}, ...}", key="stages", file=path)
        last = list(file.stages)[-1]
        last_run = run_config(file.kind(last), resolve(path, file.told | {"stage": last}))
        pipeline = Pipeline(path, _folder(path, last_run), [])
        stages = (_stage(name, file, pipeline) for name in file.stages)
    for stage in stages:
        for earlier in pipeline.stages:
            _keep_apart(stage, earlier, path)
        pipeline.stages.append(stage)
    return pipeline


def _folder(path: str, last: RunConfig) -> Path:
    """Returns the folder of the pipeline's own summary."""
    return Path("runs") / f"{Path(path).stem}-s{last.seed}"


def _read_entries(path: str, chosen: dict) -> tuple[list[dict], list[RunConfig]]:
    """Returns the stages of a list, and their runs, unchecked, as they would be alone with the pipeline's seed."""
    entries = load_yaml(Path(path)).get("stages")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise RecipeError("a pipeline needs a list of stages: [{name, run, recipe}, ...]", key="stages", file=path)
    for number, entry in enumerate(entries, 1):
        _check_entry(entry, number, path)
    return entries, [
        run_config(entry["run"], resolve(_recipe_of(entry, path), chosen, entry["run"])) for entry in entries
    ]


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
    _check_name(entry["name"], "name", path)
    changes = entry.get("set")
    if changes is not None and (not isinstance(changes, dict) or not all(isinstance(key, str) for key in changes)):
        problem = f"stage {entry['name']} needs a map of recipe keys to values here, such as {{beta: 0.0}}"
        raise RecipeError(problem, key="set", file=path)
    if problem := wrong_kind(entry["run"]):
        raise RecipeError(problem, key="run", file=path)


def _check_name(name: str, key: str, path: str) -> None:
    if not NAME.fullmatch(name):
        raise RecipeError(f"got {name!r}, expected letters, digits, - and _, as it names a folder", key=key, file=path)


def _listed_stage(entry: dict, alone: RunConfig, chosen: dict, pipeline: Pipeline) -> Stage:
    """Makes a stage of an entry of a list; checks its recipe with all that the pipeline changes of it.

    Args:
        alone: the recipe as it runs alone, with the pipeline's seed.
    """
    name, kind, changes = entry["name"], entry["run"], entry.get("set") or {}
    where, file = f"{pipeline.path}: stage {name}", _recipe_of(entry, pipeline.path)
    given = {}
    for word, earlier in _starts_from(name, kind, entry, pipeline).items():
        key, folder = REFERENCES[word], str(earlier.folder)
        given[key] = with_path(alone.sft_datasets, f"{folder}/dataset") if word == "data_from" else folder
        if key in changes:
            problem = f"{word}: {earlier.name} says {SAYS[word]}; leave one of the two out"
            raise RecipeError(problem, key=key, file=where)
    if changes or any(value != getattr(alone, key) for key, value in given.items()):
        given["output_dir"] = str(pipeline.folder / name)
    with _changed_by(changes, where):
        for key in REFUSED.keys() & changes.keys():
            raise RecipeError(f"cannot be set by a stage: {REFUSED[key]}", key=key)
        check_values(changes, {}, keys_of_kind(kind))
        flags = _as_flags(chosen | given | changes)
        config = _checked(["--config", file, *flags], kind)
    return Stage(name, file, flags, config, _parents(config, pipeline), changes)


def _stage(name: str, file: RecipeFile, pipeline: Pipeline) -> Stage:
    """Makes a stage of an experiment."""
    path, kind, source = pipeline.path, file.kind(name), file.source(name)
    _check_name(name, "stages", path)
    _starts_from(name, kind, file.references(name), pipeline)
    stage, given = name, file.told
    if source:
        path, stage = short_path(source[0]), source[1]
        given = {key: value for key, value in given.items() if key == "seed"}
    flags = (*(() if stage is None else ("--stage", stage)), *_as_flags(given))
    config = _checked(["--config", path, *flags], kind)
    for key in (REFUSED.keys() - {"extends"}) & config.recipe.values.keys():
        raise RecipeError(f"cannot be set by a stage: {REFUSED[key]}", key=key, file=f"{pipeline.path}: stage {name}")
    changes = {key.rpartition(".")[2]: value for key, value in given.items() if key.rpartition(".")[0] == name}
    return Stage(name, path, flags, config, _parents(config, pipeline), changes)


def _as_flags(values: dict[str, Any]) -> tuple[str, ...]:
    return tuple(word for key, value in values.items() for word in (f"--{key}", flag_text(key, value)))


def _checked(argv: list[str], kind: str) -> RunConfig:
    """Returns the stage's run, with its tasks, every key and value checked."""
    config = read_run(kind, argv)
    with config.blame():
        if kind == "reward":
            check_preferences(config.args)
        else:
            config = replace(config, parts=read_parts(config.args))
        if not config.output_dir:
            raise RecipeError("is missing; a stage needs one, such as runs/{recipe}-s{seed}", key="output_dir")
    return config


def _starts_from(name: str, kind: str, named: dict, pipeline: Pipeline) -> dict[str, Stage]:
    """Returns the earlier stages that `init_from`, `data_from` and `teacher_from` name, by these keys.

    Raises:
        RecipeError: where there is no such stage, or where a stage of this kind cannot start from it.
    """
    found = {}
    for word in REFERENCES:
        wanted = named.get(word)
        if wanted is None:
            continue
        earlier = next((stage for stage in pipeline.stages if stage.name == wanted), None)
        if earlier is None:
            names = [stage.name for stage in pipeline.stages]
            problem = f"no earlier stage {wanted!r}; there is {', '.join(names) or 'none'}"
            raise RecipeError(f"{problem}{did_you_mean(str(wanted), names)}", key=word, file=pipeline.path)
        if problem := _misfit(word, name, kind, earlier):
            raise RecipeError(problem, key=word, file=pipeline.path)
        found[word] = earlier
    return found


def _misfit(word: str, name: str, kind: str, earlier: Stage) -> str | None:
    """Returns why the stage `name` of this kind cannot start from the earlier one, or None."""
    trains = earlier.kind not in ONLY_SAMPLE
    if word == "init_from" and not trains:
        problem = f"stage {name} cannot begin with {earlier.name}: {earlier.kind} leaves no model"
        return f"{problem}; name the stage that {earlier.name} asks"
    if word == "init_from" and kind == "build_model":
        return f"stage {name} makes a model from nothing (run: build_model); leave init_from out"
    if word == "data_from" and (kind, earlier.kind) != ("sft", "generate"):
        needed = "sft learns from one with run: generate"
    elif word == "teacher_from" and not (kind == "distill" and trains):
        needed = "distill learns from one that leaves a model"
    else:
        return None
    return f"stage {name}: a stage with run: {needed}, not {kind} from {earlier.kind}"


def _parents(config: RunConfig, pipeline: Pipeline) -> tuple[str, ...]:
    """Returns the earlier stages in whose folders are the models and the data that the run names."""
    data = [str(one.get("path")).removesuffix("/dataset") for one in config.sft_datasets or []]
    models = [config.model_name_or_path, config.teacher_model_name_or_path]
    named = [*models, *data, *reward_models([part.args for part in config.parts])]
    folders = {os.path.abspath(name) for name in named if name}
    return tuple(stage.name for stage in pipeline.stages if os.path.abspath(stage.folder) in folders)


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
def _changed_by(changes: dict, where: str):
    """Makes an error about a key that the stage sets name the pipeline and the stage, not the command line."""
    try:
        yield
    except RecipeError as error:
        if error.key in changes and error.file in (None, COMMAND_LINE):
            error.file = where
        raise
