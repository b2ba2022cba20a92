"""Estimates the memory of one GPU before anything is loaded: what a run holds in each phase of a training step.

    estimate = estimate_memory(config, shape, processes=7, backend="server", prompt_tokens=200, gpu_gib=80)
    estimate.total, estimate.peak, estimate.fits

docs/memory.md has the formulas with their sources, and what was measured. Weights, gradients, optimizer state, the KV
cache and what layers keep for the backward pass are counted exactly; temporary tensors and the buffers of
DeepSpeed and FSDP are modelled; the overhead is an allowance.
"""

from dataclasses import dataclass
from typing import Any

from mini_r1.config.kinds import ONLY_SAMPLE
from mini_r1.config.run_config import RunConfig
from mini_r1.errors import RecipeError
from mini_r1.launch.findings import Check
from mini_r1.launch.model_shapes import ModelShape, kv_cache_bytes, lora_layers, quantized_bytes
from mini_r1.launch.plan import accelerate_file, read_sharding

GIB = 2**30
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

# TRL's LM head makes logits one tile at a time; its torch version, for CPUs, adds so many bytes for each element.
TILE_TOKENS, TILE_VOCAB, CPU_FOLD = 4096, 32768, 29
# DeepSpeedZeroConfig's defaults, in elements: reduce_bucket_size, and max_live_parameters + prefetch_bucket_size.
BUCKET, LIVE = 5 * 10**8, 10**9 + 5 * 10**7

# Allowances, not measured. GiB: CUDA context and libraries; NCCL; what sleeping vLLM keeps. A share: what fragmentation
# takes of the terms that come and go.
CONTEXT, NCCL, ASLEEP, FRAGMENTED = 1.0, 0.5, 1.5, 0.1
CHANGING = ("activations", "logits", "kv_cache", "sharding")
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
TIGHT = 0.92  # an estimate above this share of a GPU gives a warning


def check_memory(check: Check) -> None:
    """Checks that a training GPU holds what the run needs at its peak, and that vLLM has room; a CPU is not checked.

    Raises:
        RecipeError: as `estimate_memory`.
    """
    plan, shape, file = check.plan, check.shape, check.plan.accelerate_config
    config = check.config.with_values(accelerate_config=str(file) if file else None)
    if config.use_cpu or (config.kind in ONLY_SAMPLE and plan.backend == "external"):
        return
    if config.kind == "reward":
        check.note("the memory that a reward model takes in training is not estimated")
    if config.kind == "reward" or shape is None:
        return
    run = {"processes": plan.processes, "backend": plan.backend, "gpu_gib": plan.gpu_gib}
    run["prompt_tokens"] = check.longest_prompt
    estimate = estimate_memory(config, shape, **run)
    for line in estimate.describe().splitlines():
        check.ok("memory in detail", line)
    if plan.gpu_gib is None:
        check.note(f"{estimate.total:.1f} GiB a GPU are needed, and its size is not known; set it", "gpu_gib")
        return
    if config.kind in ONLY_SAMPLE and plan.backend != "hf" and estimate.server_fits:  # the engine, and nothing else
        wanted = f"{sum(estimate.server.values()):.1f} GiB for weights and one sequence"
        check.ok("memory", f"vLLM needs {wanted}, and may take {estimate.server_gib:.1f} of {plan.gpu_gib:g}")
        return
    needs = f"{estimate.total:.1f} GiB of {plan.gpu_gib:g} on a training GPU ({estimate.peak})"
    changes = what_fits(config, shape, **run) if not estimate.fits or estimate.total > TIGHT * plan.gpu_gib else []
    remedy = "use " + "; or ".join(changes[:3]) if changes else "use more or larger GPUs, or a smaller model"
    key = changes[0].partition(":")[0] if changes else "model_name_or_path"
    if not estimate.server_fits:
        key = "vllm_serve_args" if plan.backend == "server" else "vllm_gpu_memory_utilization"
        check.error(
            f"vLLM needs {sum(estimate.server.values()):.1f} GiB for its weights and one sequence, and may take "
            f"{estimate.server_gib:.1f} of {plan.gpu_gib:g}; raise its share"
            + (", or tensor_parallel_size" if plan.backend == "server" else ""),
            key,
        )
    elif not estimate.fits:
        check.error(f"memory: it takes {needs}; {remedy}", key)
    elif estimate.total > TIGHT * plan.gpu_gib:
        check.warning(f"memory is tight: it takes {needs}; to be safe, {remedy}", key)
    else:
        check.ok("memory", needs)
    for gpu in check.gpus:
        if gpu.index in plan.trainer_gpus and gpu.free_gib is not None and gpu.free_gib < estimate.total < plan.gpu_gib:
            check.error(
                f"GPU {gpu.index} ({gpu.name}) has {gpu.free_gib:.1f} GiB free, as other processes use it, and "
                f"{estimate.total:.1f} are needed; end those, or choose other GPUs",
                "CUDA_VISIBLE_DEVICES",
                "environment",
            )


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
        lines = []
        for name, terms in (self.phases | ({"vLLM needs": self.server} if self.server else {})).items():
            largest_first = sorted(terms.items(), key=lambda term: -term[1])
            listed = " + ".join(f"{term} {size:.1f}" for term, size in largest_first)
            lines.append(f"{name}: {sum(terms.values()):.1f} GiB = {listed}")
        return "\n".join(lines)


def estimate_memory(
    config: RunConfig,
    shape: ModelShape,
    *,
    processes: int,
    backend: str,
    prompt_tokens: int,
    gpu_gib: float | None,
) -> MemoryEstimate:
    """Estimates a run in which all prompts and completions are as long as they may be.

    Args:
        processes: training processes over all machines.
        backend: what generates: "hf", "colocate", "server", or "external" (a server that is not ours).
        prompt_tokens: length of the longest prompt.
        gpu_gib: memory of the smallest GPU. The recipe's `use_cpu` says whether there is a GPU at all.

    Raises:
        RecipeError: for LoRA targets that are none, an unknown dtype, or an accelerate file that is missing.
    """
    kind = config.kind
    run = Run(config, shape, processes, backend, prompt_tokens, gpu_gib)
    if kind in ONLY_SAMPLE and backend != "hf":  # this process has no model of its own
        return MemoryEstimate({"evaluation": {}}, *run.vllm(), gpu_gib)
    phases = {}
    if kind in ("r1_grpo", "distill") or run.evaluates:
        phases["generation"] = run.generation()
    if run.evaluates:
        phases["evaluation"] = run.evaluation()
    if kind not in ONLY_SAMPLE:
        phases |= {"loss": run.loss(), "backward": run.backward(), "step": run.step()}
    return MemoryEstimate({name: run.in_gib(terms) for name, terms in phases.items()}, *run.vllm(), gpu_gib)


def what_fits(config: RunConfig, shape: ModelShape, **run: Any) -> list[str]:
    """Changes after which a recipe takes less and fits: "gradient_checkpointing: true", ... Each alone is enough.

    Args:
        run: the other arguments of `estimate_memory`; gpu_gib must be known.
    """
    changes = _smaller_batches(config, run["processes"])
    evaluated, group = config.per_device_eval_batch_size, config.num_generations_eval or config.num_generations or 8
    smaller = [evaluated >> power for power in range(1, evaluated.bit_length())]
    changes += [{"per_device_eval_batch_size": n} for n in smaller if n * run["processes"] % group == 0]
    # LoRA is better off without ZeRO-3, which gathers the model at every sync
    shared = run["processes"] > 1 and not config.use_peft
    changes += [change for change in REMEDIES if shared or "accelerate_config" not in change]
    now, fitting = estimate_memory(config, shape, **run).total, {}
    for change in changes:
        then = estimate_memory(config.with_values(**change), shape, **run)
        if then.fits and then.total < now:
            fitting.setdefault(next(iter(change)), change)  # the first, which changes least
    return [", ".join(f"{key}: {str(value).lower()}" for key, value in change.items()) for change in fitting.values()]


def _smaller_batches(config: RunConfig, processes: int) -> list[dict[str, Any]]:
    """Smaller micro-batches, the largest first, while accumulation keeps the batch and the rollout whole."""
    old, counted = config.per_device_train_batch_size, ["gradient_accumulation_steps"]
    counted += ["steps_per_generation"] if config.steps_per_generation else []
    unit = config.num_generations if config.trained_completions == "one" else 1  # whole groups
    return [
        {"per_device_train_batch_size": size, **{key: getattr(config, key) * old // size for key in counted}}
        for size in range(old - unit, 0, -1)
        if size % unit == 0
        and (config.generation_batch_size or 0) % (size * processes) == 0
        and all(getattr(config, key) * old % size == 0 for key in counted)
    ]


class Run:
    """One recipe on some number of processes; arguments as in `estimate_memory`."""

    def __init__(
        self, s: RunConfig, shape: ModelShape, processes: int, backend: str, prompt_tokens: int, gpu_gib: float | None
    ):
        self.s, self.shape, self.processes, self.backend, self.gpu_gib = s, shape, processes, backend, gpu_gib
        kind = self.kind = s.kind
        self.cpu = bool(s.use_cpu)
        self.share = read_sharding(accelerate_file(s.accelerate_config) if s.accelerate_config else None)
        self.split = processes if self.share.stage == 3 or self.share.fsdp else 1  # of the weights
        self._count_bytes()
        self.batch, self.accumulation = s.per_device_train_batch_size, s.gradient_accumulation_steps
        rollout = s.steps_per_generation or self.accumulation  # micro-batches
        if s.generation_batch_size:
            rollout = s.generation_batch_size // (self.batch * processes)
        self.mid_step = self.accumulation > rollout  # a rollout begins while gradients are being summed
        self.evaluates = kind in ONLY_SAMPLE or s.test_fraction > 0 or s.dataset_test_split is not None
        completion = s.max_completion_length
        self.length = prompt_tokens + completion
        self.trained_length = (kind == "sft" and s.max_length) or self.length
        only_one = s.trained_completions == "one"  # of each group; the others are only sampled
        self.tokens = self.batch // (s.num_generations if only_one else 1) * self.trained_length
        # The share of tokens that get logits: on a GPU those of the completion only.
        self.scored = 1.0 if self.cpu or kind == "sft" else completion / self.length
        rollout *= self.batch if kind in ("r1_grpo", "distill") else 0
        self.generated = max(rollout, s.per_device_eval_batch_size if self.evaluates else 0)

    def _count_bytes(self) -> None:
        """Bytes of a frozen and of a trained weight, of the residual stream, and of what autocast computes in."""
        s, share, shape = self.s, self.share, self.shape
        dtype = shape.dtype if s.dtype == "auto" else s.dtype
        if dtype not in BYTES:
            raise RecipeError(f"got {dtype}, expected one of {', '.join(BYTES)} or auto", key="dtype")
        autocast = s.fp16 or s.bf16 is not False
        self.compute = 2 if autocast else BYTES[dtype]
        self.frozen = self.compute if share.stage else BYTES[dtype]  # DeepSpeed casts the whole model
        self.stream = self.compute if share.stage or share.fsdp else self.frozen
        if s.use_peft:
            self.lora = lora_layers(shape, s.lora_target_modules)
            self.trained = sum(s.lora_r * (layer.inputs + layer.outputs) for layer in self.lora)
            # peft makes adapters fp32; TRL keeps them in 16 bits beside 4-bit weights and in ZeRO-3
            self.each = 2 if s.load_in_4bit else self.frozen if share.stage == 3 else 4
        else:
            self.lora, self.trained = None, shape.parameters
            self.each = 4 if share.fsdp and autocast else self.frozen  # accelerate makes them fp32 for FSDP

    # ---- what is held all the time

    def held(self, gradients: bool, awake: bool) -> dict[str, float]:
        """Weights, optimizer, vLLM; `gradients`: inside of a step; `awake`: vLLM is at work, or has no sleep mode."""
        s = self.s
        terms = {"weights": self.weights()}
        if self.kind not in ONLY_SAMPLE:
            terms |= {"gradients": self.gradients(gradients), "optimizer": self.optimizer()}
        if self.kind == "r1_grpo" and s.beta and self.lora is None and not self.share.weights_on_cpu:
            terms["reference"] = self.shape.parameters * self.frozen / self.split
        if self.backend == "colocate":
            awake = awake or not s.vllm_enable_sleep_mode
            terms["vllm"] = (s.vllm_gpu_memory_utilization * (self.gpu_gib or 0) if awake else ASLEEP) * GIB
        return terms

    def weights(self) -> float:
        if self.share.weights_on_cpu:
            return 0
        if self.lora is None:
            return self.shape.parameters * self.each / self.split
        if self.s.load_in_4bit:  # bytes that hold two weights cannot be shared out
            return quantized_bytes(self.shape, self.frozen)
        return self.shape.parameters * self.frozen / self.split

    def gradients(self, within_step: bool) -> float:
        size, stage = self.trained * self.each, self.share.stage
        there = within_step or self.mid_step
        if stage == 3 or (stage == 2 and self.share.optimizer_on_cpu):  # stage 3 has one buffer, made once
            return 0 if self.share.optimizer_on_cpu else size / self.split
        if stage == 2:  # those of this micro-batch, and the sum of the earlier ones
            return size / self.processes * (min(self.accumulation, 2) if within_step else there)
        if self.share.fsdp:  # split at the last micro-batch only; whole until then
            return max(size / self.split, self.trained * self.compute * (self.accumulation > 1)) * there
        return size * (there + (stage == 0 and self.processes > 1))  # DDP's buckets are as large again, and stay

    def optimizer(self) -> float:
        optim, zero = self.s.optim, self.share.stage > 0
        if self.share.optimizer_on_cpu:
            return 0
        each = 4 if zero or "32bit" in optim else self.each  # ZeRO steps an fp32 copy of its part
        copy = 4 if zero and not (self.share.stage == 3 and self.each == 4) else 0
        split = self.processes if zero or self.share.fsdp else 1
        if "8bit" not in optim:
            return self.trained * ((0 if optim in ("sgd", "adafactor") else 2) * each + copy) / split
        # two states of a byte; transformers leaves embeddings in fp32
        whole = self.shape.vocab * self.shape.hidden if self.lora is None else 0
        return ((self.trained - whole) * 2 + whole * 8 + self.trained * copy) / split

    # ---- phases

    def generation(self) -> dict[str, float]:
        shape, terms = self.shape, self.held(gradients=False, awake=True)
        if self.backend == "hf":
            # one layer's keys are copied as they grow, and its keys and values repeated for every query head
            layer = self.stream * shape.head_dim * (shape.kv_heads + 2 * shape.heads)
            terms["kv_cache"] = self.generated * self.length * (kv_cache_bytes(shape, self.stream) + layer)
        if self.split > 1:
            whole = self.backend == "hf" or self.lora is not None  # else weights go to vLLM one by one
            terms["sharding"] = self.gathered(sends=False) if self.share.fsdp else self.bucket() + self.compute * (
                shape.parameters if whole else shape.vocab * shape.hidden
            )  # fmt: skip
        return terms

    def evaluation(self) -> dict[str, float]:
        tokens = self.s.per_device_eval_batch_size * self.length
        scored = tokens * self.scored
        return self.held(gradients=False, awake=False) | {
            "activations": tokens * self.forward_bytes(),
            "logits": self.tile(scored) + scored * self.shape.hidden * self.stream,
            "sharding": self.gathered(sends=False),
        }

    def loss(self) -> dict[str, float]:
        gradient = 4 + (self.stream if self.stream < 4 and not self.cpu else 0)  # summed up in fp32, then cast
        head = self.shape.vocab * self.shape.hidden * gradient if self.lora is None else 0
        if self.s.gradient_checkpointing:
            head = max(head, self.casts())  # a moment before, at the end of the forward pass
        return self.held(gradients=True, awake=False) | {
            "activations": self.kept(),
            "logits": self.tile(self.tokens * self.scored) + head,
            "sharding": self.gathered(),
        }

    def backward(self) -> dict[str, float]:
        inner, hidden, compute = self.shape.intermediate, self.shape.hidden, self.compute
        work = 2 * inner * compute  # gradients of gate and up
        if self.lora is not None:  # an adapter's input, cast, and again after dropout
            copies = (self.each if self.each != compute else 0) + self.each * (self.s.lora_dropout > 0)
            work = max(work, inner * (compute + copies) + 2 * hidden * compute)
        if self.s.gradient_checkpointing:  # one layer is computed again
            work += self.layer_bytes()
        return self.held(gradients=True, awake=False) | {
            "activations": self.kept() + self.tokens * work,
            "sharding": self.gathered(),
        }

    def step(self) -> dict[str, float]:
        terms = self.held(gradients=True, awake=False)
        if self.share.stage:  # gradients in fp32, root of the second moment
            terms["optimizer"] += 0 if self.share.optimizer_on_cpu else 8 * self.trained / self.processes
        elif self.s.optim == "adamw_torch" and not self.cpu:  # all weights in one call: the root again
            terms["optimizer"] += self.trained * self.each / self.split
        return terms | {"sharding": self.bucket() if self.share.stage == 3 else 0}

    # ---- parts of phases

    def kept(self) -> float:
        """What the forward pass keeps for the layers' backward pass."""
        if self.s.gradient_checkpointing:
            return self.tokens * self.shape.layers * self.shape.hidden * self.stream
        return self.tokens * self.shape.layers * self.layer_bytes() + self.casts()

    def casts(self) -> float:
        """The layers' weights as autocast casts them, for a forward pass or as long as what it keeps."""
        return self.compute * (self.shape.parameters - self.shape.embeddings) if self.stream != self.compute else 0

    def layer_bytes(self) -> float:
        """Bytes per token that one layer keeps for the backward pass. Exact for Qwen2, Llama and Phi-3."""
        s, shape, compute, hidden, inner = self.s, self.shape, self.compute, self.shape.hidden, self.shape.intermediate
        queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
        names = {layer.name.rpartition(".")[2] for layer in shape.linears}
        size = 2 * 4 * hidden  # RMSNorm works on an fp32 copy of the residual stream
        if s.attn_implementation == "flash_attention_2":  # inputs and output
            size += compute * (2 * queries + 2 * keys)
        else:  # SDPA repeats keys and values, and keeps its mask, as sequences differ in length
            size += compute * (4 * queries + self.trained_length)
        if "qkv_proj" in names:  # queries, keys and values are parts of one tensor, which stays whole
            size += compute * (queries + 2 * keys)
        size += 3 * inner * compute  # gate, its activation, up
        if self.lora is not None:  # frozen layers keep no input; an adapter keeps its own, and what its A made of it
            mask = (4 if self.cpu else 1) * (s.lora_dropout > 0)
            return size + sum(each.inputs * (compute + mask) + s.lora_r * compute for each in self.lora) / shape.layers
        # What the norms' weights multiply, what the linear layers read (autocast casts it for each), and their product.
        readers = 2
        if self.stream != compute:
            readers = (1 if "qkv_proj" in names else 3) + (1 if "gate_up_proj" in names else 2)
        return size + 2 * hidden * self.stream + readers * hidden * compute + inner * compute

    def forward_bytes(self) -> float:
        """Bytes per token at work where nothing is kept: gate, up, product; embeddings, layer's input, residuals."""
        inner, hidden = (3, 4) if self.lora is None else (4, 7)  # an adapter's output is added to a copy
        return inner * self.shape.intermediate * self.compute + hidden * self.shape.hidden * self.stream

    def tile(self, scored: float) -> float:
        fold = CPU_FOLD * min(self.shape.vocab, TILE_VOCAB) if self.cpu else 0
        return min(scored, TILE_TOKENS) * (TILE_VOCAB * self.compute + fold)

    def bucket(self) -> float:
        return (min(self.trained, BUCKET) if self.cpu else BUCKET) * self.compute

    def gathered(self, sends: bool = True) -> float:
        """What a pass through the model gathers, and the buffers of gradients where it `sends` them."""
        shape, compute = self.shape, self.compute
        if self.share.stage == 3:  # the bucket, which is always there, and what lives beside it
            live = min(shape.parameters, LIVE) + min(self.trained, BUCKET) * sends
            return self.bucket() + live * compute
        if self.share.fsdp:  # the layer at work, the next one, and a copy; embedding and output layer throughout
            layer = (shape.parameters - shape.embeddings) / shape.layers
            return compute * (3 * layer + 2 * shape.embeddings)
        return self.bucket() if self.share.stage and sends else 0

    def in_gib(self, terms: dict[str, float]) -> dict[str, float]:
        """The terms in GiB, without those that are zero, and with the overhead of a GPU."""
        sizes = {name: size / GIB for name, size in terms.items() if size}
        if self.cpu:
            return sizes
        changing = sum(sizes.get(name, 0) for name in CHANGING)
        return sizes | {"overhead": CONTEXT + NCCL * (self.processes > 1) + FRAGMENTED * changing}

    def vllm(self) -> tuple[dict[str, float], float | None]:
        """GiB that vLLM needs at the least on one GPU, and what it may take there."""
        if self.backend not in ("colocate", "server"):
            return {}, None
        s, flags = self.s, self.s.vllm_serve_args or {}
        parts, share = s.vllm_tensor_parallel_size, s.vllm_gpu_memory_utilization
        if self.backend == "server":
            parts = flags.get("tensor_parallel_size", 1)
            share = flags.get("gpu_memory_utilization", VLLM_UTILIZATION)
        four_bits = self.backend == "colocate" and s.load_in_4bit  # TRL has vLLM quantize, too
        weights = quantized_bytes(self.shape, 2) if four_bits else 2 * self.shape.parameters
        cache = kv_cache_bytes(self.shape, 2) * self.length
        needs = {"weights": weights / parts / GIB, "kv_cache": cache / parts / GIB, "overhead": VLLM_WORK}
        return needs, None if self.gpu_gib is None else share * self.gpu_gib
