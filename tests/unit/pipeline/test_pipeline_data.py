"""Stages that need more of another than its model: its samples, its teaching, its judgement."""

import shutil
from pathlib import Path

import pytest
import yaml
from pipeline_file import BASE, LATE, RL, SFT, finish, read
from repository import ROOT

from mini_r1.errors import RecipeError
from mini_r1.pipeline.stages import read_pipeline
from mini_r1.pipeline.state import choose, refusal

SAMPLES = "  - {name: samples, run: generate, recipe: ../countdown-tiny-generate.yaml, init_from: rl%s}\n"
AGAIN = "  - {name: again, run: sft, recipe: ../again.yaml, init_from: base, data_from: samples%s}\n"
LEARNS = "extends: countdown-tiny-samples-sft.yaml\nmodel_name_or_path: runs/countdown-tiny-base-s{seed}\n" \
    "sft_datasets: [{path: 'runs/countdown-tiny-generate-s{seed}/dataset'}]\n"  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    (tmp_path / "recipes/again.yaml").write_text(LEARNS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_stage_learns_from_what_another_has_sampled(home):
    pipeline = read(BASE, SFT, RL % "", SAMPLES % "", AGAIN % "", seed=3)
    samples, again = pipeline.stages[3:]
    assert str(samples.folder) == "runs/countdown-tiny-generate-s3"
    assert samples.config.recipe.values["model_name_or_path"] == "runs/countdown-tiny-s3"
    assert again.config.recipe.values["sft_datasets"] == [{"path": "runs/countdown-tiny-generate-s3/dataset"}]
    assert again.config.recipe.values["model_name_or_path"] == "runs/countdown-tiny-base-s3"
    assert str(again.folder) == "runs/again-s3", "as it runs alone"
    other = read(BASE, SFT, RL % "", SAMPLES % ", set: {keep_per_problem: 1}", AGAIN % "", seed=3).stages[-1]
    assert other.config.recipe.values["sft_datasets"] == [{"path": "runs/mine-s3/samples/dataset"}]
    assert str(other.folder) == "runs/mine-s3/again"


def test_other_data_of_the_recipe_stays_in_the_mixture(home):
    sources = [{"task": "countdown", "share": 0.25}, {"path": "data/x", "split": "train", "share": 0.75}]
    (home / "recipes/mixture.yaml").write_text(yaml.safe_dump({"extends": "again.yaml",
                                                               "sft_datasets": sources}))  # fmt: skip
    again = AGAIN.replace("../again", "../mixture") % ""
    last = read(BASE, SFT, RL % "", SAMPLES % "", again, seed=3).stages[-1]
    path = {"path": "runs/countdown-tiny-generate-s3/dataset"}
    assert last.config.recipe.values["sft_datasets"] == [sources[0], sources[1] | path]


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ((BASE, AGAIN % ""), "data_from: no earlier stage 'samples'; there is base"),
        ((BASE, SFT, AGAIN.replace("from: samples", "from: cold-start") % ""), "not sft from sft"),
        ((BASE, SFT, RL % "", SAMPLES % "", RL.replace("name: rl", "name: two") % ", data_from: samples"),
         "not r1_grpo from generate"),
        ((BASE, SFT, RL % "", SAMPLES % "", AGAIN % ", set: {sft_datasets: [{path: x}]}"),
         "sft_datasets: data_from: samples says what the stage learns from"),
        ((BASE, SFT, RL % "", SAMPLES % "", AGAIN.replace("init_from: base", "init_from: samples") % ""),
         "generate leaves no model"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together(home, stages, said):
    with pytest.raises(RecipeError) as error:
        read(*stages)
    assert said in str(error.value)


def test_data_made_anew_since_is_refused(home):
    pipeline = read(BASE, SFT, RL % "", SAMPLES % "", AGAIN % "")
    samples, again = pipeline.stages[3:]
    choice = choose(pipeline, None, None, False)
    for stage in pipeline.stages:
        finish(stage)
    assert refusal(again, pipeline, choice) is None
    finish(samples, finished=LATE)
    assert "an older samples" in str(refusal(again, pipeline, choice))
    (samples.folder / "summary.json").unlink()
    with pytest.raises(RecipeError, match="again needs samples, which is not finished"):
        choose(pipeline, "again", None, False)


STUDENT = (
    "  - {name: student-base, run: build_model, recipe: ../countdown-tiny-distill-base.yaml}\n"
    "  - {name: student, run: sft, recipe: ../countdown-tiny-distill-sft.yaml, init_from: student-base}\n"
)
DISTILL = (
    "  - {name: distill, run: distill, recipe: ../countdown-tiny-distill.yaml, init_from: student, "
    "teacher_from: rl%s}\n"
)


def test_a_stage_learns_from_the_model_of_another(home):
    stages = read(BASE, SFT, RL % "", STUDENT, DISTILL % "", seed=3).stages
    values = stages[-1].config.recipe.values
    assert values["teacher_model_name_or_path"] == "runs/countdown-tiny-s3"
    assert values["model_name_or_path"] == "runs/countdown-tiny-distill-sft-s3"
    assert str(stages[-1].folder) == "runs/countdown-tiny-distill-s3", "as it runs alone"
    other = read(BASE, SFT, RL % ", set: {max_steps: 1}", STUDENT, DISTILL % "", seed=3).stages[-1]
    assert other.config.recipe.values["teacher_model_name_or_path"] == "runs/mine-s3/rl"
    assert str(other.folder) == "runs/mine-s3/distill"


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ((BASE, STUDENT, DISTILL % ""), "teacher_from: no earlier stage 'rl'; there is base, student-base, student"),
        ((BASE, SFT, RL % "", RL.replace("name: rl", "name: two") % ", teacher_from: rl"),
         "learns from one that leaves a model, not r1_grpo from r1_grpo"),
        ((BASE, SFT, RL % "", SAMPLES % "", STUDENT, DISTILL.replace("from: rl", "from: samples") % ""),
         "not distill from generate"),
        ((BASE, SFT, RL % "", STUDENT, DISTILL % ", set: {teacher_model_name_or_path: x}"),
         "teacher_model_name_or_path: teacher_from: rl says who teaches the stage"),
    ],
)  # fmt: skip
def test_who_cannot_teach(home, stages, said):
    with pytest.raises(RecipeError) as error:
        read(*stages)
    assert said in str(error.value)


def test_a_teacher_made_anew_since_is_refused(home):
    pipeline = read(BASE, SFT, RL % "", STUDENT, DISTILL % "")
    for stage in pipeline.stages:
        finish(stage)
    choice = choose(pipeline, None, None, False)
    assert refusal(pipeline.stages[-1], pipeline, choice) is None
    finish(pipeline.stages[2], finished=LATE)
    assert "an older rl" in str(refusal(pipeline.stages[-1], pipeline, choice))


JUDGE = (
    "  - {name: judge, run: reward, recipe: ../r1-tiny-helpful-rm.yaml, init_from: cold-start, "
    "set: {output_dir: runs/rm}}\n"
)
JUDGED = (
    "  - {name: judged, run: r1_grpo, recipe: ../countdown-tiny.yaml, init_from: cold-start, set: {reward_funcs: "
    "[equation_reward, {name: helpful, reward_model: runs/rm, part: summary}]}}\n"
)


def test_a_judge_made_anew_since_is_refused(home):
    pipeline = read(BASE, SFT, JUDGE, RL % "", JUDGED)
    judge, rl, judged = pipeline.stages[2:]
    assert (rl.parents, judged.parents) == (("cold-start",), ("cold-start", "judge"))
    for stage in pipeline.stages:
        finish(stage)
    choice = choose(pipeline, None, None, False)
    assert refusal(judged, pipeline, choice) is None
    finish(judge, finished=LATE)
    assert "an older judge" in str(refusal(judged, pipeline, choice)) and refusal(rl, pipeline, choice) is None
    (judge.folder / "summary.json").unlink()
    with pytest.raises(RecipeError, match="judged needs judge, which is not finished"):
        choose(pipeline, None, "judged", False)


def test_a_judge_of_one_of_several_tasks_counts(home):
    stages = read_pipeline("recipes/pipelines/r1-tiny.yaml", 3).stages
    judged = [stage.name for stage in stages if {"helpful", "harmless"} <= set(stage.parents)]
    assert judged == ["rl-all", "final"]
