"""Recipe files with stages: what each stage is given, which of them runs, names, and what is refused."""

import json
from pathlib import Path

import pytest

from mini_r1.config.recipe import differences, kind_of, parse_command_line, resolve
from mini_r1.config.recipe_file import RecipeFile, find_recipe
from mini_r1.errors import RecipeError

BASE = "seed: 42\noutput_dir: runs/{recipe}-s{seed}\nbeta: 0.0\nlearning_rate: 1.0\n"
TINY = """
task: countdown
learning_rate: 0.5
num_traces: 8
stages:
  base: {run: build_model, output_dir: "runs/{recipe}-base-s{seed}", seed: 1}
  cold-start: {run: sft, extends: _base/grpo.yaml, init_from: base, output_dir: "runs/{recipe}-sft-s{seed}", beta: null}
  rl:
    {run: r1_grpo, extends: _base/grpo.yaml, init_from: cold-start, output_dir: "runs/{recipe}-s{seed}",
     task_args: {n: 1}}
  greedy: {run: evaluate, extends: rl, init_from: rl, top_k: 1, task_args: {seed: 0}}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write files below recipes/ of tmp_path, which is also the working directory; return the path of the last."""
    monkeypatch.chdir(tmp_path)

    def write(**files: str) -> str:
        for name, text in {"_base__grpo": BASE, "tiny__small": TINY, **files}.items():
            path = Path("recipes", name.replace("__", "/").replace("_dash_", "-") + ".yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def stage(path: str, name: str, **told) -> dict:
    return resolve(path, {"stage": name, **told}).values


def test_what_stands_above_holds_for_stages_whose_kind_has_it(write):
    path = write()
    assert stage(path, "base") == {
        "run": "build_model", "task": "countdown", "seed": 1, "output_dir": "runs/small-base-s1",
    }  # fmt: skip
    assert stage(path, "cold-start") == {
        "run": "sft", "seed": 42, "task": "countdown", "learning_rate": 0.5, "num_traces": 8, "beta": None,
        "model_name_or_path": "runs/small-base-s1", "output_dir": "runs/small-sft-s42",
    }  # fmt: skip
    assert stage(path, "rl") == {
        "run": "r1_grpo", "seed": 42, "task": "countdown", "learning_rate": 0.5, "beta": 0.0, "task_args": {"n": 1},
        "model_name_or_path": "runs/small-sft-s42", "output_dir": "runs/small-s42",
    }  # fmt: skip
    assert stage(path, "greedy") == stage(path, "rl") | {
        "run": "evaluate", "top_k": 1, "task_args": {"n": 1, "seed": 0},
        "model_name_or_path": "runs/small-s42", "output_dir": "runs/small-s42/greedy",
    }  # fmt: skip
    origin = resolve(path, {"stage": "greedy", "beta": 1.0}).origin
    assert (origin["beta"], origin["task"]) == ("command line", "recipes/tiny/small.yaml")
    assert (origin["top_k"], origin["learning_rate"]) == ("recipes/tiny/small.yaml: stage greedy", origin["task"])


def test_a_key_that_no_stage_knows_is_kept_to_be_refused(write):
    path = write(tiny__small="learning_rte: 1\n" + TINY)
    assert all(stage(path, name)["learning_rte"] == 1 for name in ("base", "rl"))


def test_extends_merges_stage_by_stage(write):
    path = write(mine="extends: small\nlearning_rate: 0.25\nstages:\n  rl: {task_args: {m: 2}}\n  more: {extends: rl}")
    assert list(RecipeFile(Path(path)).stages) == ["base", "cold-start", "rl", "greedy", "more"]
    expected = stage("small", "rl") | {
        "learning_rate": 0.25, "task_args": {"n": 1, "m": 2},
        "model_name_or_path": "runs/mine-sft-s42", "output_dir": "runs/mine-s42",
    }  # fmt: skip
    assert stage(path, "rl") == expected
    assert stage(path, "more") == expected | {"output_dir": "runs/mine-s42/more"}


def test_a_stage_of_another_file(write):
    text = """
learning_rate: 0.125
stages:
  cold-start: {from: small}
  first: {from: small, stage: rl}
  like: {extends: small, stage: rl, beta: 1.0}
  other: {extends: small, stage: rl, init_from: like, output_dir: "runs/{recipe}-s{seed}"}
"""
    path = write(mine=text)
    assert stage(path, "cold-start", seed=7) == stage("small", "cold-start", seed=7)
    assert stage(path, "first") == stage("small", "rl")
    assert resolve(path, {"stage": "first"}).path == "recipes/tiny/small.yaml"
    assert stage(path, "like", seed=7) == stage("small", "rl", seed=7) | {
        "beta": 1.0, "learning_rate": 0.125, "output_dir": "runs/mine-s7/like",
    }  # fmt: skip
    assert stage(path, "other")["model_name_or_path"] == "runs/mine-s42/like"
    assert stage(path, "other")["output_dir"] == "runs/mine-s42"


def test_a_file_without_stages_is_one_run_of_what_it_extends(write):
    path = write(mine="extends: tiny/small.yaml\nbeta: 1.0")
    expected = stage("small", "rl") | {"beta": 1.0, "output_dir": "runs/mine-s42"}
    assert resolve(path).values == resolve(path, kind="r1_grpo").values == expected, "the same cold start"
    assert resolve(path, kind="evaluate").values == expected | {"run": "evaluate"}
    assert resolve(path, kind="sft").values["model_name_or_path"] == "runs/small-base-s1"
    again = write(again="extends: mine.yaml\nrun: r1_grpo")
    assert resolve(again).values == expected | {"output_dir": "runs/again-s42"}
    named = write(named="extends: small-sft.yaml")
    assert resolve(named).values == stage("small", "cold-start") | {"output_dir": "runs/named-s42"}
    chosen = write(chosen="extends: small\nstage: greedy")
    assert resolve(chosen).values == stage("small", "greedy") | {"output_dir": "runs/chosen-s42"}


def test_a_nearer_key_replaces_what_init_from_says(write):
    path = write(mine="extends: small\nstages:\n  rl: {model_name_or_path: x}\n  greedy: {init_from: cold-start}")
    assert stage(path, "rl")["model_name_or_path"] == "x"
    assert stage(path, "greedy")["model_name_or_path"] == "runs/mine-sft-s42"


def test_data_and_teacher(write):
    text = """
stages:
  ask: {run: generate, extends: small, stage: rl}
  a: {run: sft, init_from: ask, data_from: ask, seed: 1}
  b: {run: sft, data_from: ask, sft_datasets: [{task: chat, share: 0.5}, {share: 0.5}]}
  c: {run: distill, teacher_from: b, seed: 2}
"""
    path = write(mine=text)
    place = {"path": "runs/mine-s3/ask/dataset"}
    assert stage(path, "b", seed=3)["sft_datasets"] == [{"task": "chat", "share": 0.5}, {"share": 0.5} | place]
    assert stage(path, "a", **{"seed": 3, "a.seed": 1})["sft_datasets"] == [place], "the experiment's, not its own"
    values = stage(path, "c", **{"seed": 3, "c.seed": 2})
    assert (values["teacher_model_name_or_path"], values["seed"]) == ("runs/mine-s3/b", 2)
    assert values["output_dir"] == "runs/mine-s3/c"


def test_flags_of_one_stage(write):
    path, flags = parse_command_line(["--config", write(), "--rl.beta", "1.0", "--rl.output_dir", "{recipe}-x"])
    assert flags == {"rl.beta": 1.0, "rl.output_dir": "{recipe}-x"}
    assert stage(path, "rl", **flags) == stage(path, "rl") | {"beta": 1.0, "output_dir": "small-x"}
    assert stage(path, "greedy", **flags)["model_name_or_path"] == "small-x"
    assert resolve(path, {"stage": "rl", **flags}).origin["beta"] == "command line"


def test_the_stage_that_runs(write):
    path = write()
    assert resolve(path).values == stage(path, "rl"), "the one whose run directory has the file's name"
    for kind, name in (("sft", "cold-start"), ("r1_grpo", "rl"), ("evaluate", "greedy")):
        assert resolve(path, kind=kind).values == stage(path, name)
    assert resolve(path, kind="generate").values == stage(path, "rl") | {"run": "generate"}, "takes any recipe"
    assert kind_of(["--config", "small-sft"]) == "sft" and kind_of(["--config", path]) == "r1_grpo"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("small", ("recipes/tiny/small.yaml", None)),
        ("recipes/small.yaml", ("recipes/tiny/small.yaml", None)),
        ("recipes/pipelines/small.yaml", ("recipes/tiny/small.yaml", None)),
        ("small-sft", ("recipes/tiny/small.yaml", "cold-start")),
        ("recipes/small-base.yaml", ("recipes/tiny/small.yaml", "base")),
        ("recipes/tiny/small.yaml", ("recipes/tiny/small.yaml", None)),
    ],
)
def test_names(write, name, expected):
    write(broken="- no: recipe", more="stages:\n  cold-start: {from: small}")
    file, stage = find_recipe(name)
    assert (str(file), stage) == expected


@pytest.mark.parametrize("run", [3, [3], None, "sftt"])
def test_what_it_is_run_as_is_one_of_the_kinds(tmp_path, run):
    (tmp_path / "x.yaml").write_text(json.dumps({"run": run}))
    with pytest.raises(RecipeError, match=r"x\.yaml: run: got .*, expected one of build_model, sft, ") as error:
        kind_of(["--config", str(tmp_path / "x.yaml")])
    assert str(error.value).endswith("; did you mean sft?") is (run == "sftt")


def test_a_path_elsewhere_is_no_name(write):
    write()
    with pytest.raises(RecipeError, match=r"^elsewhere/small\.yaml: no such recipe"):
        find_recipe("elsewhere/small.yaml")


BROKEN = {
    "no such stage": (
        "small",
        {"stage": "rll"},
        None,
        "small.yaml has no stage 'rll'; it has base, cold-start, rl, greedy",
    ),
    "one run has no stages": ("mine", {"stage": "rl"}, None, "recipes/mine.yaml has no stage 'rl'; it is one run"),
    "no stage of that kind": ("small", {}, "distill", "has no stages with run: distill, and one run is wanted"),
    "a flag of no stage": ("small", {"rll.beta": 1}, None, "command line: --rll.beta: recipes/tiny/small.yaml has no"),
    "another script": ("small-sft", {}, "r1_grpo", "run: sft is not run as r1_grpo; use scripts/run_sft.py"),
    "no such recipe": ("smal", {}, None, "smal: no such recipe; did you mean small.yaml?"),
}


@pytest.mark.parametrize(("path", "told", "kind", "expected"), BROKEN.values(), ids=BROKEN)
def test_what_cannot_be_run(write, path, told, kind, expected):
    write(mine="seed: 1")
    with pytest.raises(RecipeError) as error:
        resolve(path, told, kind)
    assert expected in str(error.value)


MINE, OF_A = "recipes/mine.yaml: ", "recipes/mine.yaml: stage a: "
FILES = {
    "no kind": ("a: {seed: 1}", MINE + "run: stage a: got None, expected one of build_model, sft"),
    "wrong kind": ("a: {run: r1_grp}", MINE + "run: stage a: got 'r1_grp', expected one of build_model"),
    "no map": ("a: 3", MINE + "a: got 3, expected a map of keys to values"),
    "from and more": ("a: {from: small, beta: 1}", OF_A + "beta: cannot be set beside from"),
    "stage alone": ("a: {run: sft, stage: x}", OF_A + "stage: goes with from or extends"),
    "no file": ("a: {from: smal}", OF_A + "from: no file smal in recipes; did you mean small.yaml?"),
    "no stage there": ("a: {extends: small, stage: x}", "recipes/tiny/small.yaml has no stage 'x'; it has base, "),
    "no parent": ("a: {run: sft, init_from: x}", OF_A + "init_from: recipes/mine.yaml has no stage 'x'; it has a"),
    "said twice": ("b: {run: sft}, a: {run: sft, init_from: b, model_name_or_path: x}", "says the same as init_from"),
    "circle of stages": ("a: {extends: b}, b: {extends: a}", "extends: goes in a circle: a -> b -> a"),
    "circle of runs": ("a: {extends: third}", f"circle: {MINE[:-2]} -> recipes/third.yaml -> {MINE[:-2]}"),
}


@pytest.mark.parametrize(("stages", "expected"), FILES.values(), ids=FILES)
def test_broken_stages(write, stages, expected):
    path = write(third="stages: {a: {extends: mine}}", mine=f"stages: {{{stages}}}")
    with pytest.raises(RecipeError) as error:
        resolve(path, {"stage": "a"})
    assert expected in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("stages: {}", "stages: expected a map of names to stages"),
        ("stages: [{name: a}]", "stages: a list of stages is a pipeline"),
        ("output_dir: x\nstages: {a: {run: r1_grpo}}", "output_dir: belongs to a stage"),
        (
            "extends: other\nstages: {a: {run: sft}}",
            "circle: recipes/mine.yaml -> recipes/other.yaml -> recipes/mine.yaml",
        ),
        ("stages: {a: {extends: small, stage: rl}, c: {extends: a}}", "one run is wanted: name one with --stage a, c"),
    ],
)
def test_broken_files(write, text, expected):
    path = write(other="extends: mine\nstages: {b: {run: sft}}", mine=text)
    with pytest.raises(RecipeError) as error:
        resolve(path, kind="r1_grpo")
    assert expected in str(error.value) and "\n" not in str(error.value)


def test_the_kind_is_no_change(write):
    """Run directories of before had no `run`, and are the same runs."""
    assert differences({"seed": 1}, {"seed": 1, "run": "sft"}) == []
    assert "run" not in resolve(write(mine="seed: 1"), kind="sft").values
