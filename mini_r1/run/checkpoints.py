"""Marks whole checkpoints, so that no run resumes from a torn one: the mark is written last."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

from mini_r1.errors import RecipeError

MARK = "whole.json"  # {"files": {relative path: bytes}, "seconds": training time so far}
PREFIX = "checkpoint"  # as transformers names them


def mark(folder: Path, seconds: float) -> None:
    """Writes the mark: every file of the checkpoint with its size. The mark appears in one step."""
    scratch = folder / f"{MARK}.tmp"
    for earlier in (folder / MARK, scratch):  # from a checkpoint in the same folder before
        earlier.unlink(missing_ok=True)
    files = {str(f.relative_to(folder)): f.stat().st_size for f in sorted(folder.rglob("*")) if f.is_file()}
    scratch.write_text(json.dumps({"files": files, "seconds": seconds}, indent=1))
    os.replace(scratch, folder / MARK)


def read_mark(folder: Path) -> dict | None:
    """Reads the mark of a checkpoint; None if the mark is missing, or a file in it is missing or has another size."""
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
    """Returns the checkpoint to resume from, or None, and the training time in seconds until it.

    Args:
        wanted: the recipe's `resume_from_checkpoint`: a path, "true", "false", or None for the last whole one if any.
        say: gets a message for every torn checkpoint.

    Raises:
        RecipeError: if the wanted checkpoint is missing or not whole.
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
    for folder in reversed(checkpoints(output_dir)):
        found = read_mark(folder)
        if found is not None:
            return str(folder), found["seconds"]
        torn = folder.with_name(f"torn-{folder.name}")
        say(f"{folder} is torn (it was cut off while saving, or files are missing): set aside as {torn.name}")
        # the run's own rotation would count it as the newest
        shutil.rmtree(torn, ignore_errors=True)
        folder.rename(torn)
    if wanted is not None:
        raise RecipeError(f"{output_dir} has no whole checkpoint", key="resume_from_checkpoint")
    return None, 0.0


def checkpoints(output_dir: str | Path) -> list[Path]:
    """The checkpoints of a run, whole or torn, by step. A copy with another name, such as checkpoint-3-old, is none."""
    numbered = re.compile(rf"{PREFIX}-\d+")
    return sorted((each for each in Path(output_dir).glob(f"{PREFIX}-*") if numbered.fullmatch(each.name)), key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step at which a checkpoint was saved."""
    return int(checkpoint.name.rpartition("-")[2])


def fingerprint(folder: Path) -> str | None:
    """A digest of a model's weights, from the size and 64 blocks of each file; None if there are no weights.

    To read a large model whole takes minutes, and training changes every tensor.
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
