"""Reinforce-Lite's and Logic-RL's recipes say what was published: numbers as data, beside the resolved recipes."""

import dataclasses

import pytest
import torch
from repository import ROOT
from shipped_recipes import header_of, recipe_of
from transformers import get_scheduler

from mini_r1 import tasks
from mini_r1.config.algorithm import read_temperature_schedule
from mini_r1.config.arguments import GRPOArguments
from mini_r1.config.batch import plan_batch
from mini_r1.data.problems import load_rows
from mini_r1.data.prompts import get_template
from mini_r1.launch.memory import estimate_memory
from mini_r1.launch.model_shapes import model_shape
from mini_r1.pipeline.stages import read_pipeline

LOGIC_RL = ("logic-rl-1", "logic-rl-2", "logic-rl-3")


@pytest.mark.parametrize("stem", ["gsm8k-reinforce-lite", "gsm8k-reinforce-lite-phi"])
def test_reinforce_lite_is_as_published(stem):
    """Its report, and github.com/Raj-08/Q-Flow."""
    values = recipe_of(stem).recipe.values
    published = {
        "num_generations": 10,
        "reward_funcs": ["number_reward"],
        "reward_values": {"number_reward": [1, -1, -1]},
        "max_completion_length": 1024,
        "temperature": 0.7,
        "top_p": 0.9,
        "advantage": "reinforce_lite",
        "trained_completions": "one",
        "max_grad_norm": 1.0,
        "learning_rate": 1.0e-6,
        "beta": 0.0,  # no reference, no KL
        "num_processes": 1,
        "gpu_gib": 48,
    }
    assert {key: values[key] for key in published} == published
    assert get_template(values["prompt_template"]).prefill == ""
    # REINFORCE: the sum over a completion's tokens, mean over completions, and a ratio that is always 1
    assert (values["loss_type"], values["importance_sampling_level"]) == ("luspo", "sequence")
    assert (values["steps_per_generation"], values["num_iterations"]) == (None, 1)
    assert not values["vllm_importance_sampling_correction"]


def test_reinforce_lite_differs_in_the_model_only():
    one, other = (recipe_of(stem).recipe.values for stem in ("gsm8k-reinforce-lite", "gsm8k-reinforce-lite-phi"))
    allowed = {"model_name_or_path", "output_dir", "per_device_train_batch_size", "gradient_accumulation_steps"}
    assert {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)} == allowed
    assert (
        "Llama-3.2-3B-Instruct" in one["model_name_or_path"] and "Phi-3.5-mini-instruct" in other["model_name_or_path"]
    )


def test_logic_rl_is_as_published():
    """Their first report: people, rollouts, training batch, sampling, and the last learning rate, by stage."""
    stages = [recipe_of(stem).recipe.values for stem in LOGIC_RL]
    assert [v["task_args"]["count"] for v in stages] == [[3], [5], [5]]
    assert [v["num_generations"] for v in stages] == [32, 64, 16]
    assert [plan_batch(recipe_of(stem), 4).prompts_per_step for stem in LOGIC_RL] == [8, 8, 8]
    assert sum(v["max_steps"] for v in stages) == 400
    assert [v["temperature"] for v in stages] == [1.0, 1.2, 0.9]
    assert [v.get("temperature_schedule") for v in stages] == [None, None, {"fractions": [[0, 1.2], [1, 0.9]]}]
    schedule = read_temperature_schedule(stages[2]["temperature_schedule"])
    steps = stages[2]["max_steps"]
    assert (schedule.at(0, steps), schedule.at(steps - 1, steps)) == (1.2, 0.9)
    for values in stages:
        assert values["reward_values"] == {"format_reward": [1, -1, -1], "roles_reward": [2, -1.5, -2]}
        assert values["require_format"] == ["roles_reward"]
        assert (values["advantage"], values["beta"], values["entropy_coef"]) == ("group", 0.001, 0.0)
        assert (values["num_processes"], values["gpu_gib"]) == (4, 80)
    assert [v["learning_rate"] for v in stages] == [4e-7] * 3
    assert last_learning_rate(stages[2]) == pytest.approx(2e-7, rel=0.01)
    assert last_learning_rate(stages[1]) == 4e-7


def last_learning_rate(values: dict) -> float:
    """That of the last optimizer step, by the installed transformers."""
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=values["learning_rate"])
    scheduler = get_scheduler(
        values["lr_scheduler_type"],
        optimizer,
        num_warmup_steps=values["warmup_steps"],
        num_training_steps=values["max_steps"],
        scheduler_specific_kwargs=values["lr_scheduler_kwargs"],
    )
    for _ in range(values["max_steps"] - 1):
        optimizer.step()
        scheduler.step()
    return scheduler.get_last_lr()[0]


def test_logic_rl_measures_what_no_stage_trains_on():
    """Fewer than 2,000 puzzles in all, of which those of 5 people that are measured are in no stage's training."""
    splits = {}
    for stem in (*LOGIC_RL, "logic-rl-eval"):
        args = arguments_of(stem, "evaluate" if stem == "logic-rl-eval" else "r1_grpo")
        splits[stem] = load_rows(args, tasks.get(args.task))
    key = tasks.get("knights_knaves").key
    trained = {key(row) for stem in LOGIC_RL for row in splits[stem].train}
    measured = splits["logic-rl-eval"].test
    assert {len(row["names"]) for row in measured} == {5}
    assert not trained & {key(row) for row in measured}
    held_out = {key(row) for split in splits.values() for row in split.test}
    assert not trained & held_out
    assert len(trained | held_out) < 2000
    counts = [len(splits[stem].train) for stem in LOGIC_RL]
    assert (counts, len(measured)) == ([804, 917, 917], 183)  # as the headers say
    for stem, count in zip(LOGIC_RL, counts, strict=True):
        assert f"{count} training puzzles" in header_of(stem)["Batch"]


def arguments_of(stem: str, kind: str) -> GRPOArguments:
    values = recipe_of(stem, kind).recipe.values
    return GRPOArguments(
        **{field.name: values[field.name] for field in dataclasses.fields(GRPOArguments) if field.name in values}
    )


def test_logic_rl_single_is_the_papers_run():
    """arXiv:2502.14768: REINFORCE++, 3,600 steps of 8 prompts x 8, 4e-7 throughout, temperature 0.7, KL 0.001."""
    values = recipe_of("logic-rl-single").recipe.values
    assert (values["advantage"], values["beta"], values["max_steps"]) == ("batch", 0.001, 3600)
    assert (values["learning_rate"], values["lr_scheduler_type"]) == (4e-7, "constant")
    assert (values["temperature"], values.get("temperature_schedule")) == (0.7, None)
    assert (values["num_generations"], values["max_completion_length"]) == (8, 4096)
    assert values["dataset_train_split"] == "3ppl+4ppl+5ppl+6ppl+7ppl"


def test_logic_rl_pipeline(monkeypatch):
    """Each stage begins with the one before, and is followed by the same measurement; GSM8K at both ends."""
    monkeypatch.chdir(ROOT)
    stages = read_pipeline("recipes/pipelines/logic-rl.yaml", 7).stages
    like = {"format": "logic-rl-1", "explore": "logic-rl-2", "anneal": "logic-rl-3"}
    assert [(stage.kind, like.get(stage.name, stage.name), *(stage.parents or [None])) for stage in stages] == [
        ("evaluate", "before", None),
        ("evaluate", "gsm8k-before", None),
        ("r1_grpo", "logic-rl-1", None),
        ("evaluate", "after-format", "format"),
        ("r1_grpo", "logic-rl-2", "format"),
        ("evaluate", "after-explore", "explore"),
        ("r1_grpo", "logic-rl-3", "explore"),
        ("evaluate", "after-anneal", "anneal"),
        ("evaluate", "gsm8k-after", "anneal"),
    ]
    for stage in stages:
        gsm8k = "gsm8k" if "gsm8k" in stage.name else ""
        other = like.get(stage.name, f"logic-rl-{gsm8k + '-' if gsm8k else ''}eval")
        alone = recipe_of(other, stage.kind).recipe.values | {"seed": 7}
        assert {key for key in alone if alone[key] != stage.config.recipe.values[key]} <= {
            "model_name_or_path",
            "output_dir",
        }
    folders = {stage.name: str(stage.folder) for stage in stages}
    for stage in stages:
        if not stage.parents:
            assert stage.config.model_name_or_path == recipe_of("logic-rl-1").model_name_or_path
        else:
            assert stage.config.model_name_or_path == folders[stage.parents[0]]


@pytest.mark.parametrize("stem", ["logic-rl-eval", "logic-rl-gsm8k-eval"])
def test_logic_rl_evaluations(stem):
    """One greedy completion of each problem, without what only training needs; the whole model fits each GPU."""
    values = recipe_of(stem, "evaluate").recipe.values
    assert (values["top_k"], values["num_generations_eval"], values["beta"]) == (1, 1, 0.0)
    assert (values["max_eval_rows"], values["prompt_template"]) == (None, "logic_rl")
    assert values.get("temperature_schedule") is None
    config = recipe_of(stem, "evaluate")
    plan_batch(config, 4)
    estimate = estimate_memory(
        config, model_shape(config.model_name_or_path), processes=4, backend="colocate",
        prompt_tokens=config.max_prompt_tokens, gpu_gib=config.gpu_gib,
    )  # fmt: skip
    assert estimate.fits
