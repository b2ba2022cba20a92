"""The kinds of run: the script of each, and the dataclasses that have its keys."""

import os
from pathlib import Path
from typing import Any

from mini_r1.config.arguments import ARGUMENTS
from mini_r1.config.keys import did_you_mean
from mini_r1.errors import RecipeError

SCRIPTS = Path(__file__).parents[2] / "scripts"
KINDS = {
    "build_model": "build_model.py",
    "sft": "run_sft.py",
    "reward": "run_reward.py",
    "r1_grpo": "run_r1_grpo.py",
    "distill": "run_distill.py",
    "evaluate": "evaluate.py",
    "generate": "generate.py",
}
ONLY_SAMPLE = ("evaluate", "generate")  # kinds that train nothing


def wrong_kind(run: Any) -> str | None:
    """What is wrong with the `run` of a recipe or a stage; None if it is a kind of run."""
    if isinstance(run, str) and run in KINDS:
        return None
    return f"got {run!r}, expected one of {', '.join(KINDS)}{did_you_mean(str(run), KINDS)}"


def dataclass_types(kind: str) -> tuple[type, ...]:
    """The dataclasses whose fields are the keys of a kind of run: ours, then TRL's. Imports TRL (seconds)."""
    if kind == "build_model":
        return (ARGUMENTS[kind],)

    import trl  # loads torch

    training = {"sft": "SFTConfig", "reward": "RewardConfig", "distill": "DistillationConfig"}.get(kind, "GRPOConfig")
    return (ARGUMENTS[kind], getattr(trl, training), trl.ModelConfig)


def processes() -> int:
    """The number of training processes; a `RecipeError` if accelerate silently started one instead of several."""
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    if launched and "WORLD_SIZE" not in os.environ:
        raise RecipeError(
            "accelerate started one process where several were asked for; on CPU add --config_file configs/cpu2.yaml",
            key="--num_processes",
            file="accelerate launch",
        )
    return int(os.environ.get("WORLD_SIZE", "1"))
