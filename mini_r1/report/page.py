"""Writes the report: one HTML file with figures, table, candidates and samples, its style and its script.

A model may write hostile texts. Jinja escapes them, the JSON in a <script> has no `<`, and the page's policy
(Content-Security-Policy) lets the browser run page.js only, and fetch nothing.
"""

import base64
import hashlib
import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mini_r1.report import aha, behaviour, learning, rollouts, sentences
from mini_r1.report.figures import Figure
from mini_r1.report.plots import draw_figure, svg
from mini_r1.report.runs import Group

HERE = Path(__file__).parent


def figures_of(groups: list[Group]) -> dict[str, list[Figure]]:
    """Returns section of the page -> its figures."""
    found = {
        "learned": [
            learning.overview_figure(groups, sentences.headline(groups)),
            learning.held_out_figure(groups),
            learning.rewards_figure(groups, sentences.training_line(groups)),
            learning.tasks_figure(groups),
            learning.difficulty_figure(groups),
        ],
        "outcomes": [learning.outcome_figure(groups)],
        "stability": [behaviour.stability_figure(groups)],
        "answers": [behaviour.length_figure(groups), behaviour.behaviour_figure(groups), behaviour.text_figure(groups)],
    }
    return {section: [figure for figure in figures if figure] for section, figures in found.items()}


def write_page(groups: list[Group], title: str, output: Path) -> Path:
    """Writes `output`/report.html, or overwrites it, and returns its path."""
    moments, records, counts = _texts(groups)
    runs = [run for group in groups for run in group.runs]
    rows = learning.results_table(groups)
    main = [moment for moment in moments if not moment["control"]]
    script = (HERE / "page.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("template.html.j2").render(
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=script,
        policy=f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'",
        title=title,
        headline=sentences.headline(groups),
        doubt=sentences.doubt(groups),
        groups=groups,
        rows=rows,
        columns=list(rows[0]),
        figures=figures_of(groups),
        svg=svg,
        moments=moments,
        aha_title=sentences.aha_title(
            [candidate for moment in main for candidate in moment["candidates"]], any(m["tested"] for m in main)
        ),
        counts=counts,
        runs=[(run, sentences.facts(run)) for run in runs],
        notes=[(run.name, note) for run in runs for note in dict.fromkeys(run.notes)],
        data=json.dumps({"samples": records}, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c"),
    )
    output.mkdir(parents=True, exist_ok=True)
    path = output / "report.html"
    path.write_text(page, encoding="utf-8", errors="replace")  # a command line may have a lone surrogate
    return path


def draw_images(groups: list[Group], output: Path) -> list[Path]:
    """Writes the page's figures as PNGs into `output`, and returns their paths."""
    figures = [figure for found in figures_of(groups).values() for figure in found if figure.panels]
    for figure in figures:
        draw_figure(figure, output / f"{figure.key}.png")
    return [output / f"{figure.key}.png" for figure in figures]


def _texts(groups: list[Group]) -> tuple[list[dict], list[dict], dict]:
    """Returns the candidates of each run with their texts, the records of samples, and how many there are in all."""
    moments, records, total = [], [], 0
    accuracy = learning.accuracy_metric(groups)
    share = 1 / sum(len(group.runs) for group in groups)
    for group in groups:
        for run in group.runs:
            files = rollouts.index(run.folder)
            own = len(records)
            total += files.rows
            candidates = aha.find(run, accuracy)
            if not group.control:
                aha.add_pairs(candidates, run, files)
            if run.metrics and run.stage != "sft":
                moments.append(
                    {
                        "run": run,
                        "control": group.control,
                        "tested": aha.has_tests(run, accuracy),
                        "candidates": candidates,
                        "figure": aha.levels_figure(run, candidates, group.colour),
                    }
                )
            for row in rollouts.choose(files, int(rollouts.MOST_ROLLOUTS * share)):
                records.append(rollouts.record(row, run.name, "training"))
            for problem, rows in rollouts.held_out(run, int(rollouts.MOST_PAIRS * share)):
                for when, row in rows.items():
                    one = rollouts.record(row, run.name, f"held-out, {when}")
                    records.append(one | {"pair": f"{run.name} {problem}"})
            paired = [one for candidate in candidates for pair in candidate.pairs for one in pair]
            rollouts.name_problems(records[own:] + paired)
            if run.stage not in ("sft", "build", "evaluate") and (note := files.note()):
                run.notes.append(note)
    kept = rollouts.embed(records)
    rollouts_kept = sum("pair" not in one for one in kept)
    counts = {"rollouts": rollouts_kept, "of": total, "held_out": len(kept) - rollouts_kept}
    return moments, kept, counts
