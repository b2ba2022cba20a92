"""The batch arithmetic, and that it refuses what TRL refuses and nothing TRL accepts without a reason of our own."""

import itertools

import pytest
from trl import GRPOConfig

from configs import config_of
from mini_r1.config.batch import plan_batch
from mini_r1.errors import RecipeError


def values(per_device=8, accumulation=1, group=8, **others):
    return {
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": accumulation,
        "num_generations": group,
        "learning_rate": 1e-6,  # other keys of a recipe are of no concern here
        **others,
    }


@pytest.mark.parametrize(
    ("settings", "processes", "completions", "prompts", "generation"),
    [
        ({}, 1, 8, 1, 8),
        (values(1, 64, 8), 7, 448, 56, 448),  # Mini-R1: 7 training GPUs, 56 prompts x 8
        (values(16, 4, 8), 2, 128, 16, 128),
        (values(4, 4, 8, steps_per_generation=8), 1, 16, 2, 32),
        (values(4, 4, 8, generation_batch_size=32), 1, 16, 2, 32),
        (values(4, 4, 16, num_iterations=2, save_steps=10, per_device_eval_batch_size=16), 1, 16, 1, 16),
    ],
)
def test_counts(settings, processes, completions, prompts, generation):
    plan = plan_batch(config_of(settings), processes)
    assert plan.completions_per_step == completions
    assert plan.prompts_per_step == prompts
    assert plan.completions_per_generation == generation
    assert plan.prompts_per_generation * plan.num_generations == generation


@pytest.mark.parametrize(
    ("settings", "processes", "key", "expected"),
    [
        (
            values(1, 8, 16),
            7,
            "num_generations",
            "processes 7 x per-device 1 x accumulation 8 make 56 completions a step, which groups of 16 do not divide; "
            "use per_device_train_batch_size 2, or num_generations 14 or 28",
        ),
        (values(5, 1, 4), 2, "num_generations", "use per_device_train_batch_size 4 or 6, or num_generations 2 or 5"),
        (values(1, 1, 8), 1, "num_generations", "use per_device_train_batch_size 8"),
        (values(8, 1, 1), 1, "num_generations", "got 1; GRPO compares completions, so use at least 2"),
        (values(8, 1, None), 1, "num_generations", "got None; GRPO compares completions"),
        (
            values(4, 4, 8, steps_per_generation=1),
            1,
            "num_generations",
            "16 completions a step and 4 a rollout, which groups of 8 do not divide; use per_device_train_batch_size 8",
        ),
        (
            values(4, 1, 8, steps_per_generation=4),
            1,
            "num_generations",
            "4 completions a step and 16 a rollout, which groups of 8 do not divide",
        ),
        (
            values(generation_batch_size=8, steps_per_generation=1),
            1,
            "generation_batch_size",
            "given together with steps_per_generation; leave one out",
        ),
        (
            values(generation_batch_size=40),
            2,
            "generation_batch_size",
            "40 is not a multiple of processes x per_device_train_batch_size = 16; use 32 or 48",
        ),
        (
            values(per_device_eval_batch_size=3, eval_strategy="steps"),
            2,
            "per_device_eval_batch_size",
            "processes 2 x per-device 3 completions are not a multiple of the 8 generations per "
            "evaluation prompt; use 4, or set",
        ),
        (
            values(num_generations_eval=3, eval_strategy="epoch"),
            1,
            "per_device_eval_batch_size",
            "processes 1 x per-device 8 completions are not a multiple of the 3 generations per "
            "evaluation prompt; use 6 or 9",
        ),
        (
            values(4, 2, 8, trained_completions="one"),
            1,
            "per_device_train_batch_size",
            "4 completions of a micro-batch are not whole groups of 8, of which trained_completions: one takes one "
            "each; use 8",
        ),
        # held-out problems are measured before and after every run, also where nothing is evaluated in between
        (
            values(per_device_eval_batch_size=3),
            1,
            "per_device_eval_batch_size",
            "processes 1 x per-device 3 completions are not a multiple of the 8 generations per "
            "evaluation prompt; use 8, or set num_generations_eval",
        ),
        (values(6, 1, 3, eval_strategy="no"), 1, "per_device_eval_batch_size", "per-device 8 completions are not a"),
        (
            values(num_iterations=4, save_steps=50),
            1,
            "save_steps",
            "a checkpoint every 50 steps falls inside a rollout, which is used for 4 steps, and could not be resumed "
            "exactly; use 48 or 52",
        ),
        (values(8, 2, 8, steps_per_generation=6, save_steps=1), 1, "save_steps", "used for 3 steps, and could not be"),
        (values(num_iterations=2, save_steps=0.1, max_steps=50), 1, "save_steps", "every 5 steps falls inside"),
    ],
)
def test_refused(settings, processes, key, expected):
    with pytest.raises(RecipeError) as error:
        plan_batch(config_of(settings), processes)
    assert error.value.key == key
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        values(per_device_eval_batch_size=3, num_generations_eval=1),
        values(per_device_eval_batch_size=3, num_generations_eval=1, eval_strategy="steps"),
        values(6, 1, 3, per_device_eval_batch_size=9),
        values(num_iterations=4, save_steps=52),
        values(num_iterations=4, save_steps=50, save_strategy="no"),
        values(num_iterations=4, save_steps=0.1),  # depends on the number of rows
        values(8, 4, 8, steps_per_generation=2, save_steps=1),  # two rollouts in each step
    ],
)
def test_accepted(settings):
    plan_batch(config_of(settings), 1)


@pytest.mark.parametrize(
    ("per_device", "accumulation", "group"), [*itertools.product([1, 2, 3, 4], [1, 2, 3], [2, 3, 4])]
)
def test_agrees_with_trl_where_rollout_and_step_are_one(per_device, accumulation, group):
    settings = values(per_device, accumulation, group, per_device_eval_batch_size=group)  # the evaluation always fits
    try:
        config = GRPOConfig(use_cpu=True, bf16=False, **settings)
    except ValueError:
        with pytest.raises(RecipeError) as error:
            plan_batch(config_of(settings), 1)
        assert error.value.key == "num_generations"
    else:
        plan = plan_batch(config_of(settings), 1)
        assert plan.completions_per_generation == config.generation_batch_size
        assert plan.steps_per_generation == config.steps_per_generation


@pytest.mark.parametrize(("per_device", "group"), [*itertools.product([1, 3, 4, 6], [None, 1, 2, 3])])
def test_agrees_with_trl_on_the_evaluation_batch(per_device, group):
    settings = values(8, 1, 4, per_device_eval_batch_size=per_device, num_generations_eval=group)
    try:
        GRPOConfig(use_cpu=True, bf16=False, eval_strategy="steps", eval_steps=1, **settings)
    except ValueError:
        for strategy in ("steps", "no"):  # TRL does not look where nothing is evaluated; our own measurement needs it
            with pytest.raises(RecipeError) as error:
                plan_batch(config_of(settings | {"eval_strategy": strategy}), 1)
            assert error.value.key == "per_device_eval_batch_size"
    else:
        plan_batch(config_of(settings), 1)


@pytest.mark.parametrize(
    ("settings", "rows", "per_epoch", "total"),
    [
        (values(16, 1, 8), 100, 50, 150),
        (values(16, 1, 8), 101, 50, 150),  # TRL drops the row that fills no rollout
        (values(16, 1, 8, num_train_epochs=0.25), 100, 50, 13),
        (values(16, 1, 8, max_steps=20), 100, 50, 20),
        (values(8, 2, 8, num_iterations=2), 10, 10, 30),  # 5 rollouts, each used for 2 steps
        (values(8, 2, 8, steps_per_generation=1), 5, 3, 9),  # the last step of an epoch is half as large
    ],
)
def test_steps(settings, rows, per_epoch, total):
    plan = plan_batch(config_of(settings), 1)
    assert plan.steps_per_epoch(rows) == per_epoch
    assert plan.total_steps(rows) == total


def test_too_few_rows():
    with pytest.raises(RecipeError, match="3 training rows do not fill one rollout of 56 prompts"):
        plan_batch(config_of(values(1, 64, 8)), 7).describe(3)


def test_describe():
    plan = plan_batch(config_of(values(1, 64, 8, max_steps=450)), 7)
    assert plan.describe().splitlines() == [
        "optimizer step: processes 7 x per-device 1 x accumulation 64 = 448 completions = 56 prompts x 8",
        "rollout: 448 completions = 56 prompts x 8, optimizer steps per rollout: 1",
    ]
    assert plan.describe(45000).splitlines()[2] == "run: 450 optimizer steps = 0.56 epochs of 803 (45000 rows)"
