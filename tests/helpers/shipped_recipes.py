"""What test_real_recipes.py and test_published_recipes.py share: a shipped recipe's values and its header."""

import re

from shipped import RUNS

from mini_r1.config.recipe import resolve
from mini_r1.config.run_config import RunConfig, check
from mini_r1.launch.check_model import first_model


def recipe_of(name: str, kind: str = "r1_grpo") -> RunConfig:
    """A recipe that begins with what another one leaves has the model that the first of these begins with."""
    config = check(kind, resolve(*RUNS[name], kind))
    return config.with_values(model_name_or_path=first_model(config)) if kind == "r1_grpo" else config


def header_of(name: str) -> dict[str, str]:
    """Label -> text, of the comment before a recipe, or before a stage."""
    path, stage = RUNS[name]
    before = f"\n  {stage['stage']}:\n" if stage else "\nrun:"
    text = path.read_text(encoding="utf-8").split(before)[0].split("\n\n  #")[-1]
    text = re.sub(r"^ *#", "#", text, flags=re.M)
    parts = re.split(r"^# (Hardware|Batch|Memory|Time|Score|Command) +", text, flags=re.M)[1:]
    return {
        label: " ".join(part.replace("#", " ").split()) for label, part in zip(parts[::2], parts[1::2], strict=True)
    }
