"""Sampling temperature over a training run: linear between points, constant before the first and after the last."""

from dataclasses import dataclass

from mini_r1.errors import RecipeError

EXAMPLE = "{steps: [[0, 1.2], [300, 0.9]]} or {fractions: [[0, 1.2], [1, 0.9]]}"


@dataclass(frozen=True)
class TemperatureSchedule:
    """A temperature for every optimizer step.

    Attributes:
        unit: "steps", or "fractions" of the run, where 0 is its first step and 1 its last.
        points: (place, temperature), places ascending.
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
    """The recipe's `temperature_schedule`, or None where there is none.

    Raises:
        RecipeError: for another unit, points that are no pairs, in the wrong order or outside of the run, or a
            temperature that is not above 0.
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
