"""The stages of a pipeline side by side, over all seeds in runs/: the tables and the figure of `scripts/compare.py`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mini_r1.errors import RecipeError
from mini_r1.pipeline.stages import Stage, read_pipeline
from mini_r1.pipeline.state import changes_since, summary
from mini_r1.report.figures import Figure, Panel, Series, colour

HEADER = (
    "stage", "seeds", "pass@1 before", "pass@1 after", "format after", "language after", "mean length", "steps",
    "tokens sampled", "generation s", "update s", "peak GiB",
)  # fmt: skip

DRAWN = {
    "pass@1": "share right (pass@1)",
    "format": "share in the right format",
    "language": "words in the target language",
    "mean_length": "tokens of a completion",
}


@dataclass(frozen=True)
class Outcome:
    """The numbers of one finished stage with one seed; None where the stage has no such number.

    Attributes:
        before, after: measured pass@1, in [0, 1].
        format: share of well-formed completions, measured after.
        language: mean share of the reasoning's words in the target language, measured after.
        length: mean tokens of a completion, measured after.
        steps, tokens: optimizer steps, and completion tokens sampled for them.
        generation, update: seconds of all steps.
        peak: GiB, the largest of the logged steps (see `StepTimes`).
        by_difficulty: difficulty -> pass@1 after, where there are several difficulties.
        measured: the whole measurement after, as in summary.json; a mixed run has `by_task`.
    """

    before: float | None
    after: float | None
    format: float | None
    language: float | None
    length: float | None
    steps: int | None
    tokens: int | None
    generation: float | None
    update: float | None
    peak: float | None
    by_difficulty: dict[str, float]
    measured: dict


def read_outcomes(path: str, seeds: Sequence[int]) -> dict[str, dict[int, Outcome]]:
    """Reads stage -> seed -> outcome of all finished stages that measure something.

    Raises:
        RecipeError: for a pipeline that cannot be read, or where no seed has finished such a stage.
    """
    outcomes: dict[str, dict[int, Outcome]] = {}
    for seed in seeds:
        for stage in read_pipeline(path, seed).stages:
            found = summary(stage)
            changed = changes_since(stage) if found else []
            if changed:
                raise RecipeError(
                    f"its recipe has changed since it ran in {stage.folder} ({'; '.join(changed[:3])}): undo the "
                    f"change, or run it anew with --from {stage.name} --overwrite_output_dir true",
                    file=f"{path}: stage {stage.name}",
                )
            if found and found.get("after"):
                outcomes.setdefault(stage.name, {})[seed] = _outcome(stage, found)
    if not outcomes:
        raise RecipeError(f"no finished stage for seeds {', '.join(map(str, seeds))} in runs/", file=path)
    return outcomes


def find_seeds(path: str) -> list[int]:
    """The seeds of a pipeline's folders in runs/."""
    stem = Path(path).stem
    found = (folder.name.removeprefix(f"{stem}-s") for folder in Path("runs").glob(f"{stem}-s*"))
    return sorted(int(seed) for seed in found if seed.isdigit())


def table(outcomes: dict[str, dict[int, Outcome]], by_difficulty: bool) -> list[tuple[str, ...]]:
    """Rows of text, the header first: means over the seeds, and for pass@1 also the lowest and the highest.

    A stage of several tasks has a row below it for each task.
    """
    rows = [HEADER]
    for name, by_seed in outcomes.items():
        runs = list(by_seed.values())
        cells = [name, str(len(runs)), _spread([run.before for run in runs]), _spread([run.after for run in runs])]
        for key, digits in (
            ("format", 3), ("language", 3), ("length", 1), ("steps", 0), ("tokens", 0), ("generation", 0),
            ("update", 0), ("peak", 2),
        ):  # fmt: skip
            cells.append(_mean([getattr(run, key) for run in runs], digits))
        rows.append(tuple(cells))
        for task in runs[0].measured.get("by_task") or ():
            own = [(run.measured.get("by_task") or {}).get(task, {}) for run in runs]
            cells = [f"- {task}", "", "", _spread([one.get("pass@1") for one in own])]
            for key, digits in (("format", 3), ("language", 3), ("mean_length", 1)):
                cells.append(_mean([one.get(key) for one in own], digits))
            rows.append((*cells, *[""] * (len(HEADER) - len(cells))))
        for difficulty in runs[0].by_difficulty if by_difficulty else ():
            values = [run.by_difficulty.get(difficulty) for run in runs]
            rows.append((f"- difficulty {difficulty}", "", "", _spread(values), *[""] * (len(HEADER) - 4)))
    return rows


def stages_figure(outcomes: dict[str, dict[int, Outcome]], title: str) -> Figure:
    """The measurements after each stage, in four panels; a mixed run has a colour for each task.

    Points are means over the seeds, whiskers go from the lowest to the highest seed. No line joins the stages, as a
    stage need not follow the one beside it.
    """
    measured = [[run.measured for run in by_seed.values()] for by_seed in outcomes.values()]
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
    """pass@1 after, minus that of the stage `against` with the same seed: the mean, and each seed's.

    Raises:
        RecipeError: where there is no such stage.
    """
    if against not in outcomes:
        raise RecipeError(f"no finished stage {against!r}; there are {', '.join(outcomes)}", key="--against")
    rows = [("stage", f"pass@1, less {against}'s", "each seed")]
    for name, by_seed in outcomes.items():
        pairs = [
            (run.after, outcomes[against][seed].after) for seed, run in by_seed.items() if seed in outcomes[against]
        ]
        gaps = [ours - theirs for ours, theirs in pairs]
        if name != against and gaps:
            rows.append((name, f"{sum(gaps) / len(gaps):+.3f}", ", ".join(f"{gap:+.3f}" for gap in gaps)))
    return rows


def markdown(rows: list[tuple[str, ...]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def _outcome(stage: Stage, found: dict) -> Outcome:
    after, before = found["after"], found.get("before")
    state = stage.folder / "trainer_state.json"
    logs = json.loads(state.read_text())["log_history"] if state.exists() else []
    steps = [entry for entry in logs if "time/step" in entry]  # supervised stages have none
    levels = after.get("by_difficulty") or {}
    return Outcome(
        before=before and before["pass@1"],
        after=after["pass@1"],
        format=after["format"],
        language=after.get("language"),  # old runs did not measure it
        length=after["mean_length"],
        steps=logs[-1]["step"] if logs else None,
        tokens=max((entry["generated_tokens"] for entry in steps if "generated_tokens" in entry), default=None),
        generation=_total(steps, "time/generation"),
        update=_total(steps, "time/update"),
        peak=max((entry["memory/peak_gib"] for entry in steps if "memory/peak_gib" in entry), default=None),
        by_difficulty={level: values["pass@1"] for level, values in levels.items()} if len(levels) > 1 else {},
        measured=after,
    )


def _total(entries: list[dict], key: str) -> float | None:
    """The sum over all steps. Each entry has the mean over the steps since the entry before."""
    since = [0, *(entry["step"] for entry in entries)]
    return sum(entry[key] * (entry["step"] - last) for entry, last in zip(entries, since, strict=False)) or None


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
