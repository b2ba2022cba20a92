"""Pipelines: a YAML list of stages, each a recipe that also runs alone.

stages:
  - {name: cold-start, run: sft,     recipe: ../countdown-tiny-sft.yaml}
  - {name: rl,         run: r1_grpo, recipe: ../countdown-tiny.yaml, init_from: cold-start}
  - {name: no-kl,      run: r1_grpo, recipe: ../countdown-tiny.yaml, init_from: cold-start, set: {beta: 0.0}}
  - {name: samples,    run: generate, recipe: ../countdown-tiny-generate.yaml, init_from: rl}
  - {name: again,      run: sft,     recipe: ../countdown-tiny-samples-sft.yaml, init_from: base, data_from: samples}
  - {name: small, run: distill, recipe: ../countdown-tiny-distill.yaml, init_from: student, teacher_from: rl}

Here the file becomes stages; what they have left in their folders is looked at in mini_r1/pipeline/state.py.
"""

import json
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mini_r1.config.keys import check_values, did_you_mean
from mini_r1.config.kinds import KINDS, ONLY_SAMPLE, dataclass_types
from mini_r1.config.recipe import COMMAND_LINE, Recipe, flag_text, parse_command_line, resolve
from mini_r1.config.yaml_file import load_yaml
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
    """One stage: which script runs which recipe into which folder.

    Attributes:
        flags: what the script is told beyond its recipe, as words of a command line.
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
    def words(self) -> list[str]:
        """The command line of `scripts/launch.py --run KIND`."""
        return ["--config", self.recipe, *self.flags]


@dataclass(frozen=True)
class Pipeline:
    """A pipeline's file, the folder of its own summary, and its stages in order."""

    path: str
    folder: Path
    stages: list[Stage]

    def stage(self, name: str | None, flag: str) -> Stage:
        """The stage of that name, which a flag of the command line gave; `RecipeError` where there is none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        names = [stage.name for stage in self.stages]
        raise RecipeError(
            f"{self.path} has no stage {name!r}; it has {', '.join(names)}{did_you_mean(str(name), names)}",
            key=flag,
            file=COMMAND_LINE,
        )


def read_pipeline(path: str, seed: int | None) -> Pipeline:
    """Read a pipeline and check every stage's recipe.

    Raises:
        RecipeError: for anything wrong in the pipeline's file or in a recipe it names.
    """
    chosen = {} if seed is None else {"seed": seed}
    entries, alone = _read_entries(path, chosen)
    pipeline = Pipeline(path, Path("runs") / f"{Path(path).stem}-s{alone[-1].values.get('seed', 42)}", [])
    for entry, recipe in zip(entries, alone, strict=True):
        stage = _stage(entry, recipe, chosen, pipeline)
        for earlier in pipeline.stages:
            _keep_apart(stage, earlier, path)
        pipeline.stages.append(stage)
    return pipeline


def words_for_imports(path: str) -> list[str]:
    """What `leave_torch_out` is to look at: the words of one recipe with the rewards of all stages.

    Raises:
        RecipeError: as `read_pipeline`, but for keys and values of recipes, which need the imports to be checked.
    """
    rewards, asks_peft = [], False
    entries, alone = _read_entries(path, {})
    for entry, recipe in zip(entries, alone, strict=True):
        values = recipe.values | (entry.get("set") or {})
        named = values.get("reward_funcs")
        rewards += named if isinstance(named, list) else []
        asks_peft |= bool(values.get("use_peft") and not values.get("lora_target_modules"))
    told = ["--reward_funcs", json.dumps(rewards, default=str), "--use_peft", str(asks_peft).lower()]
    return ["--config", alone[-1].path, *told, "--lora_target_modules", "null"]


def _read_entries(path: str, chosen: dict) -> tuple[list[dict], list[Recipe]]:
    """The stages as the file has them, and their recipes as they run alone, with the pipeline's seed."""
    entries = load_yaml(Path(path)).get("stages")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise RecipeError("a pipeline needs a list of stages: [{name, run, recipe}, ...]", key="stages", file=path)
    for number, entry in enumerate(entries, 1):
        _check_entry(entry, number, path)
    return entries, [resolve(os.path.relpath(Path(path).parent / entry["recipe"]), chosen) for entry in entries]


def _check_entry(entry: dict, number: int, path: str) -> None:
    """Are the entry's own keys right, as far as the file alone says?"""
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


def _stage(entry: dict, alone: Recipe, chosen: dict, pipeline: Pipeline) -> Stage:
    """An entry as a stage, its recipe checked with all that the pipeline changes of it.

    Args:
        alone: the recipe as it runs alone, with the pipeline's seed.
    """
    name, kind, changes = entry["name"], entry["run"], entry.get("set") or {}
    where, types = f"{pipeline.path}: stage {name}", dataclass_types(kind)
    parent = _parent(entry, pipeline)
    data = _earlier(entry, "data_from", pipeline)
    teacher = _teacher(entry, pipeline)
    given = dict(chosen)
    if parent:
        given["model_name_or_path"] = str(parent.folder)
    if data:
        if data.kind != "generate" or kind != "sft":
            problem = (
                f"stage {name}: a stage with run: sft learns from one with run: generate, not {kind} from {data.kind}"
            )
            raise RecipeError(problem, key="data_from", file=pipeline.path)
        given["sft_datasets"] = _sampled(alone.values.get("sft_datasets"), str(data.folder / "dataset"))
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
        check_values(changes, dict.fromkeys(changes, where), types)
        flags = []
        for key, value in (given | changes).items():
            flags += [f"--{key}", flag_text(key, value)]
        recipe = check(resolve(*parse_command_line(["--config", alone.path, *flags])), types)
        with recipe.blame():
            if kind == "reward":
                check_preferences(recipe.values)
            else:
                read_parts(recipe.values, types[0])
            if not recipe.values.get("output_dir"):
                raise RecipeError("is missing; a stage needs one, such as runs/{recipe}-s{seed}", key="output_dir")
    folder = Path(recipe.values["output_dir"])
    init_from, earlier = parent.folder if parent else None, (entry.get(said_by) for said_by, _ in SAID_BY.values())
    judges = _judges(recipe, pipeline)
    return Stage(name, kind, alone.path, folder, tuple(flags), recipe, init_from, *earlier, judges, changes)


def _sampled(sources: list[dict] | None, path: str) -> list[dict]:
    """`sft_datasets` with this path in place of the first one there; other entries are data that is mixed in."""
    first = next((number for number, one in enumerate(sources or []) if "path" in one), None)
    if first is None:
        return [{"path": path}]
    return [one | {"path": path} if number == first else one for number, one in enumerate(sources)]


def _parent(entry: dict, pipeline: Pipeline) -> Stage | None:
    """The earlier stage that `init_from` names."""
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
    """The earlier stage that `teacher_from` names."""
    teacher = _earlier(entry, "teacher_from", pipeline)
    if teacher and (entry["run"] != "distill" or teacher.kind in ONLY_SAMPLE):
        problem = f"a stage with run: distill learns from one that leaves a model, not {entry['run']} from"
        raise RecipeError(f"stage {entry['name']}: {problem} {teacher.kind}", key="teacher_from", file=pipeline.path)
    return teacher


def _judges(recipe: Recipe, pipeline: Pipeline) -> tuple[str, ...]:
    """The earlier stages in whose folders the recipe's reward models are."""
    named = {os.path.abspath(model) for model in reward_models(recipe.values)}
    return tuple(stage.name for stage in pipeline.stages if os.path.abspath(stage.folder) in named)


def _earlier(entry: dict, key: str, pipeline: Pipeline) -> Stage | None:
    """The earlier stage that `init_from`, `data_from` or `teacher_from` names."""
    wanted = entry.get(key)
    found = next((stage for stage in pipeline.stages if stage.name == wanted), None)
    if wanted is not None and found is None:
        names = [stage.name for stage in pipeline.stages]
        problem = f"no earlier stage {wanted!r}; there is {', '.join(names) or 'none'}"
        raise RecipeError(f"{problem}{did_you_mean(str(wanted), names)}", key=key, file=pipeline.path)
    return found


def _keep_apart(stage: Stage, earlier: Stage, path: str) -> None:
    """Refuse two stages with one name or folder, and a later one whose folder, moved aside, takes an earlier along."""
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
