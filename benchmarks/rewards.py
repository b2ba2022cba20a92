"""How fast the rewards are, on ordinary and on hostile texts, and beside what is usual elsewhere.

make bench                                  with math-verify, in an environment of its own
.venv/bin/python benchmarks/rewards.py      without it
"""

import logging
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks._peers import COUNT, beside_eval, beside_math_verify
from benchmarks._texts import (
    CHARACTERS_A_TOKEN,
    GOLDS,
    LENGTHS,
    PREFILL,
    STRESS,
    TASK_OF,
    label,
    ordinary,
    stress_text,
)
from benchmarks._timing import best_seconds, heading, is_quick, number, table
from mini_r1 import rewards
from mini_r1.rewards import equation, roles
from mini_r1.rewards import number as number_module

CAPS = {
    "equation_reward": equation.ANSWER_CAP,
    "number_reward": number_module.ANSWER_CAP,
    "roles_reward": roles.ANSWER_CAP,
}


def call_on(name: str, text: str) -> Callable[[], list]:
    """The reward on one text, ready to be timed."""
    _, gold = GOLDS[TASK_OF[name]]
    columns = {column: [value] for column, value in gold.items()}
    return partial(getattr(rewards, name), [text], [PREFILL], **columns)


def on_ordinary_texts(spend: float) -> None:
    rows = []
    for name, task in TASK_OF.items():
        row = [name, task]
        for tokens in LENGTHS:
            texts, columns = ordinary(task, tokens, COUNT)
            call = partial(getattr(rewards, name), texts, [PREFILL] * COUNT, **columns)
            if call() != [1.0] * COUNT:
                raise SystemExit(f"{name} does not give 1.0 to every right completion of {tokens} tokens")
            row.append(number(best_seconds(call, spend) / COUNT * 1e6))
        rows.append(row)
    notes = (
        f"Microseconds per completion, over {COUNT} different right completions of each length: reasoning about the "
        f"task, then the gold. A token is counted as {CHARACTERS_A_TOKEN} characters."
    )
    table("Ordinary right completions", notes, ["reward", "task", *(f"{n:,} tokens" for n in LENGTHS)], rows)


def on_stress_texts(spend: float, size: int) -> None:
    sizes = [size // 8, size // 4, size // 2, size, 2 * size, 4 * size]
    rows, growth = [], []
    for name, task in TASK_OF.items():
        seconds = {how: best_seconds(call_on(name, stress_text(*how, size, task)), 0) for how in STRESS}
        slowest = sorted(seconds, key=seconds.get)[-2:]
        seconds = {how: best_seconds(call_on(name, stress_text(*how, size, task)), spend) for how in slowest}
        second, worst = sorted(seconds, key=seconds.get)
        times = [best_seconds(call_on(name, stress_text(*worst, x, task)), spend) * 1e3 for x in sizes]
        ratios = [f"{times[3] / times[0]:.1f}", f"{times[5] / times[2]:.1f}"]
        growth.append([name, *map(number, times), *ratios])
        row = [name]
        for how in (worst, second):
            row += [number(seconds[how] * 1e3), label(*how)]
        rows.append(row)
    kilobytes = [f"{x / 1000:,g} kB" for x in sizes]
    notes = (
        f"Each reward is given {len(STRESS)} texts of {kilobytes[3]}, each made of one piece over and over. "
        "Milliseconds on the two that take longest, and the piece."
    )
    table("Stress texts", notes, ["reward", "worst, ms", "made of", "second, ms", "made of"], rows)
    ratios = [f"{b} : {a}" for a, b in ((kilobytes[0], kilobytes[3]), (kilobytes[2], kilobytes[5]))]
    notes = (
        "Milliseconds on each reward's worst stress text in six sizes. The ratios are over 8 times the size, so that 8 "
        "is linear; it is more where the longer text no longer fits a cache or needs fresh memory for its copies."
    )
    table("Growth", notes, ["reward", *kilobytes, *ratios], growth)


def on_longest_answers(spend: float) -> None:
    rows = []
    for name, cap in CAPS.items():
        task = TASK_OF[name]
        size = cap + len("hm</think><answer></answer>")
        hows = [how for how in STRESS if how[1] == "in the answer"]
        seconds = {how: best_seconds(call_on(name, stress_text(*how, size, task)), 0) for how in hows}
        worst = max(seconds, key=seconds.get)
        seconds = best_seconds(call_on(name, stress_text(*worst, size, task)), spend)
        rows.append([name, f"{cap:,}", number(seconds * 1e3), label(*worst)])
    notes = "Milliseconds on the worst of the longest answers that are read at all; longer ones are wrong unread."
    table("Longest answers", notes, ["reward", "characters", "ms", "made of"], rows)


def main() -> None:
    quick = is_quick(__doc__)
    spend = 0.01 if quick else 0.5
    logging.disable(logging.WARNING)  # math-verify logs what it cannot parse
    with_math_verify = heading("Rewards", "math-verify", quick)
    on_ordinary_texts(spend)
    on_stress_texts(spend, 100_000 if quick else 1_000_000)
    on_longest_answers(spend)
    beside_eval(spend)
    if with_math_verify:
        beside_math_verify(spend)


if __name__ == "__main__":
    main()
