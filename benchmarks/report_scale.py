"""How long the report of a long run takes, and how much memory: python benchmarks/report_scale.py [--steps 10000]

Writes a run directory of that many steps, with --completions of each in a Parquet file of its own, into --folder (a
temporary one by default), then has scripts/report.py read it. Texts are 1,000 characters long. Prints seconds,
peak memory in GiB and the size of the page.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/helpers"))

from run_writer import lines_of, rollouts, write_run  # noqa: E402


def write_long_run(folder: Path, steps: int, completions: int) -> None:
    """A run whose files of completions all hold the texts of one of 50, at another step: writing stays quick."""
    rng = np.random.default_rng(0)
    write_run(folder, steps=1, per_step=completions, held_out=250)
    kinds = [rollouts(1, completions, 0.3 + 0.6 * i / 50, rng) for i in range(50)]
    for frame in kinds:
        frame["completion"] = frame["completion"].str.ljust(1000, "x")
    for step in range(1, steps + 1):
        frame = kinds[(step - 1) * 50 // steps].assign(step=step)
        frame["prompt"] = frame["prompt"].str.replace("Combine", f"Problem {step % (steps // 3 + 1)}. Combine")
        frame.to_parquet(folder / f"completions/completions_{step:05d}.parquet")
    (folder / "metrics.jsonl").write_text(lines_of(steps, kinds, rng))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--completions", type=int, default=50)
    parser.add_argument("--folder", type=Path)
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (flags.folder or Path(scratch)) / "runs/long-s1"
        if not folder.exists():
            write_long_run(folder, flags.steps, flags.completions)
        started = time.monotonic()
        script = [sys.executable, str(ROOT / "scripts/report.py"), str(folder), "--output", f"{scratch}/page"]
        subprocess.run(script, check=True)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"{flags.steps:,} steps of {flags.completions}: {time.monotonic() - started:.1f} s wall,")
        print(f"{used.ru_utime + used.ru_stime:.1f} s CPU, peak {used.ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
