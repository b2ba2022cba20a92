"""How fast the tasks' problems are generated and whether they are right, beside reasoning-gym.

make bench                                with reasoning-gym, in an environment of its own
.venv/bin/python benchmarks/tasks.py      without it
"""

import ast
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from types import ModuleType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._reasoning_gym import beside_reasoning_gym, mean_depth, single_solutions
from benchmarks._timing import best_seconds, heading, is_quick, number, table
from mini_r1 import rewards, tasks
from mini_r1.tasks.knights_knaves import HUB_SHARES

PUZZLES = tasks.get("knights_knaves")
SETTINGS = [
    *(("countdown", {"count": [n]}, f"{n} numbers") for n in (3, 4, 5, 6)),
    *(("gsm8k", {"steps": [n]}, f"{n} step{'s' if n > 1 else ''}") for n in (1, 2, 3, 4)),
    *(("knights_knaves", {"count": [n], "depth": d}, f"{n} people, depth={d}") for d in (1, 2) for n in range(2, 9)),
]
HUB_KNIGHTS = 0.547  # in the same rows as HUB_SHARES


def golds_right(task: ModuleType, rows: list[dict]) -> int:
    """How many golds the task's reward says are right."""
    texts = [f"<think>hm</think><answer>{task.gold_answer(row)}</answer>" for row in rows]
    columns = {column: [row[column] for row in rows] for column in rows[0]}
    return getattr(rewards, task.REWARD)(texts, **columns).count(1.0)


def generators(count: int, spend: float) -> None:
    rows = []
    for name, settings, what in SETTINGS:
        task, n = tasks.get(name), min(count, 100 if what == "2 people, depth=1" else count)  # there are 148
        seconds = best_seconds(partial(task.generate, n, 0, **settings), spend)
        made = [task.parse_row(raw) for raw in task.generate(n, 0, **settings)]
        different = len(set(map(task.key, made)))
        sample = made[: 20 if name == "countdown" else 200]  # its solver takes a while
        right = golds_right(task, sample)
        if (different, right) != (n, len(sample)):
            raise SystemExit(f"{name}, {what}: {different} of {n} differ, {right} of {len(sample)} golds are right")
        rows.append([name, what, number(n / seconds), f"{different}/{n}", f"{right}/{len(sample)}"])
    notes = (
        "Different: have a key of their own. Gold right: those of a sample whose gold their reward says is right; for "
        "Countdown the gold is what the solver finds."
    )
    table("Generators", notes, ["task", "difficulty", "problems/s", "different", "gold right"], rows)


def knights_knaves(count: int) -> None:
    rows, shares, knights = [], {}, {}
    for level in (1, 2, 3):
        made = PUZZLES.generate(count, 0, count=[5], depth=level)
        puzzles, golds = [ast.literal_eval(row["statements"]) for row in made], [row["solution"] for row in made]
        single = single_solutions(puzzles, golds)
        if single < count:
            raise SystemExit(f"depth={level}: only {single} of {count} puzzles have their solution and no other")
        rows.append([str(level), f"{mean_depth(puzzles):.2f}", f"{single}/{count}"])
        shares[level] = Counter(statement[0] for puzzle in puzzles for statement in puzzle)
        knights[level] = sum(map(sum, golds)) / (5 * count)
    notes = (
        "5 people. A bare claim has depth 0, each connective around it, `not` among them, adds 1; the mean is over all "
        "statements. One solution: puzzles whose truth tables leave the gold and nothing else."
    )
    table("Knights and Knaves: depth", notes, ["setting depth=", "mean depth", "one solution"], rows)
    rows = [
        [head, *(f"{share:.3f}" for share in (hub, *(shares[level][head] / (5 * count) for level in (1, 2, 3))))]
        for head, hub in HUB_SHARES.items()
    ]
    rows.append(["knights among people", *(f"{share:.3f}" for share in (HUB_KNIGHTS, *knights.values()))])
    notes = (
        f"Share of statements that begin with each, in {count:,} generated puzzles of 5 people, and in 3,900 rows of "
        f"the hub dataset {PUZZLES.HUB_ID}, whose depth is 1."
    )
    table("Knights and Knaves: mix", notes, ["statement", "hub", "depth=1", "depth=2", "depth=3"], rows)


def main() -> None:
    quick = is_quick(__doc__)
    spend = 0.01 if quick else 0.5
    with_reasoning_gym = heading("Tasks", "reasoning-gym", quick)
    generators(200 if quick else 2_000, spend)
    knights_knaves(500 if quick else 5_000)
    if with_reasoning_gym:
        beside_reasoning_gym(30 if quick else 500, spend)


if __name__ == "__main__":
    main()
