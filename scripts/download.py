"""Fetches a recipe's model and dataset into the local cache, for nodes without internet.

python scripts/download.py --config recipes/NAME.yaml [--any_key value]
"""

import sys
from pathlib import Path

from mini_r1.config.run_config import read_run
from mini_r1.data.mixture import read_parts
from mini_r1.data.problems import describe_rows, load_parts
from mini_r1.errors import RecipeError, exit_on_recipe_error


def main() -> None:
    config = read_run("r1_grpo", sys.argv[1:])
    with config.blame():
        name = config.model_name_or_path
        if not name:
            raise RecipeError("is missing; name a hub id or a local folder", key="model_name_or_path")
        if Path(name).is_dir() or name.startswith("runs/"):
            print(f"model: {name} is made here, nothing to fetch")
        else:
            print(f"model: {name} is in {fetch_model(name, config.model_revision)}")
        parts = read_parts(config.args)
        for line in describe_rows(parts, load_parts(parts)).splitlines():
            print(f"data: {line}")


def fetch_model(name: str, revision: str) -> str:
    from huggingface_hub import snapshot_download  # takes a while
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return snapshot_download(name, revision=revision, ignore_patterns=["*.pth", "*.gguf", "original/*"])
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise RecipeError(
            f"{name} cannot be fetched: {str(error).splitlines()[0]}", key="model_name_or_path"
        ) from error


if __name__ == "__main__":
    exit_on_recipe_error(main, lambda: __doc__)
