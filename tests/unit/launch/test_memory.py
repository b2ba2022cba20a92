"""The memory estimate: its arithmetic, that it moves the right way, and that real tensors and processes agree."""

import importlib.util
import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from memory_settings import BF16, COUNTDOWN, LORA, NODE, ONE, SHAPE
from repository import ROOT

from configs import config_of
from mini_r1.errors import RecipeError
from mini_r1.launch.memory import GIB, MemoryEstimate, Run, estimate_memory
from mini_r1.launch.model_shapes import lora_parameters, quantized_bytes

_SPEC = importlib.util.spec_from_file_location("measured", ROOT / "benchmarks" / "_memory.py")
measured = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(measured)
P = SHAPE.parameters
EMBEDDING = 151936 * 2048
T = lora_parameters(SHAPE, 16, "all-linear")


def run(values: dict, processes: int = 1, backend: str = "hf", kind: str = "r1_grpo") -> Run:
    return Run(config_of(values, kind), SHAPE, processes, backend, 200, 80.0)


@pytest.mark.parametrize(
    ("values", "processes", "weights", "gradients", "optimizer"),
    [
        (BF16, 1, 2 * P, 2 * P, 4 * P),
        ({**BF16, "dtype": "auto"}, 1, 2 * P, 2 * P, 4 * P),
        ({"bf16": False}, 1, 4 * P, 4 * P, 8 * P),
        ({**BF16, "optim": "paged_adamw_32bit"}, 1, 2 * P, 2 * P, 8 * P),
        ({**BF16, "optim": "adamw_8bit"}, 1, 2 * P, 2 * P, (P - EMBEDDING) * 2 + 8 * EMBEDDING),
        ({**BF16, "optim": "sgd"}, 1, 2 * P, 2 * P, 0),
        (BF16, 4, 2 * P, 4 * P, 4 * P),
        ({**BF16, "accelerate_config": "ddp"}, 4, 2 * P, 4 * P, 4 * P),
        ({**BF16, "accelerate_config": "zero2"}, 4, 2 * P, 2 * P / 4, 12 * P / 4),
        ({**BF16, "accelerate_config": "zero2", "gradient_accumulation_steps": 8}, 4, 2 * P, 4 * P / 4, 12 * P / 4),
        ({**BF16, "accelerate_config": "zero3"}, 4, 2 * P / 4, 2 * P / 4, 12 * P / 4),
        ({"bf16": True, "accelerate_config": "zero3"}, 4, 2 * P / 4, 2 * P / 4, 12 * P / 4),
        ({"bf16": False, "accelerate_config": "zero3"}, 4, 4 * P / 4, 4 * P / 4, 8 * P / 4),
        ({**BF16, "accelerate_config": "zero3"}, 1, 2 * P, 2 * P, 12 * P),
        ({**BF16, "accelerate_config": "zero3_offload"}, 4, 0, 0, 0),
        ({**BF16, "accelerate_config": "fsdp2"}, 4, 4 * P / 4, 4 * P / 4, 8 * P / 4),
        ({**BF16, "accelerate_config": "fsdp2", "gradient_accumulation_steps": 8}, 4, 4 * P / 4, 2 * P, 8 * P / 4),
        (LORA, 1, 2 * P, 4 * T, 8 * T),
        (LORA, 4, 2 * P, 8 * T, 8 * T),
        ({**LORA, "accelerate_config": "zero3"}, 4, 2 * P / 4, 2 * T / 4, 12 * T / 4),
        ({**LORA, "load_in_4bit": True}, 1, quantized_bytes(SHAPE, 2), 2 * T, 4 * T),
    ],
)
def test_weights_gradients_optimizer(values, processes, weights, gradients, optimizer):
    terms = run(values, processes).held(gradients=True, awake=False)
    assert (terms["weights"], terms["gradients"], terms["optimizer"]) == pytest.approx((weights, gradients, optimizer))


@pytest.mark.parametrize(
    ("values", "processes", "kind", "bytes_"),
    [
        ({**BF16, "beta": 0.001}, 1, "r1_grpo", 2 * P),
        ({**BF16, "beta": 0.001, "accelerate_config": "zero2"}, 4, "r1_grpo", 2 * P),
        ({**BF16, "beta": 0.001, "accelerate_config": "zero3"}, 4, "r1_grpo", 2 * P / 4),
        ({**BF16, "beta": 0.001, "accelerate_config": "zero3_offload"}, 4, "r1_grpo", None),
        ({**BF16, "beta": 0.001}, 1, "sft", None),
        ({**BF16, "beta": 0.0}, 1, "r1_grpo", None),
        ({**LORA, "beta": 0.001}, 1, "r1_grpo", None),  # the adapters are switched off instead
    ],
)
def test_reference_model(values, processes, kind, bytes_):
    assert run(values, processes, kind=kind).held(True, False).get("reference") == bytes_


def test_layers_and_logits_of_the_3b_model():
    """Bytes per token in bf16, counted by hand, for sequences of 1,224 tokens."""
    one = run({**COUNTDOWN, "gradient_checkpointing": True})
    norms, attention, mlp = 16 * 2048, 4 * 4096 + 2 * 1224, 8 * 11008
    assert one.layer_bytes() == norms + attention + mlp
    tokens = 8 * 1224
    assert one.kept() == tokens * 36 * 2 * 2048
    assert run({**COUNTDOWN, "gradient_checkpointing": False}).kept() == tokens * 36 * one.layer_bytes()
    head = EMBEDDING * (4 + 2)
    assert one.loss()["logits"] == 4096 * 32768 * 2 + head
    assert run({**COUNTDOWN, **LORA}).loss()["logits"] == one.loss()["logits"] - head


def test_rollouts_and_evaluations_by_transformers():
    """The cache holds a whole rollout of a process, not a micro-batch; or an evaluation batch, if that is larger."""
    cache, layer = 36 * 2 * 2 * 128 * 2, 2 * 128 * (2 + 2 * 16)
    whole = run({**COUNTDOWN, "per_device_eval_batch_size": 8}).generation()["kv_cache"]
    assert whole == 64 * 1224 * (cache + layer)
    half = run({**COUNTDOWN, "steps_per_generation": 4}).generation()["kv_cache"]
    assert half == run({**COUNTDOWN, "generation_batch_size": 32}).generation()["kv_cache"] == whole / 2
    assert run({**COUNTDOWN, "per_device_eval_batch_size": 128}).generation()["kv_cache"] == 2 * whole
    none = {**COUNTDOWN, "per_device_eval_batch_size": 128, "test_fraction": 0}
    assert run(none).generation()["kv_cache"] == whole


def test_phases_by_kind():
    def phases(kind: str, **values) -> list[str]:
        return list(estimate_memory(config_of({**COUNTDOWN, **values}, kind), SHAPE, **ONE).phases)

    assert phases("r1_grpo") == ["generation", "evaluation", "loss", "backward", "step"]
    assert phases("r1_grpo", test_fraction=0) == ["generation", "loss", "backward", "step"]
    assert phases("sft") == ["generation", "evaluation", "loss", "backward", "step"]
    assert phases("sft", test_fraction=0) == ["loss", "backward", "step"]
    assert phases("evaluate") == ["generation", "evaluation"]
    evaluation = estimate_memory(config_of(COUNTDOWN, "evaluate"), SHAPE, **ONE)
    assert {name for terms in evaluation.phases.values() for name in terms} == {
        "weights", "kv_cache", "activations", "logits", "overhead",
    }  # fmt: skip


def test_colocated_vllm_sleeps_while_weights_are_updated():
    colocated = {**NODE, "processes": 8, "backend": "colocate"}
    values = {**COUNTDOWN, "accelerate_config": "zero3", "vllm_gpu_memory_utilization": 0.5}
    awake = estimate_memory(config_of(values), SHAPE, **colocated)
    asleep = estimate_memory(config_of({**values, "vllm_enable_sleep_mode": True}), SHAPE, **colocated)
    assert {phase["vllm"] for phase in awake.phases.values()} == {40}
    assert {name for name, phase in asleep.phases.items() if phase["vllm"] == 40} == {"generation"}
    assert asleep.total < awake.total and asleep.peak == "generation"
    assert not any("kv_cache" in terms for terms in awake.phases.values())


@pytest.mark.parametrize(
    ("backend", "values", "weights", "share", "fits"),
    [
        ("server", {}, 2 * P, 72, True),
        ("server", {"vllm_serve_args": {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.5}}, P, 40, True),
        ("colocate", {}, 2 * P, 24, True),
        ("colocate", {"vllm_gpu_memory_utilization": 0.05}, 2 * P, 4, False),
        ("colocate", {"vllm_gpu_memory_utilization": 0.05, "load_in_4bit": True, **LORA}, 0, 4, True),
    ],
)
def test_what_vllm_needs(backend, values, weights, share, fits):
    estimate = estimate_memory(config_of({**COUNTDOWN, **values}), SHAPE, **{**NODE, "backend": backend})
    assert estimate.server["weights"] * GIB == pytest.approx(weights or quantized_bytes(SHAPE, 2))
    assert estimate.server["kv_cache"] * GIB == pytest.approx(1224 * 36 * 1024 * weights / (2 * P) or 1224 * 36 * 1024)
    assert (estimate.server_gib, estimate.server_fits) == (pytest.approx(share), fits)
    assert estimate.fits is (estimate.total <= 80 and fits)


@pytest.mark.parametrize("backend", ["hf", "server", "external"])
def test_without_vllm_of_ours_there_is_nothing_to_fit(backend):
    estimate = estimate_memory(config_of(COUNTDOWN), SHAPE, **{**NODE, "backend": backend})
    assert estimate.server_fits and (estimate.server == {}) is (backend != "server")


def test_total_is_the_largest_phase():
    phases = {"a": {"weights": 2.0, "logits": 1.0}, "b": {"weights": 2.0, "kv_cache": 5.0}}
    estimate = MemoryEstimate(phases, {}, None, 8.0)
    assert (estimate.total, estimate.peak, estimate.fits) == (7, "b", True)
    assert estimate.describe() == "a: 3.0 GiB = weights 2.0 + logits 1.0\nb: 7.0 GiB = kv_cache 5.0 + weights 2.0"
    assert MemoryEstimate(phases, {}, None, 6.0).fits is False
    assert MemoryEstimate(phases, {}, None, None).fits is None


@pytest.mark.parametrize("accelerate_config", [None, "zero2", "zero3", "fsdp2"])
@pytest.mark.parametrize("kind", ["full", "lora"])
def test_more_takes_more(accelerate_config, kind):
    values = {**COUNTDOWN, **(LORA if kind == "lora" else {}), "accelerate_config": accelerate_config}

    def total(changes: dict, **others) -> float:
        return estimate_memory(config_of(values | changes), SHAPE, **{**NODE, "backend": "hf", **others}).total

    for key in ("per_device_train_batch_size", "per_device_eval_batch_size", "max_completion_length"):
        totals = [total({key: size}) for size in (8, 64, 512, 4096)]
        assert totals == sorted(totals) and totals[0] < totals[-1]
    assert total({}) < total({}, prompt_tokens=4000)
    assert total({"gradient_checkpointing": True}) < total({"gradient_checkpointing": False})
    assert total({"optim": "adamw_8bit"}) <= total({"optim": "adamw_torch"})
    if kind == "full":
        assert total({"beta": 0.0}) < total({"beta": 0.1})
        if accelerate_config:
            assert total({}, processes=8) < total({}, processes=4) < total({}, processes=2)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dtype": "int8"}, "dtype: got int8, expected one of float32, bfloat16, float16 or auto"),
        ({"accelerate_config": "zero4"}, f"accelerate_config: there is no file {ROOT / 'configs' / 'zero4.yaml'}"),
        (
            {"use_peft": True, "lora_target_modules": ["query", "value"]},
            "lora_target_modules: ['query', 'value'] is no",
        ),
    ],
)
def test_wrong_values(values, message):
    with pytest.raises(RecipeError) as error:
        estimate_memory(config_of({**COUNTDOWN, **values}), SHAPE, **NODE)
    assert str(error.value).startswith(message)


def test_the_worked_example_of_the_page():
    page = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8")
    values = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.S).group(1))
    estimate = estimate_memory(config_of(values), SHAPE, **{**NODE, "prompt_tokens": 256})
    assert re.search(r"```text\n(.*?)\n```", page, re.S).group(1) == estimate.describe()


# ---- beside real tensors and processes; benchmarks/memory.py does the same for larger models

PLAIN, CHECKPOINTED = {"gradient_checkpointing": False}, {"gradient_checkpointing": True}
SIXTEEN, MIXED, ADAPTERS = {"dtype": "bfloat16", "bf16": True}, {"bf16": True}, {"use_peft": True}


@pytest.mark.parametrize("name", ["0.16M", "0.17M, Phi-3"])
@pytest.mark.parametrize(
    "values",
    [*[kind | dtype for kind in (PLAIN, CHECKPOINTED) for dtype in ({}, SIXTEEN, MIXED, SIXTEEN | ADAPTERS)], ADAPTERS],
    ids=str,
)
def test_tensors_kept_for_the_backward_pass(name, values):
    """Counted on real tensors: byte by byte, but for the mask, positions and the like, of some bytes a token."""
    estimate = measured.run_of(name, per_device_train_batch_size=4, max_completion_length=96, **values)
    found = measured.tensors(name, 4, 128, False, **values)
    last_norm = estimate.tokens * estimate.shape.hidden * (4 + (0 if estimate.lora else estimate.stream))
    kept = estimate.kept() + last_norm + estimate.tokens * estimate.shape.hidden * estimate.stream
    assert kept == pytest.approx(found["kept"], rel=0.03, abs=60 * estimate.tokens)
    peak = max(sum(estimate.loss()[term] for term in ("activations", "logits")), estimate.backward()["activations"])
    assert peak == pytest.approx(found["peak"], rel=0.1)


def test_tensors_of_the_cache():
    found = measured.cache("0.16M", 8, 32, 64)
    estimate = measured.run_of("0.16M", per_device_train_batch_size=8, max_completion_length=64)
    assert found["cache"] == 8 * (32 + 64 - 1) * 2 * 2 * 2 * 16 * 4  # layers, keys and values, heads, size, bytes
    assert estimate.generation()["kv_cache"] == pytest.approx(found["peak"], rel=0.1)


def test_memory_of_a_process():
    """A model of 27M parameters in a process of its own: weights, gradients, AdamW."""
    words = [sys.executable, str(ROOT / "benchmarks" / "_memory.py"), "states", '["27M", "float32"]', "{}"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, env=env).stdout)
    estimate = measured.run_of("27M")
    assert found["weights"] == pytest.approx(estimate.weights(), rel=0.15)
    assert found["gradients"] == pytest.approx(estimate.gradients(True), rel=0.15)
    assert found["optimizer"] == pytest.approx(estimate.optimizer(), rel=0.15)
