"""Measurements at both ends of a training come while trackers are open; metrics.jsonl has a line a step."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from transformers import TrainerCallback

from mini_r1.data.reward_loader import load_rewards
from mini_r1.errors import RecipeError
from mini_r1.training.callbacks import METRICS_FILE, MetricsFile, WatchSampler, add_callbacks, at_the_ends


class Tracker(TrainerCallback):
    """Takes logs between begin and end only, as Trackio does, whose `log` raises outside of a run."""

    def __init__(self):
        self.open, self.logs = False, []

    def on_train_begin(self, args, state, control, **kwargs):
        self.open = True

    def on_train_end(self, args, state, control, **kwargs):
        self.open = False

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not self.open:
            raise RuntimeError("logged to a run that is not open")
        self.logs.append((state.global_step, logs))


def test_both_measurements_reach_the_trackers(build):
    trainer, tracker, measured = build(max_steps=2), Tracker(), []
    trainer.add_callback(tracker)
    at_the_ends(
        trainer,
        begin=lambda: measured.append((trainer.state.global_step, trainer.measure(1, "before"))),
        end=lambda: measured.append((trainer.state.global_step, trainer.measure(1, "after"))),
    )
    trainer.train()
    assert [(step, found["n"]) for step, found in measured] == [(0, 2), (2, 2)]
    assert [step for step, logs in tracker.logs if "eval_reward" in logs] == [0, 2]
    assert [step for step, logs in tracker.logs if "loss" in logs] == [1, 2]
    assert not tracker.open


def test_trackers_call_a_run_as_its_directory(build):
    for name, settings, expected in (
        ("runs/two-s1", {}, "two-s1"),
        ("runs/study-s1/grpo", {}, "study-s1/grpo"),
        ("runs/three-s1", {"run_name": "mine"}, "mine"),
    ):
        trainer = build(name=name, **settings)
        add_callbacks(trainer, lambda: 0.0)
        assert trainer.args.run_name == expected


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]


def at(step: int) -> SimpleNamespace:
    return SimpleNamespace(is_world_process_zero=True, global_step=step)


def test_a_resumed_run_writes_no_step_twice(tmp_path):
    args, file = SimpleNamespace(output_dir=str(tmp_path)), MetricsFile()
    file.on_train_begin(args, at(0), None)
    for step in range(1, 5):
        file.on_log(args, at(step), None, logs={"loss": step / 10, "reward": float("nan"), "note": "text"})
    with open(tmp_path / METRICS_FILE, "a") as torn:
        torn.write('{"step": 5, "lo')
    file.on_train_begin(args, at(2), None)  # the checkpoint that it goes on from
    file.on_log(args, at(3), None, logs={"loss": 7.0})
    assert lines(tmp_path) == [
        {"step": 1, "loss": 0.1, "reward": None},
        {"step": 2, "loss": 0.2, "reward": None},
        {"step": 3, "loss": 7.0},
    ]


def test_measurements_and_other_processes_write_nothing(tmp_path):
    args, file = SimpleNamespace(output_dir=str(tmp_path)), MetricsFile()
    file.on_log(args, at(0), None, logs={"eval_loss": 1.0})
    file.on_log(args, SimpleNamespace(is_world_process_zero=False, global_step=1), None, logs={"loss": 1.0})
    assert not (tmp_path / METRICS_FILE).exists()


def test_training_writes_it(build, tmp_path):
    trainer = build(max_steps=3)
    add_callbacks(trainer, lambda: 0.0)
    trainer.train()
    found = lines(tmp_path / "run")
    assert [entry["step"] for entry in found] == [1, 2, 3]
    assert all("outcome/right" in entry and "grad_norm" in entry for entry in found)


def test_a_step_in_which_no_reward_is_due_is_logged_without_a_number(build, capsys):
    trainer = build(max_steps=2, rewards=[lambda completions, **kwargs: [None] * len(completions)])
    add_callbacks(trainer, lambda: 0.0)
    trainer.train()
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert len(printed) == 2 and all("reward none" in line for line in printed)
    assert all("reward" not in line or line["reward"] is None for line in lines(Path(trainer.args.output_dir)))


def test_a_reward_that_is_not_finite_stops_the_run(build, monkeypatch):
    def good_reward(completions, **kwargs):
        return [float("inf")] * len(completions)

    module = ModuleType("my_good")
    module.good_reward = good_reward
    monkeypatch.setitem(sys.modules, "my_good", module)
    trainer = build(max_steps=2, rewards=load_rewards(["my_good.good_reward"]))
    with pytest.raises(RecipeError, match=r"^reward_funcs: good_reward gives inf, .* the completion is "):
        trainer.train()
    assert trainer.state.global_step == 0


@pytest.mark.parametrize(
    ("differences", "norms", "warned"),
    [
        ([0.01, 0.01, 0.02], [1.0, 1.0, 1.0], False),
        ([0.01, 0.5, 0.9], [1.0, 1.0, 1.0], True),
        ([0.01, 0.5, 0.9], [0.0, 0.0, 0.0], False),  # nothing was updated: it cannot be old weights
        ([0.3, 0.5, 0.6], [1.0, 1.0, 1.0], False),  # as far apart before: other arithmetic
        ([0.3, 0.5, 1.1], [1.0, 1.0, 1.0], True),
        ([None, None, None], [1.0, 1.0, 1.0], False),  # no vLLM
    ],
)
def test_a_sampler_without_the_new_weights_is_seen(capsys, differences, norms, warned):
    watch = WatchSampler()
    for step, (difference, norm) in enumerate(zip(differences, norms, strict=True), 1):
        logs = {"grad_norm": norm} | ({} if difference is None else {WatchSampler.DIFFERENCE: difference})
        watch.on_log(None, at(step), None, logs=logs)
    said = capsys.readouterr().out
    assert ("it may not have got the new weights" in said) == warned and said.count("warning") == warned


def test_the_first_line_explains_a_loss_near_0(build, capsys):
    trainer = build(max_steps=2)
    add_callbacks(trainer, lambda: 0.0)
    trainer.train()
    assert capsys.readouterr().out.count("note: a loss near 0 is normal in GRPO") == 1


def test_an_interrupted_run_keeps_no_card_of_trls(build):
    trainer = build(max_steps=2, save_strategy="steps", save_steps=1)
    add_callbacks(trainer, lambda: 0.0)
    trainer.train()
    folder = Path(trainer.args.output_dir)
    assert (folder / "checkpoint-1").is_dir() and not list(folder.rglob("README.md"))
