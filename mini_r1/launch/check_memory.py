"""The part of a check that weighs: memory per GPU, and room on the disk for checkpoints."""

import math
import os
import shutil
from pathlib import Path

from mini_r1.config.kinds import ONLY_SAMPLE
from mini_r1.launch.check_findings import Findings
from mini_r1.launch.check_model import Sharing
from mini_r1.launch.hardware import Gpu
from mini_r1.launch.memory import estimate_memory, what_fits
from mini_r1.launch.memory_terms import BYTES
from mini_r1.launch.model_shapes import ModelShape, lora_parameters
from mini_r1.launch.plan import LaunchPlan
from mini_r1.run.checkpoints import PREFIX

GIB = 2**30
TIGHT = 0.92  # an estimate above this share of a GPU is worth a warning


def check_memory(
    values: dict, plan: LaunchPlan, shape: ModelShape, prompt_tokens: int, gpus: list[Gpu], findings: Findings
) -> None:
    """Does a training GPU hold what the run needs at its peak, and has vLLM room? Nothing is said of a CPU.

    Args:
        values: with the plan's own accelerate file, None for one plain process.
        gpus: those that were planned for.

    Raises:
        RecipeError: as `estimate_memory`.
    """
    if values.get("use_cpu") or (plan.kind in ONLY_SAMPLE and plan.backend == "external"):
        return
    run = {
        "processes": plan.processes,
        "backend": plan.backend,
        "prompt_tokens": prompt_tokens,
        "gpu_gib": plan.gpu_gib,
        "kind": plan.kind,
    }
    estimate = estimate_memory(values, shape, **run)
    for line in estimate.describe().splitlines():
        findings.ok(f"memory, {line}")
    if plan.gpu_gib is None:
        findings.note(f"{estimate.total:.1f} GiB a GPU are needed, and its size is not known; set it", "gpu_gib")
        return
    if plan.kind in ONLY_SAMPLE and plan.backend != "hf" and estimate.server_fits:  # the engine, and nothing else
        wanted = f"{sum(estimate.server.values()):.1f} GiB for weights and one sequence"
        findings.ok(f"memory: vLLM needs {wanted}, and may take {estimate.server_gib:.1f} of {plan.gpu_gib:g}")
        return
    needs = f"{estimate.total:.1f} GiB of {plan.gpu_gib:g} on a training GPU ({estimate.peak})"
    changes = what_fits(values, shape, **run) if not estimate.fits or estimate.total > TIGHT * plan.gpu_gib else []
    remedy = "use " + "; or ".join(changes[:3]) if changes else "use more or larger GPUs, or a smaller model"
    key = changes[0].partition(":")[0] if changes else "model_name_or_path"
    if not estimate.server_fits:
        key = "vllm_serve_args" if plan.backend == "server" else "vllm_gpu_memory_utilization"
        findings.error(
            f"vLLM needs {sum(estimate.server.values()):.1f} GiB for its weights and one sequence, and may take "
            f"{estimate.server_gib:.1f} of {plan.gpu_gib:g}; raise its share"
            + (", or tensor_parallel_size" if plan.backend == "server" else ""),
            key,
        )
    elif not estimate.fits:
        findings.error(f"memory: it takes {needs}; {remedy}", key)
    elif estimate.total > TIGHT * plan.gpu_gib:
        findings.warning(f"memory is tight: it takes {needs}; to be safe, {remedy}", key)
    else:
        findings.ok(f"memory: {needs}")
    for gpu in gpus:
        if gpu.index in plan.trainer_gpus and gpu.free_gib is not None and gpu.free_gib < estimate.total < plan.gpu_gib:
            findings.error(
                f"GPU {gpu.index} ({gpu.name}) has {gpu.free_gib:.1f} GiB free, as other processes use it, and "
                f"{estimate.total:.1f} are needed; end those, or choose other GPUs",
                "CUDA_VISIBLE_DEVICES",
                "environment",
            )


def check_disk(
    values: dict, shape: ModelShape, sharing: Sharing, steps: int | None, here: bool, findings: Findings
) -> None:
    """Is there room for the checkpoints that are kept, the one that is being written, and the final model?

    Args:
        steps: optimizer steps of the run, None where they are not known.
        here: it is this machine that would train; another one's disk may be larger.

    Raises:
        RecipeError: for LoRA targets that are none.
    """
    folder = Path(values["output_dir"])
    weights, optimizer = _checkpoint_bytes(values, shape, sharing)
    checkpoint = weights + (0 if values.get("save_only_model") else optimizer)
    count = _checkpoints_at_once(values, steps)
    there = sum(file.stat().st_size for file in folder.glob(f"{PREFIX}-*/**/*") if file.is_file())
    needed = max(count * checkpoint - there, 0) + weights
    nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        findings.error(f"{nearest} is no folder in which this user may write; choose another", "output_dir")
        return
    free = shutil.disk_usage(nearest).free
    sizes = f"{count} checkpoints of {_size(checkpoint)} and the model of {_size(weights)}"
    if needed <= free:
        findings.ok(f"disk: {sizes}, {_size(free)} are free for {folder}")
        return
    many = count > 3  # more than any run needs, on whatever disk
    (findings.error if here or many else findings.warning)(
        f"{sizes} need {_size(needed)}, and {_size(free)} are free for {folder}; "
        + ("set save_total_limit: 2, or " if many else "make room, or ")
        + "choose an output_dir on a larger disk",
        "save_total_limit" if many else "output_dir",
    )


def _checkpoint_bytes(values: dict, shape: ModelShape, sharing: Sharing) -> tuple[int, int]:
    """Bytes of the model, and of the optimizer's state, in one checkpoint."""
    dtype = shape.dtype if values.get("dtype") in ("auto", None) else values["dtype"]
    lora = values.get("use_peft")
    trained = lora_parameters(shape, values["lora_r"], values["lora_target_modules"]) if lora else shape.parameters
    stored = 4 if lora or sharing.fsdp else BYTES[dtype]
    if sharing.stage:
        return trained * 2, trained * 12  # DeepSpeed's 32-bit copy, and two averages
    return trained * stored, trained * 2 * (1 if "8bit" in values["optim"] else stored)


def _checkpoints_at_once(values: dict, steps: int | None) -> int:
    """How many checkpoints lie on the disk while one is written, in a run of so many steps (None: not known)."""
    strategy, every, limit = values.get("save_strategy"), values.get("save_steps") or 0, values.get("save_total_limit")
    if strategy == "no":
        return 0
    if strategy == "steps" and 0 < every < 1:
        saves = round(1 / every)
    elif strategy == "steps" and every >= 1 and steps:
        saves = math.ceil(steps / every)
    else:
        saves = 1 if limit is None else limit + 1
    return saves if limit is None else min(saves, limit + 1)


def _size(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"
