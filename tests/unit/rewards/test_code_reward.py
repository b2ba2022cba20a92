"""code_reward, its task, its explanations, and what is said where no program can be run."""

import os
import re
import shutil

import pytest
from broken import MINE, Place
from tables import RIGHT, UNPARSEABLE, WRONG, needs_sandbox, table, turn

from mini_r1 import tasks
from mini_r1.data.reward_loader import check_available, load_rewards
from mini_r1.rewards import code, code_reward, explain, sandbox, seccomp, verdict
from mini_r1.rewards.sandbox import INSTALL, Limits, SandboxError, run_program, unavailable
from mini_r1.rewards.verdict import workers
from mini_r1.tasks import code as task
from mini_r1.tasks.code import NUMBERS, WORDS

SUM = [{"input": "1 2\n", "output": "3\n"}, {"input": "3 4", "output": "7"}]
ADD = "print(sum(map(int, input().split())))"
runs_programs = needs_sandbox()


@table(
    "block, program, reason",
    [
        (ADD, ADD, "bare"),
        (f"\n{ADD}\n", f"\n{ADD}\n", "bare, with blank lines"),
        (f"```python\n{ADD}\n```", ADD, "fenced"),
        (f"```\n{ADD}\n```\n", ADD, "fenced, no language"),
        (f"```Python3\n{ADD}\n```", ADD, "fenced, another name of the language"),
        (f"This adds them:\n\n```py\n{ADD}\n```\nDone.", ADD, "words around the block"),
        (f"  ```python\n{ADD}\n  ```", ADD, "an indented fence"),
        ("print('```')", "print('```')", "backticks within a line are no fence"),
        (f"```python\n{ADD}\n```\n```python\n{ADD}\n```", None, "two blocks"),
        (f"```python\n{ADD}", None, "never closed"),
        (f"```javascript\n{ADD}\n```", None, "another language"),
        ("```python\n\n```", None, "an empty block"),
        ("  \n", None, "blank"),
    ],
)
def test_program_in(block, program, reason):
    assert code.program_in(block) == program


@table(
    "tests, expected, reason",
    [
        ([{"input": "1", "output": "2"}], [("1", "2")], "a list of maps"),
        ('[{"input": "1", "output": "2"}]', [("1", "2")], "the same as JSON"),
        ([{"input": "", "output": "", "type": "stdin_stdout"}], [("", "")], "other columns, empty texts"),
        ([], None, "none"),
        (None, None, "null"),
        ("[", None, "broken JSON"),
        ("7", None, "JSON of something else"),
        (["1"], None, "no maps"),
        ([{"input": "1"}], None, "no output"),
        ([{"input": "1", "output": 2}], None, "a number for an output"),
    ],
)
def test_tests(tests, expected, reason):
    assert code.read_tests(tests) == expected
    if expected is None:
        assert code.code_verdict(turn(ADD), tests) is None


@table(
    "one, other, same, reason",
    [
        ("7\n", "7", True, "final line break"),
        ("7  \r\n8\n\n\n", "7\n8", True, "blanks at ends of lines, empty lines at the end"),
        ("7\n\n8", "7\n8", False, "an empty line between"),
        (" 7", "7", False, "blanks at the beginning"),
        ("7 8", "7  8", False, "blanks within"),
        ("yes", "Yes", False, "case"),
        ("1.0", "1", False, "a number in another form"),
        ("", "\n", True, "nothing"),
    ],
)
def test_outputs_compared(one, other, same, reason):
    assert (code.normalised(one) == code.normalised(other)) is same


@runs_programs
@table(
    "text, expected, why, reason",
    [
        (turn(ADD), RIGHT, "right: it passes all 2 tests", "right"),
        (turn(f"```python\n{ADD}\n```"), RIGHT, "right: it passes all 2 tests", "right, fenced"),
        (turn(ADD) + " Bye!", RIGHT, "right, but there is text after the answer", "right, chat after it"),
        (turn("print(3)"), WRONG, "wrong: test 2: expected '7', got '3'", "wrong on the second"),
        (turn("print(1 / 0)"), WRONG, "wrong: test 1: it ends with status 1: ZeroDivisionError", "an exception"),
        (turn("while 1: pass"), WRONG, "wrong: test 1: it takes more than 1 s of CPU", "endless"),
        (turn("import os; os.abort()"), WRONG, "wrong: test 1: it is ended by signal 6", "a crash"),
        (turn("import os; os._exit(228)"), WRONG, "wrong: test 1: it ends with status 228", "an odd status"),
        (turn("print('x' * 10**7)"), WRONG, "wrong: test 1: it writes more than 1,048,576 bytes", "too much"),
        (turn("#" * 70_000), WRONG, "wrong: the answer has 70,000 characters, more than the 65,536", "too long"),
        (turn("print("), UNPARSEABLE, "no answer: it is no Python program: SyntaxError", "no Python"),
        (turn("```js\nx\n```"), UNPARSEABLE, "no answer: it is not one Python program", "another language"),
        (turn(" "), UNPARSEABLE, "no answer: the answer block is blank", "blank"),
        (ADD, UNPARSEABLE, "no answer: <think> is missing", "no answer block"),
        (turn(ADD, "a" * 10**6), RIGHT, "right: it passes all 2 tests", "long reasoning costs nothing"),
        (turn("print(*input().split()[::-1])\n\udcff"), UNPARSEABLE, "no answer: it is no Python", "half a character"),
    ],
)
def test_verdicts_and_why(text, expected, why, reason, monkeypatch):
    monkeypatch.setattr(code, "LIMITS", Limits(cpu_seconds=1, wall_seconds=20))
    assert code.code_verdict(text, SUM) is expected
    sentence = explain(text, {"tests": SUM, "nums": None, "target": None})
    assert sentence.startswith(why) and sentence.isprintable()


@runs_programs
def test_the_loader_keeps_it_parallel(monkeypatch):
    """Values and format come from the recipe; the texts are still run side by side, each with its own row."""
    pools = []
    pool = verdict.ThreadPoolExecutor
    monkeypatch.setattr(verdict, "ThreadPoolExecutor", lambda size: pools.append(size) or pool(size))
    (reward,) = load_rewards(["code_reward"], {"code_reward": [2, -1, -2]}, ["code_reward"], task)
    texts = [turn(ADD), turn(ADD) + " Bye!", turn("print(7)"), "", turn(ADD)]
    assert reward(completions=texts, tests=[SUM, SUM, SUM[1:], SUM, None]) == [2, -2, 2, -2, None]
    assert pools == [workers()]


@pytest.mark.parametrize(("ranks", "expected"), [("1", 8), ("4", 2), ("100", 1)])
def test_workers_are_shared_by_the_processes_of_a_machine(monkeypatch, ranks, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(8), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert workers() == expected


@runs_programs
def test_the_same_program_prints_the_same():
    program = "print(hash('x'), list({'a', 'b', 'c', 'd'}))"
    assert len({run_program(program).stdout for _ in range(3)}) == 1


def test_the_filter_has_the_numbers_of_the_kernel():
    for machine, column in (("x86_64", 0), ("aarch64", 1)):
        assert len(seccomp.filter_program(machine)) % 8 == 0
        header = {"x86_64": "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": "asm-generic/unistd.h"}[machine]
        if not os.path.exists(f"/usr/include/{header}"):
            pytest.skip("no kernel headers (apt install linux-libc-dev)")
        with open(f"/usr/include/{header}") as file:
            numbers = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", file.read()))
        extra = {"clone": seccomp.CLONE, "clone3": seccomp.CLONE3, "socketpair": seccomp.SOCKETPAIR}
        for name, both in (seccomp.DENIED | extra).items():
            assert str(both[column]) == numbers.get(name, "None"), (machine, name)


# Where no program can be run

BARE = """extends: _base/grpo.yaml
model_name_or_path: {model}
output_dir: out
use_cpu: true
bf16: false
dtype: float32
max_prompt_tokens: 256
max_completion_length: 64
per_device_train_batch_size: 8
num_generations: 4
"""


@pytest.fixture
def no_bubblewrap(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name, *args, **kwargs: None)
    monkeypatch.setattr(code, "cache", {})  # what other tests have run
    unavailable.cache_clear()
    yield
    unavailable.cache_clear()


def test_without_bubblewrap_nothing_is_run(no_bubblewrap):
    with pytest.raises(SandboxError, match="apt install bubblewrap"):
        code_reward([turn("print(3)")], tests=[SUM])
    assert explain(turn(ADD), {"tests": SUM}) == f"no verdict: {INSTALL}"
    assert load_rewards(["code_reward"], task_module=task), "a recipe can be read all the same"


@runs_programs
def test_where_namespaces_are_off(monkeypatch):
    bwrap_argv = sandbox.bwrap_argv
    monkeypatch.setattr(sandbox, "bwrap_argv", lambda *args: [*bwrap_argv(*args)[:1], "--no-such-option"])
    unavailable.cache_clear()
    why = unavailable()
    unavailable.cache_clear()
    assert why.startswith("bubblewrap cannot make a sandbox here: ") and "user namespaces" in why and "\n" not in why
    monkeypatch.setattr(sandbox.platform, "machine", lambda: "riscv64")
    assert "x86_64 or aarch64 only" in unavailable()
    unavailable.cache_clear()


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("task: code\nreward_funcs: [format_reward, code_reward]\ntask_args: {n: 50}", "reward_funcs"),
        ("task: code\nreward_funcs: [format_reward]\ntask_args: {n: 50}", "task"),
    ],
)
def test_a_recipe_is_refused_in_one_line(no_bubblewrap, tmp_path, monkeypatch, capsys, run_script, tiny_model_dir,
                                         more, key):  # fmt: skip
    place = Place(tmp_path, monkeypatch, capsys, run_script, tiny_model_dir)
    text = BARE + more
    said = f"{MINE}{key}: code_reward: {INSTALL}"
    assert said in place.errors(text)
    for script in ("run_r1_grpo.py", "evaluate.py") if key == "reward_funcs" else ("run_r1_grpo.py",):
        place.write(text)
        with pytest.raises(SystemExit) as stopped:
            run_script(script, "--config", "recipes/mine.yaml")
        assert stopped.value.code == 2 and capsys.readouterr().err.count("apt install bubblewrap") == 1


# The task


def test_generated_problems():
    rows = task.generate(300, 0)
    assert rows == task.generate(300, 0) and rows != task.generate(300, 1)
    parsed = [task.parse_row(row) for row in rows]
    assert parsed == rows == [task.parse_row(row) for row in parsed]
    assert len({task.key(row) for row in rows}) == 300
    assert {row["difficulty"] for row in rows} == {1, 2, 3}
    assert all(len(row["tests"]) == 6 and len({test["output"] for test in row["tests"]}) > 1 for row in rows)


@runs_programs
def test_golds_with_every_step_and_end_pass_their_tests():
    """The gold programs, run; between them they have every step and every end."""
    rows = [task.parse_row(row) for row in task.generate(60, 3, steps=[3, 4])]
    lines = "".join(row["solution"] for row in rows)
    steps = [step for kind in (NUMBERS, WORDS) for step in (*kind.steps, *kind.ends)]
    patterns = {step.sentence: re.escape(step.line.format(c=777)).replace("777", r"-?\d+") for step in steps}
    missing = [sentence for sentence, pattern in patterns.items() if not re.search(pattern, lines)]
    assert not missing
    rows = [row | {"tests": row["tests"][:2]} for row in rows]
    golds = [turn(task.gold_answer(row)) for row in rows]
    assert code_reward(golds, tests=[row["tests"] for row in rows]) == [1.0] * len(rows)
    others = [rows[i - 1]["tests"] for i in range(len(rows))]
    assert sum(code_reward(golds[:20], tests=others[:20])) < 3, "another problem's gold is wrong"


CASES = [{"fn_name": None, "input": "1 2", "output": "3", "type": "stdin_stdout"}]
HUB = {"problem": "Add.", "verification_info": {"language": "python", "test_cases": CASES}}
ADDED = {"question": "Add.", "tests": [{"input": "1 2", "output": "3"}], "solution": None, "difficulty": 1}


@table(
    "raw, expected, reason",
    [
        (HUB, ADDED, "the hub's columns"),
        ({"prompt": "Add. "} | {"verification_info": HUB["verification_info"]}, ADDED, "another name of the text"),
        (HUB | {"verification_info": '{"test_cases": [{"input": "1 2", "output": "3"}]}'}, ADDED, "tests as JSON"),
        (HUB | {"gold_standard_solution": ADD}, ADDED | {"solution": ADD}, "a gold"),
        ({"question": "Add.", "tests": ADDED["tests"], "difficulty": 4}, ADDED | {"difficulty": 4}, "the plain form"),
        (ADDED, ADDED, "a parsed row"),
    ],
)
def test_rows(raw, expected, reason):
    assert task.parse_row(raw) == expected


@table(
    "raw, said, reason",
    [
        ({}, "column 'question' must be a text", "empty"),
        ({"problem": " ", "tests": []}, "column 'problem' must be a text", "blank"),
        ({"problem": "p"}, "there is neither a column 'tests' nor", "no tests"),
        ({"problem": "p", "tests": []}, "column 'tests' must hold tests", "an empty list"),
        (HUB | {"verification_info": 7}, "column 'verification_info' must be a map", "no map"),
        (HUB | {"verification_info": "{"}, "column 'verification_info' is no JSON", "broken JSON"),
        (HUB | {"verification_info": {"language": "cpp"}}, "is for 'cpp'; only Python is run", "another language"),
        (HUB | {"verification_info": {"test_cases": [CASES[0] | {"fn_name": "f"}]}}, "call a function", "a function"),
        (HUB | {"solution": 7}, "column 'solution' must be a text", "a number for a program"),
    ],
)
def test_bad_rows(raw, said, reason):
    with pytest.raises(ValueError, match=re.escape(said)):
        task.parse_row(raw)


@pytest.mark.parametrize("settings", [{"steps": []}, {"steps": [0]}, {"steps": [99]}, {"n": 10**5, "steps": [1]}])
def test_bad_settings(settings):
    with pytest.raises(ValueError, match=r"steps must list|allow only about"):
        task.generate(**{"n": 5, "seed": 0} | settings)


def test_rows_can_be_mixed_with_those_of_other_tasks():
    datasets = pytest.importorskip("datasets")
    mixed = datasets.Dataset.from_list([*task.generate(2, 0), {"nums": [1, 2], "target": 3}]).to_list()
    assert mixed[0]["tests"] == task.generate(2, 0)[0]["tests"] and mixed[2]["tests"] is None
    assert code_reward([turn("1 + 2")], tests=[mixed[2]["tests"]]) == [None]


@runs_programs
def test_it_is_available():
    check_available([code_reward], tasks.get("code"))
