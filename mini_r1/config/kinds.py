"""What a recipe can be run as: the script, and the keys it knows."""

import os
from pathlib import Path

from mini_r1.config.arguments import (
    BuildArguments,
    DistillArguments,
    EvaluateArguments,
    GenerateArguments,
    GRPOArguments,
    RewardArguments,
    SFTArguments,
)
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


def dataclass_types(kind: str) -> tuple[type, ...]:
    """The dataclasses whose fields are the keys of such a recipe. Imports TRL, which takes seconds.

    Raises:
        RecipeError: for a kind that does not exist.
    """
    if kind not in KINDS:
        raise RecipeError(f"got {kind!r}, expected one of {', '.join(KINDS)}{did_you_mean(kind, KINDS)}", key="run")
    if kind == "build_model":
        return (BuildArguments,)

    from trl import GRPOConfig, ModelConfig, RewardConfig, SFTConfig

    if kind == "distill":
        from trl import DistillationConfig

        return (DistillArguments, DistillationConfig, ModelConfig)
    if kind == "sft":
        return (SFTArguments, SFTConfig, ModelConfig)
    if kind == "reward":
        return (RewardArguments, RewardConfig, ModelConfig)
    own = {"r1_grpo": GRPOArguments, "evaluate": EvaluateArguments, "generate": GenerateArguments}[kind]
    return (own, GRPOConfig, ModelConfig)


def name_cpu(values: dict) -> None:
    """Call the device of every CPU process `cpu`; accelerate's cpu:0 and cpu:1 are nothing that `torch.load` knows when
    a run resumes. To be called before TRL's arguments are built."""
    if values.get("use_cpu"):
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"


def processes() -> int:
    """How many training processes there are, as the launcher says.

    Raises:
        RecipeError: where several were asked for, and accelerate silently started one.
    """
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_ADDR" in os.environ
    if launched and "WORLD_SIZE" not in os.environ:
        raise RecipeError(
            "accelerate started one process where several were asked for; on CPU add --config_file configs/cpu2.yaml",
            key="--num_processes",
            file="accelerate launch",
        )
    return int(os.environ.get("WORLD_SIZE", "1"))
