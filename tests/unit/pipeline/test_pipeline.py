"""Pipelines: what a file may say, where stages run, what is skipped, resumed or refused."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from pipeline_file import BASE, EARLY, EVAL, FILE, LATE, RL, SFT, finish, read
from repository import ROOT

from mini_r1.config.kinds import KINDS
from mini_r1.config.recipe import flag_text, parse_command_line
from mini_r1.config.recipe_file import REFERENCES, RecipeFile
from mini_r1.errors import RecipeError
from mini_r1.pipeline.stages import STAGE_KEYS, read_pipeline
from mini_r1.pipeline.state import choose, refusal, stages_table, write_summary
from mini_r1.run.run_dir import clock


def said(run_script, capsys, *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_script("run_pipeline.py", "--config", FILE, *words)
    return ended.value.code, *capsys.readouterr()


VALUES = ["no", "1e-5", "true", "null", "3", "", " a b ", "--x", "[a", '{"a": 1}', '"', "{recipe}-b", "a: b # c", "ü\n",
          "2025-01-01", "~", None, True, False, 0, -1, 3.0, 1e-5, 1e22, -0.5, float("inf"), float("-inf"), [], {},
          [1, "2", None, {"a": ["no", 1e-9]}], {"a": {"b": [True, "true"]}, "--c": ""}, {"no": "no"}]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("key", ["output_dir", "task_args"])
def test_values_survive_the_command_line(key, value):
    if key == "output_dir" and isinstance(value, dict):
        return  # is text, and "{recipe}" there is no JSON
    text = flag_text(key, value)
    for words in ([f"--{key}", text, "--last", "1"], [f"--{key}", text]):
        given = parse_command_line(["--config", "x", *words])[1][key]
        assert (type(given), given) == (type(value), value)


@pytest.mark.parametrize("value", [float("nan"), {1: 2}, [{"a": {True: 1}}], {1, 2}, b"x"], ids=repr)
def test_values_that_cannot_be_set(value):
    with pytest.raises(RecipeError, match="cannot be set here"):
        flag_text("task_args", value)


# the entry of the stage rl from `set` on, the beginning of the message behind the file, and its remedy
WRONG = {
    "unknown key": ("set: {learning_rte: 1}", "stage rl: learning_rte: unknown key", "mean learning_rate?"),
    "config": ("set: {config: x}", "stage rl: config: unknown key", ""),
    "wrong type": ("set: {max_steps: many}", 'stage rl: max_steps: got "many"', "a whole number"),
    "placeholder": ("set: {output_dir: 'runs/{sed}'}", "stage rl: output_dir: unknown placeholder {sed}", "{seed}"),
    "unknown task": ("set: {task: countdwn}", "stage rl: task: ", "did you mean countdown?"),
    "date": ("set: {task_args: {a: 2025-01-01}}", "stage rl: task_args: ", "put dates and other keys in quotes"),
    "no map": ("set: [beta]", "set: stage rl needs a map", "{beta: 0.0}"),
    "extends": ("set: {extends: x}", "stage rl: extends: cannot be set", "recipe"),
    "overwrite": ("set: {overwrite_output_dir: true}", "stage rl: overwrite_output_dir: cannot be set", "--from"),
    "resume": ("set: {resume_from_checkpoint: x}", "stage rl: resume_from_checkpoint: cannot be set", "by itself"),
    "dry run": ("set: {dry_run: true}", "stage rl: dry_run: cannot be set", "on the command line"),
    "model": ("set: {model_name_or_path: x}", "stage rl: model_name_or_path: init_from", "leave one of the two out"),
    "same folder": ("set: {output_dir: 'runs/countdown-tiny-sft-s{seed}'}", "stages: rl and cold-start share", ""),
    "unknown key of a stage": ("sett: {}", "sett: unknown key of a stage", "did you mean set?"),
}


@pytest.mark.parametrize(("more", "start", "remedy"), WRONG.values(), ids=WRONG)
def test_what_a_stage_cannot_say(home, more, start, remedy):
    with pytest.raises(RecipeError) as error:
        read(BASE, SFT, RL % f", {more}")
    assert str(error.value).startswith(f"{FILE}: {start}") and remedy in str(error.value)


def test_stages_that_do_not_fit_together(home):
    measured = "  - {name: more, run: r1_grpo, recipe: ../countdown-tiny.yaml, init_from: greedy}\n"
    for stages, problem in (
        (
            [BASE, SFT, RL % "", EVAL, measured.replace("tiny.yaml", "tiny-random-reward.yaml")],
            "evaluate leaves no model",
        ),
        ([BASE, SFT.replace("name: cold-start", "name: a/b")], "as it names a folder"),
        ([BASE, BASE.replace("name: base", "name: two").replace("}", ", init_from: base}")], "leave init_from out"),
    ):
        with pytest.raises(RecipeError) as error:
            read(*stages)
        assert problem in str(error.value) and error.value.file == FILE
    # the last stage's folder would be the pipeline's, and moved aside it would take the earlier one along
    first = "  - {name: rl, run: r1_grpo, recipe: ../tiny/countdown-tiny.yaml, init_from: base}\n"
    Path("recipes/pipelines/countdown-tiny.yaml").write_text("stages:\n" + BASE + SFT + first + (
        "  - {name: whole, run: r1_grpo, recipe: ../tiny/countdown-tiny.yaml, init_from: cold-start}\n"))  # fmt: skip
    with pytest.raises(RecipeError, match="inside the folder of the later stage whole"):
        read_pipeline("recipes/pipelines/countdown-tiny.yaml", None)


def test_where_stages_run(home):
    easy = RL.replace("rl", "easy", 1).replace("rl,", "easy,") % ", set: {beta: 0.5, env: {A: 'no'}}"
    zero = RL.replace("name: rl", "name: zero").replace("from: cold-start", "from: base") % ""
    mine = RL.replace("name: rl", "name: own") % ", set: {output_dir: 'runs/{recipe}-own-s{seed}', seed: 3}"
    pipeline = read(BASE, SFT, RL % "", easy, zero, mine, seed=7)
    assert pipeline.folder == Path("runs/mine-s7")
    folders = {stage.name: str(stage.folder).removeprefix("runs/") for stage in pipeline.stages}
    assert folders == {
        "base": "countdown-tiny-base-s7",
        "cold-start": "countdown-tiny-sft-s7",
        "rl": "countdown-tiny-s7",
        "easy": "mine-s7/easy",
        "zero": "mine-s7/zero",
        "own": "countdown-tiny-own-s3",
    }
    values = {stage.name: stage.config.recipe.values for stage in pipeline.stages}
    assert (values["easy"]["beta"], values["easy"]["env"], values["easy"]["seed"]) == (0.5, {"A": "no"}, 7)
    assert values["zero"]["model_name_or_path"] == "runs/countdown-tiny-base-s7"
    assert values["own"]["model_name_or_path"] == "runs/countdown-tiny-sft-s7" and values["own"]["seed"] == 3
    assert "--beta 0.5" in " ".join(pipeline.stages[3].argv)
    assert read(BASE, SFT).folder == Path("runs/mine-s42")


def test_from_and_only(home):
    pipeline = read(BASE, SFT, RL % "", EVAL)
    base, sft, rl, greedy = pipeline.stages
    for start, only, problem in (
        ("rll", None, "did you mean rl?"),
        (None, "nothing", "it has base, cold-start, rl, greedy"),
        ("rl", "rl", "give one"),
        ("rl", None, "rl needs cold-start, which is not finished in runs/countdown-tiny-sft-s42"),
        (None, "greedy", "--only rl"),
    ):
        with pytest.raises(RecipeError, match="command line") as error:
            choose(pipeline, start, only, False)
        assert problem in str(error.value)
    finish(sft)
    choice = choose(pipeline, "rl", None, False)
    assert choice.stages == [rl, greedy]
    finish(base)
    assert choose(pipeline, None, "cold-start", False).stages == [sft]
    assert choose(pipeline, None, None, False).stages == pipeline.stages


def test_a_changed_recipe_is_refused(home, run_script, capsys):
    for stage in read(BASE, SFT, RL % "", EVAL).stages:
        finish(stage)
    changed = [BASE, SFT, RL % ", set: {beta: 0.5, output_dir: 'runs/{recipe}-s{seed}'}", EVAL]
    pipeline = read(*changed)
    for words in ((), ("--from", "cold-start"), ("--only", "rl"), ("--only", "greedy")):
        status, _, error = said(run_script, capsys, *words)
        assert status == 2 and error.startswith(f"error: {FILE}: stage rl: its recipe has changed")
        assert "beta: 0.0 -> 0.5" in error and "--from rl --overwrite_output_dir true" in error
    assert not said(run_script, capsys, "--only", "cold-start")[0]
    assert "=== stage 4/4, greedy: finished" in said(run_script, capsys, "--from", "greedy")[1]
    status, out, _ = said(run_script, capsys, "--dry_run")
    assert status == 2 and "would be refused: its recipe has changed" in out
    assert said(run_script, capsys, "--dry_run", "--from", "rl", "--overwrite_output_dir", "true")[0] == 0
    rl = pipeline.stages[2]
    (rl.folder / "summary.json").unlink()  # begun, and nothing there that the change could spoil
    assert refusal(rl, pipeline, choose(pipeline, None, None, False)) is None


def test_what_the_launcher_added_is_no_change(home):
    pipeline = read(BASE, SFT, RL % "")
    rl, choice = pipeline.stages[2], choose(pipeline, None, None, False)
    planned = {"num_processes": 3, "gradient_accumulation_steps": 28}
    finish(rl)
    file = rl.folder / "recipe.yaml"
    text = "\n".join(line for line in file.read_text().splitlines() if not line.startswith(tuple(planned)))
    file.write_text(text + "".join(f"\n{key}: {value}" for key, value in planned.items()))
    assert "gradient_accumulation_steps" in str(refusal(rl, pipeline, choice))
    words = "".join(f" --{key} {value}" for key, value in planned.items())
    manifest = {"command": "scripts/run_r1_grpo.py --config x" + words, "attempts": [{"started": EARLY}]}
    (rl.folder / "manifest.json").write_text(json.dumps(manifest))
    assert "gradient" not in str(refusal(rl, pipeline, choice))


def test_a_stage_of_an_older_model_is_refused(home, run_script, capsys):
    pipeline = read(BASE, SFT, RL % "", EVAL)
    _, sft, rl, greedy = pipeline.stages
    choice = choose(pipeline, None, None, False)
    for stage in pipeline.stages:
        finish(stage)
    assert [refusal(stage, pipeline, choice) for stage in pipeline.stages] == [None] * 4  # the same second
    finish(sft, finished=LATE)
    assert refusal(rl, pipeline, choice) and not refusal(greedy, pipeline, choice)
    status, _, error = said(run_script, capsys)
    assert status == 2 and "was made with an older cold-start" in error and "--from rl --overwrite" in error
    (rl.folder / "summary.json").unlink()  # begun: no different
    assert refusal(rl, pipeline, choice)
    anew = {"attempts": [{"started": EARLY, "from": None}, {"started": LATE, "from": None}]}
    (rl.folder / "manifest.json").write_text(json.dumps(anew))  # the first attempt left no checkpoint
    assert not refusal(rl, pipeline, choice)
    (rl.folder / "manifest.json").write_text("{}")  # of an older version: cannot be told
    assert not refusal(rl, pipeline, choice)
    finish(rl)
    shutil.rmtree(sft.folder)
    assert "--from cold-start --overwrite" in str(refusal(rl, pipeline, choice))


def fake_launch(monkeypatch, status=0, leave=True) -> list[str]:
    """Stages finish at once; returns the folders in which they did."""
    started = []

    def launch(words, kind, gpus):
        stage = next(stage for stage in read_pipeline(FILE, None).stages if stage.argv == words)
        assert (kind, gpus) == (stage.kind, 0)
        started.append(stage.name)
        if leave:
            finish(stage)
        return status

    monkeypatch.setattr("mini_r1.launch.launcher.launch", launch)
    return started


def test_what_is_run(home, run_script, capsys, monkeypatch):
    pipeline = read(BASE, SFT, RL % ", set: {max_steps: 3}", EVAL)
    started, gpus = fake_launch(monkeypatch), ("--gpus", "0")
    finish(pipeline.stages[0])
    status, out, _ = said(run_script, capsys, *gpus, "--dry_run")
    assert status == 0 and not started and out.count("\n") == 4
    assert '{"max_steps": 3}, in runs/mine-s42/rl, begins with runs/countdown-tiny-sft-s42: new' in out
    assert said(run_script, capsys, *gpus, "--only", "cold-start")[0] == 0 and started == ["cold-start"]
    assert len(json.loads(Path("runs/mine-s42/summary.json").read_text())["stages"]) == 2
    status, out, _ = said(run_script, capsys, *gpus)
    assert status == 0 and started == ["cold-start", "rl", "greedy"] and out.count("skipped") == 2
    assert "launch.py --run r1_grpo --config recipes/countdown-tiny.yaml --model_name_or_path runs/countdown-tiny-sft" \
        "-s42 --output_dir runs/mine-s42/rl --max_steps 3" in out  # fmt: skip
    assert said(run_script, capsys, *gpus, "--from", "rl", "--overwrite_output_dir", "true")[0] == 0
    assert started == ["cold-start", "rl", "greedy", "rl", "greedy"]
    assert (
        Path("runs/mine-s42/rl.old-1/summary.json").exists() and not Path("runs/countdown-tiny-sft-s42.old-1").exists()
    )
    # cut off in the middle of starting anew: the same without overwriting goes on
    status, _, error = (fake_launch(monkeypatch, 137, False), said(run_script, capsys, *gpus, "--from", "rl",
                        "--overwrite_output_dir", "true"))[1]  # fmt: skip
    assert status == 137 and "without --overwrite_output_dir again to go on" in error
    assert "greedy: evaluate" in (out := said(run_script, capsys, "--dry_run")[1]) and out.count(": new") == 2
    fake_launch(monkeypatch, 0, False)
    status, _, error = said(run_script, capsys, *gpus)
    assert status == 1 and "left no summary.json" in error


@pytest.mark.parametrize("words", [("--gpus", "many"), ("--from",), ("--dry_run", "3"), ("--sed", "3")])
def test_flags(home, run_script, capsys, words):
    read(BASE)
    status, _, error = said(run_script, capsys, *words)
    assert status == 2 and error.startswith("error: command line: ") and error.count("\n") == 1


def test_summary_and_table(home):
    path = "recipes/pipelines/countdown-tiny.yaml"  # has the name of the recipe of its stage rl
    pipeline = read_pipeline(path, None)
    _, sft, rl, _ = pipeline.stages
    finish(sft)
    notes = []
    write_summary(pipeline, notes.append)
    assert notes and not pipeline.folder.exists(), "rl would count as finished"
    finish(rl)
    (rl.folder / "trainer_state.json").write_text('{"global_step": 80}')
    for _ in range(2):
        write_summary(pipeline, notes.append)
    written = json.loads((rl.folder / "summary.json").read_text())
    assert written["stage"] == "r1_grpo" and [each["name"] for each in written["stages"]] == ["cold-start", "rl"]
    assert written["stages"][1]["steps"] == 80 and "stages" not in written["stages"][1]
    head, first, second = stages_table(pipeline).splitlines()
    assert head.split()[:4] == ["stage", "run", "steps", "time"]
    assert first.split()[:5] == ["cold-start", "sft", "-", "1:01:05", "0.250"]
    assert second.split()[2:4] == ["80", "1:05"] and second.endswith("runs/countdown-tiny-s42")
    assert (clock(59.6), clock(3599.4)) == ("1:00", "59:59")


EXPERIMENT = """
extends: _base/grpo.yaml
task: countdown
use_cpu: true
bf16: false
stages:
  base: {from: countdown-tiny}
  cold-start: {from: countdown-tiny}
  rl: {extends: countdown-tiny, max_steps: 3%s}
  again: {extends: rl, init_from: rl, seed: 5}
  greedy: {extends: countdown-tiny, init_from: again, output_dir: "runs/{recipe}-eval-s{seed}"}
"""


def experiment(more="", seed=None, told=None):
    Path(FILE).write_text(EXPERIMENT % more)
    return read_pipeline(FILE, seed, told)


def test_an_experiment(home):
    pipeline = experiment(seed=7)
    assert pipeline.folder == Path("runs/mine-s7")
    _, sft, rl, again, greedy = pipeline.stages
    assert [stage.kind for stage in pipeline.stages] == ["build_model", "sft", "r1_grpo", "r1_grpo", "evaluate"]
    folders = ["countdown-tiny-base-s7", "countdown-tiny-sft-s7", "mine-s7/rl", "mine-s7/again", "mine-eval-s7"]
    assert [str(stage.folder) for stage in pipeline.stages] == [f"runs/{folder}" for folder in folders]
    parents = [stage.parents for stage in pipeline.stages]
    assert parents == [(), ("base",), ("cold-start",), ("rl",), ("again",)]
    assert (Path(rl.config.model_name_or_path), again.config.recipe.values["seed"]) == (sft.folder, 5)
    assert greedy.config.recipe.values["model_name_or_path"] == "runs/mine-s7/again"
    assert sft.argv == ["--config", "recipes/tiny/countdown-tiny.yaml", "--stage", "cold-start", "--seed", "7"]
    assert rl.argv == ["--config", FILE, "--stage", "rl", "--again.seed", "5", "--seed", "7"]
    assert [stage.name for stage in read_pipeline("mine", 7).stages] == [stage.name for stage in pipeline.stages]
    with pytest.raises(RecipeError, match=r"tiny\.yaml; run it with --config countdown-tiny --only cold-start"):
        read_pipeline("countdown-tiny-sft", 7)


def test_flags_of_a_stage(home, run_script, capsys):
    pipeline = experiment(told={"rl.beta": 0.5, "rl.output_dir": "runs/x-s{seed}"})
    rl, again = pipeline.stages[2:4]
    assert (rl.config.recipe.values["beta"], str(rl.folder), rl.changes) == (
        0.5,
        "runs/x-s42",
        {"beta": 0.5, "output_dir": "runs/x-s{seed}"},
    )
    assert (again.config.recipe.values["beta"], again.parents) == (0.0, ("rl",))
    assert "--rl.beta 0.5 --rl.output_dir runs/x-s{seed}" in " ".join(again.argv)
    assert "in runs/x-s42" in said(run_script, capsys, "--dry_run", "--rl.output_dir", "runs/x-s{seed}")[1]
    for words, problem in (
        (("--rll.beta", "1"), "command line: --rll.beta: recipes/pipelines/mine.yaml has no stage 'rll'"),
        (
            ("--cold-start.seed", "1"),
            "command line: --cold-start.seed: cold-start is a run of countdown-tiny: change it",
        ),
        (("--rl.bta", "1"), "command line: bta: unknown key; did you mean beta?"),
    ):
        status, _, error = said(run_script, capsys, *words)
        assert status == 2 and error.startswith(f"error: {problem}")
    read(BASE)
    assert "the stage set: {...}" in said(run_script, capsys, "--rl.beta", "1")[2]


def test_an_experiment_goes_on_where_it_was(home, run_script, capsys):
    """Also where a list of recipes, with the same stages, was begun."""
    for stage in read(BASE, SFT, RL % "").stages:
        finish(stage)
    pipeline = experiment()
    rl, choice = pipeline.stages[2], choose(pipeline, None, None, False)
    assert [refusal(stage, pipeline, choice) for stage in pipeline.stages] == [None] * 5
    finish(rl)
    assert said(run_script, capsys, "--dry_run")[1].count("skipped") == 3
    (rl.folder / "recipe.yaml").write_text((rl.folder / "recipe.yaml").read_text().replace("run: r1_grpo\n", ""))
    assert refusal(rl, pipeline, choice) is None, "a run of before said no kind"
    changed = experiment(", beta: 0.5")
    assert "beta: 0.0 -> 0.5" in str(refusal(changed.stages[2], changed, choose(changed, None, None, False)))
    finish(pipeline.stages[1], finished=LATE)
    assert "an older cold-start" in str(refusal(rl, pipeline, choice))


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (", lr: 1", f"{FILE}: stage rl: lr: unknown key"),
        (", dry_run: true", f"{FILE}: stage rl: dry_run: cannot be set by a stage"),
        (", init_from: greedy", f"{FILE}: init_from: no earlier stage 'greedy'; there is base, cold-start"),
        (", data_from: base", f"{FILE}: data_from: stage rl: a stage with run: sft learns from one with run: generate"),
        (
            ", teacher_from: base",
            f"{FILE}: teacher_from: stage rl: a stage with run: distill learns from one that leaves",
        ),
        (", output_dir: 'runs/countdown-tiny-sft-s{seed}'", f"{FILE}: stages: rl and cold-start share their name"),
    ],
)
def test_what_a_stage_of_an_experiment_cannot_say(home, more, problem):
    with pytest.raises(RecipeError) as error:
        experiment(more)
    assert str(error.value).startswith(problem)


def test_a_key_that_no_stage_takes(home):
    Path(FILE).write_text("learning_rte: 1" + EXPERIMENT % "")
    with pytest.raises(RecipeError, match=f"^{FILE}: learning_rte: unknown key; did you mean learning_rate"):
        read_pipeline(FILE, None)


def test_the_page(home):
    page = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
    shipped, swapped, listed = re.findall(r"```yaml\n(.*?)```", page, re.S)
    file = RecipeFile(Path("recipes/tiny/countdown-tiny.yaml"))
    for name, entry in yaml.safe_load(shipped)["stages"].items():
        assert entry.items() <= file.stages[name].items()
    assert list(file.stages) == list(yaml.safe_load(shipped)["stages"])
    Path(FILE).write_text(swapped)
    own = [stage.name for stage in read_pipeline(FILE, None).stages if stage.folder.parent.name == "mine-s42"]
    assert ", ".join(f"`{name}`" for name in own[:-1]) + f" and `{own[-1]}`" in page
    Path(FILE).write_text(listed)
    assert [str(stage.folder) for stage in read_pipeline(FILE, None).stages][1:] == [
        "runs/countdown-tiny-sft-s42",
        "runs/mine-s42/hot",
    ]
    assert all(f"`{key}`" in page for key in (*STAGE_KEYS, *REFERENCES, "extends", "from", "stage"))
    assert all(f"`{kind}`" in page for kind in KINDS)
