"""What a recipe can be run as: the script, the keys it knows, and how it is launched."""

import os
import shutil
import sys
from pathlib import Path

from mini_r1.arguments import BuildArguments, RecipeArguments, SFTArguments
from mini_r1.errors import RecipeError
from mini_r1.recipe_keys import did_you_mean

SCRIPTS = Path(__file__).parent.parent / "scripts"
KINDS = {
    "build_model": "build_model.py",
    "sft": "run_sft.py",
    "r1_grpo": "run_r1_grpo.py",
    "evaluate": "evaluate.py",
}


def dataclass_types(kind: str) -> tuple[type, ...]:
    """The dataclasses whose fields are the keys of such a recipe. Imports TRL, which takes seconds.

    Raises:
        RecipeError: for a kind that does not exist.
    """
    if kind not in KINDS:
        raise RecipeError(f"got {kind!r}, expected one of {', '.join(KINDS)}{did_you_mean(kind, KINDS)}", key="run")
    if kind == "build_model":
        return (BuildArguments,)

    from trl import GRPOConfig, ModelConfig, SFTConfig

    return (SFTArguments, SFTConfig, ModelConfig) if kind == "sft" else (RecipeArguments, GRPOConfig, ModelConfig)


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


def command(kind: str, recipe: str, launch: list[str] | None, on_cpu: bool, flags: list[str]) -> list[str]:
    """The command line that runs a recipe.

    Args:
        launch: how training scripts are started, such as ["accelerate", "launch", "--num_processes", "2"]; None: by
            `accelerate launch` on all GPUs where there is one, as a plain process otherwise.
        on_cpu: the recipe says `use_cpu`, so GPUs do not matter.
    """
    script = str(SCRIPTS / KINDS[kind])
    if kind == "build_model":
        launch = []
    elif launch is None and not on_cpu and shutil.which("nvidia-smi"):
        launch = ["accelerate", "launch"]
    if launch and launch[0] == "accelerate":  # the one beside this Python, also where its folder is not on PATH
        launch = [str(Path(sys.executable).with_name("accelerate")), *launch[1:]]
    return [*(launch or [sys.executable]), script, "--config", recipe, *flags]
