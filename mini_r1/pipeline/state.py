"""Reads what a pipeline's stages have left in their folders, and refuses what does not fit the pipeline's file."""

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mini_r1.config.recipe import COMMAND_LINE, differences, parse_command_line, resolve
from mini_r1.errors import RecipeError
from mini_r1.launch.plan import ON_CPU
from mini_r1.pipeline.stages import Pipeline, Stage
from mini_r1.run.checkpoints import checkpoints, read_mark, step_of
from mini_r1.run.run_dir import clock, set_aside

# What the launcher adds to the pipeline's argv so that the recipe fits the machine; the first of each group is always
# added. A stage that was finished on other hardware is finished here.
LAUNCHER_KEYS = (("num_processes", "gradient_accumulation_steps", "steps_per_generation"), tuple(ON_CPU))
ANEW = "--overwrite_output_dir true (what is there is moved aside, not deleted)"
COLUMNS = (("pass@1", 3), ("format", 3), ("mean_length", 1))


@dataclass(frozen=True)
class Choice:
    """The stages that one command runs.

    Attributes:
        anew: whether the stages start anew, whatever is in their folders.
    """

    stages: list[Stage]
    anew: bool


def choose(pipeline: Pipeline, start: str | None, only: str | None, anew: bool) -> Choice:
    """Returns the stages that `--from` and `--only` leave.

    Raises:
        RecipeError: where there is no such stage, where one that it begins with is not finished, or where the recipe of
            one that `--only` begins with has changed since.
    """
    if start is not None and only is not None:
        raise RecipeError(
            "goes without --only, which is for one stage alone; give one", key="--from", file=COMMAND_LINE
        )
    stages, flag = pipeline.stages, "--from" if only is None else "--only"
    if only is not None:
        stages = [pipeline.stage(only, flag)]
    elif start is not None:
        stages = stages[stages.index(pipeline.stage(start, flag)) :]
    for stage in stages:
        for parent in _parents(stage, pipeline):
            if parent in stages:
                continue
            if summary(parent) is None:
                raise RecipeError(
                    f"{stage.name} needs {parent.name}, which is not finished in {parent.folder}; run that "
                    f"first: --only {parent.name}, or --from {parent.name} for it and all that follows",
                    key=flag,
                    file=COMMAND_LINE,
                )
            # --only asks for one stage as the file has it; --from leaves alone what was before
            if only is not None and (changed := changed_recipe(parent, pipeline.path)):
                raise changed
    return Choice(stages, anew)


def summary(stage: Stage) -> dict | None:
    """Reads the stage's summary; None before it is finished. The pipeline's own summary does not count."""
    found = _read(stage.folder / "summary.json")
    return found if found and "stage" in found else None


def last_step(stage: Stage) -> int | None:
    """Returns the step of the stage's newest whole checkpoint."""
    return max((step_of(path) for path in checkpoints(stage.folder) if read_mark(path)), default=None)


def steps(stage: Stage) -> int | None:
    """Returns how many steps a finished stage took; None for one that counts none."""
    return (_read(stage.folder / "trainer_state.json") or {}).get("global_step")


def refusal(stage: Stage, pipeline: Pipeline, choice: Choice) -> RecipeError | None:
    """Returns why this command must not go on with what is in the stage's folder, or None."""
    if choice.anew or stage not in choice.stages:
        return None
    stale = (_stale(stage, parent, pipeline) for parent in _parents(stage, pipeline))
    return changed_recipe(stage, pipeline.path) or next(filter(None, stale), None)


def changed_recipe(stage: Stage, path: str) -> RecipeError | None:
    """Returns the refusal of a stage whose resolved recipe has changed since it ran.

    A folder with neither a summary nor a checkpoint may be begun again with any recipe.

    Args:
        path: the pipeline's file.
    """
    ran = stage.folder / "recipe.yaml"
    if not ran.exists() or not (summary(stage) or checkpoints(stage.folder)):
        return None
    changed = differences(resolve(ran).values, stage.config.recipe.values | _told_by_launcher(stage))
    if not changed:
        return None
    few = "; ".join(changed[:3]) + (", ..." if changed[3:] else "")
    return RecipeError(
        f"its recipe has changed since it ran in {stage.folder} ({few}): undo the change to go on, or run it and all "
        f"that follows anew with --from {stage.name} {ANEW}",
        file=f"{path}: stage {stage.name}",
    )


def describe(stage: Stage, pipeline: Pipeline, choice: Choice) -> tuple[str, bool]:
    """Returns (one line on what this command would do about the stage, whether it would be refused)."""
    refused = refusal(stage, pipeline, choice)
    found, step = summary(stage), last_step(stage)
    if stage not in choice.stages:
        state = "left out"
    elif choice.anew:
        state = "new; what is there is moved aside" if stage.folder.exists() else "new"
    elif found:
        state = f"finished in {stage_seconds(stage, found):.0f} s: skipped"
    else:
        state = "new" if step is None else f"goes on from step {step}"
    if refused:
        state = f"would be refused: {refused.problem}"
    changes = f", set {json.dumps(stage.changes, ensure_ascii=False, default=str)}" if stage.changes else ""
    model = stage.config.model_name_or_path
    begins = f", begins with {model}" if model else ""
    return f"{stage.name}: {stage.kind} {stage.recipe}{changes}, in {stage.folder}{begins}: {state}", bool(refused)


def start_anew(choice: Choice, say: Callable[[str], None]) -> None:
    """Moves the folders of the chosen stages aside, the last first: after a kill no stage is older than its model."""
    for stage in reversed(choice.stages):
        if stage.folder.exists():
            say(f"{stage.folder} is moved to {set_aside(stage.folder)}, as overwrite_output_dir says")


def write_summary(pipeline: Pipeline, say: Callable[[str], None]) -> None:
    """Adds the finished stages' summaries to `summary.json` of the pipeline's directory.

    A stage whose recipe has the pipeline's name shares that directory; its own summary stays at the top, and nothing is
    written before it is finished.
    """
    path = pipeline.folder / "summary.json"
    old = _read(path) or {}
    shared = any(stage.folder == pipeline.folder for stage in pipeline.stages)
    if "stage" not in old and (shared or (pipeline.folder / "recipe.yaml").exists()):
        say(f"{path} is not written: the run in {pipeline.folder} is not finished")
        return
    entries = []
    for stage in pipeline.stages:
        found = summary(stage)
        if found:
            found.pop("stages", None)
            place = {"recipe": stage.recipe, "folder": str(stage.folder), "steps": steps(stage)}
            entries.append({"name": stage.name, "run": stage.kind, **place, **found})
    pipeline.folder.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps({**old, "stages": entries}, indent=2) + "\n")
    os.replace(scratch, path)


def stages_table(pipeline: Pipeline) -> str:
    """Returns a table with a line for each finished stage: its steps, its time and what it measured."""
    rows = [("stage", "run", "steps", "time", "pass@1", "format", "mean length", "folder")]
    for stage in pipeline.stages:
        found = summary(stage)
        if not found:
            continue
        measured = [found[when] for when in ("before", "after") if found.get(when)]
        cells = [" -> ".join(f"{each[key]:.{digits}f}" for each in measured) or "-" for key, digits in COLUMNS]
        count = steps(stage)
        time = clock(stage_seconds(stage, found))
        rows.append((stage.name, stage.kind, "-" if count is None else str(count), time, *cells, str(stage.folder)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:  # numbers to the right
        cells = [c.rjust(w) if i in (2, 3) else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def stage_seconds(stage: Stage, found: dict) -> float:
    """Returns the stage's own time: of a GRPO stage without the cold start before it."""
    return found["seconds"].get(stage.kind.removeprefix("r1_"), found["seconds"]["total"])


def _stale(stage: Stage, parent: Stage, pipeline: Pipeline) -> RecipeError | None:
    """Returns the refusal of a stage whose parent has run anew since the stage began, or has to run anew.

    Times count to the second. Where a manifest has none, nothing is refused.
    """
    manifest = _read(stage.folder / "manifest.json") or {}
    begun = [attempt for attempt in manifest.get("attempts", []) if not attempt.get("from")]  # not from a checkpoint
    started = begun[-1].get("started") if begun else None
    if started is None:
        return None
    finished = (_read(parent.folder / "manifest.json") or {}).get("finished")
    if summary(parent) is None:
        problem = (
            f"{stage.folder} was made with an earlier {parent.name}, which is not in {parent.folder} any more: put it "
            f"back, or run both anew with --from {parent.name} {ANEW}"
        )
    elif finished and datetime.fromisoformat(finished) > datetime.fromisoformat(started):
        problem = (
            f"{stage.folder} was made with an older {parent.name} (that in {parent.folder} was finished at {finished}, "
            f"{stage.name} was begun at {started}): run it and all that follows anew with --from {stage.name} {ANEW}"
        )
    else:
        return None
    return RecipeError(problem, file=f"{pipeline.path}: stage {stage.name}")


def _told_by_launcher(stage: Stage) -> dict:
    """Returns the keys that the launcher added to the pipeline's argv when the stage last ran, as its manifest says."""
    argv = shlex.split((_read(stage.folder / "manifest.json") or {}).get("command", ""))
    if "--config" not in argv:
        return {}
    values = parse_command_line(argv[1:])[1]  # the first one is the script
    added = {key for key in values if argv.count(f"--{key}") > stage.flags.count(f"--{key}")}
    return {key: values[key] for group in LAUNCHER_KEYS if group[0] in added for key in added.intersection(group)}


def _parents(stage: Stage, pipeline: Pipeline) -> list[Stage]:
    return [each for each in pipeline.stages if each.name in stage.parents]


def _read(path: Path) -> dict | None:
    return json.loads(path.read_text()) if path.exists() else None
