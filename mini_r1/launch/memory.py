"""Memory of one GPU, before anything is loaded: what a recipe holds in each phase of a training step.

    estimate = estimate_memory(recipe.values, shape, processes=7, backend="server", prompt_tokens=200, gpu_gib=80)
    estimate.total, estimate.peak, estimate.fits

docs/memory.md has the formulas with their sources, and what was measured. Weights, gradients, optimizer state, the KV
cache and what layers keep for the backward pass are counted exactly; what is alive in one instant, and the buffers of
DeepSpeed and FSDP, are models; the overhead is an allowance.
"""

from dataclasses import dataclass
from math import gcd
from typing import Any

from mini_r1.config.kinds import ONLY_SAMPLE
from mini_r1.launch.memory_terms import GIB, Run, micro_batches, with_defaults
from mini_r1.launch.model_shapes import ModelShape, kv_cache_bytes, quantized_bytes

VLLM_UTILIZATION = 0.9  # of a server, as vllm_server.py starts it
VLLM_WORK = 1.0  # GiB, an allowance: what vLLM needs at the least beside weights and cache

# Changes that save memory without changing what is learned (the last one does), in the order in which to try them.
REMEDIES: list[dict[str, Any]] = [
    {"gradient_checkpointing": True},
    {"vllm_enable_sleep_mode": True},
    {"accelerate_config": "zero3"},
    {"accelerate_config": "zero3_offload"},
    {"use_peft": True, "lora_target_modules": ["all-linear"]},
]


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory of one training GPU, and of one GPU of the vLLM server, in GiB.

    Attributes:
        phases: terms of each phase of a step: "generation", "evaluation" (forward over an evaluation batch), "loss"
            (backward through the LM head), "backward" (through the layers), "step" (of the optimizer). Terms: weights,
            gradients, optimizer, reference, activations, logits, kv_cache, vllm, sharding (what ZeRO or FSDP gathers
            and sends), overhead; those that are zero are left out.
        server: what vLLM needs at the least, for one sequence of full length: weights, kv_cache, overhead. On a GPU of
            its own or, colocated, within its share. Empty without vLLM.
        server_gib: what vLLM may take; None where the GPU is not known.
        gpu_gib: memory of the GPU; None on a CPU or where it is not known.
    """

    phases: dict[str, dict[str, float]]
    server: dict[str, float]
    server_gib: float | None
    gpu_gib: float | None

    @property
    def terms(self) -> dict[str, float]:
        """Each term where it is largest. They need not meet: their sum may be more than `total`."""
        names = dict.fromkeys(name for terms in self.phases.values() for name in terms)
        return {name: max(terms.get(name, 0.0) for terms in self.phases.values()) for name in names}

    @property
    def peak(self) -> str:
        """The phase that takes most."""
        return max(self.phases, key=lambda phase: sum(self.phases[phase].values()))

    @property
    def total(self) -> float:
        """GiB at the peak."""
        return sum(self.phases[self.peak].values())

    @property
    def server_fits(self) -> bool:
        """Whether vLLM has room for what it needs; true without vLLM, or where the GPU is not known."""
        return self.server_gib is None or sum(self.server.values()) <= self.server_gib

    @property
    def fits(self) -> bool | None:
        """Whether training and vLLM fit; None where the GPU is not known."""
        return None if self.gpu_gib is None else self.total <= self.gpu_gib and self.server_fits

    def describe(self) -> str:
        """One line for each phase and for vLLM's own needs: the sum, then the terms, the largest first."""
        lines = {**self.phases, **({"vLLM needs": self.server} if self.server else {})}
        return "\n".join(f"{name}: {_listed(terms)}" for name, terms in lines.items())


def estimate_memory(
    values: dict[str, Any],
    shape: ModelShape,
    *,
    processes: int,
    backend: str,
    prompt_tokens: int,
    gpu_gib: float | None,
    kind: str = "r1_grpo",
) -> MemoryEstimate:
    """Estimate for the resolved `values` of a recipe, where all prompts and completions are as long as they may be.

    Args:
        processes: training processes over all machines.
        backend: what generates: "hf", "colocate", "server", or "external" (a server that is not ours).
        prompt_tokens: length of the longest prompt.
        gpu_gib: memory of the smallest GPU. Whether there is a GPU at all says the recipe's `use_cpu`.
        kind: a key of `stages.KINDS`.

    Raises:
        RecipeError: for LoRA targets that are none, an unknown dtype, or an accelerate file that is missing.
    """
    run = Run(values, shape, processes, backend, prompt_tokens, gpu_gib, kind)
    if kind in ONLY_SAMPLE and backend != "hf":  # this process has no model of its own
        return MemoryEstimate({"evaluation": {}}, *_vllm(run), gpu_gib)
    phases = {}
    if kind in ("r1_grpo", "distill") or run.evaluates:
        phases["generation"] = run.generation()
    if run.evaluates:
        phases["evaluation"] = run.evaluation()
    if kind not in ONLY_SAMPLE:
        phases |= {"loss": run.loss(), "backward": run.backward(), "step": run.step()}
    return MemoryEstimate({name: run.in_gib(terms) for name, terms in phases.items()}, *_vllm(run), gpu_gib)


def largest_batch(values: dict[str, Any], shape: ModelShape, **run: Any) -> int:
    """The largest per_device_train_batch_size that fits while accumulation keeps the batch; 0 where none does.

    The batch and the rollout of a process stay whole: `gradient_accumulation_steps`, and `steps_per_generation` where
    it is given, are to be multiplied by the old per_device_train_batch_size / the result.

    Args:
        run: the other arguments of `estimate_memory`; gpu_gib must be known.
    """
    per_device, accumulation, rollout = micro_batches(with_defaults(values), run["processes"])
    step, rollout = per_device * accumulation, per_device * rollout
    unit = values.get("num_generations", 8) if values.get("trained_completions") == "one" else 1  # whole groups
    for size in range(step, 0, -1):
        if gcd(step, rollout) % size == 0 and size % unit == 0:
            batch = {
                "per_device_train_batch_size": size,
                "gradient_accumulation_steps": step // size,
                "steps_per_generation": rollout // size,
                "generation_batch_size": None,
            }
            if estimate_memory(values | batch, shape, **run).fits:
                return size
    return 0


def what_fits(values: dict[str, Any], shape: ModelShape, **run: Any) -> list[str]:
    """What to change so that a recipe takes less, and fits: "gradient_checkpointing: true", ... Each alone is enough.

    Args:
        run: the other arguments of `estimate_memory`; gpu_gib must be known.
    """
    s = with_defaults(values)
    changes, size = [], largest_batch(values, shape, **run)
    if 0 < size < (old := s["per_device_train_batch_size"]):
        accumulation = s["gradient_accumulation_steps"] * old // size
        changes.append({"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation})
        if s.get("steps_per_generation"):
            changes[0]["steps_per_generation"] = s["steps_per_generation"] * old // size
    evaluated = s["per_device_eval_batch_size"]
    group = s.get("num_generations_eval") or s.get("num_generations") or 8
    smaller = [evaluated >> power for power in range(1, evaluated.bit_length())]
    changes += [{"per_device_eval_batch_size": n} for n in smaller if n * run["processes"] % group == 0]
    changes += [change for change in REMEDIES if _applies(change, s, run["processes"])]
    now, fitting = estimate_memory(values, shape, **run).total, {}
    for change in changes:
        then = estimate_memory(values | change, shape, **run)
        if then.fits and then.total < now:
            fitting.setdefault(next(iter(change)), change)  # the first, which changes least
    return [", ".join(f"{key}: {str(value).lower()}" for key, value in change.items()) for change in fitting.values()]


def _applies(change: dict[str, Any], s: dict[str, Any], processes: int) -> bool:
    if "accelerate_config" in change:  # LoRA is better off without ZeRO-3, which gathers the model at every sync
        return not s["use_peft"] and s.get("accelerate_config") != change["accelerate_config"] and processes > 1
    return any(s.get(key) != value for key, value in change.items())


def _vllm(run: Run) -> tuple[dict[str, float], float | None]:
    """GiB that vLLM needs at the least on one GPU, and what it may take there."""
    if run.backend not in ("colocate", "server"):
        return {}, None
    s, flags = run.s, run.s.get("vllm_serve_args") or {}
    parts, share = s["vllm_tensor_parallel_size"], s["vllm_gpu_memory_utilization"]
    if run.backend == "server":
        parts = flags.get("tensor_parallel_size", 1)
        share = flags.get("gpu_memory_utilization", VLLM_UTILIZATION)
    four_bits = run.backend == "colocate" and s["load_in_4bit"]  # TRL has vLLM quantize, too
    weights = quantized_bytes(run.shape, False, 2) if four_bits else 2 * run.shape.parameters
    cache = kv_cache_bytes(run.shape, 2) * run.length
    needs = {"weights": weights / parts / GIB, "kv_cache": cache / parts / GIB, "overhead": VLLM_WORK}
    return needs, None if run.gpu_gib is None else share * run.gpu_gib


def _listed(terms: dict[str, float]) -> str:
    largest_first = sorted(terms.items(), key=lambda term: -term[1])
    return f"{sum(terms.values()):.1f} GiB = " + " + ".join(f"{name} {size:.1f}" for name, size in largest_first)
