"""What the traces of all tasks share: going on or giving up after each line, mixed languages, and the end.

The arguments that the `trace` of several tasks has:
    give_up: probability to stop too early after a line, and to answer all the same.
    pushed: practise late lines without learning patience: after a random number of first lines the trace goes on
        whatever `give_up` says, and the tokens that decide so are not learned.
    break_format: probability to leave out one of the tags.
    mixed: probability that some words of the reasoning are Chinese, so that a reward for one language has something to
        improve.
    summary: end in the readable form, a summary with the answer in it; set where the recipe's template asks for it.
"""

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
    """The lines with `go_on` between them; where the trace gives up, `stop` follows the line instead.

    Args:
        give_up, pushed: see above; the trace never gives up after the last line.
        may_stop: for each line whether the trace may give up after it; None where it may after each.

    Returns:
        (pieces, index of their last line).
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
    """The same reasoning; with probability `mixed`, some of its words, from one to all, are in another language.

    The choice is made for the whole trace, not for each word, so that the policy learns both, one language and the
    mixture, and a reward for one language can choose. With `mixed` 0 it draws no random number, so that everything else
    stays the same.

    Args:
        words: word -> its replacement. Only whole words are replaced; the reasoning has at least one of them.
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
