"""Every key known, every value of its declared type: against the installed TRL's own dataclasses."""

import dataclasses
import re
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import pytest
from trl import GRPOConfig, ModelConfig, SFTConfig

from mini_r1.config.arguments import EvaluateArguments, RecipeArguments
from mini_r1.config.keys import COSMETIC, SUCCESSORS, check_values
from mini_r1.config.schema import keys_of, keys_of_kind
from mini_r1.errors import RecipeError


class Colour(Enum):
    RED = "red"
    NO = "no"


@dataclass
class Later:
    """Field types that others may add to RecipeArguments."""

    later_maps: list[dict] | None = None
    later_lists: dict[str, list[float]] | None = None
    later_choice: Literal["grpo", "dr_grpo"] = "grpo"
    later_enum: Colour | str = "red"


TYPES = (RecipeArguments, GRPOConfig, ModelConfig, Later)
KEYS = keys_of(*TYPES)

CHECKED = [  # key, value, what comes out
    ("learning_rate", 1, 1),
    ("warmup_steps", 0.05, 0.05),
    ("bf16", None, None),
    ("bf16", False, False),
    ("eval_strategy", False, "no"),
    ("eval_strategy", "steps", "steps"),
    ("scale_rewards", False, "none"),
    ("scale_rewards", True, "group"),
    ("scale_rewards", "batch", "batch"),
    ("report_to", "none", "none"),
    ("report_to", ["wandb", "tensorboard"], ["wandb", "tensorboard"]),
    ("pad_to_multiple_of", 8, 8),
    ("pad_to_multiple_of", "auto", "auto"),
    ("include_num_input_tokens_seen", False, False),
    ("gradient_checkpointing_kwargs", {"use_reentrant": False}, {"use_reentrant": False}),
    ("deepspeed", "configs/x.json", "configs/x.json"),
    ("reward_weights", [1, 0.5], [1, 0.5]),
    ("difficulty", [3, 4], [3, 4]),
    ("difficulty", None, None),
    ("task_args", {"a": [1]}, {"a": [1]}),
    ("dtype", "bfloat16", "bfloat16"),
    ("env", {"A": "1", "B": 2}, {"A": "1", "B": "2"}),
    ("later_maps", [{"task": "gsm8k", "weight": 0.5}], [{"task": "gsm8k", "weight": 0.5}]),
    ("later_lists", {"a": [1, 2.5]}, {"a": [1, 2.5]}),
    ("later_enum", False, "no"),
]


@pytest.mark.parametrize(("key", "value", "expected"), CHECKED)
def test_good_values(key, value, expected):
    checked = check_values({key: value}, {}, KEYS)
    assert checked == {key: expected}
    assert type(checked[key]) is type(expected)


REFUSED = [  # key, value, part of the message
    ("learning_rate", -1e-6, "learning_rate: got -1e-06, expected a number of at least 0"),
    ("learning_rate", float("inf"), "learning_rate: got Infinity, expected a number"),
    ("temperature", 0.0, "temperature: got 0.0, expected a number above 0"),
    ("top_p", 1.5, "top_p: got 1.5, expected a number above 0 and at most 1"),
    ("min_p", -0.1, "min_p: got -0.1, expected a number of at least 0 and at most 1 or null"),
    ("test_fraction", 1.0, "test_fraction: got 1.0, expected a number of at least 0 and below 1"),
    ("per_device_train_batch_size", 0, "per_device_train_batch_size: got 0, expected a whole number of at least 1"),
    ("num_generations_eval", 0, "num_generations_eval: got 0, expected a whole number of at least 1 or null"),
    ("warmup_steps", -5, "warmup_steps: got -5, expected a number of at least 0"),
    ("max_steps", 8.0, "max_steps: got 8.0, expected a whole number"),
    ("max_steps", True, "max_steps: got true, expected a whole number"),
    ("max_steps", "8", 'max_steps: got "8", expected a whole number'),
    ("max_steps", None, "max_steps: got null, expected a whole number"),
    ("learning_rate", "fast", 'learning_rate: got "fast", expected a number'),
    ("learning_rate", "0.5", 'learning_rate: got "0.5", expected a number'),
    ("learning_rate", True, "learning_rate: got true, expected a number"),
    ("learning_rate", float("nan"), "learning_rate: got NaN, expected a number"),
    ("learning_rate", [1e-6], "learning_rate: got [1e-06], expected a number"),
    ("use_vllm", 1, "use_vllm: got 1, expected true or false"),
    ("use_vllm", "maybe", 'use_vllm: got "maybe", expected true or false'),
    ("run_name", 12, "run_name: got 12, expected text; put it in quotes or null"),
    ("prompt_template", None, "prompt_template: got null, expected text"),
    ("reward_funcs", "format_reward", 'reward_funcs: got "format_reward", expected a list of texts'),
    ("difficulty", [3, "4"], 'difficulty: got [3, "4"], expected a list of whole numbers or null'),
    ("task_args", [1], "task_args: got [1], expected a map or null"),
    ("eval_strategy", "step", 'eval_strategy: got "step", expected one of its choices; did you mean steps?'),
    ("eval_strategy", "zzz", 'eval_strategy: got "zzz", expected one of no, steps, epoch'),
    ("lr_scheduler_type", "cosin", "did you mean cosine?"),
    ("optim", "adamw_torh", "did you mean adamw_torch?"),
    ("dtype", "bf16", 'dtype: got "bf16", expected one of'),
    ("later_choice", "dr-grpo", 'later_choice: got "dr-grpo", expected one of its choices; did you mean dr_grpo?'),
    ("parallelism_config", {"cp_size": 2}, "expected ParallelismConfig or null"),
    ("later_lists", {"a": 1}, "expected a map of text to a list of numbers or null"),
    ("env", {"A": True}, 'env: got {"A": true}, expected a map of names to texts; put the value in quotes'),
    ("env", "A=1", 'env: got "A=1", expected a map of names to texts'),
    ("lerning_rate", 1, "lerning_rate: unknown key; did you mean learning_rate?"),
    ("learning-rate", 1, "learning-rate: unknown key; did you mean learning_rate?"),
    ("extend", "a.yaml", "extend: unknown key; did you mean extends?"),
    ("qqqqq", 1, "qqqqq: unknown key"),
    ("max_prompt_length", 1, "max_prompt_length: no longer a key; use max_prompt_tokens, which drops longer prompts"),
    ("max-prompt-length", 1, "no longer a key; use max_prompt_tokens"),
    ("torch_dtype", "bfloat16", "torch_dtype: no longer a key; use dtype"),
    ("warmup_ratio", 0.03, "warmup_ratio: no longer a key; use warmup_steps, where a value below 1 is a ratio"),
]


@pytest.mark.parametrize(("key", "value", "expected"), REFUSED)
def test_refused_values(key, value, expected):
    with pytest.raises(RecipeError) as error:
        check_values({"seed": 1, key: value}, {key: "recipes/x.yaml"}, KEYS)
    assert str(error.value).startswith(f"recipes/x.yaml: {key}: ")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("config", [RecipeArguments, GRPOConfig, SFTConfig, ModelConfig], ids=lambda c: c.__name__)
def test_every_default_passes(config):
    defaults = {}
    for each in dataclasses.fields(config):
        if each.init:
            made = each.default_factory is not dataclasses.MISSING
            defaults[each.name] = each.default_factory() if made else each.default
    assert check_values(defaults, {}, keys_of(config)) == defaults


def test_successors_are_gone_and_their_advice_exists():
    known = {each.name for config in (*TYPES, EvaluateArguments, SFTConfig) for each in dataclasses.fields(config)}
    for key, advice in SUCCESSORS.items():
        assert key not in known, key
        successor = re.match(r"use (\w+)", advice)
        assert not successor or successor[1] in known | {"env"}, advice
    assert known.issuperset(COSMETIC)


def test_sampling_alone_may_be_greedy():
    for kind, lowest in (("evaluate", "minimum"), ("generate", "minimum"), ("r1_grpo", "exclusiveMinimum")):
        node = keys_of_kind(kind)["temperature"]
        assert node[lowest] == 0 and len({"minimum", "exclusiveMinimum"} & node.keys()) == 1


@pytest.mark.parametrize("key", ["loss_type", "importance_sampling_level", "vllm_importance_sampling_mode"])
def test_choices_that_trl_checks_too_late(key):
    with pytest.raises(RecipeError, match="expected one of"):
        check_values({key: "grop"}, {key: "r.yaml"}, keys_of(GRPOConfig))
    default = getattr(GRPOConfig, key)
    assert check_values({key: default}, {}, keys_of(GRPOConfig)) == {key: default}
