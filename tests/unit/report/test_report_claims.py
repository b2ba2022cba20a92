"""What the report may claim: seeds of unequal length, noise, namesakes, repeated rollouts, damaged measurements."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mini_r1.report import aha, curves, learning, page, rollouts, sentences
from mini_r1.report.runs import group_runs, read_run, seed_folders

RIGHT = "outcome/right"


def write(folder: Path, steps: int = 0, value: Callable[[int], float] = lambda step: 0.5, recipe="", **files) -> Path:
    """Writes a run with one metric; `files` are JSON files, by name without suffix."""
    folder.mkdir(parents=True)
    lines = [json.dumps({"step": step, RIGHT: value(step), "loss": 0.1}) for step in range(1, steps + 1)]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    (folder / "recipe.yaml").write_text(recipe)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def measured(first: float, half: float | None = 0.05, **more) -> dict:
    intervals = {} if half is None else {"intervals": {"pass@1": [first - half, first + half]}}
    return {"n": 250, "samples": 8, "pass@1": first, "format": 0.9, "mean_length": 20.0} | intervals | more


def trained(folder: Path, before: dict | None, after: dict | None, seed: int = 1, stage="r1_grpo", recipe="") -> Path:
    return write(folder, recipe=recipe, summary={"stage": stage, "before": before, "after": after, "seed": seed})


def test_means_end_with_the_shortest_seed(tmp_path):
    long = write(tmp_path / "u-s1", 100, lambda step: 0.9)
    short = write(tmp_path / "u-s2", 50, lambda step: 0.1)
    groups = group_runs([long, short], [])
    assert sentences.training_line(groups).endswith("0.50 in the first 10 of 50 steps, 0.50 in the last 10")
    assert "Means over seeds end at step 50" in sentences.doubt(groups)
    line = curves.curve(groups[0], RIGHT, "u", "#000000", "solid")
    assert line.x.max() == 50 and set(line.y.round(6)) == {0.5}
    assert np.nanmin(line.faint[0]) == 51 and np.nanmax(line.faint[0]) == 100
    assert set(line.faint[1][:-1]) == {0.9} and np.isnan(line.faint[1][-1])
    assert line.reach == (0.1, 0.9)


def test_mean_needs_all_seeds():
    values = pd.DataFrame({"a": [0.0] * 30, "b": [1.0] * 10 + [np.nan] * 20}, index=range(1, 31))
    line = curves.mean(values)
    assert set(line) == {0.5} and line.index.max() < 14
    assert curves.mean(pd.DataFrame()).empty


@pytest.mark.parametrize(
    ("first", "last", "intervals", "expected"),
    [
        ([0.50], [0.51], [((0.44, 0.56), (0.45, 0.57))], None),
        ([0.50], [0.80], [((0.44, 0.56), (0.74, 0.86))], "rose"),
        ([0.80], [0.50], [((0.74, 0.86), (0.44, 0.56))], "fell"),
        ([0.50], [0.80], [None], None),  # one seed without intervals
        ([0.50, 0.52], [0.80, 0.79], [], "rose"),
        ([0.50, 0.52], [0.80, 0.51], [], None),  # not the same direction
        ([0.30, 0.60], [0.40, 0.70], [], None),  # seeds differ by more than the change
        ([0.50, 0.52], [0.80, 0.79], [((0.4, 0.6), (0.5, 0.9)), None], None),
        ([0.50, 0.52], [0.80, 0.79], [((0.4, 0.6), (0.7, 0.9)), None], "rose"),
        ([], [], [], None),
    ],
)
def test_verb(first, last, intervals, expected):
    assert curves.verb(np.array(first), np.array(last), intervals) == expected


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        ([[0.1] * 100 + [0.9] * 100, [0.2] * 100 + [0.8] * 100],
         "x rose from 0.15 to 0.85 (means of the first and the last 20 of 200 steps)"),
        ([[0.9] * 15 + [0.1] * 15] * 2, "x fell from 0.90 to 0.10 (means of the first and the last 10 of 30 steps)"),
        ([[0.1] * 15 + [0.9] * 15], "x: 0.10 in the first 10 of 30 steps, 0.90 in the last 10"),
        ([[0.1, 0.2, 0.3, 0.4, 0.5]], "x: 0.15 in the first 2 of 5 steps, 0.45 in the last 2"),
        ([[0.1, 0.2]], "x: 0.10 in the first of 2 steps, 0.20 in the last"),
        ([[0.1]], "x: 0.10 at the only recorded step"),
        ([[0.1, np.nan], [np.nan, 0.1]], "x was not recorded at the same steps by all seeds"),
    ],
)  # fmt: skip
def test_over_training(seeds, expected):
    assert curves.over_training("x", pd.DataFrame(dict(enumerate(seeds)))) == expected


def test_headline_within_noise(tmp_path):
    noise = trained(tmp_path / "a-s1", measured(0.50), measured(0.51))
    assert (
        sentences.headline(group_runs([noise], []))
        == "pass@1: 0.50 before and 0.51 after training, on 250 held-out problems"
    )
    gain = trained(tmp_path / "b-s1", measured(0.30), measured(0.51))
    assert sentences.headline(group_runs([gain], [])) == "pass@1 rose from 0.30 to 0.51 on 250 held-out problems"


def test_table_has_one_list_of_columns(tmp_path):
    new = trained(tmp_path / "new-s1", None, measured(0.5, **{"pass@8": 0.7, "maj@8": 0.6, "greedy": 0.55}))
    old = trained(tmp_path / "old-s1", None, measured(0.3))
    groups = group_runs([old], [new])
    rows = learning.results_table(groups)
    assert [list(row) for row in rows] == [
        ["runs", "seeds", "pass@1", "greedy", "pass@8", "maj@8", "format", "mean_length", "steps", "minutes"]
    ] * 2
    assert [row["pass@8"] for row in rows] == [["", ""], ["", "0.700"]]
    html = page.write_page(groups, "t", tmp_path / "report").read_text()
    body = html[html.index("<tbody>") : html.index("</tbody>")]
    assert body.count('data-label="pass@8"') == body.count('data-label="greedy"') == 2
    (panel,) = [p for p in learning.held_out_figure(groups).panels if p.title == "new"]
    assert list(panel.ticks.values()) == ["pass@1", "greedy", "pass@8", "maj@8", "format"]


def test_table_compares_the_same_seeds(tmp_path):
    done = trained(tmp_path / "x-s1", measured(0.3), measured(0.5))
    running = write(tmp_path / "x-s2", 5, before=measured(0.1))
    assert learning.results_table(group_runs([done, running], []))[0]["pass@1"] == ["0.300", "0.500"]
    assert learning.results_table(group_runs([running], []))[0]["pass@1"] == ["0.100", ""]


def rollout(folder: Path, step: int, prompt: str, completion: str) -> None:
    (folder / "completions").mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame({"step": [step] * 2, "prompt": [prompt] * 2, "completion": [completion, "other"]})
    frame.to_parquet(folder / f"completions/completions_{step:05d}.parquet")


def test_repeated_rollouts_count_once(tmp_path):
    texts = [("p", "aaa"), ("p", "aaa"), ("p", "bbb"), ("q", "bbb"), ("q", "bbb"), ("p", "aaa")]  # all of one size
    for step, (prompt, completion) in enumerate(texts, 1):
        rollout(tmp_path, step, prompt, completion)
    found = rollouts.index(tmp_path)
    assert [file.step for file in found.files] == [1, 3, 4, 6]
    assert found.rows == 8 and found.damaged == []


def test_namesakes_are_two_groups(tmp_path):
    folders = [
        tmp_path / name for name in ("m1/runs/x-s1", "m2/runs/x-s1", "m2/runs/x-s2", "m2/runs/y-s1/a", "m2/runs/y-s2/a")
    ]
    groups = group_runs([write(folder, 3) for folder in folders], [])
    assert [(group.name, [run.name for run in group.runs]) for group in groups] == [
        ("m1/runs/x", ["m1/runs/x-s1"]),
        ("m2/runs/x", ["m2/runs/x-s1", "m2/runs/x-s2"]),
        ("y/a", ["y-s1/a", "y-s2/a"]),
    ]
    assert [run.seed for run in groups[1].runs] == [1, 2]
    nested = [write(tmp_path / f"m-s{i}/runs/z-s1", 3) for i in (1, 2)]
    assert [group.name for group in group_runs(nested, [])] == ["m-s1/runs/z", "m-s2/runs/z"]


def test_a_folder_named_twice_counts_once(tmp_path, monkeypatch):
    folder = write(tmp_path / "runs/x-s1", 3)
    monkeypatch.chdir(tmp_path)
    (group,) = group_runs([Path("runs/x-s1"), folder, Path("runs/../runs/x-s1")], [folder])
    assert [run.name for run in group.runs] == ["x-s1"] and not group.control


def test_seeds_moved_aside_do_not_count(tmp_path, monkeypatch):
    for name in ("x-s10", "x-s2", "x-s1.old-1", "x-s", "x-sft-s1", "x-s²"):
        write(tmp_path / "runs" / name)
    (tmp_path / "runs/x-s3").touch()
    monkeypatch.chdir(tmp_path)
    assert [folder.name for folder in seed_folders("x")] == ["x-s2", "x-s10"]
    groups = group_runs([Path("runs/x-s2"), Path("runs/x-s1.old-1")], [])
    assert [group.name for group in groups] == ["x", "x-s1.old-1"]


@pytest.mark.parametrize(("steps", "title"), [(0, "Too few"), (9, "Too few"), (10, "No step at which")])
def test_too_few_steps_to_test(tmp_path, steps, title):
    run = read_run(write(tmp_path / "x-s1", steps))
    assert sentences.aha_title([], aha.has_tests(run, (RIGHT, "share right"))).startswith(title)


def test_unfinished_control_is_named(tmp_path):
    main = trained(tmp_path / "x-s1", measured(0.3), measured(0.5))
    control = write(tmp_path / "control-s1", 20)
    doubt = sentences.doubt(group_runs([main], [control]))
    assert "The control control has no held-out result yet." in doubt and "No control" not in doubt
    assert "No control is beside it" in sentences.doubt(group_runs([main], []))


def test_notes_of_a_running_run(tmp_path):
    running = write(tmp_path / "x-s1", 5, before=measured(0.3))
    (running / "completions").mkdir()
    notes = " ".join(read_run(running).notes)
    assert "evaluation/before.parquet is missing" in notes and "after.parquet" not in notes
    finished = trained(tmp_path / "y-s1", None, measured(0.3))
    assert "evaluation/after.parquet is missing" in " ".join(read_run(finished).notes)


@pytest.mark.parametrize(
    ("metric", "stage"), [("reward", "r1_grpo"), ("mean_token_accuracy", "sft"), ("train_loss", "")]
)
def test_a_running_run_shows_its_kind_in_its_log(tmp_path, metric, stage):
    folder = write(tmp_path / "x-s1")
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "loss": 0.1, metric: 0.5}) + "\n")
    assert read_run(folder).stage == stage


def test_measurement_without_pass_at_1(tmp_path):
    folder = write(tmp_path / "x-s1", 3, summary={"stage": "r1_grpo", "after": {"n": 250}})
    groups = group_runs([folder], [])
    assert "has no pass@1" in " ".join(groups[0].runs[0].notes)
    assert learning.results_table(groups)[0]["seeds"] == "1"
    assert "held-out" not in {figure.key for figure in page.figures_of(groups)["learned"]}


def test_overview_of_all_groups(tmp_path):
    """It shows training beside the control, and every seed before and after; a supervised control has no curve."""
    start = "model_name_or_path: base\n"
    folders = [tmp_path / name for name in ("x-s1", "x-s2", "x-random-s1", "x-sft-s1")]
    for folder, after in zip(folders[:3], (0.8, 0.9, 0.2), strict=True):
        seed = int(folder.name[-1])
        summary = {"stage": "r1_grpo", "before": measured(0.3), "after": measured(after), "seed": seed}
        write(folder, 20, lambda step, after=after: after, summary=summary, recipe=start)
    trained(folders[3], None, measured(0.4), 1, "sft", start)
    groups = group_runs(folders[:2], folders[2:])
    figure = learning.overview_figure(groups, "it rose")
    training, held_out, *_ = figure.panels
    assert [series.name for series in training.series] == ["x", "x-random"]
    assert list(held_out.ticks.values()) == ["x", "x-random", "x-sft"]
    assert [len(series.x) for series in held_out.series] == [2, 2, 1, 1, 1, 1]
    assert [series.y.tolist() for series in held_out.series[1::2]] == [[0.8, 0.9], [0.2], [0.4]]
    assert [series.name for series in held_out.series] == ["before", "after"] * 3
    assert "x-sft-s1 from x-s1" in figure.says
    assert learning.overview_figure(group_runs([write(tmp_path / "y-s1", 0)], []), "") is None


def test_command_that_is_no_unicode(tmp_path):
    folder = write(tmp_path / "x-s1", 3, manifest={"command": "a\udce9"})
    html = page.write_page(group_runs([folder], []), "t", tmp_path / "report").read_text(encoding="utf-8")
    assert "<dd>a?</dd>" in html


@pytest.mark.parametrize(
    ("seed", "model", "n", "shared"),
    [(1, "base-s1", 250, True), (2, "base-s1", 250, False), (1, "other", 250, False), (1, "base-s1", 99, False)],
)
def test_supervised_control_shares_the_before_of_its_model(tmp_path, seed, model, n, shared):
    start = "model_name_or_path: {}\n".format
    main = trained(tmp_path / "x-s1", measured(0.3), measured(0.5), recipe=start("base-s1/"))
    control = trained(tmp_path / f"y-s{seed}", None, measured(0.4, n=n), seed, "sft", start(model))
    groups = group_runs([main], [control])
    assert (groups[1].runs[0].before is not None) == shared
    assert ("y-s1 from x-s1" in learning.held_out_figure(groups).says) == shared
    assert learning.results_table(groups)[1]["pass@1"] == ["0.300" if shared else "", "0.400"]


def test_no_model_no_shared_before(tmp_path):
    main = trained(tmp_path / "x-s1", measured(0.3), measured(0.5), recipe="a: [")
    control = trained(tmp_path / "y-s1", None, measured(0.4), 1, "sft", "a: [")
    assert group_runs([main], [control])[1].runs[0].before is None
