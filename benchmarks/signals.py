"""What reading the signals of every completion costs, and what part of a training step that is.

.venv/bin/python benchmarks/signals.py      after make train-countdown-tiny, for the part of a step
"""

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `benchmarks`

from benchmarks._texts import CHARACTERS_A_TOKEN, PREFILL, SETTINGS, STRESS, label, ordinary, stress_text
from benchmarks._timing import best_seconds, is_quick, number, table
from mini_r1.evaluation.signals import read_signals

ROOT = Path(__file__).resolve().parents[1]
TOKENS = (50, 200, 1_000, 8_000)
COUNT = 20
RUNS = "countdown-tiny-s*"


def read_all(texts: Sequence[str]) -> list:
    return [read_signals(text) for text in texts]


def on_ordinary_texts(spend: float) -> None:
    rows = []
    for task in SETTINGS:
        row = [task]
        for tokens in TOKENS:
            texts = [PREFILL + text for text in ordinary(task, tokens, COUNT)[0]]
            row.append(number(best_seconds(partial(read_all, texts), spend) / COUNT * 1e6))
        rows.append(row)
    notes = (
        f"Microseconds per completion, over {COUNT} different ones of each length: reasoning about the task, then the "
        f"gold. A token is counted as {CHARACTERS_A_TOKEN} characters."
    )
    table("Ordinary completions", notes, ["task", *(f"{n:,} tokens" for n in TOKENS)], rows)


def on_stress_texts(spend: float, size: int) -> None:
    seconds = {how: best_seconds(partial(read_signals, stress_text(*how, size, "gsm8k")), 0) for how in STRESS}
    rows = []
    for how in sorted(seconds, key=seconds.get)[-3:][::-1]:
        sizes = [stress_text(*how, size * times, "gsm8k") for times in (1, 8)]
        once, eight_times = (best_seconds(partial(read_signals, text), spend) for text in sizes)
        rows.append([label(*how), number(once * 1e3), number(eight_times * 1e3), f"{eight_times / once:.1f}"])
    columns = ["made of", f"{size / 1000:,g} kB, ms", f"{8 * size / 1000:,g} kB, ms", "ratio"]
    notes = f"The three slowest of {len(STRESS)} texts, each made of one piece over and over; a ratio of 8 is linear."
    table("Stress texts", notes, columns, rows)


def of_a_step(spend: float, most: int) -> None:
    """Prints how long the signals of one step's real completions take beside the step, for each run that is there."""
    import pyarrow.parquet as parquet

    rows = []
    for folder in sorted((ROOT / "runs").glob(RUNS)):
        state = folder / "trainer_state.json"
        files = {int(path.stem.rpartition("_")[2]): path for path in folder.glob("completions/completions_*.parquet")}
        if not state.is_file() or not files:
            continue
        history = json.loads(state.read_text())["log_history"]
        logs = [entry for entry in history if "step_time" in entry and entry["step"] in files][-most:]
        if not logs:
            continue
        counts, reading, steps = [], [], [entry["step_time"] for entry in logs]
        for entry in logs:
            texts = parquet.read_table(files[entry["step"]], columns=["completion"])["completion"].to_pylist()
            reading.append(best_seconds(partial(read_all, [PREFILL + text for text in texts]), spend))
            counts.append(len(texts))
        share = statistics.median(ours / step for ours, step in zip(reading, steps, strict=True))
        cells = [statistics.median(counts), statistics.median(reading) * 1e3, statistics.median(steps)]
        rows.append([folder.name, *map(number, cells), f"{share:.2%}"])
    if not rows:
        print(
            "\nThe part of a step is left out: there is no run of countdown-tiny in runs/ (make train-countdown-tiny)."
        )
        return
    notes = (
        f"The completions that TRL saved for each of the last {most} steps, read in this process; beside it the "
        "`step_time` that TRL logged in trainer_state.json when the run was made, perhaps on another machine. Medians."
    )
    table("Part of a step", notes, ["run", "completions", "signals, ms", "step, s", "part"], rows)


def main() -> None:
    quick = is_quick(__doc__)
    spend = 0.01 if quick else 0.5
    print(f"# Signals{' (--quick: rough figures)' if quick else ''}")
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs ({platform.machine()}), one process.")
    print(f"Load average before the start: {os.getloadavg()[0]:.1f}. Times are the best of several runs.")
    on_ordinary_texts(spend)
    on_stress_texts(spend, 10_000 if quick else 100_000)
    of_a_step(0 if quick else 0.05, 5 if quick else 20)


if __name__ == "__main__":
    main()
