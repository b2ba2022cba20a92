"""Lists the GPUs of this machine, from nvidia-smi and CUDA_VISIBLE_DEVICES, without CUDA or torch."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from mini_r1.errors import RecipeError

_QUERY = "index,uuid,name,memory.total,memory.used"
_MIB_PER_GIB = 1024


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        index: its name in CUDA_VISIBLE_DEVICES, with CUDA_DEVICE_ORDER=PCI_BUS_ID.
        total_gib: its memory in GiB; None where it is not known.
        free_gib: memory that no process uses now.
    """

    index: str
    name: str
    total_gib: float | None
    free_gib: float | None


def visible_gpus(environ: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The GPUs that a program started here would see, in its order; [] without an NVIDIA driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    argv = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"]
    answer = subprocess.run(argv, capture_output=True, text=True, check=False)
    if answer.returncode != 0:  # no driver, or no device
        return []
    return select_visible(answer.stdout, environ.get("CUDA_VISIBLE_DEVICES"))


def select_visible(listing: str, visible: str | None) -> list[Gpu]:
    """The visible GPUs of nvidia-smi's `listing` (one line a GPU: index, uuid, name, MiB in all, MiB in use).

    Args:
        visible: CUDA_VISIBLE_DEVICES, indices or (beginnings of) UUIDs; None: all. As in CUDA, the first name that
            fits no GPU ends the list; parts of a GPU (MIG-...) are taken as they are.
    """
    gpus = {}  # by UUID
    for line in filter(None, map(str.strip, listing.splitlines())):
        index, uuid, name, total, used = (word.strip() for word in line.split(",", 4))
        gpus[uuid] = Gpu(index, name, int(total) / _MIB_PER_GIB, (int(total) - int(used)) / _MIB_PER_GIB)
    if visible is None:
        return list(gpus.values())
    chosen = []
    for word in map(str.strip, visible.split(",")):
        if word.startswith("MIG-"):
            found = [Gpu(word, "a part of a GPU (MIG)", None, None)]
        elif word.startswith("GPU-"):
            found = [gpu for uuid, gpu in gpus.items() if uuid.startswith(word)]
        else:
            found = [gpu for gpu in gpus.values() if gpu.index == word]
        if len(found) != 1:
            break
        chosen += found
    return chosen


def usable_gpus(wanted: int | None, gib: float | None, assume: bool) -> list[Gpu]:
    """The first `wanted` of the visible GPUs; all of them for None.

    Args:
        gib: memory in GiB of an assumed GPU.
        assume: assume the GPUs that are missing, to check a recipe or to show a plan.

    Raises:
        RecipeError: where there are too few.
    """
    gpus = visible_gpus()
    if wanted is None:
        return gpus
    if wanted < 0:
        raise RecipeError(f"got {wanted}, expected 0 (a CPU) or more", key="--gpus", file="command line")
    if len(gpus) >= wanted:
        return gpus[:wanted]
    if assume:
        return [Gpu(str(index), "assumed", gib, gib) for index in range(wanted)]
    there = f"{len(gpus)} visible here" if gpus else "none visible here; --dry_run shows a plan without them"
    raise RecipeError(f"{wanted} asked for, {there}", key="--gpus", file="command line")
