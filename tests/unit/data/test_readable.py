"""A run that asks for the readable form is measured, explained and rewarded by it; any other run stays as it is."""

import json

import pytest

from mini_r1 import tasks
from mini_r1.data.prompts import TEMPLATES, get_template
from mini_r1.data.reward_loader import load_rewards
from mini_r1.errors import RecipeError
from mini_r1.evaluation.grading import Grader
from mini_r1.rewards import explain
from mini_r1.training.rollout_log import write_samples

READABLE = get_template("readable")
PLAIN = [template for template in TEMPLATES.values() if not template.asks_for_summary]
COUNTDOWN = tasks.get("countdown")
ROW = {"prompt": "?", "prefill": "<think>", "difficulty": 2, "nums": [2, 3], "target": 5}
SUMMED_UP = "hm</think>The sum is <answer>2 + 3</answer>."
BARE = "hm</think><answer>2 + 3</answer>"
TEXTS = [SUMMED_UP, BARE, "hm"]


def test_well_formed_is_what_the_template_asks_for():
    readable = Grader(COUNTDOWN, READABLE).grade([ROW] * 3, TEXTS)
    assert readable["right"] == [True, True, False]
    assert readable["well_formed"] == [True, False, False]
    assert [json.loads(row) for row in readable["row"]] == [
        {"nums": [2, 3], "target": 5, "format_reward": "summary_format_reward"}
    ] * 3


@pytest.mark.parametrize("template", [None, *PLAIN])
def test_other_templates_are_graded_as_ever(template):
    graded = Grader(COUNTDOWN, template).grade([ROW] * 3, TEXTS)
    assert graded["well_formed"] == [False, True, False]
    assert graded["row"] == ['{"nums": [2, 3], "target": 5}'] * 3


def test_samples_say_what_is_wrong_with_a_summary(tmp_path):
    graded = Grader(COUNTDOWN, READABLE).grade([ROW] * 3, TEXTS)
    rewards = [{"summary_format_reward": 1.0}, {"summary_format_reward": 0.0}, {"summary_format_reward": 0.0}]
    write_samples(tmp_path, 7, ["a", "b", "c"], TEXTS, graded | {"tokens": [9, 8, 1]}, rewards)
    text = (tmp_path / "samples" / "step-00007.txt").read_text()
    assert "===== step 7, 9 tokens, summary_format_reward 1\n===== right: 2 + 3 makes 5\n" in text
    assert "===== right, but there is no summary beside the answer\n" in text
    assert "===== no answer: it ends inside the thinking, before any answer\n" in text


def test_the_report_explains_from_the_kept_row():
    graded = Grader(COUNTDOWN, READABLE).grade([ROW], [BARE])
    row = json.loads(graded["row"][0])
    assert explain("<think>" + BARE, row) == "right, but there is no summary beside the answer"
    assert explain("<think>" + SUMMED_UP, row) == "right: 2 + 3 makes 5"


def test_require_format_follows_the_template():
    columns = {"completions": TEXTS, "prefill": ["<think>"] * 3, "nums": [[2, 3]] * 3, "target": [5] * 3}
    values, strict = {"equation_reward": [2, -1, -3]}, ["equation_reward"]
    for template, expected in ((READABLE, [2, -3, -3]), (PLAIN[0], [-3, 2, -3]), (None, [-3, 2, -3])):
        (reward,) = load_rewards(["equation_reward"], values, strict, COUNTDOWN, template)
        assert reward(**columns) == expected


@pytest.mark.parametrize(
    ("template", "asked", "due"),
    [
        (READABLE, "format_reward", "summary_format_reward"),
        *((template, "summary_format_reward", "format_reward") for template in PLAIN),
    ],
)
def test_a_form_that_nothing_asks_for_is_refused(template, asked, due):
    with pytest.raises(RecipeError) as error:
        load_rewards([asked, "equation_reward"], task_module=COUNTDOWN, template=template)
    assert str(error.value) == f"reward_funcs: {asked} is not the form that prompt_template asks for; use {due}"
    assert load_rewards([due, "equation_reward"], task_module=COUNTDOWN, template=template)
