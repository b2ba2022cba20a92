"""`{recipe}` and `{seed}` in the keys of a recipe that name a place."""

import re
from typing import Any

from mini_r1.errors import RecipeError

PLACEHOLDER_KEYS = ("output_dir", "run_name", "model_name_or_path", "teacher_model_name_or_path")
DATASETS = "sft_datasets"  # a list of maps, whose `path` takes them, too


def fill_placeholders(values: dict[str, Any], name: str, origin: dict[str, str]) -> None:
    """Fill them in, in place.

    Args:
        name: the recipe's.
        origin: key -> file that set it, for errors.

    Raises:
        RecipeError: for any other placeholder, or `{seed}` where there is no seed.
    """
    places = [(values, key, key) for key in PLACEHOLDER_KEYS]
    if isinstance(values.get(DATASETS), list):
        values[DATASETS] = [dict(one) if isinstance(one, dict) else one for one in values[DATASETS]]
        places += [(one, "path", DATASETS) for one in values[DATASETS] if isinstance(one, dict)]
    judges = [(values, "reward_funcs", "reward_funcs")]
    if isinstance(values.get("tasks"), list):
        values["tasks"] = [dict(one) if isinstance(one, dict) else one for one in values["tasks"]]
        judges += [(one, "reward_funcs", "tasks") for one in values["tasks"] if isinstance(one, dict)]
    for place, part, key in judges:
        if isinstance(place.get(part), list):
            place[part] = [dict(one) if isinstance(one, dict) else one for one in place[part]]
            places += [(one, "reward_model", key) for one in place[part] if isinstance(one, dict)]
    for place, part, key in places:
        if isinstance(place.get(part), str):
            place[part] = _fill(key, place[part], name, values.get("seed"), origin[key])


def _fill(key: str, text: str, name: str, seed: Any, source: str) -> str:
    for placeholder in re.findall(r"\{\w*\}", text):
        if placeholder not in ("{recipe}", "{seed}"):
            raise RecipeError(f"unknown placeholder {placeholder}; use {{recipe}} or {{seed}}", key=key, file=source)
        if placeholder == "{seed}" and seed is None:
            raise RecipeError("{seed} needs the key seed, such as seed: 42", key=key, file=source)
    return text.replace("{recipe}", name).replace("{seed}", str(seed))
