"""Marks of whole checkpoints: a mark is written last, so that a torn checkpoint is never resumed from."""

import hashlib
import json
import os
import shutil
from pathlib import Path

from mini_r1.errors import RecipeError

MARK = "whole.json"  # {"files": {relative path: bytes}, "seconds": training time so far}
PREFIX = "checkpoint"  # as transformers names them


def mark(folder: Path, seconds: float) -> None:
    """Record every file of the checkpoint with its size, in one atomic step."""
    scratch = folder / f"{MARK}.tmp"
    for earlier in (folder / MARK, scratch):  # of a checkpoint that this one replaces
        earlier.unlink(missing_ok=True)
    files = {str(f.relative_to(folder)): f.stat().st_size for f in sorted(folder.rglob("*")) if f.is_file()}
    scratch.write_text(json.dumps({"files": files, "seconds": seconds}, indent=1))
    os.replace(scratch, folder / MARK)


def read_mark(folder: Path) -> dict | None:
    """The mark of a whole checkpoint; None where the mark, or a file it lists, is missing or of another size."""
    try:
        found = json.loads((folder / MARK).read_text())
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None
    for name, size in found["files"].items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != size:
            return None
    return found


def find_checkpoint(output_dir: str | Path, wanted: str | None, say) -> tuple[str | None, float]:
    """The checkpoint to resume from and the training seconds it stands for.

    Args:
        wanted: the recipe's `resume_from_checkpoint`: a path, "true" or "false", or None for the last whole one.
        say: called with a message for every torn checkpoint that is passed over.

    Raises:
        RecipeError: where the wanted checkpoint is not there or not whole.
    """
    if str(wanted).lower() == "false":
        return None, 0.0
    if wanted is not None and str(wanted).lower() != "true":
        found = read_mark(Path(wanted))
        if found is None:
            raise RecipeError(
                f"{wanted} is no whole checkpoint; leave it out to take the last whole one",
                key="resume_from_checkpoint",
            )
        return str(Path(wanted)), found["seconds"]  # without a slash at the end
    for folder in sorted(Path(output_dir).glob(f"{PREFIX}-*"), key=_step, reverse=True):
        found = read_mark(folder)
        if found is not None:
            return str(folder), found["seconds"]
        torn = folder.with_name(f"torn-{folder.name}")
        say(f"{folder} is torn (it was cut off while saving, or files are missing): set aside as {torn.name}")
        # out of the way of the run's own rotation, which would count it as the newest
        shutil.rmtree(torn, ignore_errors=True)
        folder.rename(torn)
    if wanted is not None:
        raise RecipeError(f"{output_dir} has no whole checkpoint", key="resume_from_checkpoint")
    return None, 0.0


def _step(folder: Path) -> int:
    tail = folder.name.rpartition("-")[2]
    return int(tail) if tail.isdigit() else -1


def fingerprint(folder: Path) -> str | None:
    """A digest of a model's weights, from the size and 64 places of each file; None where there are no weights.

    Reading all of a large model would take minutes; training changes every tensor.
    """
    digest, block = hashlib.sha256(), 65536
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name} {size} ".encode())
        with open(path, "rb") as file:
            for place in range(64):
                file.seek(place * max(size - block, 0) // 63)
                digest.update(file.read(block))
    return digest.hexdigest() if files else None
