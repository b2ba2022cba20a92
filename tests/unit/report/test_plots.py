"""mini_r1/report/plots.py: panels as SVG for the page, figures as PNG files."""

import dataclasses
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from run_writer import write_run

from mini_r1.report import plots
from mini_r1.report.figures import BLUE, ORANGE, Panel, Series

STEPS = np.arange(1.0, 4.0)
LINES = [
    Series("_a", STEPS, np.array([0.1, np.nan, 0.3]), BLUE),
    Series("$b$ & <c>", STEPS, np.array([0.2, 0.25, 0.31234]), ORANGE, faint=(STEPS, STEPS / 10)),
]
CURVES = Panel("Curves", "training step", "share", LINES, (0.0, 1.0), levels=[(0.1, "at step 1")])
POINTS = Panel(
    "Points",
    "",
    "share",
    [Series("after", np.array([0.1]), np.array([0.5]), BLUE, "points", low=np.array([0.4]), high=np.array([0.6]))],
    ticks={0.0: "pass@1", 1.0: "right if\nformed"},
)
NOTHING = Panel("Nothing", "", "share", [], ticks={0.0: "cold-start"})


def drawn(panel: Panel, broad: bool = False) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{plots.svg(panel, 'one', broad)}</div>")


@pytest.mark.parametrize(
    ("panel", "says"),
    [
        (CURVES, ["training step 1|_a: 0.1|$b$ & <c>: 0.2", "training step 2|$b$ & <c>: 0.25",
                  "training step 3|_a: 0.3|$b$ & <c>: 0.3123"]),
        (POINTS, ["pass@1, after|0.500 (0.400 to 0.600)"]),
        (NOTHING, []),
    ],
)  # fmt: skip
def test_values(panel, says):
    told = [node.get("data-says") for node in drawn(panel).iter()]
    assert [text.replace("\n", "|") for text in told if text] == says


def test_texts_stay_as_they_are():
    texts = {text.strip() for text in drawn(CURVES).itertext()}
    assert {"Curves", "share", "training step", "at step 1", "_a", "$b$ & <c>"} <= texts
    assert {"pass@1", "right if", "formed", "share"} <= {text.strip() for text in drawn(POINTS).itertext()}


def test_ids_are_unique_and_colours_the_page_s():
    both = drawn(CURVES, broad=True)
    assert [one.get("class") for one in both] == ["broad", "narrow"]
    ids = [node.get("id") for node in both.iter() if node.get("id")]
    assert len(ids) == len(set(ids)) > 0
    text = ElementTree.tostring(both, encoding="unicode")
    assert set(re.findall(r"url\(#(.*?)\)", text)) <= set(ids)
    assert set(re.findall(r"#[0-9a-f]{6}\b", text)) == {BLUE.lower(), ORANGE.lower(), plots.GREY.lower()}


def test_many_names_get_a_higher_chart():
    many = [dataclasses.replace(LINES[0], name=f"a-recipe-with-a-long-name-{i}") for i in range(6)]
    heights = [
        float(drawn(dataclasses.replace(CURVES, series=lines))[0].get("viewBox").split()[3]) for lines in (LINES, many)
    ]
    assert heights[1] >= heights[0] + 5 * plots.LINE


def test_a_run_s_plot(tmp_path):
    run = write_run(tmp_path / "runs/two-s1", steps=3, per_step=4, held_out=4)
    plots.plot_runs([run], "two-s1", run / "training.png")
    assert (run / "training.png").read_bytes().startswith(b"\x89PNG")
