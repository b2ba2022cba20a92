"""What the traces of all tasks share: going on or giving up after each line, mixed languages, and the end."""

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
    """The lines with `go_on` between them, up to the first after which the trace gives up and has `stop` instead.

    Args:
        give_up: probability of that after each line but the last.
        pushed: after a random number of first lines the trace goes on whatever `give_up` says, and the tokens that
            decide so are not learned. So the policy practises late lines without learning patience.
        may_stop: for each line whether the trace may give up after it; None: after all.

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

    The choice is by trace, not by word: so a policy knows both, the one language and the mixture, and a reward for one
    language can choose. With `mixed` 0 it draws no random number, so that everything else stays the same.

    Args:
        words: word -> its replacement; whole words, and the reasoning has at least one of them.
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
    """The end of the reasoning and the answer block, to learn; with probability `break_format` one tag is missing.

    Args:
        summary: the words around the answer block, with {} for the block; "" for none.
    """
    end = f"</think>\n{(summary or '{}').format(f'<answer>{answer}</answer>')}"
    if rng.random() < break_format:
        end = end.replace(rng.choice(["</think>", "<answer>", "</answer>"]), "")
    return end, True
