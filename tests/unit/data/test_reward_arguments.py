"""Entries of `reward_funcs` with arguments: TRL's shaping, our own rewards, and what a recipe can get wrong."""

import asyncio
import inspect
import subprocess
import sys
from types import ModuleType

import pytest

from configs import config_of
from mini_r1.data.mixture import read_parts
from mini_r1.data.reward_loader import load_rewards
from mini_r1.errors import RecipeError
from mini_r1.launch.check_data import example
from mini_r1.tasks import countdown

OVERLONG = {"name": "soft_overlong", "max_completion_len": 10, "soft_punish_cache": 4}


def scaled_reward(completions, scale: float, words: list[str] | None = None, *, target=None, **kwargs):
    """Continuous, with arguments of its own and a column that it can do without."""
    return [scale * len(completion) for completion in completions]


@pytest.fixture
def task_module():
    module = ModuleType("my_task")
    module.generate, module.parse_row = countdown.generate, countdown.parse_row  # its rows have nums and target
    module.scaled_reward = scaled_reward
    return module


def test_shaping_of_trl_by_name():
    overlong, repetition, penalty = (
        load_rewards([entry])[0]
        for entry in (
            OVERLONG,
            "repetition_penalty",
            {"name": "repetition_penalty", "ngram_size": 1, "max_penalty": -2},
        )
    )
    assert overlong.__name__ == "soft_overlong" and repetition.__name__ == penalty.__name__ == "repetition_penalty"
    lengths = {"completions": [""] * 4, "completion_ids": [[1] * n for n in (6, 7, 10, 11)]}
    assert overlong(**lengths, prompts=["p"] * 4) == [0.0, -0.25, -1.0, -1.0]
    repeats = {"completions": [""] * 2, "completion_ids": [[1, 2, 3, 4], [5, 5, 5, 5]]}
    assert repetition(**repeats) == [0.0, -0.5]
    assert penalty(**repeats) == [0.0, -1.5]


def test_shaping_of_a_mixed_batch_looks_at_the_token_ids_of_its_own_rows():
    rewards = load_rewards(["format_reward", OVERLONG, "repetition_penalty"])
    batch = {
        "completions": ["a", "b", "c"],
        "prompts": ["p"] * 3,
        "completion_ids": [[1] * 11, [1] * 11, [1, 2]],
        "rewards": [["format_reward"], ["soft_overlong", "repetition_penalty"], ["soft_overlong"]],
        "trainer_state": object(),
    }
    assert [reward(**batch) for reward in rewards] == [
        [0.0, None, None],
        [None, -1.0, 0.0],
        [None, pytest.approx(-8 / 9), None],
    ]


def test_shaping_imports_nothing_until_it_is_named():
    code = (
        "import sys\n"
        "from mini_r1.data.reward_loader import load_rewards\n"
        "load_rewards(['format_reward'])\n"
        "assert 'trl' not in sys.modules\n"
        "load_rewards(['repetition_penalty'])\n"
        "assert 'trl' in sys.modules and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arguments_of_rewards_in_this_repository():
    (reward,) = load_rewards([{"name": "language_consistency_reward", "language": "zh"}])
    assert reward.__name__ == "language_consistency_reward"
    texts = ["so 好</think>", "好</think>"]
    assert reward(completions=texts, prefill=["<think>"] * 2, rewards=[None, []]) == [0.5, None]


def test_arguments_of_ones_own_reward(task_module, monkeypatch):
    module = ModuleType("my_scale")
    module.my_reward = lambda completions, scale, **columns: [scale] * len(completions)
    monkeypatch.setitem(sys.modules, "my_scale", module)
    task, mine = load_rewards(
        [{"name": "scaled_reward", "scale": 2}, {"name": "my_scale.my_reward", "scale": 7}],
        task_module=task_module,
    )
    assert (task.__name__, mine.__name__) == ("scaled_reward", "my_reward")
    batch = {"completions": ["abc", "a"], "rewards": [["scaled_reward"], ["my_scale.my_reward", "scaled_reward"]]}
    assert task(**batch, target=[1, 2]) == [6.0, 2.0], "a column that is no argument goes through"
    assert mine(**batch) == [None, 7.0]


def test_arguments_of_an_async_reward(task_module):
    async def judge_reward(completions, bonus: int, **kwargs):
        return [len(completion) + bonus for completion in completions]

    task_module.judge_reward = judge_reward
    (reward,) = load_rewards([{"name": "judge_reward", "bonus": 5}], task_module=task_module)
    assert inspect.iscoroutinefunction(reward)
    assert asyncio.run(reward(completions=["abc"])) == [8]


def test_an_argument_that_is_a_column_of_the_task(task_module):
    with pytest.raises(RecipeError) as caught:
        load_rewards([{"name": "scaled_reward", "scale": 2, "target": 3}], task_module=task_module)
    assert str(caught.value) == "reward_funcs: scaled_reward: target is a column of the task; leave it out"


def test_the_example_of_a_check_has_token_ids(tiny_tokenizer):
    row = {"nums": [1, 2], "target": 3, "difficulty": 2}
    names = ["format_reward", OVERLONG, "repetition_penalty"]
    (part,) = read_parts(config_of({"task": "countdown", "reward_funcs": names}).args)
    said = example(row, part, tiny_tokenizer, load_rewards(names))
    assert "format_reward: gold 1.0, empty 0.0\nsoft_overlong: gold -1.0, empty 0.0\nrepetition_penalty: gold " in said


# What a recipe can get wrong: (entry, words in the message, reason)
ENTRIES = [
    ({}, "a map needs the name of a reward, such as {name: soft_overlong, ", "an empty map"),
    (
        "trl.rewards.get_soft_overlong_punishment",
        "trl.rewards.get_soft_overlong_punishment makes a reward and is none itself; use soft_overlong",
        "TRL's maker of a reward",
    ),
    ({"format_reward": None}, "a map needs the name of a reward", "a map without a name"),
    ({"name": ["format_reward"]}, "a map needs the name of a reward", "a name that is no text"),
    ({"name": "formt_reward"}, "did you mean format_reward?", "misspelt in a map"),
    (
        "soft_overlong",
        "soft_overlong needs max_completion_len and soft_punish_cache, such as {name: ",
        "no arguments",
    ),
    (
        {"name": "soft_overlong", "max_completion_len": 9},
        "soft_overlong needs soft_punish_cache, such as {name: soft_overlong, max_completion_len: 1024, ",
        "one argument missing",
    ),
    (
        OVERLONG | {"max_completion_length": 9},
        "soft_overlong takes no argument 'max_completion_length'; did you mean max_completion_len?",
        "an argument misspelt",
    ),
    (
        {"name": "repetition_penalty", "zzz": 9},
        "repetition_penalty takes no argument 'zzz'; it takes ngram_size, max_penalty",
        "an unknown argument",
    ),
    (OVERLONG | {1: 2}, "soft_overlong takes no argument 1; it takes", "an argument that is no text"),
    (
        OVERLONG | {"max_completion_len": "9"},
        'soft_overlong: max_completion_len: got "9", expected a whole number',
        "a number as text",
    ),
    (
        OVERLONG | {"max_completion_len": 0},
        "soft_overlong: max_completion_len: got 0, expected 1 or more",
        "no length at all",
    ),
    (
        {"name": "repetition_penalty", "ngram_size": 0},
        "repetition_penalty: ngram_size: got 0, expected 1 or more",
        "a size that TRL would divide by zero with",
    ),
    (
        {"name": "repetition_penalty", "max_penalty": 0.5},
        "repetition_penalty: max_penalty 0.5 should not be positive",
        "a value that TRL refuses",
    ),
    (OVERLONG | {"completion_ids": [[1]]}, "completion_ids comes with every row; leave it out", "what TRL gives"),
    (
        {"name": "equation_reward", "prefill": "<think>"},
        "equation_reward: prefill comes with every row; leave it out",
        "our own column",
    ),
    ({"name": "equation_reward", "nums": [1]}, "takes no argument 'nums'; it takes none", "the task's column"),
    (
        {"name": "format_reward", "scale": 1},
        "format_reward takes no argument 'scale'",
        "only **kwargs would take it",
    ),
    ({"name": "scaled_reward", "scale": "two"}, 'scaled_reward: scale: got "two", expected a number', "ill-typed"),
    (
        {"name": "language_consistency_reward", "language": "fr"},
        'language_consistency_reward: language: got "fr", expected one of en, zh',
        "not among the choices",
    ),
    (
        {"name": "language_consistency_reward", "language": ["en", "zh"]},
        'language: got ["en", "zh"], expected one of en, zh',
        "a value for each row is a column",
    ),
]


@pytest.mark.parametrize("entry, words, reason", ENTRIES, ids=[reason for *_, reason in ENTRIES])
def test_mistakes_in_an_entry(entry, words, reason, task_module):
    with pytest.raises(RecipeError) as caught:
        load_rewards([entry], task_module=task_module)
    assert caught.value.key == "reward_funcs", reason
    assert words in str(caught.value), reason
    assert "\n" not in str(caught.value)


# (arguments, key, words in the message, reason)
OTHERS = [
    ({"reward_funcs": [OVERLONG, "soft_overlong"]}, "reward_funcs", "soft_overlong twice", "once in a map, once bare"),
    (
        {"reward_funcs": [OVERLONG], "reward_values": {"soft_overlong": [1, 0, 0]}},
        "reward_values",
        "soft_overlong gives numbers of its own",
        "values of TRL's shaping",
    ),
    (
        {"reward_funcs": ["repetition_penalty"], "require_format": ["repetition_penalty"]},
        "require_format",
        "repetition_penalty gives numbers of its own",
        "format of TRL's shaping",
    ),
]


@pytest.mark.parametrize("arguments, key, words, reason", OTHERS, ids=[reason for *_, reason in OTHERS])
def test_mistakes_around_an_entry(arguments, key, words, reason):
    with pytest.raises(RecipeError) as caught:
        load_rewards(**arguments)
    assert caught.value.key == key, reason
    assert words in str(caught.value), reason
