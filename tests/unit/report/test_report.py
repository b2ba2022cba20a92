"""scripts/report.py on run directories that the tests write: whole, hostile and damaged ones."""

import json
import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from repository import ROOT
from run_writer import write_run

from mini_r1.errors import RecipeError
from mini_r1.report import aha, curves, rollouts
from mini_r1.report.figures import BLUE
from mini_r1.report.page import write_page
from mini_r1.report.runs import group_runs, read_run

HOSTILE = "</think><answer></script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> {{ 7*7 }}</answer>"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small whole run, which tests copy."""
    return write_run(
        tmp_path_factory.mktemp("whole") / "runs/two-s1", steps=12, per_step=8, held_out=8, texts=[HOSTILE]
    )


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "runs/two-s1")


def page_of(*folders, beside=(), title="two") -> str:
    page = write_page(group_runs(list(folders), list(beside)), title, folders[0].parent / "report")
    return page.read_text(encoding="utf-8")


def charts_of(page: str) -> dict[str, list[ElementTree.Element]]:
    """chart -> its SVG elements: one, or two for both widths."""
    found = re.findall(r'data-chart="([^"]*)"[^>]*>(<svg.*?)</div>', page, re.DOTALL)
    return {name: list(ElementTree.fromstring(f"<div>{drawn}</div>")) for name, drawn in found}


def data_of(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_whole_run(run):
    page = page_of(run)
    summary = json.loads((run / "summary.json").read_text())
    before, after = (summary[when]["pass@1"] for when in ("before", "after"))
    assert f"<title>two: pass@1 rose from {before:.2f} to {after:.2f} on 8 held-out problems</title>" in page
    assert "Missing or damaged" not in page
    data, charts = data_of(page), charts_of(page)
    for chart in ("held-out-0", "rewards-0", "outcomes-0", "stability-0", "lengths-0", "behaviours-0"):
        for drawn in charts[chart]:
            assert [node for node in drawn.iter() if BLUE.lower() in node.get("style", "")]  # a curve, or points
            assert [node for node in drawn.iter() if node.get("data-says")]
    assert f"{12 * 8} of {12 * 8} training completions" in page
    assert {sample["where"] for sample in data["samples"]} == {"training", "held-out, before", "held-out, after"}
    assert all(sample["verdict"].startswith(("right", "wrong", "no answer")) for sample in data["samples"])
    assert len(page) < 10e6


def test_each_task_of_a_mixture_stands_apart(run, tmp_path):
    mixed = write_run(tmp_path / "runs/mixed-s1", steps=12, per_step=8, held_out=8, tasks=["countdown", "gsm8k"])
    after = json.loads((mixed / "summary.json").read_text())["after"]
    charts = charts_of(page_of(mixed, beside=[run]))
    said = {
        name: "\n".join(node.get("data-says", "") for drawn in charts[name] for node in drawn.iter())
        for name in ("tasks-0", "tasks-1", "difficulty-0", "difficulty-1", "difficulty-2")
    }
    assert "tasks-2" not in charts  # the other run has one task
    trained = json.loads((mixed / "metrics.jsonl").read_text().splitlines()[-1])
    assert re.search(r"training step 12\ncountdown: [\d.]+\ngsm8k: [\d.]+", said["tasks-0"])
    assert trained["outcome/gsm8k/right"] < trained["outcome/countdown/right"]
    for task in ("countdown", "gsm8k"):
        assert f"{task}, after\n{after['by_task'][task]['pass@1']:.3f} (0.100 to 0.950)" in said["tasks-1"]
    titles = [titles_of(charts[f"difficulty-{i}"]) for i in range(3)]
    assert [("mixed, countdown" in text, "mixed, gsm8k" in text, "two" in text) for text in titles] == [
        (True, False, False), (False, True, False), (False, False, True),
    ]  # fmt: skip


def titles_of(drawn: list[ElementTree.Element]) -> str:
    return " ".join(text for node in drawn for text in node.itertext())


def test_hostile_text_stays_text(run):
    page = page_of(run, title="<script>alert(3)</script>")
    samples_with_it = [s for s in data_of(page)["samples"] if "alert(1)" in json.dumps(s["parts"])]
    assert len(samples_with_it) == 1
    assert "".join(text for _, text in samples_with_it[0]["parts"]) == "<think>" + HOSTILE
    assert page.count("<script") == page.count("</script>") == 2  # the data, and the page's own
    assert not re.search(r"<script>alert|<img src=x|<!-- <img|<title><script", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src 'none'" in policy
    assert not re.search(r"script-src[^;]*unsafe", policy)


def cut(run, name: str, share: float = 0.5) -> None:
    path = run / name
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def without_a_verifier(run) -> None:
    """Turns a run into one whose rewards no verifier stands behind: no outcomes, neither logged nor in the files."""
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    graded = ("outcome/", "length/")
    log = [{name: value for name, value in line.items() if not name.startswith(graded)} for line in log]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    for path in (run / "completions").iterdir():
        pd.read_parquet(path).assign(right=None, well_formed=None).to_parquet(path)


def write(name: str, text: str):
    return lambda run: (run / name).write_text(text)


def remove(name: str):
    return lambda run: shutil.rmtree(run / name) if (run / name).is_dir() else (run / name).unlink()


def each(*damages):
    return lambda run: [damage(run) for damage in damages]


FIRST = "completions/completions_00001.parquet"
DAMAGES = [
    ("torn line", lambda run: cut(run, "metrics.jsonl", 0.95), ["metrics.jsonl has 1 broken line"]),
    ("metrics of rubbish", write("metrics.jsonl", "\x00[1]\n3\n{}\n"), ["has 3 broken line", "there are no curves"]),
    ("no metrics, no completions", each(remove("metrics.jsonl"), remove("completions")),
     ["there are no curves", "there are no samples of training"]),
    ("half a parquet file", lambda run: cut(run, FIRST), ["1 file(s) of completions/", "completions_00001.parquet"]),
    ("empty parquet file", lambda run: cut(run, FIRST, 0), ["1 file(s) of completions/ cannot be read"]),
    ("parquet footer alone", lambda run: (run / FIRST).write_bytes(b"PAR1" * 9), ["1 file(s) of completions/"]),
    ("killed", each(remove("summary.json"), remove("evaluation"), remove("before.json")),
     ["the run has not finished", "before.json is missing"]),
    ("half files", each(lambda run: cut(run, "summary.json"), lambda run: cut(run, "evaluation/after.parquet")),
     ["summary.json is damaged", "evaluation/after.parquet is damaged"]),
    ("other content", each(write("summary.json", "[]"), write("before.json", ""), write("manifest.json", "3")),
     ["summary.json is damaged", "before.json is damaged", "manifest.json is damaged"]),
    ("no manifest", each(remove("manifest.json"), remove("recipe.yaml"), write("before.json", '{"n": 3}')),
     ["manifest.json is missing", "recipe.yaml is missing", "has no pass@1"]),
    ("nothing", lambda run: [remove(path.name)(run) for path in list(run.iterdir())], ["there are no curves"]),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "notes"), [d[1:] for d in DAMAGES], ids=[d[0] for d in DAMAGES])
def test_damage_becomes_a_note(run, damage, notes):
    damage(run)
    page = page_of(run)
    section = page[page.index("Missing or damaged") :]
    assert [note for note in notes if note not in section] == []


def test_without_a_verifier_the_reward_counts(run):
    without_a_verifier(run)
    page = page_of(run)
    assert {s["outcome"] for s in data_of(page)["samples"] if s["where"] == "training"} == {"unknown"}
    assert "Rewards in training: mean equation reward: 0." in page


def test_seeds_and_controls(whole, tmp_path):
    seeds = [shutil.copytree(whole, tmp_path / f"runs/two-s{seed}") for seed in (1, 2)]
    control = write_run(tmp_path / "runs/random-s1", steps=12, per_step=4, learns=False, held_out=8)
    supervised = tmp_path / "runs/sft-s1"
    supervised.mkdir()
    after = json.loads((control / "summary.json").read_text())["after"]
    (supervised / "summary.json").write_text(json.dumps({"stage": "sft", "after": after, "seed": 1}))
    (supervised / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.5}\n')
    page = page_of(*seeds, beside=[control, supervised])
    rows = re.findall(r'<th scope="row">.*?</i>(.*?)</th>', page)
    assert rows == ["two", "random (control)", "sft (control)"]
    charts = charts_of(page)
    for drawn in charts["overview-0"]:
        assert {"two", "random"} <= set(drawn.itertext()) and "sft" not in set(drawn.itertext())
    supervised = [drawn for drawn, *_ in charts.values() if "Loss of supervised training" in drawn.itertext()]
    assert [[one.get("data-says") for one in drawn.iter() if one.get("data-says")] for drawn in supervised] == [
        ["training step 1\nsft: 2", "training step 2\nsft: 1.5"]
    ]


def test_jump_is_a_candidate_with_texts_of_both_sides(tmp_path):
    run = write_run(tmp_path / "runs/two-s1", steps=50, per_step=16, jump=25, held_out=8)
    page = page_of(run)
    steps = [int(step) for step in re.findall(r"<h3>Around step (\d+)</h3>", page)]
    assert any(abs(step - 25) <= 2 for step in steps)
    assert "The same training problem, sampled before and after this step" in page
    for path in (run / "completions").iterdir():  # no prompt twice
        frame = pd.read_parquet(path)
        frame.assign(prompt=frame["prompt"] + path.stem).to_parquet(path)
    assert "No training problem was sampled on both sides" in sources(run)


def sources(folder) -> str:
    run = read_run(folder)
    candidates = aha.find(run, ("outcome/right", "share right"))
    aha.add_pairs(candidates, run, rollouts.index(folder))
    return " ".join(candidate.source for candidate in candidates)


def test_script(run, tmp_path, run_script, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/two.yaml").write_text("seed: 1\n")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = ("step", "rewards", "outcome", "loss", "length")
    lines = [{name: value for name, value in line.items() if name.startswith(kept)} for line in lines]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run_script("report.py", "--config", "recipes/two.yaml", "--title", "Two numbers")
    assert "report: runs/two-report/report.html" in capsys.readouterr().out
    assert "Two numbers: pass@1" in (tmp_path / "runs/two-report/report.html").read_text()
    images = {image.stem: image.read_bytes() for image in (tmp_path / "runs/two-report").glob("*.png")}
    assert {"held-out", "rewards", "outcomes", "stability", "lengths"} <= set(images)
    assert all(image.startswith(b"\x89PNG") for image in images.values())


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "give --config recipes/NAME.yaml, or run directories"),
        (["--config", "x.yaml", "runs/a-s1"], "give --config"),
        (["--confg", "x.yaml"], "unrecognized arguments"),
        (["--config", "missing.yaml"], "no such recipe"),
        (["--config", str(ROOT / "recipes/countdown-tiny.yaml")], "no run of it in runs/; first run: make train-"),
        (["runs/no-such-folder"], "runs/no-such-folder: cannot be read: No such file or directory"),
        (["file"], "file: cannot be read: Not a directory"),
        (["pipeline"], "holds a pipeline's runs, name one: plain"),
    ],
)
def test_mistakes_are_one_line(words, problem, tmp_path, run_script, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "pipeline/plain").mkdir(parents=True)
    (tmp_path / "pipeline/summary.json").write_text('{"stages": [{"name": "plain"}]}')
    with pytest.raises(SystemExit) as end:
        run_script("report.py", *words)
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert problem in error and error.count("\n") == 1


def test_unknown_folder_beside(run):
    with pytest.raises(RecipeError, match="cannot be read"):
        group_runs([run], [run.parent / "none"])


def test_thinning_keeps_spikes():
    values = pd.Series(np.zeros(10_000), index=range(1, 10_001))
    values[7_000] = 5.0
    steps, kept = curves.extremes(values)
    assert len(kept) <= curves.POINTS and steps[kept == 5.0].tolist() == [7_000]
    assert (np.diff(steps) > 0).all()
    steps, means = curves.thin(values)
    assert len(means) == curves.POINTS and means.max() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("values", "expected", "reason"),
    [
        ([1.0] * 60, [], "constant"),
        ([1.0] * 30 + [1.05] + [1.0] * 30, [], "within 8% of a constant"),
        ([1.0] * 30 + [4.0] + [1.0] * 30, [30], "one value"),
        ([1.0, -2.0] + [1.0] * 30, [1], "downwards, at the start"),
        ([1.0] * 60 + [2.0] * 60, [], "a level that changes for good"),
        ([1.0, 9.0, 1.0], [], "too short to tell"),
    ],
)
def test_spikes(values, expected, reason):
    assert curves.spikes(values).tolist() == expected, reason


def test_samples_are_spread_and_bounded(run):
    files = rollouts.index(run)
    chosen = rollouts.choose(files, 24)
    assert len(chosen) == 24
    steps = sorted({row["step"] for row in chosen})
    assert steps[0] == 1 and steps[-1] == 12 and len(steps) == 6
    everything = rollouts.choose(files, 10_000)
    assert len(everything) == files.rows == 96
    assert rollouts.choose(files, 0) == []


def test_texts_are_bounded():
    row = pd.Series({"step": 1, "prompt": "p", "completion": "x" * 10**6, "outcome": "right", "row": None})
    one = rollouts.record(row, "run", "training")
    assert sum(len(text) for _, text in one["parts"]) == rollouts.CHARACTERS and one["length"] == 10**6
    kept = rollouts.embed([dict(one) for _ in range(1000)])
    assert sum(rollouts.CHARACTERS for _ in kept) <= rollouts.MOST_TEXT
    assert len(kept) == 143  # every 7th


def test_rewards_are_the_columns_that_are_no_measurement():
    row = pd.Series(
        {"step": 1, "prompt": "p", "completion": "x", "right": True, "tokens": 1, "language": 0.5, "my_reward": 2.0}
    )
    one = rollouts.record(row, "run", "training")
    assert (one["rewards"], one["total"]) == ({"my_reward": 2.0}, 2.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("plain", [("other", "plain")]),
        ("<think>a</think>\n<answer>b</answer>", [("think", "<think>a</think>\n"), ("answer", "<answer>b</answer>")]),
        ("a<think>b", [("other", "a"), ("think", "<think>b")]),
        ("<answer>1</answer>!", [("answer", "<answer>1</answer>"), ("other", "!")]),
    ],
)
def test_parts(text, expected):
    assert rollouts.parts(text) == expected
