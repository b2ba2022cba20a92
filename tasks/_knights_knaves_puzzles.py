"""Knights-and-Knaves puzzles: statements as truth tables, one solution proven, English, a canonical form.

A statement is a nested tuple, as in the hub dataset's column `statements`, people by number:
    ("telling-truth", 0)  ("lying", 1)  ("not", s)  ("and", s, t)  ("or", s, t)  ("->", s, t)  ("<=>", s, t)
A world says of n people who is a knight: bit i of its number is set where person i is one. The truth table of a
statement over all 2^n worlds is one integer, bit w for world w; so a connective is one operation on integers.
"""

import itertools
import random
from collections.abc import Callable, Iterator

Statement = tuple

KNIGHT, KNAVE, NOT, AND, OR, IF, IFF = "telling-truth", "lying", "not", "and", "or", "->", "<=>"
ARITY = {KNIGHT: 0, KNAVE: 0, NOT: 1, AND: 2, OR: 2, IF: 2, IFF: 2}

# What statements of the hub dataset begin with (18,600 of them, in 3,900 rows with 3, 4, 5 and 7 people), and how often
# ours do, tuned so that the puzzles that are left, those with one solution, have the same mix. "claim" is a bare claim.
HUB_SHARES = {KNIGHT: 0.083, KNAVE: 0.077, NOT: 0.151, AND: 0.170, OR: 0.169, IF: 0.181, IFF: 0.169}
HUB_MIX = {"claim": 0.165, NOT: 0.155, AND: 0.165, OR: 0.165, IF: 0.18, IFF: 0.17}

# fmt: off
NAMES = (
    "Abigail", "Adam", "Alice", "Amelia", "Anna", "Arthur", "Ava", "Benjamin", "Bella", "Caleb", "Carol", "Charlotte",
    "Chloe", "Clara", "Daniel", "David", "Diana", "Edward", "Elena", "Ella", "Emma", "Ethan", "Eva", "Felix", "Fiona",
    "Frank", "Gabriel", "Grace", "Hannah", "Harper", "Helen", "Henry", "Ian", "Irene", "Isaac", "Jack", "Jacob",
    "James", "Julia", "Kevin", "Laura", "Leo", "Lily", "Logan", "Lucas", "Maria", "Martin", "Mason", "Maya", "Mia",
    "Nathan", "Nina", "Noah", "Nora", "Oliver", "Olivia", "Oscar", "Paul", "Peter", "Rachel", "Ruby", "Samuel", "Sarah",
    "Simon", "Sofia", "Stella", "Thomas", "Tina", "Victor", "Violet", "Walter", "William", "Zoey",
)
# fmt: on
INTRODUCTIONS = (
    "A very special island is inhabited only by knights and knaves. Knights always tell the truth, and knaves always "
    "lie. You meet {count} inhabitants: {people}.",
    "On an island, everyone is either a knight, who only says true things, or a knave, who only says false things. "
    "{count} of them stand before you: {people}.",
    "Knights never lie and knaves never tell the truth, and nobody else lives here. {count} of the people here are "
    "{people}.",
)
QUESTIONS = (
    "So who is a knight and who is a knave?",
    "Who is a knight, and who is a knave?",
    "Tell for each of them: knight or knave?",
)
FRAMES = (  # {0}: the speaker, {1}: what is said, {2}: the same with a capital letter
    "{0} says that {1}.",
    '{0} says: "{2}."',
    '{0} claims, "{2}."',
    "{0} told you that {1}.",
    '"{2}," {0} remarked.',
    '"{2}," according to {0}.',
    'According to {0}: "{2}."',
    '{0} was heard to say, "{2}."',
    '{0} insists: "{2}."',
    "{0} assures you that {1}.",
    '"{2}" - {0}.',
    "{0} swears that {1}.",
    '{0} put it like this: "{2}."',
    'In the words of {0}: "{2}."',
)
# The first of each is the plain wording, and the only one without quotation marks, where an "if" or an "and" could
# belong to the telling. {0} and {1} are parts, in parentheses where they have connectives themselves.
WORDINGS = {
    AND: ("{0} and {1}", "{0}, and {1}", "it is true both that {0} and that {1}"),
    OR: ("{0} or {1}", "{0}, or {1}, or both", "at least one of these is true: {0}; {1}"),
    IF: ("if {0} then {1}", "{1} if {0}", "{0} only if {1}", "whenever {0}, {1}"),
    IFF: ("{0} if and only if {1}", "{0} exactly if {1}", "{0} exactly when {1}"),
}
MOST_PEOPLE = 16  # 2^16 worlds; with more people a truth table takes long


def truth_tables(n: int) -> tuple[list[int], int]:
    """For each of n people the table of "is a knight"; and the table that is true in every world."""
    everywhere = (1 << (1 << n)) - 1
    # 2^i worlds without person i as a knight, 2^i with, and so on.
    return [everywhere // ((1 << (1 << i)) + 1) << (1 << i) for i in range(n)], everywhere


def truth_table(statement: Statement, knights: list[int], everywhere: int) -> int:
    """The truth table of a statement; `knights` and `everywhere` as `truth_tables` gives them."""
    head = statement[0]
    if head == KNIGHT:
        return knights[statement[1]]
    if head == KNAVE:
        return everywhere ^ knights[statement[1]]
    left = truth_table(statement[1], knights, everywhere)
    if head == NOT:
        return everywhere ^ left
    return _connect(head, left, truth_table(statement[2], knights, everywhere), everywhere)


def _connect(head: str, left: int, right: int, everywhere: int) -> int:
    if head == AND:
        return left & right
    if head == OR:
        return left | right
    if head == IF:
        return (everywhere ^ left) | right
    return everywhere ^ left ^ right


def is_true(statement: Statement, world: tuple[bool, ...]) -> bool:
    """Whether a statement is true where `world` says of each person if they are a knight."""
    return bool(truth_table(statement, list(map(int, world)), 1))  # tables of one world have one bit


def solutions(statements: tuple[Statement, ...]) -> list[tuple[bool, ...]]:
    """All worlds in which every knight's statement is true and every knave's is false; who is a knight in each."""
    n = len(statements)
    knights, everywhere = truth_tables(n)
    worlds = everywhere
    for i, statement in enumerate(statements):
        worlds &= everywhere ^ truth_table(statement, knights, everywhere) ^ knights[i]
    return [tuple(bool(w >> i & 1) for i in range(n)) for w in range(1 << n) if worlds >> w & 1]


class StatementMaker:
    """Draws random statements about n people, together with their truth tables.

    No statement, and no part of one, is true in all worlds or in none; parts of one connective are never claims, or
    denials, about the same person; and nobody makes a bare claim or denial about oneself, as it would say nothing.

    Args:
        depth: how deep connectives may nest.
        mix: how often a statement or a part begins with each, in shares of a thousandth.
    """

    def __init__(self, n: int, depth: int, mix: dict[str, float], rng: random.Random):
        self.n, self.depth, self.random = n, depth, rng.random
        self.knights, self.everywhere = truth_tables(n)
        self.claims = [((KNIGHT, i), table) for i, table in enumerate(self.knights)]
        self.claims += [((KNAVE, i), self.everywhere ^ table) for i, table in enumerate(self.knights)]
        # A table of 1,000 slots makes a weighted choice one lookup.
        total = sum(mix.values())
        bounds = [round(1000 * x / total) for x in itertools.accumulate(mix.values())]
        self.heads = [head for head, a, b in zip(mix, [0, *bounds], bounds, strict=False) for _ in range(b - a)]
        self.others = [[claim for claim in self.claims if claim[0][1] != i] for i in range(n)]

    def draw(self, speaker: int) -> tuple[Statement, int]:
        """A statement that `speaker` could make, and its truth table."""
        return self._draw(self.depth, self.others[speaker])

    def _draw(self, depth: int, claims: list[tuple[Statement, int]]) -> tuple[Statement, int]:
        head = self.heads[int(self.random() * 1000)] if depth else "claim"
        if head == "claim":
            return claims[int(self.random() * len(claims))]
        if head == NOT:
            inner, table = self._draw(depth - 1, claims)
            return (NOT, inner), self.everywhere ^ table
        left, first = self._part(depth, self.claims)
        about = left[1] if left[0] != NOT else left[1][1]  # a person, where the part is a claim or denies one
        allowed = self.others[about] if isinstance(about, int) else self.claims
        while True:
            right, second = self._part(depth, allowed)
            table = _connect(head, first, second, self.everywhere)
            if table and table != self.everywhere:
                return (head, left, right), table

    def _part(self, depth: int, claims: list[tuple[Statement, int]]) -> tuple[Statement, int]:
        return self._draw(depth - 1, claims) if depth > 1 else claims[int(self.random() * len(claims))]


def draw_puzzle(maker: StatementMaker) -> tuple[tuple[Statement, ...], tuple[bool, ...]] | None:
    """One statement for each person, and who is a knight; None where the truth tables do not leave one world."""
    knights, worlds, statements = maker.knights, maker.everywhere, []
    for i in range(maker.n):
        statement, table = maker.draw(i)
        worlds &= maker.everywhere ^ table ^ knights[i]
        if not worlds:
            return None
        statements.append(statement)
    if worlds & (worlds - 1):  # more than one bit is set
        return None
    world = worlds.bit_length() - 1
    return tuple(statements), tuple(bool(world >> i & 1) for i in range(maker.n))


def write_puzzle(
    statements: tuple[Statement, ...], names: list[str], rng: random.Random, *, in_order: bool, plain: bool
) -> str:
    """The puzzle in English; `in_order`: speakers in the order of `names`, `plain`: the first wording of everything."""
    pick: Callable = plain_wording if plain else lambda choices: choices[int(rng.random() * len(choices))]
    order = list(range(len(names)))
    if not in_order:
        rng.shuffle(order)
    lines = []
    for i in order:
        frame = pick(FRAMES)
        said = write_statement(statements[i], names, pick if "{2}" in frame else plain_wording)
        opening = said[: len(said) - len(said.lstrip("("))]
        start = len(opening)
        lines.append(frame.format(names[i], said, opening + said[start].upper() + said[start + 1 :]))
    inhabitants = f"{', '.join(names[:-1])}{',' if len(names) > 2 else ''} and {names[-1]}"
    return " ".join([pick(INTRODUCTIONS).format(count=len(names), people=inhabitants), *lines, pick(QUESTIONS)])


def plain_wording(choices: tuple[str, ...]) -> str:
    """Picks the first of several wordings."""
    return choices[0]


def write_statement(statement: Statement, names: list[str], pick: Callable) -> str:
    head, *parts = statement
    if head == KNIGHT:
        return f"{names[parts[0]]} is a knight"
    if head == KNAVE:
        return f"{names[parts[0]]} is a knave"
    if head == NOT:
        inner = parts[0]
        if inner[0] in (KNIGHT, KNAVE):
            return f"{names[inner[1]]} is not a {'knight' if inner[0] == KNIGHT else 'knave'}"
        return f"it is not true that {_part(inner, names, pick)}"
    return pick(WORDINGS[head]).format(*(_part(part, names, pick) for part in parts))


def _part(statement: Statement, names: list[str], pick: Callable) -> str:
    text = write_statement(statement, names, pick)
    simple = ARITY[statement[0]] == 0 or (statement[0] == NOT and ARITY[statement[1][0]] == 0)
    return text if simple else f"({text})"


def canonical(statements: tuple[Statement, ...]) -> str:
    """Equal for puzzles that differ only in the order of people or of the parts of `and`, `or`, `if and only if`.

    People are ordered by what sets them apart: their statement's shape, then who speaks of whom, refined until nothing
    changes. Among people that are still alike, each is put first in turn, and the smallest result taken. Written in
    prefix notation, one character each.
    """
    n = len(statements)
    marks = [["s" if i == speaker else "o" for i in range(n)] for speaker in range(n)]
    shapes = list(map(_prefix, statements, marks))
    if len(set(shapes)) == n:
        return _in_order(sorted(range(n), key=shapes.__getitem__), statements)
    return min(_in_order(order, statements) for order in _orders(shapes, statements))


def _in_order(order: list[int], statements: tuple[Statement, ...]) -> str:
    number = [""] * len(order)
    for place, person in enumerate(order):
        number[person] = chr(ord("0") + place)
    return " ".join([_prefix(statements[person], number) for person in order])


def _orders(colours: list, statements: tuple[Statement, ...]) -> Iterator[list[int]]:
    """The orders of people that go by colour, refined; those of one colour take turns at being first."""
    ranks = _refine(colours, statements)
    tied = [rank for rank in set(ranks) if ranks.count(rank) > 1]
    if not tied:
        yield sorted(range(len(ranks)), key=ranks.__getitem__)
        return
    for person, rank in enumerate(ranks):
        if rank == min(tied):
            yield from _orders([(other, i != person) for i, other in enumerate(ranks)], statements)


_LETTER = {KNIGHT: "T", KNAVE: "L", NOT: "!", AND: "&", OR: "|", IF: ">", IFF: "="}


def _prefix(statement: Statement, number: list[str]) -> str:
    """The statement in prefix notation, person i written as `number[i]`, parts whose order is free in sorted order."""
    head = statement[0]
    if head in (KNIGHT, KNAVE):
        return _LETTER[head] + number[statement[1]]
    left = _prefix(statement[1], number)
    if head == NOT:
        return "!" + left
    right = _prefix(statement[2], number)
    if right < left and head != IF:
        return _LETTER[head] + right + left
    return _LETTER[head] + left + right


def _refine(colours: list, statements: tuple[Statement, ...]) -> list[int]:
    """Ranks in place of colours, told further apart by the ranks of those whom each speaks of and is spoken of by."""
    speaks_of = [people(statement) for statement in statements]
    spoken_of_by = [[j for j, others in enumerate(speaks_of) if i in others] for i in range(len(statements))]
    classes = 0
    while True:
        rank_of = {colour: rank for rank, colour in enumerate(sorted(set(colours)))}
        ranks = [rank_of[colour] for colour in colours]
        if len(rank_of) in (classes, len(statements)):
            return ranks
        classes = len(rank_of)
        colours = [
            (rank, *(tuple(sorted(ranks[j] for j in others)) for others in (to, by)))
            for rank, to, by in zip(ranks, speaks_of, spoken_of_by, strict=True)
        ]


def people(statement: Statement) -> set[int]:
    """The numbers of those whom a statement speaks of."""
    head, *parts = statement
    return set(parts) if ARITY[head] == 0 else set().union(*map(people, parts))
