"""What `trained_completions: one` saves: seconds and memory of an update, beside training on whole groups of ten.

.venv/bin/python benchmarks/one_of_a_group.py [--quick]

The tiny Countdown model with random weights; both settings train on the same completions, 20 groups of 10, in one
batch. Each run is a process of its own, and they take turns, so that what else the machine does hits both alike.
Seconds: forward, backward and optimizer of a step. Memory: the most that the process held from the end of the rollout
to the end of the step, beyond what it held at its beginning.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]  # the small trainer is the tests'

GROUP, GROUPS, LENGTH, STEPS, TURNS = 10, 20, 128, 6, 3


def main() -> None:
    if "--setting" in sys.argv:
        print(json.dumps(measure(sys.argv[sys.argv.index("--setting") + 1])))
        return
    turns = 1 if "--quick" in sys.argv else TURNS
    results = {"one": [], "all": []}
    for turn in range(turns):
        for setting, found in results.items():
            command = [sys.executable, __file__, "--setting", setting]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment())
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"turn {turn + 1}/{turns}, {setting}: {found[-1]}", file=sys.stderr)
    print("| completions trained of each ten | seconds of an update | MiB beyond the rollout |\n|---|---|---|")
    middle = {
        setting: {key: statistics.median(run[key] for run in found) for key in ("seconds", "mib")}
        for setting, found in results.items()
    }
    for setting, found in middle.items():
        print(f"| {setting} | {found['seconds']:.3f} | {found['mib']:.0f} |")
    ratio = {key: middle["all"][key] / middle["one"][key] for key in ("seconds", "mib")}
    print(f"| ratio | {ratio['seconds']:.1f} | {ratio['mib']:.1f} |")


def environment() -> dict:
    """Returns variables with which glibc frees blocks at once, so that the peak counts what is held at one time."""
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}


def measure(setting: str) -> dict:
    """Medians over the steps but the first: seconds of the update, and MiB beyond what the rollout left."""
    from small_trainer import kinds_of_letters, small_trainer

    from mini_r1 import tasks
    from mini_r1.config.run_config import read_run
    from mini_r1.data.prompts import get_template
    from mini_r1.run.tiny_model import build_model, build_tokenizer

    base = read_run("build_model", ["--config", "countdown-tiny-base"])
    task = tasks.get("countdown")
    rows = task.generate(**base.task_args)[: GROUPS * STEPS]
    template = get_template("mini_r1")
    tokenizer = build_tokenizer([(task, template, rows, base.trace_args or {})], seed=0)
    with tempfile.TemporaryDirectory() as folder:
        build_model(tokenizer, seed=0, **base.model_sizes).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        trainer = small_trainer(
            folder, tokenizer, rows, [kinds_of_letters], Path(folder) / "run",
            algorithm={"advantage": "reinforce_lite", "trained_completions": setting, "rollout_func": sample},
            num_generations=GROUP, per_device_train_batch_size=GROUP * GROUPS, max_completion_length=LENGTH,
            max_steps=STEPS, loss_type="luspo", importance_sampling_level="sequence",
        )  # fmt: skip
        held = []
        change = trainer.change_rollout

        def change_and_forget(*args):
            rollout = change(*args)
            trainer.times.memory.reset()
            held.append(trainer.times.memory.peak())
            return rollout

        trainer.change_rollout = change_and_forget
        trainer.train()
    logs = [entry for entry in trainer.state.log_history if "time/update" in entry]
    grown = [entry["memory/peak_gib"] * 2**30 - before for entry, before in zip(logs, held, strict=True)]
    return {
        "seconds": round(statistics.median(entry["time/update"] for entry in logs[1:]), 4),
        "mib": round(statistics.median(grown[1:]) / 2**20, 1),
    }


def sample(prompts: list[str], trainer) -> dict:
    """Stands in for generation, as TRL's `rollout_func`."""
    ids = trainer.processing_class(text=prompts)["input_ids"]
    return {"prompt_ids": ids, "completion_ids": completions(ids, trainer.processing_class), "logprobs": None}


def completions(prompts: list[list[int]], tokenizer) -> list[list[int]]:
    """Random tokens, the same in every run, half as long as allowed to as long."""
    dice = random.Random(str(prompts[0]))
    return [dice.choices(range(3, len(tokenizer)), k=dice.randint(LENGTH // 2, LENGTH)) for _ in prompts]


if __name__ == "__main__":
    main()
