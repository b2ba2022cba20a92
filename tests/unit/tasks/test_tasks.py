"""What makes a module a task, and how a recipe names it."""

import inspect
import sys
from pathlib import Path

import pytest

from mini_r1 import tasks
from mini_r1.errors import RecipeError
from mini_r1.evaluation.grading import Grader
from mini_r1.tasks import Task, countdown

ROOT = Path(__file__).parents[3]
# a task in a file of the user's own
DOUBLE = """
HUB_ID, REWARD, ANSWER_EXAMPLE = "", "number_reward", "4"
def parse_row(raw): return {"n": raw["n"], "answer": str(2 * raw["n"]), "difficulty": 1}
def key(row): return str(row)
def question(row): return f"Double {row['n']}."
def gold_answer(row): return row["answer"]
def generate(n, seed): return [{"n": seed + i} for i in range(n)]
"""
CHOICES = f"choose one of: {', '.join(tasks.names())}"
FUNCTIONS = [name for name, value in vars(Task).items() if inspect.isfunction(value) and not name.startswith("_")]


@pytest.fixture
def write_task(tmp_path, monkeypatch):
    """`write_task(name, source)`: my_pkg/<name>.py on the import path."""
    (tmp_path / "my_pkg").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_pkg"]:
        monkeypatch.delitem(sys.modules, name)
    return lambda name, source: (tmp_path / "my_pkg" / f"{name}.py").write_text(source, encoding="utf-8")


def test_names_are_the_files_that_are_tasks():
    files = {path.stem for path in (ROOT / "tasks").glob("*.py")} - {"__init__", *tasks.NO_TASKS}
    assert set(tasks.names()) == files
    assert tasks.get("countdown") is countdown


@pytest.mark.parametrize("name", tasks.names())
def test_a_shipped_task_has_all_that_a_task_has(name):
    task = tasks.get(name)
    assert tasks.missing(task) == []
    for function in FUNCTIONS:
        expected = list(inspect.signature(getattr(Task, function)).parameters)[1:]
        assert list(inspect.signature(getattr(task, function)).parameters) == expected, function


def test_ones_own_task(write_task):
    write_task("double", DOUBLE)
    task = tasks.get("my_pkg.double")
    assert task.__name__ == "my_pkg.double"
    assert tasks.examples(task, 2) == [{"n": 0}, {"n": 1}]
    write_task("listed", DOUBLE.partition("def generate")[0] + "EXAMPLES = [{'n': 3}]\n")
    assert tasks.examples(tasks.get("my_pkg.listed"), 2) == [{"n": 3}]


def test_rows_of_ones_own_task_are_graded_under_its_dotted_name(write_task):
    write_task("double", DOUBLE)
    graders = {"countdown": countdown, "my_pkg.double": tasks.get("my_pkg.double")}
    rows, texts = [], []
    for name, task in graders.items():
        row = task.parse_row(tasks.examples(task, 1)[0])
        blank = {"nums": None, "target": None, "n": None, "answer": None}  # columns of the other task are null
        rows.append(blank | row | {"task": name, "prompt": "", "prefill": "<think>", "rewards": None})
        texts.append(f"hm</think><answer>{task.gold_answer(row)}</answer>")
    grader = Grader(countdown, None, (graders["my_pkg.double"], None))
    assert grader.grade(rows, texts)["right"] == [True, True]
    assert grader.grade(rows[::-1], texts)["right"] == [False, False]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_pkg.no_task", "there is no module 'my_pkg.no_task'; install it, or set PYTHONPATH to the folder that "),
        ("no_pkg.mine", "there is no module 'no_pkg'; install it, or set PYTHONPATH"),
        ("my pkg.mine", "'my pkg.mine' is no dotted path such as my_pkg.my_task"),
        ("my_pkg.", "'my_pkg.' is no dotted path such as my_pkg.my_task"),
        ("my_pkg.empty", "my_pkg.empty is no task, it lacks HUB_ID, REWARD, ANSWER_EXAMPLE, parse_row(), key(), "),
        ("my_pkg.silent", "my_pkg.silent is no task, it lacks question(); see tasks/__init__.py"),
        ("my_pkg.numbered", "my_pkg.numbered is no task, it lacks REWARD, key(); see"),
        ("my_pkg.rowless", "my_pkg.rowless is no task, it lacks generate() or EXAMPLES; see"),
        ("mini_r1.tasks.countdown", "there is no task 'mini_r1.tasks.countdown'; did you mean countdown?"),
        ("tasks.countdown", "there is no module 'tasks'; use countdown"),
        ("tasks.mine", "there is no module 'tasks'; ours is mini_r1.tasks, or set PYTHONPATH to the folder that holds"),
        ("traces", f"there is no task 'traces'; {CHOICES}"),
        (None, f"is missing; {CHOICES}, or a dotted path such as my_pkg.my_task"),
    ],
)
def test_what_is_no_task(write_task, name, message):
    write_task("empty", "")
    write_task("silent", DOUBLE.replace("def question", "def asks"))
    write_task("numbered", DOUBLE.replace('"number_reward"', "1").replace("def key(row): return str(row)", "key = 3"))
    write_task("rowless", DOUBLE.replace("def generate", "def make"))
    with pytest.raises(RecipeError) as caught:
        tasks.get(name)
    assert caught.value.key == "task"
    assert caught.value.problem.startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["import no_such_module", "from math import no_such_name", "1/0"])
def test_an_error_inside_the_users_module_propagates(write_task, source):
    write_task("broken", source)
    with pytest.raises((ImportError, ZeroDivisionError)):
        tasks.get("my_pkg.broken")
