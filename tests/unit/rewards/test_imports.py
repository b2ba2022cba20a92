"""Under which names rewards and tasks are imported, beside a user's own of the same names, and what they load."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# A training script of the user's, in a folder with a rewards.py and a tasks/ of the user's.
FOLDER = {
    "rewards.py": "def my_reward(completions, **columns):\n    return [7.0] * len(completions)\n",
    "tasks/__init__.py": "",
    "tasks/countdown.py": "mine = True\n",
    "tasks/double.py": """
HUB_ID, REWARD, ANSWER_EXAMPLE = "", "number_reward", "4"
def parse_row(raw): return {**raw, "difficulty": 1}
def key(row): return str(row)
def question(row): return "How many?"
def gold_answer(row): return row["answer"]
EXAMPLES = [{"answer": "4"}]
""",
}


def run(folder: Path, script: str) -> list[str]:
    """What a script prints that stands in the folder, run from there; the import path has the clone, too."""
    path = folder / "train.py"
    path.write_text(script, encoding="utf-8")
    command = [sys.executable, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={"PYTHONPATH": str(ROOT)})
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.fixture
def folder(tmp_path):
    for name, source in FOLDER.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source, encoding="utf-8")
    return tmp_path


def test_a_users_own_rewards_and_tasks_shadow_nothing_and_are_not_shadowed(folder):
    script = """
import rewards, tasks.countdown
from mini_r1 import rewards as ours, tasks as our_tasks
from mini_r1.data.reward_loader import load_rewards
from mini_r1.errors import RecipeError

assert tasks.countdown.mine and rewards.my_reward(["a"]) == [7.0]
task = our_tasks.get("countdown")
row = task.parse_row(task.generate(1, 0)[0])
text = f"<think>hm</think><answer>{task.gold_answer(row)}</answer>"
columns = {name: [value] for name, value in row.items()}
for each in load_rewards(["format_reward", "mini_r1.rewards.equation.equation_reward", "rewards.my_reward"]):
    print(each.__name__, each(completions=[text], **columns))
print(our_tasks.get("tasks.double").__name__)
for get, name in ((our_tasks.get, "tasks.countdown"), (load_rewards, ["rewards.format_reward"])):
    try:
        get(name)
    except RecipeError as error:
        print(error)
"""
    assert run(folder, script) == [
        "format_reward [1.0]",
        "equation_reward [1.0]",
        "my_reward [7.0]",
        "tasks.double",
        "task: tasks.countdown is no task, it lacks HUB_ID, REWARD, ANSWER_EXAMPLE, parse_row(), key(), question(), "
        "gold_answer(), generate() or EXAMPLES; see tasks/__init__.py",
        "reward_funcs: rewards has no function 'format_reward'; use mini_r1.rewards.format_reward, or just "
        "format_reward",
    ]


@pytest.mark.parametrize("name", ["rewards", "tasks"])
def test_another_name_is_refused_with_the_right_one(tmp_path, name):
    script = f"try:\n    import {name}\nexcept ModuleNotFoundError as error:\n    print(error, error.name)"
    assert run(tmp_path, script) == [f"{name} is imported as mini_r1.{name} {name}"]


def test_rewards_and_tasks_load_the_standard_library_only(tmp_path):
    script = """
import sys
before = set(sys.modules)
from mini_r1 import rewards, tasks
for name in tasks.names():
    tasks.get(name)
print(*{name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)
print(*sorted(name for name in sys.modules if name.count(".") == 1 and name.startswith("mini_r1.")))
"""
    assert run(tmp_path, script) == ["mini_r1", "mini_r1.errors mini_r1.rewards mini_r1.tasks"]


def test_pyproject_names_every_package():
    settings = PYPROJECT["tool"]["setuptools"]
    folders = [path.parent for path in (ROOT / "mini_r1").glob("*/__init__.py")]
    folders += [path.parent for path in (ROOT / "mini_r1").glob("*/*/__init__.py")]
    there = {"mini_r1"} | {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    modules = {path.parent.name for path in (ROOT / "mini_r1").glob("*/*.py")}
    assert set(settings["packages"]) == there
    assert modules == {name.partition(".")[2] for name in there} - {""}, "a folder of modules without an __init__.py"


def test_what_is_pinned_is_what_pyproject_allows():
    project = PYPROJECT["project"]
    declared = map(Requirement, sum(project["optional-dependencies"].values(), project["dependencies"]))
    lines = [line for file in ROOT.glob("requirements*.txt") for line in file.read_text(encoding="utf-8").splitlines()]
    pins = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    assert [str(each) for each in declared if not each.specifier.contains(pins.get(each.name, "0"))] == []
