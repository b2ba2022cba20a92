"""A run of two tasks through the real trainer: each row's own rewards and no other, resumed, graded and measured."""

import json
from collections import Counter
from math import isnan

import mixed
import pandas
import pyarrow.parquet as pq
import pytest
import torch
from small_trainer import small_model, trainer_of

from configs import config_of
from mini_r1.data.mixture import load_part_rewards, read_parts
from mini_r1.evaluation.grading import Grader, grader_of
from mini_r1.evaluation.records import SCHEMA
from mini_r1.tasks import countdown, gsm8k
from mini_r1.training.finish import results_table

STEPS, PROMPTS, GROUP = 6, 6, 4  # of a step; four of Countdown, two of GSM8K
OWN = {"countdown": ["letters", "both"], "gsm8k": ["both", "length"]}


@pytest.fixture(scope="module")
def train(mixed_tokenizer, tmp_path_factory):
    """`train(name, ...)`: a finished run of the mixture in tests/helpers/mixed.py, as trainer and folder."""
    top = tmp_path_factory.mktemp("mixed")
    model = small_model(top / "model", mixed_tokenizer)

    def train(name: str, resume: str | None = None, algorithm: dict | None = None, **settings):
        parts = mixed.parts_of()
        sets = mixed.sets_of(parts, mixed_tokenizer, STEPS * PROMPTS)
        algorithm = {"grader": Grader(countdown, None, (gsm8k, None)), **(algorithm or {})}
        settings = {
            "per_device_train_batch_size": PROMPTS * GROUP, "max_steps": STEPS, "shuffle_dataset": False,
            "log_completions": True, "num_completions_to_print": 0, **settings,
        }  # fmt: skip
        trainer = trainer_of(model, mixed_tokenizer, sets, load_part_rewards(parts), top / name, algorithm, **settings)
        trainer.train(resume_from_checkpoint=resume and str(top / resume))
        return trainer, top / name

    return train


@pytest.fixture(scope="module")
def trained(train):
    """(trainer, folder, calls of the rewards) of a run with checkpoints, measured at its end."""
    mixed.CALLS.clear()
    trainer, folder = train("straight", save_strategy="steps", save_steps=3, algorithm={"sample_steps": 2})
    calls = list(mixed.CALLS)
    trainer.found = trainer.measure(0, "after")
    return trainer, folder, calls


def completions(folder, step: int) -> pandas.DataFrame:
    return pandas.read_parquet(folder / "completions" / f"completions_{step:05}.parquet")


def without_times(entry: dict) -> dict:
    return {k: v for k, v in entry.items() if "time" not in k and not k.endswith(("per_second", "peak_gib"))}


def logs(trainer) -> list[dict]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def test_a_reward_is_called_for_its_own_rows_alone(trained):
    _, _, calls = trained
    assert len(calls) == 3 * STEPS
    for name, tasks, column in calls:
        due = {"countdown": 16 if "countdown" in (task for task in OWN if name in OWN[task]) else 0}
        due["gsm8k"] = 8 if name in OWN["gsm8k"] else 0
        assert Counter(tasks) == Counter({task: count for task, count in due.items() if count}), name
        assert None not in column, "no column of another task"


def test_other_rows_have_no_reward_and_not_0(trained):
    trainer, folder, _ = trained
    for step, entry in enumerate(logs(trainer), 1):
        table = completions(folder, step)
        assert Counter(table["task"]) == {"countdown": 16, "gsm8k": 8}
        for name in ("letters", "both", "length"):
            due = [name in OWN[task] for task in table["task"]]
            assert [not isnan(value) for value in table[name]] == due
            assert entry[f"rewards/{name}/mean"] == pytest.approx(table[name][due].mean(), rel=1e-5), "of its own rows"


def test_a_group_learns_from_the_sum_of_its_own_rewards(trained):
    _, folder, _ = trained
    for step in range(1, STEPS + 1):
        table = completions(folder, step)
        for start in range(0, len(table), GROUP):
            group = table[start : start + GROUP]
            (task,) = set(group["task"])
            total = sum(group[name] for name in OWN[task])
            expected = (total - total.mean()) / (total.std() + 1e-4)
            assert group["advantage"].tolist() == pytest.approx(expected.tolist(), abs=1e-3)
        assert table["advantage"].abs().max() > 0.5


@pytest.mark.parametrize("advantage", ["leave_one_out", "batch"])
def test_other_advantages_see_the_same_totals(train, advantage):
    from mini_r1.training.advantages import ADVANTAGES

    _, folder = train(advantage, algorithm={"advantage": advantage}, max_steps=1)
    table = completions(folder, 1)
    totals = [sum(row[name] for name in OWN[row["task"]]) for _, row in table.iterrows()]
    expected = ADVANTAGES[advantage](torch.tensor(totals).view(-1, GROUP)).view(-1)
    assert table["advantage"].tolist() == pytest.approx(expected.tolist(), abs=1e-4)


def test_the_log_has_each_tasks_outcomes(trained):
    trainer, folder, _ = trained
    for step, entry in enumerate(logs(trainer), 1):
        table = completions(folder, step)
        for task, own in table.groupby("task"):
            shares = [entry[f"outcome/{task}/{name}"] for name in ("right", "answer_wrong", "format_wrong")]
            assert sum(shares) == pytest.approx(1)
            assert entry[f"length/{task}/mean"] == pytest.approx(own["tokens"].mean())
            assert entry[f"mixture/{task}"] == pytest.approx(len(own) / 24)
            columns = [set(json.loads(row)) for row in own["row"]]
            expected = {"nums", "target"} if task == "countdown" else {"question", "answer", "rationale", "template"}
            assert all(each == expected for each in columns), "the task's own"
    assert "nums" not in (folder / "samples" / "step-00002.txt").read_text()


def test_a_rollout_of_one_task_says_nothing_of_the_other(train):
    trainer, _ = train("alone", per_device_train_batch_size=GROUP, max_steps=3)
    assert [entry["mixture/gsm8k"] for entry in logs(trainer)] == [0.0, 1.0, 0.0]
    for entry in logs(trainer):
        here, other, absent = ("gsm8k", "countdown", "letters")
        if entry["mixture/gsm8k"] == 0:
            here, other, absent = ("countdown", "gsm8k", "length")
        assert f"outcome/{here}/right" in entry and f"outcome/{other}/right" not in entry
        assert entry[f"rewards/{absent}/mean"] is None and entry["rewards/both/mean"] is not None


def test_held_out_problems_are_measured_by_task(trained):
    trainer, folder, _ = trained
    found, table = trainer.found, pq.read_table(folder / "evaluation" / "after.parquet")
    assert found["n"] == 7 and {task: each["n"] for task, each in found["by_task"].items()} == {
        "countdown": 4,
        "gsm8k": 3,
    }
    frame = table.to_pandas()
    assert table.schema.names == [*SCHEMA.names, "task"] and len(frame) == 14
    for task, own in frame.groupby("task"):
        numbers = found["by_task"][task]
        assert numbers["mean_length"] == pytest.approx(own["tokens"].mean())
        assert numbers["pass@1"] == own["right"].mean() and len(numbers["interval"]) == 2
        assert sum(each["n"] for each in numbers["by_difficulty"].values()) == numbers["n"]
    said = results_table(None, found).splitlines()
    assert [line.split()[:2] for line in said[:4]] == [["task", "n"], ["all", "7"], ["countdown", "4"], ["gsm8k", "3"]]


def test_a_resumed_run_meets_the_same_rows(train, trained):
    straight, folder, _ = trained
    resumed, other = train("resumed", resume="straight/checkpoint-3")
    for ours, theirs in zip(logs(resumed), logs(straight), strict=True):
        assert without_times(ours) == without_times(theirs)
    for step in range(4, STEPS + 1):
        pandas.testing.assert_frame_equal(completions(other, step), completions(folder, step))


# Grading


ROWS = [
    {"prompt": "p", "prefill": "<think>", "difficulty": 3, "task": "countdown", "rewards": ["format_reward"],
     "nums": [1, 2, 5], "target": 8, "question": None, "answer": None},
    {"prompt": "q", "prefill": "<think>", "difficulty": 2, "task": "gsm8k", "rewards": ["both"],
     "nums": None, "target": None, "question": "How many?", "answer": "8"},
]  # fmt: skip


def test_every_row_is_graded_by_its_own_task_whatever_it_is_rewarded_for():
    """8 is right of GSM8K's row alone, 1 + 2 + 5 of Countdown's; neither row names the reward that says so."""
    grader = Grader(countdown, None, (gsm8k, None))
    for answer, right in (("8", [False, True]), ("1 + 2 + 5", [True, False])):
        texts = [f"hm</think><answer>{answer}</answer>"] * 2
        graded = grader.grade(ROWS, texts)
        assert graded["right"] == right and graded["well_formed"] == [True, True]
        assert graded["task"] == ["countdown", "gsm8k"] and graded["difficulty"] == [3, 2]
        assert [json.loads(row) for row in graded["row"]] == [
            {"nums": [1, 2, 5], "target": 8},
            {"question": "How many?", "answer": "8"},
        ]
        columns = {name: [row[name] for row in ROWS] for name in ROWS[0]} | {"trainer_state": None}
        assert grader.correct(completions=texts, **columns) == [float(one) for one in right]
        own = [task.vote("<think>" + texts[0], row) for task, row in zip((countdown, gsm8k), ROWS, strict=True)]
        assert grader.votes(ROWS, texts) == own and own[0] != own[1]


def test_the_language_of_the_reasoning_is_measured_in_the_tasks_own():
    zh = {"name": "language_consistency_reward", "language": "zh"}
    values = {"tasks": [{"task": "countdown"}, {"task": "gsm8k", "reward_funcs": ["number_reward", zh]}]}
    grader = grader_of(read_parts(config_of(values).args))
    assert grader.language(ROWS, ["so 接着 it is</think>", "so 接着 it is</think>"]) == [3 / 5, 2 / 5]


def test_a_row_of_a_task_that_is_not_graded_is_a_bug():
    with pytest.raises(KeyError, match="gsm8k"):
        Grader(countdown).grade(ROWS, ["", ""])
