"""Knights and Knaves: from what people say, find out who always tells the truth and who always lies.

One real row (https://huggingface.co/datasets/K-and-K/knights-and-knaves, configuration train, split 3ppl), without the
columns that are not used here:
    {"quiz": "A very special island is inhabited only by knights and knaves. Knights always tell the truth, and knaves
              always lie. You meet 3 inhabitants: Michael, Zoey, and Ethan. Michael was heard saying, \\"Ethan is a
              knight if and only if Michael is a knight\\". \\"Zoey is a knight or Ethan is a knight,\\" Zoey mentioned.
              Ethan asserted: \\"Michael is a knave if and only if Zoey is a knave\\". So who is a knight and who is a
              knave?",
     "names": ["Michael", "Zoey", "Ethan"], "solution": [true, true, true],
     "statements": "(('<=>', ('telling-truth', 2), ('telling-truth', 0)), ('or', ...), ...)"}
    the solution: "(1) Michael is a knight\\n(2) Zoey is a knight\\n(3) Ethan is a knight"
"""

import ast
import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence

from mini_r1.rewards import Verdict, roles_verdict
from mini_r1.rewards.roles import roles_vote
from mini_r1.tasks.traces import attempts, closing

HUB_ID = "K-and-K/knights-and-knaves"
REWARD = "roles_reward"
ANSWER_EXAMPLE = "(1) Zoey is a knight\n(2) Oliver is a knave"
# One token each in a tiny tokenizer: a claim, who speaks, a name in a list, a supposed role, a truth value.
PHRASES = re.compile(
    r" [A-Z][a-z]+(?: is (?:not )?a kn(?:ight|ave)| says that| kn(?:ight|ave),|(?=[,.]))|(?: together)? (?:yes|no);"
)
ROLES = {True: "knight", False: "knave"}

# A statement is a nested tuple, as in the hub dataset's column `statements`, people by number:
#     ("telling-truth", 0)  ("lying", 1)  ("not", s)  ("and", s, t)  ("or", s, t)  ("->", s, t)  ("<=>", s, t)
# A world says of n people who is a knight: bit i of its number is set where person i is one. The truth table of a
# statement over all 2^n worlds is one integer, bit w for world w; so a connective is one operation on integers.
Statement = tuple
KNIGHT, KNAVE, NOT, AND, OR, IF, IFF = "telling-truth", "lying", "not", "and", "or", "->", "<=>"
ARITY = {KNIGHT: 0, KNAVE: 0, NOT: 1, AND: 2, OR: 2, IF: 2, IFF: 2}

# How often statements begin with each: those of the hub dataset (18,600, in 3,900 rows with 3, 4, 5 and 7 people), and
# those drawn here, tuned so that the puzzles with one solution, which are kept, have the same shares. "claim" is a bare
# claim.
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
# The first of each is the plain wording. Without quotation marks only that one is used, since an "if" or an "and" could
# belong to the sentence around it. {0} and {1} are parts, in parentheses where they have connectives themselves.
WORDINGS = {
    AND: ("{0} and {1}", "{0}, and {1}", "it is true both that {0} and that {1}"),
    OR: ("{0} or {1}", "{0}, or {1}, or both", "at least one of these is true: {0}; {1}"),
    IF: ("if {0} then {1}", "{1} if {0}", "{0} only if {1}", "whenever {0}, {1}"),
    IFF: ("{0} if and only if {1}", "{0} exactly if {1}", "{0} exactly when {1}"),
}
MOST_PEOPLE = 16  # 2^16 worlds; truth tables of more people take long


def parse_row(raw: dict) -> dict:
    """A raw row -> the task's columns and `difficulty`.

    Returns:
        {"quiz": str, "names": list of str, "roles": list of "knight"/"knave", "statements": str, "difficulty": how many
        people}. `statements` is the text of a tuple of nested tuples, one for each person, "" where the row has none.

    Raises:
        ValueError: naming the column, where it is missing, of the wrong type or wrong, and where the solution is not
            the only one that follows from the statements.
    """
    for column in ("quiz", "names", "solution"):
        if column not in raw:
            raise ValueError(f"column {column!r} is missing")
    quiz, names, solution = raw["quiz"], raw["names"], raw["solution"]
    if not isinstance(quiz, str) or not quiz.strip():
        raise ValueError(f"column 'quiz' must be a text, not {quiz!r}")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError(f"column 'names' must be a non-empty list of names, not {names!r}")
    try:
        check_names(names)
    except ValueError as error:
        raise ValueError(f"column 'names': {error}") from None
    if not isinstance(solution, list) or len(solution) != len(names) or any(type(x) is not bool for x in solution):
        raise ValueError(f"column 'solution' must be a list of {len(names)} booleans (is a knight), not {solution!r}")
    words = raw.get("knight_knave") or {}
    if not isinstance(words, dict) or any(words.get(word, word) != word for word in ROLES.values()):
        raise ValueError(f"column 'knight_knave' has other words than knight and knave: {words!r}")
    statements = raw.get("statements") or ""
    if statements and len(names) > MOST_PEOPLE:
        raise ValueError(f"column 'names' has {len(names)} names; {MOST_PEOPLE} people at most, or no 'statements'")
    if statements and solutions(_read_statements(statements, len(names))) != [tuple(solution)]:
        raise ValueError(f"column 'solution' is not the only one that fits column 'statements': {solution!r}")
    roles = [ROLES[knight] for knight in solution]
    return {"quiz": quiz, "names": names, "roles": roles, "statements": statements, "difficulty": len(names)}


def check_names(names: Sequence[str]) -> None:
    """Raises ValueError for names that are not all different, or that the reward cannot read in an answer."""
    if len({name.casefold() for name in names}) < len(names):
        raise ValueError(f"a name comes twice in {names!r}")
    names, roles = list(names), ["knight"] * len(names)
    answer = f"<think></think><answer>{_written(names, roles)}</answer>"
    if roles_verdict(answer, names, roles) is not Verdict.CORRECT:
        raise ValueError(f"no answer could use all of the names {names!r}; 'A' or 'Knight' are words of answers")


def _read_statements(text: object, n: int) -> tuple:
    """The hub's text of nested tuples, checked to be `n` statements about `n` people."""
    wrong = ValueError(
        f"column 'statements' is no tuple of {n} statements such as ('not', ('lying', 0)): {text!r:.100}"
    )
    try:
        statements = ast.literal_eval(str(text))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # all that literal_eval raises
        raise wrong from None

    def is_statement(value: object) -> bool:
        if not isinstance(value, tuple) or not value or not isinstance(value[0], str):
            return False
        head, *parts = value
        if ARITY.get(head) == 0:
            return len(parts) == 1 and type(parts[0]) is int and 0 <= parts[0] < n
        return len(parts) == ARITY.get(head) and all(map(is_statement, parts))

    if not isinstance(statements, tuple) or len(statements) != n or not all(map(is_statement, statements)):
        raise wrong
    return statements


def key(row: dict) -> str:
    """The statements, whatever the people's names and order; without statements the normalised quiz."""
    if row["statements"]:
        return canonical(ast.literal_eval(row["statements"]))
    return " ".join(row["quiz"].casefold().split())


def question(row: dict) -> str:
    return row["quiz"]


def gold_answer(row: dict) -> str:
    """The roles in the order of the names, as the hub writes them."""
    return _written(row["names"], row["roles"])


def _written(names: list[str], roles: list[str]) -> str:
    numbered = enumerate(zip(names, roles, strict=True), 1)
    return "\n".join(f"({number}) {name} is a {role}" for number, (name, role) in numbered)


def vote(text: str, row: dict) -> str | None:
    return roles_vote(text, row["names"], row["roles"])


def generate(
    n: int,
    seed: int,
    *,
    count: Sequence[int] = (2, 3, 4, 5, 6, 7, 8),
    depth: int = 1,
    mix: dict[str, float] | None = None,
    names: Sequence[str] = NAMES,
    in_order: bool = False,
    plain: bool = False,
) -> list[dict]:
    """`n` different puzzles, each with exactly one solution; the same for the same arguments.

    Statements are drawn at random; a puzzle is kept if the truth tables of all statements leave exactly one world. So
    every set of statements with one solution is as likely as its statements are.

    Args:
        count: a list of how many people a puzzle may have, 2 or more.
        depth: how deep connectives may nest; 1, the hub's, is "A is a knight or B is a knave".
        mix: how often a statement, or a part of one, begins with each of claim, not, and, or, -> and <=>; by default
            such that the puzzles have the hub dataset's mix.
        names: what people may be called.
        in_order: let people speak in the order in which they are introduced.
        plain: always the same wording, "Zoey says that ...", instead of many.

    Raises:
        ValueError: for unusable settings, or where they allow fewer than `n` different puzzles.
    """
    mix = {**dict.fromkeys(HUB_MIX, 0.0), **(HUB_MIX if mix is None else mix)}
    if set(mix) != set(HUB_MIX) or min(mix.values()) < 0 or not sum(mix.values()):
        raise ValueError(f"mix must give shares of {', '.join(HUB_MIX)}, not {mix!r}")
    if type(depth) is not int or depth < 0 or (depth == 0 and not mix["claim"]):
        raise ValueError(f"depth must be 0 or more, and 0 needs a share of claims, not {depth!r}")
    check_names(names)
    most = min(MOST_PEOPLE, len(names))
    if not isinstance(count, Sequence) or not count or not all(type(i) is int and 2 <= i <= most for i in count):
        raise ValueError(f"count must list numbers of people from 2 to {most}, such as [3, 4], not {count!r}")
    rng = random.Random(seed)
    makers = [StatementMaker(number, depth, mix, rng) for number in count]
    rows: list[dict] = []
    seen, misses = set(), 0
    while len(rows) < n:
        maker = rng.choice(makers)
        puzzle = draw_puzzle(maker)
        problem = canonical(puzzle[0]) if puzzle else None
        if puzzle is None or problem in seen:
            misses += 1
            if misses > 20_000:
                raise ValueError(f"these settings allow only about {len(rows)} different puzzles, {n} were asked for")
            continue
        misses = 0
        seen.add(problem)
        statements, solution = puzzle
        chosen = rng.sample(names, maker.n)
        quiz = write_puzzle(statements, chosen, rng, in_order=in_order, plain=plain)
        rows.append({"quiz": quiz, "names": chosen, "solution": list(solution), "statements": str(statements)})
    return rows


def trace(
    row: dict,
    rng: random.Random,
    *,
    give_up: float = 0.0,
    pushed: bool = False,
    break_format: float = 0.0,
    summary: bool = False,
) -> list[tuple[str, bool]]:
    """A worked completion, from after `<think>`: supposes one world after the other, checks each statement, answers.

    It suits rows made with `in_order` and `plain`, since it then copies statements literally. Each line recalls the
    roles that a statement speaks of, says whether its parts are true, then the whole, then compares that with the
    speaker's role; the trace leaves a world at the first statement that fails.

    Args:
        give_up: probability, after each wrong world, to stop and answer an untried one.
        pushed, break_format, summary: see `tasks/traces.py`.

    Returns:
        Pieces of text and whether each is to be learned; joined, they are the completion.

    Raises:
        ValueError: for a row without statements.
    """
    if not row["statements"]:
        raise ValueError("a row without statements cannot be traced")
    statements = ast.literal_eval(row["statements"])
    names = row["names"]
    tries = list(_search(statements, names))
    lines, stop = [text for _, text in tries], "I give up and guess.\n"
    pieces, ended = attempts(lines, rng, go_on="Next:", stop=stop, give_up=give_up, pushed=pushed)
    answer, _ = tries[ended]
    words = "These roles fit all that was said:\n{}"
    if ended + 1 < len(tries):
        answer = rng.choice(_worlds(len(names))[ended + 1 :])
        words = "I have not found the roles, and guess them:\n{}"
    written = _written(names, [ROLES[knight] for knight in answer])
    return [*pieces, closing(written, rng, break_format, words if summary else "")]


def _worlds(n: int) -> list[tuple[bool, ...]]:
    """All worlds of `n` people; all knights first, the last person changes fastest."""
    return list(itertools.product((True, False), repeat=n))


def _search(statements: tuple, names: list[str]) -> Iterator[tuple[tuple[bool, ...], str]]:
    """Yields each supposed world until one fits: who is a knight in it, and its lines."""
    said = [write_statement(statement, names, plain_wording) for statement in statements]
    for number, world in enumerate(_worlds(len(names))):
        is_a = [f" {name} {ROLES[knight]}," for name, knight in zip(names, world, strict=True)]
        lines = [("" if number else "First:") + "".join(is_a) + " then"]
        for speaker, statement in enumerate(statements):
            parts = statement[1:] if len(statement) == 3 else [statement]
            values = ""
            for part in parts:
                about = "".join(is_a[person] for person in sorted(people(part)))
                values += f"{about} {_yes_or_no(part, world)};"
            if len(parts) > 1:
                values += f" together {_yes_or_no(statement, world)};"
            fits = is_true(statement, world) == world[speaker]
            lines.append(
                f" {names[speaker]} says that {said[speaker]}:{values}{is_a[speaker]} {'fits' if fits else 'fails'}"
            )
            if not fits:
                break
        yield world, "\n".join(lines) + "\n"
        if fits:
            return


def _yes_or_no(statement: tuple, world: tuple[bool, ...]) -> str:
    return "yes" if is_true(statement, world) else "no"


def truth_tables(n: int) -> tuple[list[int], int]:
    """For each of n people the table of "is a knight", and the table that is true in every world."""
    everywhere = (1 << (1 << n)) - 1
    # 2^i worlds in which person i is no knight, then 2^i in which person i is one, and so on.
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
    """Whether a statement is true in `world`, which says of each person whether they are a knight."""
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

    No statement, and no part of one, is true in all worlds or in none. The parts of one connective are never claims, or
    denials, about the same person. Nobody makes a bare claim or denial about oneself, since it would say nothing.

    Args:
        depth: how deep connectives may nest.
        mix: how often a statement or a part begins with each, to a thousandth.
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
        left, first = self._draw(depth - 1, self.claims)
        about = left[1] if left[0] != NOT else left[1][1]  # a person, where the part is a claim or denies one
        allowed = self.others[about] if isinstance(about, int) else self.claims
        while True:
            right, second = self._draw(depth - 1, allowed)
            table = _connect(head, first, second, self.everywhere)
            if table and table != self.everywhere:
                return (head, left, right), table


def draw_puzzle(maker: StatementMaker) -> tuple[tuple[Statement, ...], tuple[bool, ...]] | None:
    """One statement for each person, and who is a knight; None where the statements have no single solution."""
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
    """The puzzle in English; `in_order`: speakers in the order of `names`, `plain`: the first of all wordings."""
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
    """A text that is equal for puzzles that differ only in the order of people or of the parts of and, or and iff.

    It orders people by what distinguishes them: their statement's shape, then who speaks of whom, refined until nothing
    changes. Among people that are still alike it puts each first in turn, and takes the smallest text. The text is in
    prefix notation, with one character for each part.
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
    """Yields the orders of people by refined colour; people of one colour take turns at being first."""
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
    """The statement in prefix notation; person i is `number[i]`, and parts whose order does not matter are sorted."""
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
    """Ranks that replace colours, refined by the ranks of the people whom each speaks of, and who speak of them."""
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
    """The numbers of the people whom a statement speaks of."""
    head, *parts = statement
    return set(parts) if ARITY[head] == 0 else set().union(*map(people, parts))
