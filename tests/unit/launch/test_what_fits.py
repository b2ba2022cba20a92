"""What the memory estimate advises: batches that fit, and changes after which a recipe fits."""

import re

import pytest
import yaml
from memory_settings import COUNTDOWN, LORA, NODE, ONE, SHAPE

from configs import config_of
from mini_r1.launch.memory import estimate_memory, what_fits


def advised(values: dict, where: dict) -> dict:
    """The first advice of `what_fits`, as keys of a recipe."""
    return yaml.safe_load(re.sub(r", (?=\w+: )", "\n", what_fits(config_of(values), SHAPE, **where)[0]))


def test_a_smaller_micro_batch_keeps_the_batch():
    values = {**COUNTDOWN, **LORA, "per_device_train_batch_size": 64, "gradient_accumulation_steps": 1}
    values |= {"steps_per_generation": 1}

    def batch(size: int) -> dict:
        same = {"gradient_accumulation_steps": 64 // size, "steps_per_generation": 64 // size}
        return {"per_device_train_batch_size": size, **same}

    def fits(size: int) -> bool:
        return estimate_memory(config_of(values | batch(size)), SHAPE, **ONE).fits

    assert [size for size in (1, 2, 4, 8, 16, 32, 64) if fits(size)][-1] == 16
    assert advised(values, ONE) == batch(16)
    assert what_fits(config_of(values), SHAPE, **{**ONE, "gpu_gib": 6.0}) == []


def test_one_trained_completion_of_each_group():
    """What it costs to train is that of a batch as small; what is sampled stays."""
    one = {**COUNTDOWN, "num_generations": 8, "per_device_train_batch_size": 16, "trained_completions": "one"}
    few = {**COUNTDOWN, "num_generations": 8, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 64}
    both = (config_of(one), config_of(few))
    ours, theirs = (estimate_memory(config, SHAPE, **{**ONE, "backend": "colocate"}).phases for config in both)
    for phase in ("loss", "backward", "step"):
        assert ours[phase] == theirs[phase]
    sampled = estimate_memory(config_of({**one, "trained_completions": "all"}), SHAPE, **ONE).phases["generation"]
    assert estimate_memory(config_of(one), SHAPE, **ONE).phases["generation"] == sampled
    assert advised({**one, "per_device_train_batch_size": 640}, NODE)["per_device_train_batch_size"] % 8 == 0


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({**COUNTDOWN, "gradient_checkpointing": False}, NODE),
        ({**COUNTDOWN, "per_device_train_batch_size": 256}, NODE),
        ({**COUNTDOWN, "per_device_eval_batch_size": 2048, "accelerate_config": "zero3"}, NODE),
        ({**COUNTDOWN, "beta": 0.1, "accelerate_config": "ddp"}, {**NODE, "gpu_gib": 40.0}),
        ({**COUNTDOWN, **LORA, "vllm_gpu_memory_utilization": 0.5}, {**ONE, "backend": "colocate", "gpu_gib": 20.0}),
        (COUNTDOWN, {**ONE, "gpu_gib": 12.0}),
    ],
)
def test_what_fits_does_fit(values, where):
    assert not estimate_memory(config_of(values), SHAPE, **where).fits
    changes = what_fits(config_of(values), SHAPE, **where)
    assert changes or where["gpu_gib"] == 12
    for change in changes:
        made = yaml.safe_load(re.sub(r", (?=\w+: )", "\n", change))
        assert estimate_memory(config_of(values | made), SHAPE, **where).fits, change
