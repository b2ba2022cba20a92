"""Every shipped recipe and stage is one that its script takes, and every shipped experiment is read."""

import json
import re
from pathlib import Path

import pytest
from repository import ROOT
from shipped import EXPERIMENTS, FILES, RUNS

from mini_r1.config.batch import plan_batch
from mini_r1.config.kinds import KINDS
from mini_r1.config.recipe import kind_of, resolve
from mini_r1.config.recipe_file import RecipeFile, find_recipe
from mini_r1.config.run_config import RunConfig, build, check
from mini_r1.config.yaml_file import load_yaml
from mini_r1.data.mixture import load_part_rewards, read_parts
from mini_r1.data.preferences import check_preferences
from mini_r1.data.reward_loader import load_rewards
from mini_r1.launch.plan import GROUPED
from mini_r1.pipeline.stages import read_pipeline

ON_CPU = {"use_cpu": True, "bf16": False}


def values_of(name: str, **told) -> dict:
    path, stage = RUNS[name]
    return resolve(path, {**stage, **told}).values


def checked(name: str) -> RunConfig:
    path, stage = RUNS[name]
    kind = values_of(name)["run"]
    return check(kind, resolve(path, stage | ({} if kind == "build_model" else ON_CPU)))


def test_there_are_recipes_of_every_kind():
    assert {values_of(name)["run"] for name in RUNS} == set(KINDS)
    assert EXPERIMENTS


@pytest.mark.parametrize("name", RUNS)
def test_recipe_builds(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = checked(name)
    kind = config.kind
    with config.blame():
        output_dir = config.output_dir if kind == "build_model" else build(config).training.output_dir
        if kind == "reward":
            check_preferences(config.args)
        parts = read_parts(config.args) if kind != "reward" or config.task else []
        for part in parts:
            assert load_rewards([part.task.REWARD], None, None, part.task)  # what its answers are measured with
        experiment, _, stage = name.partition("/")
        assert output_dir == f"runs/{experiment}-s{config.seed}" + (f"/{stage}" if stage else "")
        if kind in GROUPED:
            assert load_part_rewards(parts)
            plan_batch(config, config.num_processes or 1)


@pytest.mark.parametrize("name", RUNS)
def test_the_seed_names_the_run_directory(name):
    experiment, _, stage = name.partition("/")
    assert values_of(name, seed=7)["output_dir"] == f"runs/{experiment}-s7" + (f"/{stage}" if stage else "")


def test_names_are_unique_and_have_hyphens():
    """They name make targets and run directories; a file's may be that of its own stage."""
    assert not any("_" in path.stem for path in FILES)
    assert len({path.stem for path in FILES}) == len(FILES)
    for path in FILES:
        assert path.stem not in RUNS or RUNS[path.stem][0] == path


@pytest.mark.parametrize("name", [name for name in RUNS if "/" not in name])
def test_each_run_is_found_by_name(name, monkeypatch):
    """Of a run directory, and of the file that was there before files were joined."""
    monkeypatch.chdir(ROOT)
    path, stage = RUNS[name]
    for text in (name, f"recipes/{name}.yaml"):
        assert resolve(text).values == resolve(path, stage).values
    assert kind_of(["--config", name]) == values_of(name)["run"]


def test_a_published_run_reads_in_two_files():
    for path in ROOT.glob("recipes/*.yaml"):
        own, base = load_yaml(path), []
        while "extends" in own:
            base.append(find_recipe(str(ROOT / "recipes" / own["extends"]))[0])
            own = load_yaml(base[-1])
        assert sum(file.parent.name != "_base" for file in base) <= 1, path


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_is_read(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    pipeline = read_pipeline(str(path.relative_to(ROOT)), 7)
    assert pipeline.folder == Path(f"runs/{path.stem}-s7")
    file = RecipeFile(path)
    for stage in pipeline.stages:
        alone = resolve(path, {"stage": stage.name, "seed": 7})
        assert stage.config.recipe.values == alone.values and not stage.changes
        assert stage.folder == Path(file.folder(stage.name).replace("{seed}", "7")), "also where it runs alone"
    assert len({stage.folder for stage in pipeline.stages}) == len(pipeline.stages)


FAMILIES = {
    "countdown-tiny": ("countdown-tiny", "countdown-tiny-random-reward", "countdown-tiny-sft-control",
                       "countdown-tiny-rejection", "countdown-tiny-distill", "study-countdown"),
    "gsm8k-tiny": ("gsm8k-tiny", "study-gsm8k"),
    "gsm8k-reinforce-lite-tiny": ("gsm8k-reinforce-lite-tiny",),
    "knights-knaves-tiny": ("knights-knaves-tiny",),
    "logic-rl-tiny": ("logic-rl-tiny",),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_tiny_recipes_ask_the_same_problems(family):
    """They would not hold out the same ones otherwise: GRPO would be measured on what the cold start has seen."""
    stages = [values_of(name) for name, (path, _) in RUNS.items() if path.stem in FAMILIES[family]]
    assert len(stages) >= 3
    for key in ("task", "task_args", "test_fraction", "prompt_template"):
        said = {json.dumps(values.get(key, "mini_r1" if key == "prompt_template" else None)) for values in stages}
        assert len(said) == 1, key


def test_tiny_recipes_of_several_tasks_ask_the_same_problems():
    stages = [values_of(name) for name in RUNS if re.match("r1-.*tiny", name) or name.startswith("distill-tiny")]
    assert len(stages) >= 9
    asked: dict[str, set[str]] = {}
    for values in stages:
        for part in values.get("tasks") or [values]:
            own = [part.get(key, values.get(key)) for key in ("task_args", "test_fraction", "prompt_template")]
            asked.setdefault(part["task"], set()).add(json.dumps(own))
    assert set(asked) == {"countdown", "gsm8k", "chat"} and all(len(own) == 1 for own in asked.values()), asked
