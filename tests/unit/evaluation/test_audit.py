"""The audit of rewards: ours come out clean, strangers' are called in their own way, and may hang or die."""

import json
import subprocess
import sys

import pytest

from mini_r1 import tasks
from mini_r1.errors import RecipeError
from mini_r1.evaluation import audit as module
from mini_r1.evaluation.audit import audit, describe, kind_of, load_corpus

OURS = {"countdown": "equation_reward", "gsm8k": "number_reward", "knights_knaves": "roles_reward"}
STRANGERS = '''
import os, re

def trl_style(completions, solution, **kwargs):
    """Any mention of the gold pays."""
    return [float(gold in completion) for completion, gold in zip(completions, solution)]

def of_chats(completions, answer, **kwargs):
    return [float(f"<answer>{gold}</answer>" in chat[0]["content"]) for chat, gold in zip(completions, answer)]

def verl_style(data_source="", solution_str="", ground_truth=None, extra_info=None):
    return {"score": float(solution_str.rstrip().endswith(f"<answer>{ground_truth}</answer>"))}

def verdict_style(text, answer):
    return text.endswith(f"<answer>{answer}</answer>")

def evaluates(text, nums, target):
    """eval, as early Countdown rewards did; its towers of powers take for ever."""
    found = re.search(r"<answer>([-0-9+*/() ]*)</answer>", text)
    return bool(found) and eval(found[1]) == target

def dies(text, answer):
    if "km" in text:
        os._exit(3)
    return f">{answer}<" in text

def pays_nothing(completions, **kwargs):
    return [0.0] * len(completions)

def other_form(a, b):
    return 0.0
'''


@pytest.fixture
def strangers(tmp_path, monkeypatch):
    (tmp_path / "stranger_rewards.py").write_text(STRANGERS)
    monkeypatch.chdir(tmp_path)
    return "stranger_rewards."


@pytest.mark.parametrize("task", OURS)
def test_ours_get_their_own_corpus_right(task):
    found = audit(task, OURS[task])
    assert (found.paid, found.wrong) == (found.right, 0) and found.right > 40 and found.other > 150
    assert f"pays {found.right} of {found.right} right completions and 0 of {found.other} others" in describe(found)


def test_what_is_paid_and_refused(strangers):
    found = audit("gsm8k", strangers + "trl_style", {"solution": "answer"})
    assert "72" in found.wrongly_paid["no single answer block after the thinking"][0]
    assert any("not 72" in text for texts in found.wrongly_paid.values() for text in texts)
    kinds = found.wrongly_paid | found.wrongly_refused
    assert all(texts == sorted(texts, key=len) for texts in kinds.values()), "the shortest first"
    assert list(found.failed) == ["raises TypeError"], "the corpus has golds that are numbers"


@pytest.mark.parametrize("name", ["of_chats", "verl_style", "verdict_style"])
def test_each_form_is_called_in_its_own_way(strangers, name):
    found = audit("gsm8k", strangers + name)
    assert found.failed == {} and 2 < found.paid < found.right
    plain = "<answer>72</answer>"
    assert not any(text.endswith(plain) and "<answer>72" in text for texts in found.wrongly_refused.values()
                   for text in texts if text.count("<answer>") == 1)  # fmt: skip


def test_what_hangs_raises_or_dies_is_counted(strangers, monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 1.0)
    found = audit("countdown", strangers + "evaluates")
    assert any("9**9**9" in text for text in found.failed["takes over 1 s"])
    assert "raises ZeroDivisionError" in found.failed and "raises SyntaxError" in found.failed
    assert "**" in " ".join(text for texts in found.wrongly_paid.values() for text in texts), "2**3 pays"
    found = audit("gsm8k", strangers + "dies")
    assert len(found.failed["ends the process"]) >= 2 and found.paid > 5


@pytest.mark.parametrize(
    ("task", "name", "said"),
    [
        ("gsm8k", "no_such_reward", "there is no reward 'no_such_reward'"),
        ("gsm8k", "stranger_rewards.missing", "stranger_rewards has no function 'missing'"),
        ("gsm8k", "stranger_rewards.other_form", r"other_form\(a, b\) has none of the forms"),
        ("gsm8k", "stranger_rewards.pays_nothing", "gives right answers no more than an empty one .all get 0"),
        ("gsm8k", "no_such_package.f", "there is no module 'no_such_package'"),
        ("math", "number_reward", "math has no corpus; those that have one: countdown, gsm8k, knights_knaves"),
        ("gsm9k", "number_reward", "there is no task 'gsm9k'; did you mean gsm8k?"),
    ],
)
def test_refusals(strangers, task, name, said):
    with pytest.raises(RecipeError, match=said):
        audit(task, name)


def test_every_hostile_completion_is_of_a_kind():
    for task in OURS:
        kinds = {kind_of(case) for case in load_corpus(tasks.get(task)) if case["verdict"] != "correct"}
        assert kinds <= {kind for _, kind in module.KINDS} | {"no single answer block after the thinking"}


def test_the_command(strangers, tmp_path):
    command = [sys.executable, "-m", "mini_r1.evaluation.audit", "--task", "gsm8k", "--json", "out.json"]
    command += ["--reward", "number_reward", "--reward", strangers + "trl_style", "--column", "solution=answer"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "gsm8k: 296 completions, 96 of them right" in done.stdout and "wrongly paid:" in done.stdout
    first, second = json.loads((tmp_path / "out.json").read_text())
    assert first["wrongly_paid"] == {} and second["wrongly_paid"]
    bad = subprocess.run([*command, "--column", "x"], capture_output=True, text=True)
    assert bad.returncode == 2 and bad.stderr.strip().endswith("each is THEIRS=OURS, such as solution=answer")
