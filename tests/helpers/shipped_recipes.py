"""What test_real_recipes.py and test_published_recipes.py share: a shipped recipe's values and its header."""

import re

from repository import ROOT

from mini_r1.config.kinds import dataclass_types
from mini_r1.config.recipe import Recipe, check, resolve
from mini_r1.launch.check_model import first_model


def recipe_of(stem: str, kind: str = "r1_grpo") -> Recipe:
    """A recipe that begins with what another one leaves has the model that the first of these begins with."""
    recipe = check(resolve(ROOT / "recipes" / f"{stem}.yaml"), dataclass_types(kind))
    if kind == "r1_grpo":
        recipe.values["model_name_or_path"] = first_model(recipe, recipe.values)
    return recipe


def header_of(stem: str) -> dict[str, str]:
    """Label -> text, of a recipe's leading comment."""
    text = (ROOT / "recipes" / f"{stem}.yaml").read_text(encoding="utf-8").split("\nextends:")[0]
    parts = re.split(r"^# (Hardware|Batch|Memory|Time|Score|Command) +", text, flags=re.M)[1:]
    return {
        label: " ".join(part.replace("#", " ").split()) for label, part in zip(parts[::2], parts[1::2], strict=True)
    }
