"""What the log says about a rollout's completions."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from mini_r1.evaluation.grading import Grader
from mini_r1.tasks import countdown
from mini_r1.training.rollout_log import COLUMNS, describe_completions, rollout_metrics

ROW = {"prompt": "p", "prefill": "<think>", "difficulty": 3, "nums": [1, 2, 5], "target": 8}
RIGHT = "1 + 2 + 5 = 8</think><answer>1 + 2 + 5</answer>"
CASES = [  # completion, right, in the right format
    (RIGHT, True, True),
    ("Wait, let me check.</think><answer>1 + 2</answer>", False, True),
    (RIGHT + " That is all.", True, False),
    ("</think> no answer", False, False),
]


def test_outcomes_lengths_and_behaviours():
    texts = [case[0] for case in CASES]
    graded = Grader(countdown).grade([ROW] * 4, texts)
    assert graded["right"] == [case[1] for case in CASES]
    assert graded["well_formed"] == [case[2] for case in CASES]
    assert json.loads(graded["row"][0]) == {"nums": [1, 2, 5], "target": 8}
    graded["tokens"] = [10, 20, 30, 40]
    outcomes = np.array(describe_completions(["<think>" + text for text in texts], graded))
    assert outcomes.shape == (4, len(COLUMNS))
    found = rollout_metrics(outcomes, group=2)
    assert (found["outcome/right"], found["outcome/answer_wrong"], found["outcome/format_wrong"]) == (0.25, 0.25, 0.5)
    assert (found["outcome/right_given_format"], found["outcome/pass_at_group"]) == (0.5, 1.0)
    assert [found[f"length/right_{name}"] for name in ("min", "mean", "max")] == [10, 20, 30]
    assert [found[f"length/wrong_{name}"] for name in ("min", "mean", "max")] == [20, 30, 40]
    assert (found["behaviour/backtracking"], found["behaviour/verification"]) == (0.25, 0.25)
    assert found["behaviour/reflection"] == 0.5
    assert found["text/mixed_languages"] == found["text/repetition"] == found["text/reopened_thinking"] == 0


def test_what_cannot_be_had_is_left_out():
    """No right one, no usable gold: no length of right ones, and no share of nothing."""
    nothing = dict.fromkeys(COLUMNS, 0.0)
    unusable = [list((nothing | {"right": np.nan, "well_formed": 1.0}).values())] * 2
    assert not [name for name in rollout_metrics(np.array(unusable), 2) if name.startswith(("outcome/", "length/"))]
    wrong = [list((nothing | {"tokens": 7.0}).values())] * 2
    found = rollout_metrics(np.array(unusable + wrong), 2)
    assert (found["outcome/format_wrong"], found["outcome/pass_at_group"]) == (1.0, 0.0)
    assert "length/right_mean" not in found and "outcome/right_given_format" not in found


@pytest.fixture(scope="module")
def trained(small_model_dir, tiny_tokenizer, tiny_rows, tmp_path_factory):
    """The directory of a run of five steps, samples every two, and a measurement at its end."""
    from small_trainer import kinds_of_letters, small_trainer

    folder = tmp_path_factory.mktemp("trained")
    trainer = small_trainer(
        small_model_dir, tiny_tokenizer, tiny_rows, [kinds_of_letters], folder,
        algorithm={"sample_steps": 2}, log_completions=True, num_completions_to_print=0,
    )  # fmt: skip
    trainer.train()
    trainer.measure(0, "after")
    return folder, trainer


def test_they_are_logged_at_every_step(trained):
    _, trainer = trained
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == 5
    for entry in logs:
        shares = [entry[f"outcome/{name}"] for name in ("right", "answer_wrong", "format_wrong")]
        assert sum(shares) == pytest.approx(1)
        assert entry["length/wrong_max"] == entry["completions/max_length"]
        assert entry["behaviour/reflection"] == 0


def test_the_completions_have_what_the_report_needs(trained):
    folder, _ = trained
    for step in range(1, 6):
        table = pq.read_table(folder / "completions" / f"completions_{step:05d}.parquet").to_pydict()
        assert table["step"] == [step] * 8
        assert table["right"] == [False] * 8 and table["prefill"] == ["<think>"] * 8
        assert max(table["tokens"]) <= 6 and any(table["cut_off"])
        assert {length for length, cut_off in zip(table["tokens"], table["cut_off"], strict=True) if cut_off} == {6}
        assert {"nums", "target"} == set(json.loads(table["row"][0]))
    assert len(pq.read_table(folder / "evaluation" / "after.parquet")) == 4  # two problems, two samples


def test_an_evaluation_in_between_leaves_the_completions_alone(build, tmp_path):
    trainer = build(log_completions=True, num_completions_to_print=0, eval_strategy="steps", eval_steps=2)
    trainer.train()
    for step in range(1, 6):
        table = pq.read_table(tmp_path / "run" / "completions" / f"completions_{step:05d}.parquet").to_pydict()
        for prompt, row in zip(table["prompt"], table["row"], strict=True):
            assert f"the numbers {json.loads(row)['nums']} into" in prompt


def test_samples_come_as_often_where_a_rollout_serves_several_steps(build, tmp_path):
    """Rollouts at steps 1, 4, 7 and 10: each has a step that is a multiple of three."""
    build(algorithm={"sample_steps": 3}, max_steps=10, num_iterations=3).train()
    assert [int(path.stem[5:]) for path in sorted((tmp_path / "run" / "samples").iterdir())] == [1, 4, 7, 10]


def test_samples_are_there_to_read(trained):
    folder, _ = trained
    assert sorted(path.name for path in (folder / "samples").iterdir()) == [
        f"step-{step:05d}.txt" for step in (1, 2, 4)
    ]
    text = (folder / "samples" / "step-00004.txt").read_text()
    assert text.count("===== step 4, ") == 2 and "kinds_of_letters" in text and "no answer: " in text
