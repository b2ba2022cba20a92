"""What the traces of all tasks have in common: going on or giving up after each line, and the end."""

import random
from collections.abc import Sequence

Pieces = list[tuple[str, bool]]  # text, and whether it is to be learned


def attempts(
    lines: Sequence[str],
    rng: random.Random,
    *,
    go_on: str,
    stop: str,
    give_up: float,
    pushed: bool,
    may_stop: Sequence[bool] | None = None,
) -> tuple[Pieces, int]:
    """The lines with `go_on` between them, up to the first after which it gives up and writes `stop` instead.

    Args:
        give_up: probability to do so, after each line but the last.
        pushed: the first lines, a random number of them, go on whatever `give_up` says, and the tokens that decide so
            are not learned: so that late lines are practised without learning patience.
        may_stop: for each line whether it may be given up after; None: all may.

    Returns:
        (pieces, number of the line that they end with).
    """
    push = rng.randrange(len(lines)) if pushed else 0
    pieces, last = [("\n", True)], len(lines) - 1
    for number, line in enumerate(lines):
        if number:
            pieces.append((go_on, number > push))
        pieces.append((line, True))
        free = push <= number < last and (may_stop is None or may_stop[number])
        if free and rng.random() < give_up:
            return [*pieces, (stop, True)], number
    return pieces, last


def closing(answer: str, rng: random.Random, break_format: float) -> tuple[str, bool]:
    """The end of the reasoning and the answer block, to be learned; with probability `break_format` without one tag."""
    end = f"</think>\n<answer>{answer}</answer>"
    if rng.random() < break_format:
        end = end.replace(rng.choice(["</think>", "<answer>", "</answer>"]), "")
    return end, True
