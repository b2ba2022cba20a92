import json

import pytest
import torch
from safetensors.torch import load_file
from small_trainer import kinds_of_letters, small_model, small_trainer
from transformers import TrainerCallback

from mini_r1.errors import RecipeError, RunStopped
from mini_r1.rewards import Verdict, equation_reward, format_reward, reward_from
from mini_r1.training.guards import DEFAULTS, Guards, read_guards, steps_in_a_row

OFF = {"clipped_steps": 0, "no_variance_steps": 0, "nan": False}
NEVER_ENDS = {"generation_kwargs": {"suppress_tokens": [2]}}  # the end of a turn is never sampled
ALL_RIGHT = reward_from("all_right", lambda text: Verdict.CORRECT)
ALL_WRONG = reward_from("all_wrong", lambda text: Verdict.WRONG, [2.0, -1.5, -2.0])


def constant(completions, **kwargs):
    return [0.25] * len(completions)


def by_prompt(completions, prompts, **kwargs):
    """Right for one prompt, wrong for the next: equal within a group, different between groups."""
    groups = sorted(set(prompts))
    return [float(groups.index(prompt) % 2) for prompt in prompts]


def infinite(completions, **kwargs):
    return [float("inf") if i == 0 else 1.0 for i in range(len(completions))]


class SpoilGradient(TrainerCallback):
    """Puts a NaN into one gradient in the given step, after a finite loss."""

    def __init__(self, step: int):
        self.step, self.hook = step, None

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if state.global_step + 1 == self.step:
            self.hook = model.model.norm.weight.register_hook(lambda gradient: gradient * torch.nan)


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_tokenizer) -> str:
    assert tiny_tokenizer.eos_token_id == 2
    return small_model(tmp_path_factory.mktemp("small") / "model", tiny_tokenizer)


@pytest.fixture
def guarded(model, tiny_tokenizer, tiny_rows, tmp_path):
    def build(rewards, limits, **settings):
        trainer = small_trainer(model, tiny_tokenizer, tiny_rows, rewards, tmp_path / "run", **settings)
        trainer.add_callback(Guards(trainer, read_guards(OFF | limits)))
        return trainer

    return build


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        (None, DEFAULTS),
        ({}, DEFAULTS),
        ({"clipped_steps": 5}, {**DEFAULTS, "clipped_steps": 5}),
        ({"no_variance_steps": False, "nan": 0}, {**DEFAULTS, "no_variance_steps": False, "nan": 0}),
    ],
)
def test_what_a_recipe_says_goes_over_the_defaults(given, limits):
    assert read_guards(given) == limits


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"nan_steps": 5}, "unknown guard 'nan_steps', there are clipped_steps, no_variance_steps, nan; did you mean"),
        ({"loss": 5}, "unknown guard 'loss', there are clipped_steps, no_variance_steps, nan"),
        ({"clipped_steps": -1}, "clipped_steps is -1; use a number of steps, or 0"),
        ({"clipped_steps": True}, "clipped_steps is True; use a number of steps"),
        ({"no_variance_steps": 2.5}, "no_variance_steps is 2.5; use a number of steps"),
        ({"no_variance_steps": None}, "no_variance_steps is None; use a number of steps"),
        ({"nan": 20}, "nan is 20; use true or false"),
        ({"nan": "yes"}, "nan is 'yes'; use true or false"),
    ],
)
def test_wrong_guards_are_refused(given, problem):
    with pytest.raises(RecipeError) as error:
        read_guards(given)
    assert str(error.value).startswith(f"guards: {problem}")


@pytest.mark.parametrize(
    ("shares", "steps"),
    [
        ([], 0),
        ([(1, 0.9), (2, 0.5)], 0),
        ([(1, 1.0), (2, 1.0)], 2),
        ([(1, 0.99), (2, 1.0), (3, 1.0)], 2),
        ([(10, 0.99), (20, 1.0), (30, 1.0)], 20),
        ([(1, 1.0), (2, None), (3, 1.0)], 3),
        ([(1, 1.0), (2, 0.0), (2, None)], 0),
    ],
    ids=["nothing", "never", "always", "since the first", "logged every 10", "no rollout in between", "other entries"],
)
def test_steps_in_a_row(shares, steps):
    history = [{"step": step, "loss": 0.0} | ({} if share is None else {"x": share}) for step, share in shares]
    assert steps_in_a_row(history, "x") == steps


def test_completions_that_are_all_cut_off(guarded, tmp_path):
    trainer = guarded([kinds_of_letters], {"clipped_steps": 3}, log_completions=True, save_strategy="steps",
                      save_steps=2, num_completions_to_print=0, **NEVER_ENDS)  # fmt: skip
    with pytest.raises(RunStopped) as stopped:
        trainer.train()
    text = str(stopped.value)
    assert "stopped after step 3: for 3 steps every completion was cut off at max_completion_length (6 tokens)" in text
    assert "guards: {clipped_steps: 0}" in text and "\n" not in text
    assert trainer.state.log_history[-1]["step"] == 3
    assert (tmp_path / "run/completions/completions_00003.parquet").exists(), "what to look at is written"
    assert (tmp_path / "run/checkpoint-2/model.safetensors").exists()


@pytest.mark.parametrize(
    ("rewards", "settings", "words"),
    [
        (
            [format_reward, equation_reward],
            {"beta": 0.1},
            ["format_reward always 0, equation_reward always 0", "nothing earns format_reward or equation_reward",
             "only the KL term"],
        ),
        ([ALL_RIGHT, ALL_WRONG], {}, ["all_right always 1, all_wrong always -1.5", "nothing earns all_wrong;"]),
        ([ALL_RIGHT, constant], {"entropy_coef": 0.1}, ["nothing is left to learn", "only the entropy term"]),
        ([ALL_RIGHT, by_prompt], {}, ["by_prompt on average 0.5", "each prompt is always right or always wrong"]),
        ([constant], {"scale_rewards": "batch"}, ["constant always 0.25", "harder problems if", "easier ones"]),
    ],
    ids=["nothing earned", "one of two earned", "all earned", "equal within groups only", "no known maximum"],
)  # fmt: skip
def test_rewards_that_do_not_differ(guarded, rewards, settings, words):
    with pytest.raises(RunStopped) as stopped:
        guarded(rewards, {"no_variance_steps": 2}, max_steps=4, **settings).train()
    text = str(stopped.value)
    assert "stopped after step 2: for 2 steps no group had two different rewards (" in text
    for word in words:
        assert word in text
    assert ("term moved the weights" in text) == bool(settings.get("beta") or settings.get("entropy_coef"))


@pytest.mark.parametrize(
    ("rewards", "settings", "what"),
    [
        ([infinite], {"scale_rewards": "none"}, "the loss is NaN or infinite"),
        ([kinds_of_letters], {"spoil": 3}, "the gradient norm is NaN or infinite"),
        ([kinds_of_letters], {"spoil": 3, "max_grad_norm": 0.0}, "the gradient norm is NaN or infinite"),
        ([kinds_of_letters], {"spoil": 3, "gradient_accumulation_steps": 2}, "the gradient norm is NaN or infinite"),
    ],
    ids=["infinite reward", "gradient", "gradient, no clipping", "gradient, accumulated"],
)
def test_nan_is_seen_before_it_is_in_the_weights_or_a_checkpoint(guarded, tmp_path, rewards, settings, what):
    """Saved at every step, logged at none of them."""
    spoil = settings.pop("spoil", 1)
    trainer = guarded(rewards, {"nan": True}, save_strategy="steps", save_steps=1, logging_steps=10, **settings)
    if rewards != [infinite]:
        trainer.add_callback(SpoilGradient(spoil))
    with pytest.raises(RunStopped, match=f"stopped in step {spoil}: {what}"):
        trainer.train()
    assert trainer.state.global_step == spoil - 1
    assert all(weight.isfinite().all() for weight in trainer.model.parameters())
    saved = sorted((tmp_path / "run").glob("checkpoint-*"))
    assert [folder.name for folder in saved] == [f"checkpoint-{step}" for step in range(1, spoil)]
    for folder in saved:
        assert all(weight.isfinite().all() for weight in load_file(folder / "model.safetensors").values())


def test_a_guard_that_is_off_lets_the_run_go_on(guarded):
    trainer = guarded([constant], {"clipped_steps": False}, **NEVER_ENDS)
    trainer.train()
    assert trainer.state.global_step == 5
    log = trainer.state.log_history[0]
    assert log["completions/clipped_ratio"] == log["frac_reward_zero_std"] == 1.0


def test_the_steps_in_a_row_are_reached_in_the_last_step(guarded):
    with pytest.raises(RunStopped, match="stopped after step 5: for 5 steps"):
        guarded([constant], {"no_variance_steps": 5}).train()


def test_a_resumed_run_is_stopped_in_the_same_step(guarded, tmp_path):
    said = []
    for checkpoint in (None, str(tmp_path / "run/checkpoint-2")):
        trainer = guarded([constant], {"no_variance_steps": 4}, save_strategy="steps", save_steps=2)
        with pytest.raises(RunStopped) as stopped:
            trainer.train(resume_from_checkpoint=checkpoint)
        said.append(str(stopped.value))
    assert "after step 4: for 4 steps" in said[0] and said[1] == said[0]


def test_the_script_says_one_line_and_leaves_the_run_unfinished(run_script, capsys, model, tmp_path):
    recipe = tmp_path / "small.yaml"
    recipe.write_text(f"""
task: countdown
task_args: {{n: 100, seed: 0, count: [3], numbers: [1, 12], target: [1, 99], in_order: true}}
model_name_or_path: {model}
output_dir: {tmp_path}/run
use_cpu: true
bf16: false
dtype: float32
gradient_checkpointing: false
report_to: none
logging_steps: 1
per_device_train_batch_size: 8
num_generations: 4
max_completion_length: 4
max_eval_rows: 2
num_generations_eval: 2
per_device_eval_batch_size: 8
max_steps: 8
save_steps: 2
guards: {{no_variance_steps: 3}}
""")
    with pytest.raises(SystemExit) as status:
        run_script("run_r1_grpo.py", "--config", recipe)
    assert status.value.code == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "run stopped after step 3: for 3 steps no group had two" in errors[0]
    assert not (tmp_path / "run/summary.json").exists() and not (tmp_path / "run/model.safetensors").exists()
    assert json.loads((tmp_path / "run/checkpoint-2/whole.json").read_text())["seconds"] > 0
