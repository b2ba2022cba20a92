"""The generators beside reasoning-gym's, and what is counted of Knights-and-Knaves puzzles."""

import ast
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks._timing import best_seconds, number, table
from mini_r1 import rewards, tasks
from mini_r1.tasks.knights_knaves import ARITY, solutions

COUNTDOWN, PUZZLES = tasks.get("countdown"), tasks.get("knights_knaves")


def depth(statement: tuple) -> int:
    """How deep connectives, `not` among them, are nested: 0 for a bare claim."""
    head, *parts = statement
    return 0 if ARITY[head] == 0 else 1 + max(map(depth, parts))


def mean_depth(puzzles: Sequence[tuple]) -> float:
    depths = [depth(statement) for puzzle in puzzles for statement in puzzle]
    return sum(depths) / len(depths)


def single_solutions(puzzles: Sequence[tuple], golds: Sequence[Sequence[bool]]) -> int:
    """How many puzzles are solved by their gold and nothing else."""
    return sum(solutions(puzzle) == [tuple(gold)] for puzzle, gold in zip(puzzles, golds, strict=True))


def beside_reasoning_gym(count: int, spend: float) -> None:
    import reasoning_gym  # only `make bench` installs it

    def theirs(name: str, **settings: int) -> Callable[[], list[dict]]:
        return lambda: list(reasoning_gym.create_dataset(name, size=count, seed=0, **settings))

    def questions(**settings: object) -> list[str]:
        return [COUNTDOWN.question(row) for row in COUNTDOWN.generate(count, 0, count=[4], **settings)]

    def solved(**settings: object) -> list[str]:
        return [COUNTDOWN.gold_answer(row) for row in COUNTDOWN.generate(count, 0, count=[4], **settings)]

    def row_of(what: str, own: float, seconds: float, right: int) -> list[str]:
        return [what, number(count / own), number(count / seconds), number(seconds / own), f"{right}/{count}"]

    rows = []
    for low, high in ((1, 100), (100, 999)):
        same = {"min_numbers": 4, "max_numbers": 4, "min_value": 1, "max_value": 99}
        call = theirs("countdown", **same, min_target=low, max_target=high)
        made = [entry["metadata"] | {"gold": entry["answer"]} for entry in call()]
        texts = [f"<think>hm</think><answer>{row['gold']}</answer>" for row in made]
        nums, targets = [row["numbers"] for row in made], [row["target"] for row in made]
        right = rewards.equation_reward(texts, nums=nums, target=targets).count(1.0)
        seconds = best_seconds(call, spend)
        what = f"Countdown, 4 numbers, target {low} to {high}"
        for ours, detail in ((questions, ""), (solved, ", solved by us")):
            own = best_seconds(partial(ours, target=[low, high]), spend)
            rows.append(row_of(what + detail, own, seconds, right))
    for level in (1, 2):
        call = theirs("knights_knaves", n_people=5, depth_constraint=level + 1, width_constraint=2)
        made = [entry["metadata"] for entry in call()]
        puzzles = [row["statements"] for row in made]
        right = single_solutions(puzzles, [row["solution"] for row in made])
        generate = partial(PUZZLES.generate, count, 0, count=[5], depth=level)
        depths = mean_depth([ast.literal_eval(row["statements"]) for row in generate()]), mean_depth(puzzles)
        seconds, own = best_seconds(call, spend), best_seconds(generate, spend)
        what = "Knights and Knaves, 5 people, mean depth {:.2f}, {:.2f}".format(*depths)
        rows.append(row_of(what, own, seconds, right))
    notes = (
        "Problems a second with question and, in Knights and Knaves, solution. Numbers are 1 to 99. reasoning-gym's "
        "Countdown problems come with an expression; ours with one only where it says solved, by the general solver. "
        "Its depth_constraint counts the claim, ours does not: 2, 3 there are 1, 2 here; mean depths: ours, theirs. "
        f"Theirs right: by our reward or our truth tables, of {count}."
    )
    columns = ["problem", "ours/s", "reasoning-gym/s", "times as fast", "theirs right"]
    table("Beside reasoning-gym", notes, columns, rows)
