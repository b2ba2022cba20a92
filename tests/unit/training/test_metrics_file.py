"""metrics.jsonl: a line a step, in a resumed run too."""

import json
from types import SimpleNamespace

from mini_r1.training.metrics_file import METRICS_FILE, MetricsFile


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
    from mini_r1.training.callbacks import add_callbacks

    trainer = build(max_steps=3)
    add_callbacks(trainer, lambda: 0.0)
    trainer.train()
    found = lines(tmp_path / "run")
    assert [entry["step"] for entry in found] == [1, 2, 3]
    assert all("outcome/right" in entry and "grad_norm" in entry for entry in found)
