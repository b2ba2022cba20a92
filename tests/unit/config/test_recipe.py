"""Recipes: resolving, checking, building TRL's settings, and what is written into a run directory."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from repository import ROOT
from shipped import RUNS
from trl import SFTConfig

from mini_r1.config.recipe import differences, parse_command_line, resolve, write_resolved
from mini_r1.config.run_config import RunConfig, build, check, read_run
from mini_r1.errors import RecipeError


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write files below tmp_path, which is also the working directory; return the path of the last."""
    monkeypatch.chdir(tmp_path)

    def write(**files: str) -> str:
        for name, text in files.items():
            path = Path("recipes", name.replace("__", "/").replace("_dash_", "-") + ".yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_extends_merges_maps_and_replaces_lists(write):
    path = write(
        _base__grpo="beta: 0.04\ntask_args: {max_number: 9, deep: {a: 1, b: 2}}\nreward_funcs: [a, b]\n",
        middle="extends: _base/grpo.yaml\ntask_args: {deep: {b: 3}}\n",
        sub__top="extends: middle.yaml\nreward_funcs: [c]\nseed: 1\n",
    )
    recipe = resolve(path, {"seed": 7})
    task_args = {"max_number": 9, "deep": {"a": 1, "b": 3}}
    assert recipe.values == {"beta": 0.04, "task_args": task_args, "reward_funcs": ["c"], "seed": 7}
    assert recipe.origin == {
        "beta": "recipes/_base/grpo.yaml",
        "task_args": "recipes/middle.yaml",
        "reward_funcs": "recipes/sub/top.yaml",
        "seed": "command line",
    }
    assert (recipe.name, recipe.path) == ("top", "recipes/sub/top.yaml")


def test_extends_outside_recipes_is_relative_to_the_own_folder(tmp_path):
    (tmp_path / "base.yaml").write_text("seed: 3")
    (tmp_path / "own.yaml").write_text("extends: base.yaml")
    assert resolve(tmp_path / "own.yaml").values == {"seed": 3}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"a": "extends: b.yaml"}, "recipes/a.yaml: extends: no file b.yaml in recipes"),
        (
            {"_base__grpo": "x: 1", "a": "extends: _base/grop.yaml"},
            "recipes/a.yaml: extends: no file _base/grop.yaml in recipes; did you mean _base/grpo.yaml?",
        ),
        ({"a": "extends: [b.yaml]"}, "recipes/a.yaml: extends: got ['b.yaml'], expected the name of one file, such as"),
        ({"a": "extends: a.yaml"}, "extends: goes in a circle: recipes/a.yaml -> recipes/a.yaml"),
        (
            {"a": "extends: b.yaml", "b": "extends: c.yaml", "c": "extends: b.yaml", "top": "extends: a.yaml"},
            "recipes/c.yaml: extends: goes in a circle: recipes/top.yaml -> recipes/a.yaml -> recipes/b.yaml -> "
            "recipes/c.yaml -> recipes/b.yaml",
        ),
        ({"a": "x: 1\ny: [1, 2"}, "recipes/a.yaml: line 2, column 9: expected ',' or ']', but got '<stream end>'"),
        ({"a": "x: 1\ny: 2\nx: 3"}, "recipes/a.yaml: line 3, column 1: the key x appears twice"),
        ({"a": "m: {x: 1, x: 1}"}, "recipes/a.yaml: line 1, column 11: the key x appears twice"),
        ({"a": "x: !!python/name:os.system"}, "recipes/a.yaml: line 1, column 4: could not determine a constructor"),
        ({"a": "x: 2025-02-31"}, "recipes/a.yaml: not YAML: day"),
        ({"a": "- x"}, "recipes/a.yaml: expected a map of keys to values at the top level"),
        ({"a": "on: 1"}, "recipes/a.yaml: the key True is not text; put it in quotes"),
        ({"a": "output_dir: runs/{recipe}-s{seed}"}, "recipes/a.yaml: output_dir: {seed} needs the key seed"),
        ({"a": "output_dir: runs/{task}"}, "recipes/a.yaml: output_dir: unknown placeholder {task}; use {recipe} or"),
    ],
)
def test_broken_files(write, files, expected):
    with pytest.raises(RecipeError) as error:
        resolve(write(**files))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_unreadable_and_binary_files(write, tmp_path):
    write(countdown="seed: 1")
    (tmp_path / "recipes" / "binary.yaml").write_bytes(b"\xff\xfe\xff")
    for path, expected in [
        ("recipes/countdwn.yaml", "recipes/countdwn.yaml: no such recipe; did you mean countdown.yaml?"),
        ("recipes", "recipes: cannot be read: Is a directory"),
        ("recipes/binary.yaml", "recipes/binary.yaml: not YAML"),
    ]:
        with pytest.raises(RecipeError, match=re.escape(expected)):
            resolve(path)


def test_placeholders_know_the_recipe_and_the_flags(write):
    path = write(
        base="seed: 1\noutput_dir: runs/{recipe}-s{seed}\nrun_name: '{recipe}'\nprompt_template: '{recipe}'",
        knights_dash_tiny="extends: base.yaml\nmodel_name_or_path: runs/{recipe}-sft-s{seed}",
    )
    values = resolve(path, {"seed": 5}).values
    assert values["output_dir"] == "runs/knights-tiny-s5"
    assert values["run_name"] == "knights-tiny"
    assert values["model_name_or_path"] == "runs/knights-tiny-sft-s5"
    assert values["prompt_template"] == "{recipe}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--seed", "1"], {"seed": 1}),
        (["--seed=1", "--seed", "2"], {"seed": 2}),
        (["--max_steps", "-1"], {"max_steps": -1}),
        (["--dry_run", "--seed", "3"], {"dry_run": True, "seed": 3}),
        (["--learning_rate", "5e-7"], {"learning_rate": 5e-7}),
        (["--run_name="], {"run_name": None}),
        (["--run_name", '"12"'], {"run_name": "12"}),
        (["--run_name", "a: b #c"], {"run_name": "a: b #c"}),
        (["--run_name", "2025-02-31"], {"run_name": "2025-02-31"}),
        (["--run_name", "<<"], {"run_name": "<<"}),
        (["--difficulty", "[3, 4]"], {"difficulty": [3, 4]}),
        (['--task_args={"a": {"b": [1e-3]}}'], {"task_args": {"a": {"b": [0.001]}}}),
        (["--output_dir", "{recipe}-b"], {"output_dir": "{recipe}-b"}),
        (["--max_train_rows", "null"], {"max_train_rows": None}),
        (["--learning-rate", "1"], {"learning-rate": 1}),
    ],
)
@pytest.mark.parametrize("config", [["--config", "x.yaml"], ["--config=x.yaml"]])
def test_command_line(words, config, expected):
    assert parse_command_line(config + words) == ("x.yaml", expected)
    assert parse_command_line(words + config) == ("x.yaml", expected)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], "command line: --config is missing; give a recipe"),
        (["x.yaml"], "command line: unexpected 'x.yaml'; give a recipe"),
        (["--config", "x.yaml", "--task_args", "{a: 1}"], "command line: task_args: not JSON at column 2: Expecting"),
        (["--config", "x.yaml", "--extends", "y.yaml"], "command line: extends: belongs in a recipe"),
        (["--help"], "give a recipe and then any keys to override: --config recipes/NAME.yaml"),
    ],
)
def test_bad_command_lines(argv, expected):
    with pytest.raises(RecipeError) as error:
        parse_command_line(argv)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def built(path: str, *flags: str, kind: str = "r1_grpo") -> RunConfig:
    return build(read_run(kind, ["--config", path, *flags]))


def test_building_what_trl_wants(write, monkeypatch):
    monkeypatch.setenv("MINI_R1_TEST", "off")  # put back afterwards
    path = write(
        x="""
use_cpu: true
bf16: false
learning_rate: 5e-7
lr_scheduler_kwargs: {num_cycles: 2}
eval_strategy: no
scale_rewards: false
seed: 3
output_dir: runs/{recipe}-s{seed}
model_name_or_path: tiny
lora_target_modules: [q_proj, v_proj]
task_args: {max_number: 9, nested: {a: [1]}}
difficulty: [3, 4]
reward_values: {format_reward: [0.5, 0.0, 0.0]}
reward_funcs: [equation_reward]
tasks: [{task: gsm8k, weight: 0.5}]
reward_weights: [1]
env: {MINI_R1_TEST: "on"}
"""
    )
    config = built(path, "--seed", "5", "--dry_run")
    arguments, training, model = config.args, config.training, config.model
    assert (arguments.task_args, arguments.difficulty) == ({"max_number": 9, "nested": {"a": [1]}}, [3, 4])
    assert (arguments.reward_values, arguments.reward_funcs) == (
        {"format_reward": [0.5, 0.0, 0.0]},
        ["equation_reward"],
    )
    assert (arguments.dry_run, arguments.max_train_rows) == (True, None)
    assert (training.learning_rate, training.seed, training.output_dir) == (5e-7, 5, "runs/x-s5")
    assert (training.eval_strategy, training.scale_rewards) == ("no", "none")
    assert training.lr_scheduler_kwargs == {"num_cycles": 2}
    assert (model.model_name_or_path, model.lora_target_modules) == ("tiny", ["q_proj", "v_proj"])
    assert (arguments.tasks, training.reward_weights) == ([{"task": "gsm8k", "weight": 0.5}], [1])
    assert (config.learning_rate, config.lora_target_modules, config.curriculum) == (5e-7, ["q_proj", "v_proj"], "none")
    assert os.environ["MINI_R1_TEST"] == "on"
    assert config.recipe.values["env"] == {"MINI_R1_TEST": "on"}


def test_errors_name_the_origin(write):
    for argv, file in [([], "recipes/base.yaml"), (["--max_steps", "1.5"], "command line")]:
        with pytest.raises(RecipeError, match=f"^{file}: max_steps: got .*, expected a whole number$"):
            read_run("r1_grpo", ["--config", write(base="max_steps: true", x="extends: base.yaml"), *argv])


def test_parse_sft(write):
    training = built(write(x="use_cpu: true\nbf16: false\nmax_length: 64"), "--packing", kind="sft").training
    assert isinstance(training, SFTConfig)
    assert (training.max_length, training.packing) == (64, True)


CPU = "use_cpu: true\nbf16: false\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("num_generations: 3", "recipes/x.yaml: generation_batch_size (8) must be divisible by num_generations (3)."),
        ("num_generations: 1", "recipes/x.yaml: GRPO requires at least 2 generations per prompt"),
        ("generation_batch_size: 8\nsteps_per_generation: 1", "can not be both configured at the same time"),
        ("log_completions_hub_repo: me/x", "log_completions_hub_repo is set, but log_completions is False"),
        ("debug: nonsense", "recipes/x.yaml: "),
    ],
)
def test_what_trl_refuses_is_one_line(write, text, expected, capsys):
    with pytest.raises(RecipeError) as error:
        built(write(x=CPU + text))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)
    assert "usage:" not in capsys.readouterr().err


def test_write_resolved_round_trip(write, tmp_path):
    path = write(
        base="beta: 5e-7\nhub_token: hf_secret\nenv: {HF_TOKEN: hf_secret, A: '1'}",
        x="extends: base.yaml\nrun_name: '1e-3'\nprompt_template: 'no'\ndifficulty: &d [3]\nlabel_names: ['é: #']",
    )
    recipe = check("r1_grpo", resolve(path, {"seed": 4})).recipe
    written = write_resolved(recipe, tmp_path / "runs" / "x")
    assert written == tmp_path / "runs" / "x" / "recipe.yaml"
    text = written.read_text(encoding="utf-8")
    assert text.startswith("# recipes/x.yaml, resolved")
    assert "# files: recipes/base.yaml, recipes/x.yaml" in text
    assert "--seed" in text
    assert "hf_secret" not in text
    again = check("r1_grpo", resolve(written)).recipe
    expected = {key: value for key, value in recipe.values.items() if key != "hub_token"} | {"env": {"A": "1"}}
    assert again.values == yaml.safe_load(text) == expected
    assert differences(recipe.values, again.values) == []
    write_resolved(again, tmp_path / "runs" / "x")
    assert [file.name for file in written.parent.iterdir()] == ["recipe.yaml"]


def test_differences():
    old = {"beta": 0.04, "output_dir": "a", "hub_model_id": "x", "save_total_limit": 1, "difficulty": [3], "seed": 1}
    new = {"beta": 0.0, "output_dir": "b", "report_to": "wandb", "difficulty": [3, 4], "seed": 1.0, "top_k": None}
    assert differences(old, new) == ["beta: 0.04 -> 0.0", "difficulty: [3] -> [3, 4]", "top_k: (not set) -> null"]


def test_resolving_loads_nothing_heavy(write):
    path = write(x="max_prompt_tokns: 3")
    code = (
        "import sys, mini_r1.config.batch\nfrom mini_r1.config.run_config import *\n"
        f"try: read_run('r1_grpo', ['--config', {path!r}])\n"
        "except Exception as e: print(e)\n"
        "print([m for m in ('torch', 'trl', 'transformers') if m in sys.modules])"
    )
    environment = {"PYTHONPATH": str(ROOT)}
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    line, heavy = out.stdout.splitlines()
    assert line == "recipes/x.yaml: max_prompt_tokns: unknown key; did you mean max_prompt_tokens?"
    assert json.loads(heavy) == []


@pytest.mark.parametrize(("path", "stage"), RUNS.values(), ids=RUNS)
def test_every_recipe_resolves(path, stage):
    recipe = resolve(path, {"seed": 1, **stage})
    assert recipe.values
    assert set(recipe.values) == set(recipe.origin)
