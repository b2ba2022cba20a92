"""Knights and Knaves: from what people say, find out who always tells the truth and who always lies.

One real row (hub id K-and-K/knights-and-knaves, configuration train, split 3ppl; columns not used here left out):
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
from collections.abc import Iterator, Sequence

from mini_r1.rewards import Verdict, roles_verdict
from mini_r1.rewards.roles import roles_vote
from mini_r1.tasks._knights_knaves_puzzles import (
    ARITY,
    HUB_MIX,
    MOST_PEOPLE,
    NAMES,
    StatementMaker,
    canonical,
    draw_puzzle,
    is_true,
    people,
    plain_wording,
    solutions,
    write_puzzle,
    write_statement,
)
from mini_r1.tasks._traces import attempts, closing

HUB_ID = "K-and-K/knights-and-knaves"
REWARD = "roles_reward"
ANSWER_EXAMPLE = "(1) Zoey is a knight\n(2) Oliver is a knave"
# What is to be one token of a tiny tokenizer: a claim, who speaks, a name in a list, a supposed role, a truth value.
PHRASES = re.compile(
    r" [A-Z][a-z]+(?: is (?:not )?a kn(?:ight|ave)| says that| kn(?:ight|ave),|(?=[,.]))|(?: together)? (?:yes|no);"
)
ROLES = {True: "knight", False: "knave"}


def parse_row(raw: dict) -> dict:
    """A raw row -> {"quiz": str, "names": list of str, "roles": list of "knight"/"knave", "statements": str,
    "difficulty": how many people}.

    `statements`, "" where the row has none, is the text of a tuple of nested tuples, one for each person. Where it is
    there, the solution must follow from it, and no other.

    Raises:
        ValueError: naming the column, where it is missing, of the wrong type or wrong.
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
    """Raises ValueError for names that are not all different, or that the reward could not find in an answer."""
    if len({name.casefold() for name in names}) < len(names):
        raise ValueError(f"a name comes twice in {names!r}")
    roles = ["knight"] * len(names)
    if roles_verdict(f"<think></think><answer>{_written(names, roles)}</answer>", names, roles) is not Verdict.CORRECT:
        raise ValueError(f"no answer could use all of the names {names!r}; 'A' or 'Knight' are words of answers")


def _read_statements(text: object, n: int) -> tuple:
    """The hub's text of nested tuples, checked to be `n` statements about `n` people."""
    wrong = ValueError(
        f"column 'statements' is no tuple of {n} statements such as ('not', ('lying', 0)): {text!r:.100}"
    )
    try:
        statements = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # all that it raises for bad text
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
    """The statements, whatever the people's names and order; for a row without statements the normalised quiz."""
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
    """`n` puzzles, no two alike, each with exactly one solution; the same for the same arguments.

    Statements are drawn at random; a puzzle is kept if the truth tables of all statements leave exactly one world. So
    every set of statements with one solution is as likely as its statements are.

    Args:
        count: how many people a puzzle may have, 2 or more.
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
    rows, seen, misses = [], set(), 0
    while len(rows) < n:
        maker = rng.choice(makers)
        puzzle = draw_puzzle(maker)
        problem = canonical(puzzle[0]) if puzzle else None
        if problem is None or problem in seen:
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

    Best for rows made with `in_order` and `plain`: then statements are copied as they stand. Each line recalls the
    roles that a statement speaks of, says whether its parts are true, then the whole, then compares that with the
    speaker's role; a world is left at the first that fails.

    Args:
        give_up, pushed, break_format, summary: as in `tasks/countdown.py`; who gives up answers an untried world.

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
    """All ways to be knights and knaves; all knights first, the last person changes fastest."""
    return list(itertools.product((True, False), repeat=n))


def _search(statements: tuple, names: list[str]) -> Iterator[tuple[tuple[bool, ...], str]]:
    """Each supposed world until one fits: who is a knight in it, and its lines."""
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
