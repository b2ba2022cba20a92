"""Rewards of one's own: what they give, want and raise is said in one line; in the check and in training."""

import json

import numpy as np
import pytest
import torch

from mini_r1 import tasks
from mini_r1.data.prompts import Prompt
from mini_r1.data.reward_loader import check_numbers, load_rewards
from mini_r1.errors import RecipeError
from mini_r1.launch.check_data import call_reward
from mini_r1.rewards import equation_reward, format_reward
from mini_r1.rewards.text import prefill_of

COUNTDOWN = tasks.get("countdown")
MODULE = """
import asyncio

def fine_reward(completions, target, **kwargs):
    return [float(str(t) in c) for c, t in zip(completions, target)]

def nothing_reward(completions, **kwargs):
    return None

def text_reward(completions, **kwargs):
    return ["1"] * len(completions)

def short_reward(completions, **kwargs):
    return [1.0] * (len(completions) - 1)

def nan_reward(completions, **kwargs):
    return [float("nan")] * len(completions)

def infinite_reward(completions, **kwargs):
    return [1 / (len(c) or 1e-999) if len(c) else float("inf") for c in completions]

def huge_reward(completions, **kwargs):
    return [10 ** 400] * len(completions)

def raising_reward(completions, **kwargs):
    return [1 / len(c) for c in completions]

def wanting_reward(completions, solution, **kwargs):
    return [0.0] * len(completions)

def bare_reward(completions):
    return [0.0] * len(completions)

async def late_reward(completions, **kwargs):
    await asyncio.sleep(0)
    return [0.5] * (len(completions) + 1)

def argument_reward(completions, pay, **kwargs):
    return [pay] * len(completions)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a module of one's own, in which one stands."""
    (tmp_path / "my_own_rewards.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return "my_own_rewards."


def load(entry):
    return load_rewards([entry], task_module=COUNTDOWN)[0]


COLUMNS = {"nums": [[1, 2]], "target": [3], "difficulty": [2]}


class Letters:
    def __call__(self, text, add_special_tokens):
        return {"input_ids": list(map(ord, text))}


def called(reward, *texts):
    return call_reward(reward, list(texts), Prompt("Q", ""), COLUMNS, Letters())


def test_a_module_in_the_working_directory_is_found(own):
    assert called(load(own + "fine_reward"), "is it 3?", "") == [1.0, 0.0]
    assert called(load({"name": own + "argument_reward", "pay": 2}), "", "") == [2.0, 2.0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "nothing_reward gives None, expected a list with one number for each completion"),
        ("text", "text_reward gives '1', expected a finite number"),
        ("short", "short_reward gives 1 numbers for 2 completions"),
        ("nan", "nan_reward gives nan, expected a finite number"),
        ("infinite", "infinite_reward gives inf, expected a finite number, or None where no reward is due; the "
         "completion is ''"),
        ("huge", "huge_reward gives 1000"),
        ("raising", "raising_reward raises ZeroDivisionError: division by zero ("),
        ("late", "late_reward gives 3 numbers for 2 completions"),
    ],
)  # fmt: skip
def test_what_a_reward_gives(own, name, said):
    reward = load(f"{own}{name}_reward")
    with pytest.raises(RecipeError) as error:
        called(reward, "a", "")
    assert error.value.key == "reward_funcs" and error.value.problem.startswith(said)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("wanting_reward", "wanting_reward wants solution, and the rows of this task have nums, target, difficulty"),
        ("argument_reward", "argument_reward wants pay, and the rows"),
        ("bare_reward", "bare_reward has no \\*\\*kwargs"),
        ("fine_rewrd", "has no function 'fine_rewrd'; did you mean fine_reward.*Known: .*wanting_reward"),
    ],
)
def test_what_a_reward_wants(own, entry, said):
    with pytest.raises(RecipeError, match=said) as error:
        load(own + entry)
    assert error.value.key == "reward_funcs"


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([1, None], [1.0, None]),
        ([True, False], [1.0, 0.0]),
        ((0.5, -2), [0.5, -2.0]),
        (np.array([0.5, 1.0]), [0.5, 1.0]),
        (torch.tensor([0.5, 1.0]), [0.5, 1.0]),
        ((value for value in (0, 1)), [0.0, 1.0]),
    ],
)
def test_numbers_of_every_kind(numbers, expected):
    assert check_numbers("my_reward", numbers, ["a", "b"]) == expected


@pytest.mark.parametrize("numbers", [3.0, "ab", {"a": 1, "b": 2}, [1e39, 0], [1, [2]], [1, "2"], [1 + 2j, 1]])
def test_no_numbers(numbers):
    with pytest.raises(RecipeError, match="my_reward gives"):
        check_numbers("my_reward", numbers, ["a", [{"role": "assistant", "content": "b"}]])


def test_the_check_names_every_faulty_reward(own, tmp_path, tiny_model_dir):
    recipe = tmp_path / "mine.yaml"
    for name in ("raising", "infinite", "short"):
        values = {"task": "countdown", "task_args": {"n": 30}, "model_name_or_path": str(tiny_model_dir),
                  "reward_funcs": ["format_reward", f"{own}{name}_reward"], "max_prompt_tokens": 400}  # fmt: skip
        recipe.write_text(json.dumps(values))
        from mini_r1.launch.check import preflight

        found = preflight(["--config", str(recipe)], gpus=0)
        errors = [finding.text for finding in found.findings if finding.level == "error"]
        assert any(f"reward_funcs: {name}_reward " in text for text in errors), errors


@pytest.mark.parametrize(
    ("prompt", "prefill"),
    [
        ("User: 1 + 2?\nAssistant: <think>", "<think>"),
        ("...<|im_start|>assistant\n<think>\n", "<think>\n"),
        ("Think in <think> </think> tags. Assistant:", ""),
        ("no tag", ""),
        ("", ""),
        ([{"role": "user", "content": "?"}, {"role": "assistant", "content": "Let me see. <think>"}], "<think>"),
        ([{"role": "user", "content": "What is <think>"}], ""),
        ([], ""),
    ],
)
def test_prefill_of(prompt, prefill):
    assert prefill_of(prompt) == prefill


def test_a_bare_trl_script_needs_no_prefill_column():
    completion = "one and two</think>\n<answer>1 + 2</answer>"
    prompts = ["User: make 3. Assistant: <think>", "User: make 3. Assistant:"]
    assert format_reward(completions=[completion] * 2, prompts=prompts) == [1.0, 0.0]
    how = {"nums": [[1, 2]] * 2, "target": [3] * 2}
    assert equation_reward(completions=[completion, "<think>" + completion], prompts=prompts, **how) == [1.0, 1.0]
    assert format_reward(completions=[completion], prompts=prompts[:1], prefill=[""]) == [0.0], "a column decides"


def test_a_folder_here_passes_for_no_package(own, tmp_path):
    """W&B makes a folder wandb/ where a run is started; transformers looks whether wandb can be imported."""
    import sys
    from importlib.util import find_spec

    (tmp_path / "no_such_package").mkdir()
    load(own + "fine_reward")
    assert str(tmp_path) not in sys.path and find_spec("no_such_package") is None
