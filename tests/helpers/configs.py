"""Runs made of values alone, without a recipe's file."""

from mini_r1.config.recipe import Recipe
from mini_r1.config.run_config import RunConfig, run_config


def config_of(values: dict, kind: str = "r1_grpo") -> RunConfig:
    """A run of these values, which are not checked, and of the schema's defaults."""
    return run_config(kind, Recipe("recipe.yaml", values, dict.fromkeys(values, "recipe.yaml")))
