"""From names in a recipe to functions for TRL: what is found, what the recipe may change, which rows are due."""

import asyncio
import inspect
import sys
from types import ModuleType

import pytest

from mini_r1.data.reward_loader import load_rewards
from mini_r1.errors import RecipeError
from mini_r1.rewards import Verdict, equation_reward, format_reward, reward_from
from mini_r1.tasks import countdown

RIGHT = "<think>hm</think><answer>1+2</answer>"
CHATTY = RIGHT + " Bye!"  # the answer is right, the format is not
WRONG = "<think>hm</think><answer>1*2</answer>"
NO_ANSWER = "<think>hm</think>1+2"
TEXTS = [RIGHT, CHATTY, WRONG, NO_ANSWER]
GOLD = {"nums": [[1, 2]] * 4, "target": [3] * 4}


def length_reward(completions, **kwargs):
    """Continuous: numbers of its own, no verdicts."""
    return [float(len(completion)) for completion in completions]


@pytest.fixture
def task_module():
    module = ModuleType("my_task")
    module.generate, module.parse_row = countdown.generate, countdown.parse_row  # its rows have nums and target
    module.length_reward = length_reward
    module.loud_reward = reward_from("loud_reward", lambda text: Verdict.CORRECT if "!" in text else Verdict.WRONG)
    module.some_reward = "not a function"
    module.helper = print
    return module


@pytest.fixture
def write_module(tmp_path, monkeypatch):
    """Write `my_pkg/<name>.py` where Python finds it, and forget it after the test."""
    folder = tmp_path / "my_pkg"
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name, source: (folder / f"{name}.py").write_text(source)
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_pkg"]:
        del sys.modules[name]


# How a verdict becomes a reward


def test_reward_from_maps_verdicts_to_numbers():
    verdicts = {"right": Verdict.CORRECT, "wrong": Verdict.WRONG, "no answer": Verdict.UNPARSEABLE, "no gold": None}
    reward = reward_from("my_reward", lambda text, shift: verdicts[text], values=[2, -1.5, -2])
    assert reward.__name__ == "my_reward"
    assert reward(completions=list(verdicts), shift=[0] * 4) == [2.0, -1.5, -2.0, None]


def test_prefill_may_be_absent_none_or_null_in_a_row():
    for prefill in ({}, {"prefill": None}, {"prefill": [None]}, {"prefill": [""]}):
        assert format_reward(completions=[RIGHT], **prefill) == [1.0]
    assert format_reward(completions=[RIGHT.removeprefix("<think>")]) == [0.0]


def test_each_row_is_judged_by_its_own_columns():
    columns = {"nums": [[1, 2], [1, 2], None], "target": [3, 2, 3], "prefill": ["<think>", "", None]}
    completions = [RIGHT.removeprefix("<think>"), RIGHT, RIGHT]
    others = {"prompts": ["p"] * 3, "completion_ids": [[1]] * 3, "trainer_state": object()}
    assert equation_reward(completions=completions, **columns, **others) == [1.0, 0.0, None]
    assert equation_reward(completions=[RIGHT], nums=None, target=None) == [None]
    assert equation_reward(completions=[], nums=[], target=[]) == []


def test_mistakes_in_a_call_are_loud():
    with pytest.raises(TypeError, match="equation_reward needs the dataset columns nums, target; missing: target"):
        equation_reward(completions=[""], nums=[[1]])
    with pytest.raises(ValueError, match="zip"):
        equation_reward(completions=["", ""], nums=[[1]], target=[1])
    with pytest.raises(ValueError, match="unpack"):
        format_reward(completions=[[{"content": "a"}, {"content": "b"}]])


# What is found


def test_order_and_names_are_the_recipes(task_module, write_module):
    write_module("mine", "def short_reward(completions, **kwargs):\n    return [0.5] * len(completions)\n")
    names = ["loud_reward", "equation_reward", "my_pkg.mine.short_reward", "length_reward", "format_reward"]
    loaded = load_rewards(names, task_module=task_module)
    assert [reward.__name__ for reward in loaded] == [name.rpartition(".")[2] for name in names]
    assert [reward(completions=TEXTS, **GOLD) for reward in loaded] == [
        [0.0, 1.0, 0.0, 0.0],
        [1.0, 1.0, 0.0, 0.0],
        [0.5, 0.5, 0.5, 0.5],
        [float(len(text)) for text in TEXTS],
        [1.0, 0.0, 1.0, 0.0],
    ]


def test_the_tasks_own_reward_goes_first(task_module):
    task_module.format_reward = length_reward
    (reward,) = load_rewards(["format_reward"], task_module=task_module)
    assert (reward.__name__, reward(completions=["abc"])) == ("format_reward", [3.0])


def test_an_async_reward_stays_one(task_module):
    async def judge_reward(completions, **kwargs):
        return [float(len(completion)) for completion in completions]

    task_module.judge_reward = judge_reward
    (reward,) = load_rewards(["judge_reward"], task_module=task_module)
    assert inspect.iscoroutinefunction(reward), "TRL looks at this to know whether to await"
    rows = [["judge_reward"], ["other_reward"]]
    assert asyncio.run(reward(completions=["abc", "ab"], rewards=rows)) == [3.0, None]


# What the recipe may change


def test_reward_values():
    values = {"equation_reward": [2, -1.5, -2.0]}
    equation, form = load_rewards(["equation_reward", "format_reward"], reward_values=values)
    assert equation(completions=TEXTS, **GOLD) == [2.0, 2.0, -1.5, -2.0]
    assert form(completions=TEXTS) == [1.0, 0.0, 1.0, 0.0]
    assert equation_reward(completions=TEXTS, **GOLD) == [1.0, 1.0, 0.0, 0.0], "the shipped one is as before"


def test_require_format():
    (equation,) = load_rewards(["equation_reward"], {"equation_reward": [2, -1, -3]}, ["equation_reward"])
    assert equation.__name__ == "equation_reward"
    assert equation(completions=TEXTS, **GOLD) == [2.0, -3.0, -1.0, -3.0]
    assert equation(completions=[CHATTY], nums=[None], target=[3]) == [None], "no gold, no reward, whatever the format"
    prefilled = {"completions": [RIGHT.removeprefix("<think>")], "prefill": ["<think>"]}
    assert equation(**prefilled, nums=[[1, 2]], target=[3]) == [2.0]


def test_require_format_keeps_a_rewards_own_numbers(task_module):
    task_module.loud_reward = reward_from("loud_reward", task_module.loud_reward.verifier, values=(5, 4, 3))
    (loud,) = load_rewards(["loud_reward"], require_format=["loud_reward"], task_module=task_module)
    assert loud(completions=[RIGHT, CHATTY]) == [4.0, 3.0]


def test_a_dotted_reward_is_changed_under_its_dotted_name(write_module):
    write_module(
        "mine", "from mini_r1.rewards import reward_from, format_verdict\nf_reward = reward_from('x', format_verdict)\n"
    )
    (reward,) = load_rewards(["my_pkg.mine.f_reward"], {"my_pkg.mine.f_reward": [3, 2, 1]})
    assert (reward.__name__, reward(completions=TEXTS)) == ("f_reward", [3.0, 2.0, 3.0, 2.0])


# Which rows are due


def test_rows_that_name_other_rewards_get_none_and_are_not_looked_at():
    (equation,) = load_rewards(["equation_reward"])
    columns = {"nums": [[1, 2], None, [1, 2], [1, 2]], "target": [3, None, 3, 3], "prefill": [None] * 4}
    rows = [["equation_reward", "format_reward"], ["roles_reward"], None, []]
    assert equation(completions=[RIGHT] * 4, rewards=rows, **columns) == [1.0, None, 1.0, None]
    assert equation(completions=[RIGHT] * 4, rewards=None, **columns) == [1.0, None, 1.0, 1.0]


def test_a_reward_sees_its_own_rows_only(task_module):
    seen = []
    task_module.spy_reward = lambda **kwargs: seen.append(kwargs) or [1.0] * len(kwargs["completions"])
    (spy,) = load_rewards(["spy_reward"], task_module=task_module)
    state = object()
    rows = [["a_reward"], ["my_pkg.spy_reward"]]
    assert spy(prompts=["p", "q"], completions=["a", "b"], rewards=rows, trainer_state=state) == [None, 1.0]
    assert seen == [{"prompts": ["q"], "completions": ["b"], "rewards": [rows[1]], "trainer_state": state}]
    assert spy(completions=["a", "b"], rewards=[["a_reward"], []]) == [None, None]
    assert len(seen) == 1, "no row due, no call"


# What a recipe can get wrong: (arguments, key, words in the message, reason)
MISTAKES = [
    ({"reward_funcs": []}, "reward_funcs", "at least one", "nothing named"),
    ({"reward_funcs": ["formt_reward"]}, "reward_funcs", "did you mean format_reward?", "misspelt"),
    (
        {"reward_funcs": ["bleu"]},
        "reward_funcs",
        "Known: code_reward, equation_reward, format_reward, ",
        "unknown: the list",
    ),
    ({"reward_funcs": ["bleu"]}, "reward_funcs", ", repetition_penalty, ", "unknown: TRL's are in the list, too"),
    ({"reward_funcs": ["soft_overlng"]}, "reward_funcs", "did you mean soft_overlong?", "misspelt, one of TRL's"),
    ({"reward_funcs": ["Verdict"]}, "reward_funcs", "no reward 'Verdict'", "exported, but no reward"),
    ({"reward_funcs": ["helper"]}, "reward_funcs", "no reward 'helper'", "in the task's module, but no reward"),
    ({"reward_funcs": ["some_reward"]}, "reward_funcs", "no reward 'some_reward'", "named like one, but no function"),
    ({"reward_funcs": ["format_reward"] * 2}, "reward_funcs", "format_reward twice", "named twice"),
    (
        {"reward_funcs": ["format_reward", "mini_r1.rewards.format_reward"]},
        "reward_funcs",
        "format_reward twice",
        "two rewards that TRL would log under one name",
    ),
    ({"reward_funcs": ["no_pkg.mine.my_reward"]}, "reward_funcs", "no module 'no_pkg'", "no such package"),
    (
        {"reward_funcs": ["mini_r1.rewards.no_module.my_reward"]},
        "reward_funcs",
        "'mini_r1.rewards.no_module'",
        "no such module",
    ),
    (
        {"reward_funcs": ["mini_r1.rewards.formt_reward"]},
        "reward_funcs",
        "did you mean format_reward?",
        "no such function",
    ),
    (
        {"reward_funcs": ["rewards.format_reward"]},
        "reward_funcs",
        "no module 'rewards'; use mini_r1.rewards.format_reward, or just format_reward",
        "of an old recipe",
    ),
    (
        {"reward_funcs": ["rewards.equation.equation_reward"]},
        "reward_funcs",
        "no module 'rewards'; use mini_r1.rewards.equation_reward, or just equation_reward",
        "of an old recipe, with its file",
    ),
    (
        {"reward_funcs": ["rewards.mine.my_reward"]},
        "reward_funcs",
        "no module 'rewards'; ours is mini_r1.rewards, or set PYTHONPATH",
        "of an old recipe, not one that is shipped",
    ),
    ({"reward_funcs": [".my_reward"]}, "reward_funcs", "dotted path", "relative path"),
    ({"reward_funcs": ["my pkg.my_reward"]}, "reward_funcs", "dotted path", "blank in the path"),
    (
        {"reward_values": {"equation_reward": [1, 0, 0]}},
        "reward_values",
        "not in reward_funcs",
        "not among the rewards",
    ),
    ({"reward_values": {"length_reward": [1, 0, 0]}}, "reward_values", "not verdicts", "a continuous reward"),
    ({"reward_values": {"format_reward": [1, 0]}}, "reward_values", "three numbers", "two numbers"),
    ({"reward_values": {"format_reward": 1}}, "reward_values", "three numbers", "one number"),
    ({"reward_values": {"format_reward": "100"}}, "reward_values", "three numbers", "text of length three"),
    ({"reward_values": {"format_reward": [1, 0, "0"]}}, "reward_values", "three numbers", "a number as text"),
    ({"reward_values": {"format_reward": [1, 0, True]}}, "reward_values", "three numbers", "a bool"),
    ({"reward_values": {"format_reward": [1, 0, float("nan")]}}, "reward_values", "three numbers", "not a number"),
    ({"require_format": ["equation_reward"]}, "require_format", "not in reward_funcs", "format of no reward here"),
    ({"require_format": ["length_reward"]}, "require_format", "not verdicts", "format of a continuous reward"),
]


@pytest.mark.parametrize("arguments, key, words, reason", MISTAKES, ids=[reason for *_, reason in MISTAKES])
def test_mistakes_in_a_recipe_name_the_key(arguments, key, words, reason, task_module):
    with pytest.raises(RecipeError) as caught:
        load_rewards(**{"reward_funcs": ["format_reward", "length_reward"], "task_module": task_module} | arguments)
    assert caught.value.key == key, reason
    assert words in str(caught.value), reason
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "source", ["import no_such_module", "from math import no_such_name", "raise ModuleNotFoundError('mine')", "1/0"]
)
def test_an_error_inside_the_users_module_propagates(write_module, source):
    write_module("broken", source)
    with pytest.raises((ImportError, ZeroDivisionError)):
        load_rewards(["my_pkg.broken.my_reward"])
