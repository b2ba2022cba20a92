"""scripts/compare.py on run directories that the tests write."""

import json

import pytest
from repository import ROOT

from mini_r1.pipeline.comparison import find_seeds

PIPELINE = """
stages:
  - {name: cold-start, run: sft,     recipe: ../countdown-tiny-sft.yaml}
  - {name: plain,      run: r1_grpo, recipe: ../countdown-tiny.yaml, init_from: cold-start}
  - {name: hot,        run: r1_grpo, recipe: ../countdown-tiny.yaml, init_from: cold-start, set: {temperature: 1.2}}
"""


def measured(right: float, **levels: float) -> dict:
    by_difficulty = {level.lstrip("_"): {"pass@1": value} for level, value in levels.items()}
    return {"pass@1": right, "format": 0.9, "mean_length": 30.0, "n": 250, "samples": 4, "by_difficulty": by_difficulty}


def step(number: int, tokens: int) -> dict:
    times = {"time/step": 3.0, "time/generation": 2.0, "time/update": 0.5, "memory/peak_gib": 0.5 + number}
    return {"step": number, "generated_tokens": tokens, **times}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two seeds of a pipeline; one stage of the second is not finished."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes/pipelines").mkdir(parents=True)
    (tmp_path / "recipes/tiny").mkdir()
    for file in ("_base", "tiny/countdown-tiny.yaml"):
        (tmp_path / "recipes" / file).symlink_to(ROOT / "recipes" / file)
    (tmp_path / "recipes/pipelines/two.yaml").write_text(PIPELINE)

    def finish(folder: str, logs: list[dict], **summary):
        run = tmp_path / "runs" / folder
        run.mkdir(parents=True)
        (run / "summary.json").write_text(json.dumps({"seconds": {"total": 1.0}, **summary}))
        (run / "trainer_state.json").write_text(json.dumps({"log_history": logs, "global_step": len(logs)}))

    for seed in (1, 2):
        (tmp_path / f"runs/two-s{seed}").mkdir(parents=True)
        finish(f"countdown-tiny-sft-s{seed}", [{"step": 1, "loss": 1.0}], stage="sft", after=measured(0.3))
        logs = [step(1, 1000), {"step": 1, "eval_loss": 0.0}, step(2, 2500 * seed)]
        finish(f"countdown-tiny-s{seed}", logs, stage="r1_grpo", before=measured(0.3), after=measured(0.8 + seed / 100))
    after = measured(0.7, _3=0.9, _4=0.5) | {"language": 0.75}
    after["by_task"] = {"gsm8k": {"pass@1": 0.6, "format": 0.5, "language": 0.25, "mean_length": 40.0}}
    finish("two-s1/hot", [step(1, 500)], stage="r1_grpo", before=measured(0.3), after=after)


def compare(run_script, capsys, *flags) -> str:
    run_script("compare.py", "--config", "recipes/pipelines/two.yaml", *flags)
    return capsys.readouterr().out


def test_table_over_seeds(place, run_script, capsys):
    assert find_seeds("recipes/pipelines/two.yaml") == [1, 2]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in compare(run_script, capsys).splitlines()]
    table = {line[0]: dict(zip(lines[0], line, strict=True)) for line in lines[2:]}
    assert list(table) == ["cold-start", "plain", "hot", "- gsm8k"]
    plain = table["plain"]
    assert (plain["seeds"], plain["pass@1 before"]) == ("2", "0.300 (0.300 to 0.300)")
    assert plain["pass@1 after"] == "0.815 (0.810 to 0.820)"
    assert (plain["steps"], plain["tokens sampled"], plain["peak GiB"]) == ("2", "3,750", "2.50")
    assert (plain["generation s"], plain["update s"]) == ("4", "1")
    assert table["hot"]["seeds"] == "1" and table["hot"]["pass@1 after"] == "0.700"
    assert table["hot"]["language after"] == "0.750" and plain["language after"] == "-"
    assert list(table["- gsm8k"].values())[3:8] == ["0.600", "0.500", "0.250", "40.0", ""]
    assert table["cold-start"]["tokens sampled"] == table["cold-start"]["update s"] == "-"


def test_difficulties_where_asked_for(place, run_script, capsys):
    assert "difficulty" not in compare(run_script, capsys)
    out = compare(run_script, capsys, "--by_difficulty")
    assert "| - difficulty 3 |" in out and "| 0.500 |" in out


def test_differences_are_of_the_same_seed(place, run_script, capsys):
    out = compare(run_script, capsys, "--against", "plain")
    assert "| hot | -0.110 | -0.110 |" in out
    assert "| cold-start | -0.515 | -0.510, -0.520 |" in out


def test_the_stages_are_drawn(place, run_script, capsys, tmp_path):
    compare(run_script, capsys, "--plot", "out/stages.png")
    assert (tmp_path / "out/stages.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--against", "cold"], "--against: no finished stage 'cold'; there are cold-start, plain, hot"),
        (["--seeds", "[7]"], "recipes/pipelines/two.yaml: no finished stage for seeds 7 in runs/"),
        (["--seeds", "7"], "command line: seeds: got 7, expected a list such as [1, 2, 3]"),
        (["--sead", "7"], "command line: sead: unknown; there are --seeds, --against, --by_difficulty and --plot"),
    ],
)
def test_wrong_flags(place, run_script, capsys, flags, problem):
    with pytest.raises(SystemExit, match="2"):
        compare(run_script, capsys, *flags)
    assert capsys.readouterr().err == f"error: {problem}\n"
