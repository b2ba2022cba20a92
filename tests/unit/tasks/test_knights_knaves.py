"""Knights and Knaves: rows of the hub's schema, puzzles with exactly one solution, their English, their identity."""

import ast
import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mini_r1.rewards import format_reward, roles_reward
from mini_r1.tasks import knights_knaves as task

ROW = {
    "quiz": "You meet 2 inhabitants: Zoey, and Noah. Zoey said that Noah is a knave. Noah said that ...",
    "names": ["Zoey", "Noah"],
    "solution": [False, True],
    "statements": "(('lying', 1), ('or', ('lying', 0), ('lying', 1)))",
    "knight_knave": {"knight": "knight", "knave": "knave", "a_knight": "a knight"},
    "index": 7,
}


def holds(statement: tuple, world: tuple[bool, ...]) -> bool:
    """What a statement says of one world, by the book: no truth tables."""
    head, *parts = statement
    if head == "telling-truth":
        return world[parts[0]]
    if head == "lying":
        return not world[parts[0]]
    values = [holds(part, world) for part in parts]
    return {
        "not": lambda: not values[0],
        "and": lambda: values[0] and values[1],
        "or": lambda: values[0] or values[1],
        "->": lambda: values[1] if values[0] else True,
        "<=>": lambda: values[0] == values[1],
    }[head]()


def worlds_that_fit(statements: tuple) -> list[tuple[bool, ...]]:
    every = itertools.product([True, False], repeat=len(statements))
    return [w for w in every if all(holds(s, w) == knight for s, knight in zip(statements, w, strict=True))]


def statements_about(n: int):
    claims = st.tuples(st.sampled_from(["telling-truth", "lying"]), st.integers(0, n - 1))
    return st.recursive(
        claims,
        lambda s: st.tuples(st.just("not"), s) | st.tuples(st.sampled_from(["and", "or", "->", "<=>"]), s, s),
        max_leaves=6,
    )


PUZZLES = st.integers(1, 4).flatmap(lambda n: st.tuples(*[statements_about(n)] * n))


def test_a_row_of_the_hub():
    row = task.parse_row(ROW)
    assert row == {
        "quiz": ROW["quiz"],
        "names": ["Zoey", "Noah"],
        "roles": ["knave", "knight"],
        "statements": ROW["statements"],
        "difficulty": 2,
    }
    assert task.gold_answer(row) == "(1) Zoey is a knave\n(2) Noah is a knight"
    assert task.question(row) == ROW["quiz"]


def test_a_row_without_statements():
    row = task.parse_row({name: ROW[name] for name in ("quiz", "names", "solution")})
    assert row["statements"] == ""
    assert task.key(row) == task.key({**row, "quiz": "  " + ROW["quiz"].upper().replace(" ", "\n")})
    with pytest.raises(ValueError, match="without statements"):
        task.trace(row, random.Random(0))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"quiz": None}, "column 'quiz' must be a text"),
        ({"quiz": " \n"}, "column 'quiz' must be a text"),
        ({"names": []}, "column 'names' must be a non-empty list"),
        ({"names": "Zoey"}, "column 'names' must be a non-empty list"),
        ({"names": ["Zoey", 3]}, "column 'names' must be a non-empty list"),
        ({"names": ["A", "B"]}, "column 'names': no answer could use all of the names"),
        ({"names": ["Zoey", "zoey"]}, "column 'names': a name comes twice"),
        ({"solution": [True]}, "column 'solution' must be a list of 2 booleans"),
        ({"solution": [1, 0]}, "column 'solution' must be a list of 2 booleans"),
        ({"solution": "TF"}, "column 'solution' must be a list of 2 booleans"),
        ({"solution": [True, True]}, "column 'solution' is not the only one that fits column 'statements'"),
        ({"statements": "(('lying', 1), ('telling-truth', 1))", "solution": [False, True]}, "is not the only one"),
        ({"statements": "("}, "column 'statements' is no tuple of 2 statements"),
        ({"statements": "(" * 10_000}, "column 'statements' is no tuple of 2 statements"),
        ({"statements": "__import__('os')"}, "column 'statements' is no tuple of 2 statements"),
        ({"statements": ["lying", 1]}, "column 'statements' is no tuple of 2 statements"),
        ({"statements": "(('lying', 1),)"}, "column 'statements' is no tuple of 2 statements"),
        ({"statements": "(('lying', 1), ('lying', 2))"}, "column 'statements' is no tuple of 2 statements"),
        ({"statements": "(('lying', 1), ('lying', True))"}, "column 'statements' is no tuple of 2 statements"),
        ({"statements": "(('lying', 1), ('xor', ('lying', 0), ('lying', 1)))"}, "is no tuple of 2 statements"),
        ({"statements": "(('lying', 1), ('and', ('lying', 0)))"}, "column 'statements' is no tuple of 2 statements"),
        ({"knight_knave": {"knight": "hero", "knave": "villain"}}, "column 'knight_knave' has other words"),
        ({"knight_knave": {"knight": "knave", "knave": "knight"}}, "column 'knight_knave' has other words"),
    ],
)
def test_bad_rows_name_the_column(change, expected):
    with pytest.raises(ValueError) as error:
        task.parse_row({**ROW, **change})
    assert expected in str(error.value)


@pytest.mark.parametrize("column", ["quiz", "names", "solution"])
def test_missing_column(column):
    with pytest.raises(ValueError, match=f"column '{column}' is missing"):
        task.parse_row({name: value for name, value in ROW.items() if name != column})


@given(PUZZLES)
def test_truth_tables_agree_with_a_plain_evaluation(statements):
    assert task.solutions(statements) == sorted(
        worlds_that_fit(statements), key=lambda w: sum(knight << i for i, knight in enumerate(w))
    )


@given(PUZZLES, st.randoms(use_true_random=False))
def test_identity_knows_no_order(statements, rng):
    """People renumbered, operands of the symmetric connectives swapped: the same problem."""
    n = len(statements)
    number = rng.sample(range(n), n)

    def rewrite(statement):
        head, *parts = statement
        if head in ("telling-truth", "lying"):
            return (head, number[parts[0]])
        parts = [rewrite(part) for part in parts]
        if head in ("and", "or", "<=>") and rng.random() < 0.5:
            parts.reverse()
        return (head, *parts)

    renumbered = [None] * n
    for person, statement in enumerate(statements):
        renumbered[number[person]] = rewrite(statement)
    assert task.canonical(tuple(renumbered)) == task.canonical(statements)


def test_identity_tells_problems_apart():
    """All puzzles of two people with one claim or one implication each: as many keys as a search over renumberings."""
    claims = [(head, i) for head in ("telling-truth", "lying") for i in (0, 1)]
    said = [*claims, *(("->", a, b) for a in claims for b in claims)]
    swap = {0: 1, 1: 0}

    def swapped(s):
        return (s[0], swap[s[1]]) if len(s) == 2 else (s[0], swapped(s[1]), swapped(s[2]))

    classes = {frozenset([(a, b), (swapped(b), swapped(a))]) for a in said for b in said}
    assert len({task.canonical((a, b)) for a in said for b in said}) == len(classes)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"count": [2], "depth": 2},
        {"count": [5], "depth": 3},
        {"count": [8]},
        {"count": [3], "in_order": True, "plain": True},
        {"count": [4], "mix": {"claim": 1, "and": 1}},
    ],
)
def test_generated_puzzles_have_one_solution_and_say_so(settings):
    rows = task.generate(60, 3, **settings)
    assert rows == task.generate(60, 3, **settings)
    assert rows != task.generate(60, 4, **settings)
    parsed = [task.parse_row(row) for row in rows]
    assert len({task.key(row) for row in parsed}) == len(rows)
    for row in parsed:
        statements = ast.literal_eval(row["statements"])
        assert worlds_that_fit(statements) == [tuple(role == "knight" for role in row["roles"])]
        assert row["difficulty"] == len(row["names"]) in settings.get("count", range(2, 9))
        assert all(name in row["quiz"] for name in row["names"])
        text = f"<think>hm</think><answer>{task.gold_answer(row)}</answer>"
        assert roles_reward(completions=[text], names=[row["names"]], roles=[row["roles"]]) == [1.0]


def depth(statement: tuple) -> int:
    head, *parts = statement
    return 0 if head in ("telling-truth", "lying") else 1 + max(map(depth, parts))


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_depth_is_a_limit_that_is_reached(limit):
    rows = task.generate(200, 0, count=[4], depth=limit)
    assert max(depth(s) for row in rows for s in ast.literal_eval(row["statements"])) == limit


def test_the_mix_is_the_hubs():
    rows = task.generate(4000, 0, count=[3, 4, 5, 7])
    heads = Counter(s[0] for row in rows for s in ast.literal_eval(row["statements"]))
    for head, share in task.HUB_SHARES.items():
        assert heads[head] / heads.total() == pytest.approx(share, abs=0.02), head


def test_wording_and_order_vary():
    rows = task.generate(500, 0, count=[3])
    assert len({name for row in rows for name in row["names"]}) > 40
    assert len({row["quiz"].split(".")[0] for row in rows}) >= 3
    for frame in task.FRAMES:
        fixed = max(frame.replace("{1}", "{0}").replace("{2}", "{0}").split("{0}"), key=len)
        assert any(fixed in row["quiz"] for row in rows), frame
    first_speakers = [min(row["names"], key=lambda name: row["quiz"].rindex(name)) for row in rows]
    assert len({row["names"].index(name) for row, name in zip(rows, first_speakers, strict=True)}) == 3


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"count": [2], "depth": 0}, "allow only about 0 different puzzles"),  # turned around, all would fit again
        ({"count": [2], "mix": {"claim": 1, "not": 1}}, "allow only about 0 different puzzles"),
        ({"count": [2], "mix": {"claim": 1, "and": 1}}, "allow only about "),
        ({"count": []}, "count must list"),
        ({"count": [1]}, "count must list"),
        ({"count": 3}, "count must list numbers of people from 2 to 16, such as [3, 4], not 3"),
        ({"count": [3], "names": ["Zoey", "Noah"]}, "count must list"),
        ({"names": ["A", "B", "C"]}, "no answer could use all of the names"),
        ({"names": ["Zoey", "Noah", "zoey"]}, "a name comes twice"),
        ({"depth": 1.5}, "depth must be 0 or more"),
        ({"depth": -1}, "depth must be 0 or more"),
        ({"depth": 0, "mix": {"and": 1}}, "depth must be 0 or more"),
        ({"mix": {"xor": 1}}, "mix must give shares of claim, not, and, or, ->, <=>"),
        ({"mix": {"and": -1, "or": 2}}, "mix must give shares"),
        ({"mix": {"and": 0}}, "mix must give shares"),
    ],
)
def test_settings_that_cannot_be(settings, expected):
    with pytest.raises(ValueError) as error:
        task.generate(5_000, 0, **settings)
    assert expected in str(error.value)


PLAIN = [task.parse_row(row) for row in task.generate(60, 0, count=[2, 3], in_order=True, plain=True)]


def graded(row: dict, trace: list[tuple[str, bool]]) -> tuple[float, float]:
    text = ["<think>" + "".join(piece for piece, _ in trace)]
    return format_reward(text)[0], roles_reward(text, names=[row["names"]], roles=[row["roles"]])[0]


@pytest.mark.parametrize("row", PLAIN[:20])
def test_a_trace_finds_the_solution(row):
    trace = task.trace(row, random.Random(0))
    assert graded(row, trace) == (1.0, 1.0)
    assert all(learned for _, learned in trace)
    text = "".join(piece for piece, _ in trace)
    world = tuple(role == "knight" for role in row["roles"])
    tried = list(itertools.product([True, False], repeat=len(world))).index(world) + 1
    assert text.count("First:") + text.count("Next:") == tried
    assert text.count("fails") == tried - 1


def test_who_gives_up_guesses_a_world_that_was_not_tried():
    for row in PLAIN:
        trace = task.trace(row, random.Random(1), give_up=1.0)
        text = "".join(piece for piece, _ in trace)
        if "fails" in text:
            assert "I give up and guess." in text and "Next:" not in text
            assert text.split("<answer>")[1].count("knave") > 0  # all knights was tried
        else:
            assert graded(row, trace) == (1.0, 1.0)


def test_a_pushed_trace_hides_the_deciding_tokens():
    hidden = 0
    for seed in range(200):
        row = PLAIN[seed % len(PLAIN)]
        trace = task.trace(row, random.Random(seed), give_up=1.0, pushed=True)
        assert {text for text, learned in trace if not learned} <= {"Next:"}
        hidden += sum(not learned for _, learned in trace)
        assert sum(learned and text == "Next:" for text, learned in trace) == 0
    assert hidden > 50


def test_a_broken_format_is_broken():
    scores = [graded(row, task.trace(row, random.Random(0), break_format=1.0)) for row in PLAIN]
    assert {score for score, _ in scores} == {0.0}
