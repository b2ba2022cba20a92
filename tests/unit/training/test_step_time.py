import time
from collections import defaultdict

import pytest
import torch
from small_trainer import kinds_of_letters, small_model, small_trainer
from transformers import TrainerCallback

from mini_r1.training.callbacks import OneLineAStep
from mini_r1.training.step_time import PARTS, PeakMemory, StepTimes

KEYS = [f"time/{part}" for part in PARTS]


class StepClock(TrainerCallback):
    """The same steps by a clock of its own."""

    def __init__(self):
        self.seconds = []

    def on_step_begin(self, args, state, control, **kwargs):
        self.begin = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        self.seconds.append(time.perf_counter() - self.begin)


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny_tokenizer) -> str:
    return small_model(tmp_path_factory.mktemp("small") / "model", tiny_tokenizer)


def slow_in_evaluation(completions, **kwargs):
    if len(completions) == 4:  # 2 held-out problems x 2
        time.sleep(0.2)
    time.sleep(0.02)
    return kinds_of_letters(completions)


def trained(model, tokenizer, rows, tmp_path, rewards=(kinds_of_letters,), **settings):
    trainer = small_trainer(model, tokenizer, rows, list(rewards), tmp_path, **settings)
    trainer.add_callback(clock := StepClock())
    trainer.measure(0, "after")
    assert not trainer.metrics and not trainer._metrics["train"], "a measurement is no training step"
    trainer.train()
    return [entry for entry in trainer.state.log_history if "time/step" in entry], clock.seconds, trainer


def test_the_parts_of_a_step_add_up_to_it(model, tiny_tokenizer, tiny_rows, tmp_path):
    logs, seconds, trainer = trained(
        model, tiny_tokenizer, tiny_rows, tmp_path, [slow_in_evaluation], eval_strategy="steps", eval_steps=1
    )
    assert [log["step"] for log in logs] == [1, 2, 3, 4, 5]
    for log in logs:
        assert sum(log[key] for key in KEYS) == pytest.approx(log["time/step"])
        assert log["time/generation"] > 0 and log["time/update"] > 0 and log["time/rest"] > 0
        assert log["time/reward"] >= 0.02
        assert log["time/weight_sync"] == log["time/logprobs"] == 0  # no vLLM, no reference policy
        assert log["time/step"] > log["step_time"]  # TRL's own, without clipping and optimizer
        assert log["tokens_per_second"] * log["time/generation"] == pytest.approx(8 * log["completions/mean_length"])
    # With the evaluation between two steps in it, this would be 5 x 0.2 s more.
    assert sum(log["time/step"] for log in logs) == pytest.approx(sum(seconds), rel=0.1)
    evaluations = [log for log in trainer.state.log_history if "eval_reward" in log]
    assert len(evaluations) == 5 and not any("time/" in key for log in evaluations for key in log)


@pytest.mark.parametrize(
    ("settings", "generates", "logprobs"),
    [
        ({"num_iterations": 2}, [True, False, True, False], [True, False, True, False]),
        ({"gradient_accumulation_steps": 2, "steps_per_generation": 1}, [True] * 4, [False] * 4),
        ({"beta": 0.1}, [True] * 4, [True] * 4),
    ],
    ids=["one rollout, two steps", "two rollouts a step", "reference policy"],
)
def test_times_count_in_the_step_in_which_they_happen(
    model, tiny_tokenizer, tiny_rows, tmp_path, settings, generates, logprobs
):
    logs, *_ = trained(model, tiny_tokenizer, tiny_rows, tmp_path, max_steps=4, **settings)
    assert [log["time/generation"] > 0 for log in logs] == generates
    assert ["tokens_per_second" in log for log in logs] == generates
    assert [log["time/logprobs"] > 0 for log in logs] == logprobs
    completions = 8 * settings.get("gradient_accumulation_steps", 1)
    for log in logs:
        if "tokens_per_second" in log:
            tokens = log["tokens_per_second"] * log["time/generation"]
            assert tokens == pytest.approx(completions * log["completions/mean_length"])


def test_means_over_the_logged_steps(model, tiny_tokenizer, tiny_rows, tmp_path):
    logs, seconds, _ = trained(model, tiny_tokenizer, tiny_rows, tmp_path, max_steps=4, logging_steps=2)
    assert [log["step"] for log in logs] == [2, 4]
    assert 2 * sum(log["time/step"] for log in logs) == pytest.approx(sum(seconds), rel=0.1)


def step_of(times: StepTimes, what) -> dict:
    times.on_step_begin(None, None, None)
    what()
    times.on_step_end(None, None, None)
    return times.seconds


def test_the_innermost_part_is_charged():
    times = StepTimes(defaultdict(list), torch.device("cpu"))

    def step():
        with times.part("rest"), times.part("generation"):
            times.part("weight_sync")(time.sleep)(0.05)
            time.sleep(0.02)
        with times.part("reward"):
            time.sleep(0.03)

    with times.part("generation"):  # before the first step: nobody's
        time.sleep(0.01)
    began = time.perf_counter()
    seconds = step_of(times, step)
    took = time.perf_counter() - began
    for name, least in {"weight_sync": 0.05, "generation": 0.02, "reward": 0.03}.items():
        assert seconds[name] >= least
    assert sum(seconds.values()) <= took
    assert seconds["generation"] + seconds["reward"] <= took - 0.05, "the weight sync is not counted twice"
    assert times.metrics["time/step"] == [pytest.approx(sum(seconds.values()))]


LOGS = {"reward": 1.0, "completions/mean_length": 9.0, "completions/clipped_ratio": 0.0, "time/step": 10.0}


@pytest.mark.parametrize(
    ("logs", "end"),
    [
        ({"time/generation": 6.1}, "s/step (generation 61%), 0:00 left"),
        ({"time/generation": 4.9}, "s/step, 0:00 left"),
        ({"time/step": None}, "s/step, 0:00 left"),
    ],
    ids=["most of the time", "less than half", "another trainer's log"],
)
def test_the_line_names_generation_where_it_takes_most(capsys, logs, end):
    logs = {name: value for name, value in (LOGS | logs).items() if value is not None}
    state = type("State", (), {"global_step": 0, "max_steps": 1, "is_world_process_zero": True})
    line = OneLineAStep()
    line.on_train_begin(None, state, None)
    state.global_step = 1
    line.on_log(None, state, None, logs=logs)
    assert capsys.readouterr().out.rstrip().endswith(end)


@pytest.mark.parametrize(
    ("tokens", "left"), [(200, "0:04 left"), (250, "0:03 left"), (900, "0:01 left"), (1000, "0:00 left")]
)
def test_the_time_left_knows_of_a_budget_of_tokens(capsys, monkeypatch, tokens, left):
    clock = iter([0.0, 0.0, 1.0])
    monkeypatch.setattr("mini_r1.training.callbacks.time.monotonic", lambda: next(clock))
    state = type("State", (), {"global_step": 0, "max_steps": 400, "is_world_process_zero": True})
    line = OneLineAStep(token_limit=1000)
    line.on_train_begin(None, state, None)
    state.global_step = 1
    line.on_log(None, state, None, logs=LOGS | {"time/generation": 0.0, "generated_tokens": tokens})
    assert capsys.readouterr().out.rstrip().endswith(left)


def test_peak_memory_of_a_cpu_process():
    memory = PeakMemory(torch.device("cpu"))
    if memory.peak() is None:
        pytest.skip("not on this system")
    memory.reset()
    low = memory.peak()
    block = bytearray(b"1" * (64 << 20))
    assert memory.peak() - low > 48 << 20
    del block
    memory.reset()
    assert memory.peak() - low < 32 << 20, "what is gone does not count in the next step"
