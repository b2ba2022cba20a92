"""Every shipped recipe is one that its script takes, and every shipped pipeline is read."""

import json
import re
from pathlib import Path

import pytest
from repository import ROOT

from mini_r1.config.batch import plan_batch
from mini_r1.config.kinds import KINDS, dataclass_types
from mini_r1.config.recipe import Recipe, build, check, resolve
from mini_r1.data.mixture import load_part_rewards, read_parts
from mini_r1.data.preferences import check_preferences
from mini_r1.data.reward_loader import load_rewards
from mini_r1.launch.plan import GROUPED
from mini_r1.pipeline.stages import SAID_BY, read_pipeline

RECIPES = sorted(ROOT.glob("recipes/*.yaml"))
PIPELINES = sorted(ROOT.glob("recipes/pipelines/*.yaml"))
TAILS = {
    "-rm": "reward",
    "-sft": "sft",
    "-sft-control": "sft",
    "-distill": "distill",
    "-base": "build_model",
    "-eval": "evaluate",
    "-generate": "generate",
}
ON_CPU = {"use_cpu": True, "bf16": False}


def kind_of(path: Path) -> str:
    return next((kind for tail, kind in TAILS.items() if path.stem.endswith(tail)), "r1_grpo")


def checked(path: Path, **overrides) -> Recipe:
    kind = kind_of(path)
    on_cpu = {} if kind == "build_model" else ON_CPU
    return check(resolve(path, on_cpu | overrides), dataclass_types(kind))


def test_there_are_recipes_of_every_kind():
    assert {kind_of(path) for path in RECIPES} == set(KINDS)
    assert PIPELINES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_builds(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    recipe = checked(path)
    kind = kind_of(path)
    with recipe.blame():
        args, *configs = build(recipe, dataclass_types(kind))
        if kind == "reward":
            check_preferences(recipe.values)
        asks = kind != "reward" or recipe.values.get("task")
        parts = read_parts(recipe.values, dataclass_types(kind)[0]) if asks else []
        for part in parts:
            assert load_rewards([part.task.REWARD], None, None, part.task)  # what its answers are measured with
        output_dir = (args if kind == "build_model" else configs[0]).output_dir
        assert output_dir == f"runs/{path.stem}-s{recipe.values['seed']}"
        if kind in GROUPED:
            assert load_part_rewards(parts)
            plan_batch(recipe.values, args.num_processes or 1)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_seed_names_the_run_directory(path):
    assert checked(path, seed=7).values["output_dir"] == f"runs/{path.stem}-s7"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_file_names_have_hyphens(path):
    assert "_" not in path.stem  # the stem names the make target and the run directory


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)
def test_pipeline_is_read(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    pipeline = read_pipeline(str(path.relative_to(ROOT)), 7)
    assert pipeline.folder == Path(f"runs/{path.stem}-s7")
    for stage in pipeline.stages:
        assert stage.kind == kind_of(Path(stage.recipe))
        alone = resolve(ROOT / stage.recipe, {"seed": 7}).values
        if not stage.changes and all(stage.resolved.values.get(key) == alone.get(key) for key in SAID_BY):
            assert stage.folder == Path(f"runs/{Path(stage.recipe).stem}-s7"), "as if the recipe ran alone"
    assert len({stage.folder for stage in pipeline.stages}) == len(pipeline.stages)


@pytest.mark.parametrize("family", ["countdown-tiny", "gsm8k-tiny", "knights-knaves-tiny", "r1-zero-tiny"])
def test_stages_of_a_tiny_task_are_its_recipes(family, monkeypatch):
    """Alone, a recipe begins with the model that the pipeline would hand it."""
    monkeypatch.chdir(ROOT)
    for stage in read_pipeline(f"recipes/pipelines/{family}.yaml", 7).stages:
        assert stage.folder == Path(f"runs/{Path(stage.recipe).stem}-s7") and not stage.changes


@pytest.mark.parametrize(
    "family", ["countdown-tiny", "gsm8k-tiny", "knights-knaves-tiny", "logic-rl-tiny", "gsm8k-reinforce-lite-tiny"]
)
def test_tiny_recipes_ask_the_same_problems(family):
    """They would not hold out the same ones otherwise: GRPO would be measured on what the cold start has seen."""
    recipes = [
        resolve(path, {"seed": 1}).values
        for path in RECIPES
        if path.name.startswith(family)
        and not path.stem.endswith("-two-eval")  # which asks those trained on, and says so
    ]
    assert len(recipes) >= 3
    for key in ("task", "task_args", "test_fraction", "prompt_template"):
        assert len({json.dumps(values[key]) for values in recipes}) == 1, key


def test_tiny_recipes_of_several_tasks_ask_the_same_problems():
    recipes = [resolve(path, {"seed": 1}).values for path in RECIPES if re.match("r1-.*tiny", path.name)]
    assert len(recipes) >= 9
    asked: dict[str, set[str]] = {}
    for values in recipes:
        for part in values.get("tasks") or [values]:
            own = [part.get(key, values.get(key)) for key in ("task_args", "test_fraction", "prompt_template")]
            asked.setdefault(part["task"], set()).add(json.dumps(own))
    assert set(asked) == {"countdown", "gsm8k", "chat"} and all(len(own) == 1 for own in asked.values()), asked
