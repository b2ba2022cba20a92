"""Pipelines: a YAML list of stages, each a recipe that also runs alone.

stages:
  - {name: cold-start, run: sft,     recipe: ../countdown-tiny-sft.yaml}
  - {name: rl,         run: r1_grpo, recipe: ../countdown-tiny.yaml, init_from: cold-start}
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import tasks
from mini_r1.errors import RecipeError
from mini_r1.prompts import get_template
from mini_r1.recipe import check, load_yaml, resolve
from mini_r1.recipe_keys import did_you_mean
from mini_r1.stages import dataclass_types

STAGE_KEYS = ("name", "run", "recipe", "init_from")


@dataclass
class Stage:
    """One stage: which script runs which recipe into which folder."""

    name: str
    kind: str
    recipe: str
    folder: Path
    init_from: Path | None

    @property
    def summary(self) -> dict | None:
        path = self.folder / "summary.json"
        return json.loads(path.read_text()) if path.exists() else None

    @property
    def finished(self) -> bool:
        return self.summary is not None

    def flags(self, seed: int | None, fresh: bool) -> list[str]:
        """What the stage's script is told beyond its recipe."""
        words = [] if seed is None else ["--seed", str(seed)]
        words += ["--model_name_or_path", str(self.init_from)] if self.init_from else []
        return words + (["--overwrite_output_dir", "true"] if fresh else [])


@dataclass
class Pipeline:
    folder: Path
    stages: list[Stage]


def read_pipeline(path: str, seed: int | None) -> Pipeline:
    """Read a pipeline and check every stage's recipe.

    Raises:
        RecipeError: for anything wrong in the pipeline's file or in a recipe it names.
    """
    values = load_yaml(Path(path))
    entries = values.get("stages")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise RecipeError("a pipeline needs a list of stages: [{name, run, recipe}, ...]", key="stages", file=path)
    overrides = {} if seed is None else {"seed": seed}
    stages: list[Stage] = []
    for entry in entries:
        for key in entry:
            if key not in STAGE_KEYS:
                raise RecipeError(f"unknown key of a stage{did_you_mean(key, STAGE_KEYS)}", key=key, file=path)
        for key in STAGE_KEYS[:3]:
            if not isinstance(entry.get(key), str):
                raise RecipeError(f"stage {len(stages) + 1} needs a text here", key=key, file=path)
        try:
            types = dataclass_types(entry["run"])
        except RecipeError as error:
            error.file = path
            raise
        source = os.path.relpath(Path(path).parent / entry["recipe"])
        recipe = resolve(source, overrides)
        done = {stage.name: stage.folder for stage in stages}
        if entry.get("init_from") not in (None, *done):
            names = ", ".join(done) or "none"
            raise RecipeError(f"no earlier stage {entry['init_from']!r}; there is {names}", key="init_from", file=path)
        init_from = done.get(entry.get("init_from"))
        checked = check(recipe, types)
        with checked.blame():
            tasks.get(checked.values.get("task"))
            get_template(checked.values.get("prompt_template", "mini_r1"))
            if "output_dir" not in checked.values:
                raise RecipeError("is missing; a stage needs one, such as runs/{recipe}-s{seed}", key="output_dir")
        for stage in stages:
            if stage.name == entry["name"] or str(stage.folder) == checked.values["output_dir"]:
                raise RecipeError(
                    f"{entry['name']} and {stage.name} share their name or their output_dir; give each its own",
                    key="stages",
                    file=path,
                )
        stages.append(Stage(entry["name"], entry["run"], source, Path(checked.values["output_dir"]), init_from))
    seed = seed if seed is not None else checked.values.get("seed", 42)
    return Pipeline(Path("runs") / f"{Path(path).stem}-s{seed}", stages)


def write_summary(pipeline: Pipeline) -> None:
    """Add the stages' summaries to `summary.json` of the pipeline's directory.

    A stage whose recipe has the pipeline's name shares that directory; its own summary stays at the top.
    """
    pipeline.folder.mkdir(parents=True, exist_ok=True)
    path = pipeline.folder / "summary.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    summary["stages"] = [
        {"name": stage.name, **{key: value for key, value in stage.summary.items() if key != "stages"}}
        for stage in pipeline.stages
    ]
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(summary, indent=2) + "\n")
    os.replace(scratch, path)


def stages_table(pipeline: Pipeline) -> str:
    """One line a stage: its time and what it left."""
    lines = [f"{'stage':<14}{'seconds':>8}  {'pass@1':<16}{'format':<16}{'mean length':<16}folder"]
    for stage in pipeline.stages:
        seconds = stage.summary["seconds"].get(stage.kind.removeprefix("r1_"), stage.summary["seconds"]["total"])
        cells = []
        for key, digits in (("pass@1", 3), ("format", 3), ("mean_length", 1)):
            measured = [stage.summary[when] for when in ("before", "after") if stage.summary.get(when)]
            cells.append(f"{' -> '.join(f'{m[key]:.{digits}f}' for m in measured):<16}")
        lines.append(f"{stage.name:<14}{seconds:>8.0f}  {''.join(cells)}{stage.folder}")
    return "\n".join(lines)
