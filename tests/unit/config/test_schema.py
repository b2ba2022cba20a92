"""The JSON schema of recipes: equal to the installed TRL, closed, and what every shipped recipe conforms to."""

import dataclasses
import json
import subprocess
import sys

import jsonschema
import pytest
from repository import ROOT

from mini_r1.config.kinds import KINDS, dataclass_types
from mini_r1.config.schema import SCHEMA_FILE, keys_of_kind, schema_text
from mini_r1.config.yaml_file import load_yaml

SCHEMA = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
SHIPPED = subprocess.check_output(["git", "ls-files", "recipes/*.yaml"], cwd=ROOT, text=True).split()


def test_it_is_what_the_installed_trl_makes():
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), "run: python -m mini_r1.config.schema"


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_every_field_with_its_default_and_no_other(kind):
    fields = {}
    for each in dataclass_types(kind):
        for field in dataclasses.fields(each):
            if field.init:
                fields.setdefault(field.name, field)
    keys = keys_of_kind(kind)
    assert keys.keys() == fields.keys()
    for name, field in fields.items():
        if field.default is not dataclasses.MISSING:
            assert keys[name]["default"] == getattr(field.default, "value", field.default), name


WRONG = [  # recipe, where the fault is
    ({"learning_rte": 1e-6}, []),
    ({"run": "r1_grpo", "learning_rate": "fast"}, ["learning_rate"]),
    ({"run": "r1_grpo", "learning_rate": True}, ["learning_rate"]),
    ({"run": "r1_grpo", "loss_type": "grop"}, ["loss_type"]),
    ({"run": "r1_grpo", "loss_type": "nll"}, ["loss_type"]),  # SFT's
    ({"run": "sft", "loss_type": "grpo"}, ["loss_type"]),
    ({"run": "r1_grpo", "scale_rewards": "grup"}, ["scale_rewards"]),
    ({"run": "r1_grpo", "advantage": "grup"}, ["advantage"]),
    ({"run": "r1_grpo", "eval_strategy": "step"}, ["eval_strategy"]),
    ({"run": "grpo"}, ["run"]),
    ({"max_steps": 1.5}, ["max_steps"]),
    ({"reward_funcs": "format_reward"}, ["reward_funcs"]),
    ({"stages": {"rl": {"run": "r1_grpo", "learning_rte": 1}}}, ["stages"]),
    ({"stages": {"rl": {"run": "sft", "loss_type": "grpo"}}}, ["stages"]),
    ({"stages": {"rl": {"init_from": 3}}}, ["stages"]),
    ({"stages": [{"name": "rl", "rcipe": "x"}]}, ["stages"]),
]


@pytest.mark.parametrize(("recipe", "path"), WRONG, ids=[json.dumps(recipe) for recipe, _ in WRONG])
def test_what_is_wrong_is_marked(recipe, path):
    errors = list(VALIDATOR.iter_errors(recipe))
    assert [list(error.absolute_path) for error in errors if list(error.absolute_path) == path]


@pytest.mark.parametrize("path", SHIPPED)
def test_every_shipped_recipe_conforms(path):
    errors = [
        f"{list(error.absolute_path)}: {error.message[:200]}" for error in VALIDATOR.iter_errors(load_yaml(ROOT / path))
    ]
    assert errors == []


@pytest.mark.parametrize("path", SHIPPED)
def test_the_first_line_points_editors_at_the_schema(path):
    first = (ROOT / path).read_text(encoding="utf-8").partition("\n")[0]
    where = first.removeprefix("# yaml-language-server: $schema=")
    assert ((ROOT / path).parent / where).resolve() == SCHEMA_FILE


def test_a_wrong_key_is_told_without_trl_and_torch(tmp_path):
    (tmp_path / "x.yaml").write_text("learning_rte: 1")
    code = (
        "import sys\nfrom mini_r1.config.run_config import read_run\n"
        f"try: read_run('sft', ['--config', {str(tmp_path / 'x.yaml')!r}])\n"
        "except Exception as error: print(error)\n"
        "print([name for name in ('torch', 'trl', 'transformers') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    line, heavy = result.stdout.splitlines()
    assert line.endswith("learning_rte: unknown key; did you mean learning_rate?") and heavy == "[]"


@pytest.mark.parametrize(("kind", "script"), KINDS.items())
def test_a_script_tells_its_keys_without_trl_and_torch(kind, script):
    command = [sys.executable, "-X", "importtime", ROOT / "scripts" / script, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"usage: {script} --config RECIPE")
    assert all(f"\n  --{key}: " in result.stdout for key in keys_of_kind(kind))
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert not imported & {"torch", "trl", "transformers"}
