"""Every run that is shipped: the recipes that are one run, and the stages of experiments."""

from pathlib import Path

from repository import ROOT

from mini_r1.config.recipe_file import RecipeFile

FILES = sorted(path for path in ROOT.glob("recipes/**/*.yaml") if path.parent.name != "_base")
EXPERIMENTS = [path for path in FILES if RecipeFile(path).stages]


def _runs() -> dict[str, tuple[Path, dict[str, str]]]:
    found = {}
    for path in FILES:
        recipe = RecipeFile(path)
        own = [stage for stage, entry in recipe.stages.items() if "from" not in entry]
        found |= {_name(recipe.folder(stage)): (path, {"stage": stage}) for stage in own}
        if not recipe.stages:
            found[path.stem] = (path, {})
    return found


def _name(folder: str) -> str:
    return folder.removeprefix("runs/").replace("-s{seed}", "")


# name of the run directory, such as countdown-tiny-sft or study-countdown/grpo -> (file, {"stage": name} or {})
RUNS = _runs()
