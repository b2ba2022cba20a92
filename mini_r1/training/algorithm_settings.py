"""Do the keys that change the algorithm fit together? Told before anything is loaded; imports neither TRL nor torch."""

from typing import Any

from mini_r1.errors import RecipeError
from mini_r1.training.schedules import read_temperature_schedule


def check_algorithm(values: dict[str, Any]) -> None:
    """Check `advantage`, `trained_completions`, `temperature_schedule` and `max_generated_tokens` of a checked recipe.

    Raises:
        RecipeError: for the first that does not go with another key.
    """
    read_temperature_schedule(values.get("temperature_schedule"))
    if "temperature" in (values.get("generation_kwargs") or {}):
        raise RecipeError(
            "gives a temperature, of which the loss would not know; use temperature, or temperature_schedule",
            key="generation_kwargs",
        )
    advantage = values.get("advantage", "group")
    if advantage != "group" and values.get("multi_objective_aggregation", "") == "normalize_then_sum":
        raise RecipeError(
            f"normalize_then_sum is a part of advantage: group; with {advantage} use sum_then_normalize",
            key="multi_objective_aggregation",
        )
    size = values.get("num_generations", 8)
    if advantage == "reinforce_lite" and size < 3:
        raise RecipeError(
            f"got {size}; reinforce_lite divides by the deviation of the other completions, so use at least 3",
            key="num_generations",
        )
    if (
        values.get("trained_completions") == "one"
        and values.get("use_vllm")
        and values.get("vllm_importance_sampling_correction", True)
    ):
        raise RecipeError(
            "costs a forward pass over what trained_completions: one leaves alone; set it to false",
            key="vllm_importance_sampling_correction",
        )
    budget = values.get("max_generated_tokens")
    if budget is not None and budget < 1:
        raise RecipeError(f"got {budget}, expected at least 1, or null for no limit", key="max_generated_tokens")
    if budget is None:
        return
    if values.get("logging_steps", 500) != 1 or values.get("logging_strategy", "steps") != "steps":
        raise RecipeError(
            "must be 1, with logging_strategy: steps, for max_generated_tokens, which a resumed run reads in the log",
            key="logging_steps",
        )
    if values.get("curriculum", "none") != "none":
        raise RecipeError(
            "is laid out over max_steps, before whose end max_generated_tokens stops the run; drop the budget, and set "
            "max_steps to what it would come to",
            key="curriculum",
        )
    if "fractions" in (values.get("temperature_schedule") or {}):
        raise RecipeError(
            "fractions are of max_steps, before whose end max_generated_tokens stops the run; use steps",
            key="temperature_schedule",
        )
