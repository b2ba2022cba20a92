"""Checks the keys that change the algorithm, and reads the schedule of the sampling temperature."""

from dataclasses import dataclass

from mini_r1.config.run_config import RunConfig
from mini_r1.errors import RecipeError

EXAMPLE = "{steps: [[0, 1.2], [300, 0.9]]} or {fractions: [[0, 1.2], [1, 0.9]]}"


@dataclass(frozen=True)
class TemperatureSchedule:
    """A temperature for every optimizer step: linear between points, constant before the first and after the last.

    Attributes:
        unit: "steps", or "fractions" of the run: 0 is its first step and 1 its last.
        points: (place, temperature), in ascending order of the place.
    """

    unit: str
    points: tuple[tuple[float, float], ...]

    def at(self, step: int, max_steps: int) -> float:
        """The temperature of optimizer step `step`, counted from 0, in a run of `max_steps`."""
        place = step if self.unit == "steps" else step / max(max_steps - 1, 1)
        first, last = self.points[0], self.points[-1]
        if place <= first[0]:
            return first[1]
        for (start, cool), (end, warm) in zip(self.points, self.points[1:], strict=False):
            if place <= end:
                return cool + (warm - cool) * (place - start) / (end - start)
        return last[1]


def read_temperature_schedule(given: dict | None) -> TemperatureSchedule | None:
    """Reads a recipe's `temperature_schedule`; None stays None.

    Raises:
        RecipeError: if the unit, the pairs, their order, a place or a temperature (above 0) is wrong.
    """
    if given is None:
        return None

    def wrong(what: str) -> RecipeError:
        return RecipeError(f"{what}; write {EXAMPLE}", key="temperature_schedule")

    if len(given) != 1 or next(iter(given)) not in ("steps", "fractions"):
        raise wrong(f"got {given!r}, expected points under `steps` or under `fractions`")
    unit, points = next(iter(given.items()))
    if not isinstance(points, list) or not points or not all(_is_pair(point) for point in points):
        raise wrong(f"{unit} must be a list of [place, temperature], not {points!r}")
    places = [place for place, _ in points]
    if places != sorted(set(places)):
        raise wrong(f"the places {places} must ascend")
    if places[0] < 0 or (unit == "fractions" and places[-1] > 1):
        raise wrong(f"the place {places[0] if places[0] < 0 else places[-1]} is outside of the run")
    cold = [temperature for _, temperature in points if temperature <= 0]
    if cold:
        raise wrong(f"the temperature {cold[0]} is not above 0")
    return TemperatureSchedule(unit, tuple((float(place), float(temperature)) for place, temperature in points))


def _is_pair(point: object) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(type(number) in (int, float) for number in point)


def check_algorithm(config: RunConfig) -> None:
    """Raises a `RecipeError` for the first key of the algorithm that does not go with another key."""
    read_temperature_schedule(config.temperature_schedule)
    if "temperature" in (config.generation_kwargs or {}):
        raise RecipeError(
            "gives a temperature, of which the loss would not know; use temperature, or temperature_schedule",
            key="generation_kwargs",
        )
    if config.advantage != "group" and config.multi_objective_aggregation == "normalize_then_sum":
        raise RecipeError(
            f"normalize_then_sum is a part of advantage: group; with {config.advantage} use sum_then_normalize",
            key="multi_objective_aggregation",
        )
    if config.advantage == "reinforce_lite" and config.num_generations < 3:
        raise RecipeError(
            f"got {config.num_generations}; reinforce_lite divides by the deviation of the other completions, so use "
            "at least 3",
            key="num_generations",
        )
    if config.trained_completions == "one" and config.use_vllm and config.vllm_importance_sampling_correction:
        raise RecipeError(
            "costs a forward pass over completions that trained_completions: one does not train on; set it to false",
            key="vllm_importance_sampling_correction",
        )
    budget = config.max_generated_tokens
    if budget is None:
        return
    if config.logging_steps != 1 or config.logging_strategy != "steps":
        raise RecipeError(
            "must be 1, with logging_strategy: steps: a resumed run reads in the log how much of max_generated_tokens "
            "is used up",
            key="logging_steps",
        )
    if config.curriculum != "none":
        raise RecipeError(
            "is laid out over max_steps, and max_generated_tokens stops the run earlier; drop the budget, and set "
            "max_steps to the steps that it allows",
            key="curriculum",
        )
    if "fractions" in (config.temperature_schedule or {}):
        raise RecipeError(
            "fractions are of max_steps, and max_generated_tokens stops the run earlier; use steps",
            key="temperature_schedule",
        )
