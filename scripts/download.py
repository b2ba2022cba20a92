"""Fetch a recipe's model and dataset into the local cache, for nodes without internet.

python scripts/download.py --config recipes/NAME.yaml
"""

import sys
from pathlib import Path

from mini_r1.config.kinds import dataclass_types
from mini_r1.config.recipe import build, check, parse_command_line, resolve
from mini_r1.data.mixed_data import describe_rows, load_parts
from mini_r1.data.mixture import read_parts
from mini_r1.errors import RecipeError, exit_on_recipe_error


def main() -> None:
    recipe = resolve(*parse_command_line(sys.argv[1:]))
    types = dataclass_types("r1_grpo")
    recipe = check(recipe, types)
    recipe.values.update(use_cpu=True, bf16=False)  # the node that downloads may have no GPU
    with recipe.blame():
        *_, model_args = build(recipe, types)
        name = model_args.model_name_or_path
        if not name:
            raise RecipeError("is missing; name a hub id or a local folder", key="model_name_or_path")
        if Path(name).is_dir() or name.startswith("runs/"):
            print(f"model: {name} is made here, nothing to fetch")
        else:
            print(f"model: {name} is in {fetch_model(name, model_args.model_revision)}")
        parts = read_parts(recipe.values, types[0])
        for line in describe_rows(parts, load_parts(parts)).splitlines():
            print(f"data: {line}")


def fetch_model(name: str, revision: str) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return snapshot_download(name, revision=revision, ignore_patterns=["*.pth", "*.gguf", "original/*"])
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise RecipeError(
            f"{name} cannot be fetched: {str(error).splitlines()[0]}", key="model_name_or_path"
        ) from error


if __name__ == "__main__":
    exit_on_recipe_error(main)
