"""Measurements at both ends of a training come while trackers are open."""

from transformers import TrainerCallback

from mini_r1.training.callbacks import add_callbacks, at_the_ends


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
