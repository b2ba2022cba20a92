"""What a puzzle's English says is what its statements say: read back, whatever the wording, and never in two ways."""

import ast
import re

import pytest

from mini_r1.tasks import knights_knaves as task
from mini_r1.tasks.knights_knaves import FRAMES, WORDINGS, canonical, solutions, truth_table, truth_tables

CLAIMS = {"is a knight": "telling-truth", "is a knave": "lying"}


def read_claim(text: str, names: list[str]) -> tuple | None:
    match = re.fullmatch(r"(\w+) is (not )?a (knight|knave)", text, re.IGNORECASE)
    if not match or match[1] not in names:
        return None
    claim = (CLAIMS[f"is a {match[3]}"], names.index(match[1]))
    return ("not", claim) if match[2] else claim


def read(text: str, names: list[str]) -> set[tuple]:
    """All statements that a text could mean, by the book: every wording at every place outside parentheses."""
    claim = read_claim(text, names)
    found = {claim} if claim else set()
    denial = "it is not true that "
    if text.lower().startswith(denial):
        found |= {("not", inner) for inner in read_part(text[len(denial) :], names)}
    for head, wordings in WORDINGS.items():
        for wording in wordings:
            first, second = re.findall(r"{([01])}", wording)
            before, between, after = re.split(r"{[01]}", wording)
            if not (text.lower().startswith(before) and text.endswith(after)):
                continue
            body = text[len(before) : len(text) - len(after)]
            for match in re.finditer(re.escape(between), body):
                if body[: match.start()].count("(") != body[: match.start()].count(")"):
                    continue
                parts = {first: body[: match.start()], second: body[match.end() :]}
                left, right = (read_part(parts[number], names) for number in "01")
                found |= {(head, x, y) for x in left for y in right}
    return found


def read_part(text: str, names: list[str]) -> set[tuple]:
    """A part is a claim, its denial, or stands in parentheses."""
    if text.startswith("(") and text.endswith(")"):
        return read(text[1:-1], names)
    claim = read_claim(text, names)
    return {claim} if claim else set()


def said_by(quiz: str, name: str) -> list[str]:
    """What a person says: every frame that fits, no quotation mark or full stop inside."""
    found = []
    for frame in FRAMES:
        pattern = re.escape(frame).replace(r"\{0\}", rf"\b{name}\b")
        pattern = re.sub(r"\\{[12]\\}", lambda _: r'([^."]+?)', pattern)
        found += [text for text in re.findall(rf"(?:^|(?<=[.] )|(?<=\" )){pattern}", quiz)]
    return found


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("plain", [True, False])
def test_the_english_has_one_reading_and_it_is_the_statement(depth, plain):
    heads = set()
    for raw in task.generate(150, 0, count=[2, 3, 5], depth=depth, plain=plain):
        names = raw["names"]
        for person, statement in enumerate(ast.literal_eval(raw["statements"])):
            said = said_by(raw["quiz"], names[person])
            assert len(said) == 1, (names[person], raw["quiz"])
            assert read(said[0], names) == {statement}, said[0]
            heads.add(statement[0])
    assert heads == {"telling-truth", "lying", "not", "and", "or", "->", "<=>"}


def test_the_reader_knows_one_reading_from_two():
    names = ["Ann", "Bob", "Cid"]
    assert read("Ann is a knight if Bob is a knave", names) == {("->", ("lying", 1), ("telling-truth", 0))}
    assert read("Ann is a knight only if Bob is a knave", names) == {("->", ("telling-truth", 0), ("lying", 1))}
    assert read("Ann is a knight or Bob is a knave and Cid is a knave", names) == set()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_statement_says_nothing(depth):
    """Neither true in all worlds nor in none; of such a puzzle no person could be left out."""
    for raw in task.generate(200, 1, count=[3], depth=depth):
        statements = ast.literal_eval(raw["statements"])
        knights, everywhere = truth_tables(3)
        assert all(truth_table(statement, knights, everywhere) not in (0, everywhere) for statement in statements)


@pytest.mark.parametrize("n", [8, 16])
def test_identity_of_people_who_are_all_alike(n):
    """A ring, each calling oneself a knave and the next a knight: trying all orders would take for ever."""
    ring = tuple(("and", ("lying", i), ("telling-truth", (i + 1) % n)) for i in range(n))
    turned = tuple(("and", ("telling-truth", (i - 1) % n), ("lying", i)) for i in range(n))  # the other way round
    assert canonical(ring) == canonical(turned)
    assert solutions(ring) == [(False,) * n]
