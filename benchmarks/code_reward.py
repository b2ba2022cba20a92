"""How many honest programs code_reward runs per minute and core.

.venv/bin/python benchmarks/code_reward.py
"""

import ctypes
import os
import sys
import time
from pathlib import Path

# Before this folder, where `rewards` would be another file.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._timing import is_quick, number, table
from mini_r1.rewards import code_reward
from mini_r1.rewards.sandbox import unavailable
from mini_r1.rewards.verdict import workers
from mini_r1.tasks import code

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def cpu_seconds() -> float:
    """Returns the seconds of this process and all that it has started, and waits for those whose parents did not."""
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return sum(os.times()[:4])


def measure(rows: list[dict], tests: int) -> list[str]:
    """One row of the table: all golds at once, as a step of training has them, on so many tests each."""
    golds = [f"<think>hm</think><answer>{code.gold_answer(row)}</answer>" for row in rows]
    given = [row["tests"][-tests:] for row in rows]
    start, used = time.perf_counter(), cpu_seconds()
    if code_reward(golds, tests=given) != [1.0] * len(rows):
        raise SystemExit("a gold program is not right")
    seconds = time.perf_counter() - start
    used = cpu_seconds() - used
    per_minute = len(rows) * 60 / seconds
    cpu = used / len(rows)
    return [str(tests), number(1000 * cpu), number(60 / cpu), number(per_minute), number(per_minute / workers())]


def main() -> None:
    quick = is_quick(__doc__)
    if why := unavailable():
        raise SystemExit(why)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    load = os.getloadavg()[0]
    rows = [code.parse_row(row) for row in code.generate(40 if quick else 200, 0)]
    code_reward(["<think>hm</think><answer>print(1)</answer>"], tests=[rows[0]["tests"]])
    table(
        "Honest programs",
        f"{len(rows)} gold programs of the task code, {workers()} at once, one process a test, all passed. Load "
        f"average before the start: {load:.1f}. CPU time is all of it, the sandbox's included: from it follows what "
        "a core with nothing else to do runs in a minute; what ran here, beside other work, is by the clock.",
        ["tests", "CPU ms/program", "programs/min of CPU", "programs/min here", "per core here"],
        [measure(rows, tests) for tests in (1, 3, 6)],
    )


if __name__ == "__main__":
    main()
