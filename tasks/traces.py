"""What the traces of all tasks have in common: going on or giving up after each line, and the end."""

import random
import re
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


def in_two_languages(pieces: Pieces, rng: random.Random, mixed: float, words: dict[str, str]) -> Pieces:
    """The same reasoning, with probability `mixed` with some of its words, from one to all, in another language.

    By trace, not by word: a policy then knows both, the one language and the mixture, and a reward for one language can
    choose. Nothing is drawn where `mixed` is 0, so that all else stays as it was.

    Args:
        words: what is replaced -> by what; whole words, of which the reasoning has one or more.
    """
    if not mixed or rng.random() >= mixed:
        return pieces
    pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b")
    places = range(sum(len(pattern.findall(text)) for text, _ in pieces))
    chosen = set(rng.sample(places, rng.randint(1, len(places))))
    place = iter(places)
    return [
        (pattern.sub(lambda word: words[word[0]] if next(place) in chosen else word[0], text), learned)
        for text, learned in pieces
    ]


def closing(answer: str, rng: random.Random, break_format: float, summary: str = "") -> tuple[str, bool]:
    """The end of the reasoning and the answer block, to be learned; with probability `break_format` without one tag.

    Args:
        summary: words to stand around the answer block, with {} for it; "" for none.
    """
    end = f"</think>\n{(summary or '{}').format(f'<answer>{answer}</answer>')}"
    if rng.random() < break_format:
        end = end.replace(rng.choice(["</think>", "<answer>", "</answer>"]), "")
    return end, True
