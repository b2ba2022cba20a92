"""Compares the stages of a pipeline over all seeds in runs/: the tables and the figure of `scripts/compare.py`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mini_r1.errors import RecipeError
from mini_r1.pipeline.stages import Stage, read_pipeline
from mini_r1.pipeline.state import changed_recipe, summary
from mini_r1.report.figures import Figure, Panel, Series, colour

# header -> (key of an `Outcome`'s measurement or costs, digits)
MEASURED = {"format after": ("format", 3), "language after": ("language", 3), "mean length": ("mean_length", 1)}
COSTS = {
    "steps": ("steps", 0),
    "tokens sampled": ("generated_tokens", 0),
    "generation s": ("time/generation", 0),
    "update s": ("time/update", 0),
    "peak GiB": ("memory/peak_gib", 2),
}
HEADER = ("stage", "seeds", "pass@1 before", "pass@1 after", *MEASURED, *COSTS)
DRAWN = {
    "pass@1": "share right (pass@1)",
    "format": "share in the right format",
    "language": "words in the target language",
    "mean_length": "tokens of a completion",
}


@dataclass(frozen=True)
class Outcome:
    """The numbers of one finished stage with one seed.

    Attributes:
        before: measured pass@1, in [0, 1]; None where nothing was measured before.
        after: the measurement after, as in summary.json.
        costs: steps; generated_tokens: completion tokens sampled for them; time/generation and time/update: seconds of
            all steps; memory/peak_gib: the largest of the logged steps (see `StepTimes`). Supervised stages have no
            more than the first.
    """

    before: float | None
    after: dict
    costs: dict[str, float]


def read_outcomes(path: str, seeds: Sequence[int]) -> dict[str, dict[int, Outcome]]:
    """Reads stage -> seed -> outcome of all finished stages that measure something.

    Raises:
        RecipeError: for a pipeline that cannot be read, or where no seed has finished such a stage.
    """
    outcomes: dict[str, dict[int, Outcome]] = {}
    for seed in seeds:
        for stage in read_pipeline(path, seed).stages:
            found = summary(stage)
            if found and (changed := changed_recipe(stage, path)):
                raise changed
            if found and found.get("after"):
                before = (found.get("before") or {}).get("pass@1")
                outcomes.setdefault(stage.name, {})[seed] = Outcome(before, found["after"], _costs(stage))
    if not outcomes:
        raise RecipeError(f"no finished stage for seeds {', '.join(map(str, seeds))} in runs/", file=path)
    return outcomes


def find_seeds(path: str) -> list[int]:
    """Returns the seeds of a pipeline's folders in runs/."""
    stem = Path(path).stem
    found = (folder.name.removeprefix(f"{stem}-s") for folder in Path("runs").glob(f"{stem}-s*"))
    return sorted(int(seed) for seed in found if seed.isdigit())


def table(outcomes: dict[str, dict[int, Outcome]], by_difficulty: bool) -> list[tuple[str, ...]]:
    """Returns rows of text, the header first: means over the seeds, and for pass@1 also the lowest and the highest.

    Below a stage stands a row for each of its tasks, and one for each difficulty where `by_difficulty` asks for them.
    """
    rows = [HEADER]
    for name, by_seed in outcomes.items():
        runs = list(by_seed.values())
        before, *after = _spread([run.before for run in runs]), *_measured([run.after for run in runs])
        costs = [_mean([run.costs.get(key) for run in runs], digits) for key, digits in COSTS.values()]
        rows.append((name, str(len(runs)), before, *after, *costs))
        parts = {f"- {task}": ("by_task", task) for task in runs[0].after.get("by_task") or ()}
        levels = runs[0].after.get("by_difficulty") or () if by_difficulty else ()
        if len(levels) > 1:
            parts |= {f"- difficulty {level}": ("by_difficulty", level) for level in levels}
        for label, (by, part) in parts.items():
            own = [(run.after.get(by) or {}).get(part, {}) for run in runs]
            rows.append((label, "", "", *_measured(own), *[""] * len(COSTS)))
    return rows


def stages_figure(outcomes: dict[str, dict[int, Outcome]], title: str) -> Figure:
    """Draws the measurements after each stage, in four panels; a mixed run has a colour for each task.

    Points are means over the seeds, whiskers go from the lowest to the highest seed.
    """
    measured = [[run.after for run in by_seed.values()] for by_seed in outcomes.values()]
    tasks = list(dict.fromkeys(task for runs in measured for run in runs for task in run.get("by_task") or {})) or [""]
    panels = []
    for key, label in DRAWN.items():
        series = []
        for i, task in enumerate(tasks):
            points = []
            for place, runs in enumerate(measured):
                own = [(run.get("by_task") or {}).get(task, {}) if task else run for run in runs]
                values = [one[key] for one in own if one.get(key) is not None]
                beside = 0.15 * (i - (len(tasks) - 1) / 2)
                points += [(place + beside, sum(values) / len(values), min(values), max(values))] if values else []
            if points:
                x, y, low, high = np.array(points).T
                series.append(Series(task, x, y, colour(i), "points", low=low, high=high))
        top = 1.02 if key != "mean_length" else 1.05 * max((one.reach[1] for one in series), default=1.0)
        panels.append(Panel(label, "", label, series, (0.0, top), dict(enumerate(outcomes))))
    return Figure("stages", title, panels, "", "")


def differences(outcomes: dict[str, dict[int, Outcome]], against: str) -> list[tuple[str, ...]]:
    """Returns rows of pass@1 after, minus that of the stage `against` with the same seed: the mean, and each seed's.

    Raises:
        RecipeError: where there is no such stage.
    """
    if against not in outcomes:
        raise RecipeError(f"no finished stage {against!r}; there are {', '.join(outcomes)}", key="--against")
    rows = [("stage", f"pass@1, less {against}'s", "each seed")]
    for name, by_seed in outcomes.items():
        others = outcomes[against]
        gaps = [run.after["pass@1"] - others[seed].after["pass@1"] for seed, run in by_seed.items() if seed in others]
        if name != against and gaps:
            rows.append((name, f"{sum(gaps) / len(gaps):+.3f}", ", ".join(f"{gap:+.3f}" for gap in gaps)))
    return rows


def markdown(rows: list[tuple[str, ...]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def _costs(stage: Stage) -> dict[str, float]:
    path = stage.folder / "trainer_state.json"
    logs = json.loads(path.read_text())["log_history"] if path.exists() else []
    costs = {"steps": logs[-1]["step"]} if logs else {}
    logs = [entry for entry in logs if "time/step" in entry]  # supervised stages have none
    for key in ("generated_tokens", "memory/peak_gib"):
        if values := [entry[key] for entry in logs if key in entry]:
            costs[key] = max(values)
    if logs:
        costs |= {key: _total(logs, key) for key in ("time/generation", "time/update")}
    return costs


def _total(entries: list[dict], key: str) -> float:
    """Returns the sum over all steps. Each entry has the mean over the steps since the entry before."""
    since = [0, *(entry["step"] for entry in entries)]
    return sum(entry[key] * (entry["step"] - last) for entry, last in zip(entries, since, strict=False))


def _measured(parts: list[dict]) -> list[str]:
    """Returns the cells of what was measured after: pass@1 and the columns of `MEASURED`."""
    means = [_mean([part.get(key) for part in parts], digits) for key, digits in MEASURED.values()]
    return [_spread([part.get("pass@1") for part in parts]), *means]


def _mean(values: list[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):,.{digits}f}" if known else "-"


def _spread(values: list[float | None]) -> str:
    """Writes `0.912 (0.905 to 0.920)`, or a single number for one seed."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{sum(known) / len(known):.3f}"
    return mean if len(known) == 1 else f"{mean} ({min(known):.3f} to {max(known):.3f})"
