"""The first figure of the page, and the one for a README: accuracy, held-out result and length, beside the controls."""

import dataclasses
import textwrap

from mini_r1.report.figures import Figure, Panel
from mini_r1.report.learning import (
    SMOOTHED,
    accuracy_metric,
    across,
    how_measured,
    measured,
    measured_points,
    unit_range,
)
from mini_r1.report.runs import Group


def overview_figure(groups: list[Group], headline: str) -> Figure | None:
    """What all groups came to, in up to three panels; None where neither training nor a held-out result says it."""
    metric, label = accuracy_metric(groups)
    trained = across(groups, metric, "Right in training", label)
    if trained:
        trained = dataclasses.replace(trained, y_range=unit_range(trained.series))
    lengths = across(groups, "completions/mean_length", "Length in training", "tokens per completion, mean")
    held_out = _held_out(groups)
    if not trained and not held_out:
        return None
    panels = [panel for panel in (trained, held_out, lengths) if panel]
    says = [SMOOTHED, how_measured(groups)] if held_out else [SMOOTHED]
    unsampled = [group.name for group in groups if any(run.metrics for run in group.runs) and not group.has(metric)]
    if trained and unsampled:
        says.append(f"Supervised training samples no completions, so it has no curve: {', '.join(unsampled)}.")
    return Figure(
        "overview",
        headline,
        panels,
        " ".join(says),
        "Training problems change with every step, and are sampled at the training temperature: only held-out points "
        "compare like with like. An interval covers the choice of problems, not that of the seed.",
    )


def _held_out(groups: list[Group]) -> Panel | None:
    """pass@1 of every seed before and after, group beside group."""
    series, ticks = [], {}
    for group in groups:
        place = float(len(ticks))
        for when, kind, shift in (("before", "open points", -0.15), ("after", "points", 0.15)):
            found = [m for m in measured(group, when) if "pass@1" in m]
            points = []
            for j, m in enumerate(found):
                low, high = (m.get("intervals") or {}).get("pass@1") or (m["pass@1"], m["pass@1"])
                points.append((place + shift + 0.06 * (j - (len(found) - 1) / 2), m["pass@1"], low, high))
            if points:
                ticks[place] = "\n".join(textwrap.wrap(group.name, 15))
                first = not any(one.name == when for one in series)
                series.append(dataclasses.replace(measured_points(points, group, when, kind), in_legend=first))
    return Panel("Held-out problems", "", "pass@1", series, (0.0, 1.03), ticks) if series else None
