"""What completions vote for: tables that end with their reason; right answers share one vote, no wrong one has it."""

import itertools
import json

import pytest
from corpus import FILES
from hypothesis import assume, given
from hypothesis import strategies as st
from tables import RIGHT, table, turn

from mini_r1 import tasks
from mini_r1.rewards import equation_verdict, number_verdict, roles_verdict
from mini_r1.rewards.equation import ANSWER_CAP, NOT_ALLOWED, equation_vote
from mini_r1.rewards.number import number_vote, read_number
from mini_r1.rewards.roles import roles_vote

EQUATIONS = [
    ("2 * 4", [4, 2], "8", "the value"),
    ("(4) * 2", [4, 2], "8", "another expression of the same value"),
    ("2 - 4", [4, 2], "-2", "negative"),
    ("1 / 2 / 3", [3, 2, 1], "1/6", "a fraction"),
    ("4 / 2", [4, 2], "2", "whole again"),
    ("2 + 4 + 2", [4, 2], NOT_ALLOWED + "2+4+2", "a number too often, though it makes 8"),
    ("8", [4, 2], NOT_ALLOWED + "8", "the value itself is no vote for it"),
    ("2 * 4 = 8", [4, 2], NOT_ALLOWED + "2*4=8", "an equation"),
    ("2*4=8", [4, 2], NOT_ALLOWED + "2*4=8", "blanks do not count"),
    ("2 / (4 - 4)", [2, 4, 4], NOT_ALLOWED + "2/(4-4)", "division by zero"),
    ("2 4 *", [4, 2], NOT_ALLOWED + "24*", "no expression"),
    ("9" * 5000, [4, 2], NOT_ALLOWED + "9" * 100, "a giant literal"),
    ("no idea", [4, 2], None, "no number"),
    (" ", [4, 2], None, "blank"),
    ("2 * 4" + " " * ANSWER_CAP, [4, 2], None, "too long"),
    ("2 * 4", ["4", 2], None, "an unusable gold"),
    ("*".join(["9" * 300] * 3), [int("9" * 300)] * 3, hex(int("9" * 300) ** 3), "more digits than Python may write"),
]
NUMBERS = [
    ("72", "72", "as it is"),
    ("72.0", "72", "a decimal"),
    ("$72", "72", "a currency"),
    ("144/2", "72", "a fraction"),
    (r"\boxed{72} clips.", "72", "boxed, with a unit"),
    ("So 72 = 72.00", "72", "said again"),
    ("1,234", "1234", "thousands"),
    ("2.50", "5/2", "half"),
    ("-5", "-5", "negative"),
    ("minus 5", "-5", "negative in words"),
    ("-0", "0", "no negative zero"),
    ("71 or 72", None, "a choice"),
    ("about 72", None, "a bound"),
    ("12,34", None, "a misplaced comma"),
    ("many", None, "no number"),
    ("7" * 101, None, "too many digits"),
    ("72" + " " * 1000, None, "too long"),
]
NAMES, ROLES = ["Zoey", "Mary Ann", "Noah"], ["knight", "knave", "knight"]
GOLD = "Zoey is a knight, Mary Ann is a knave, Noah is a knight"
PEOPLE = [
    ("Noah: knight, Zoey: knight, Mary Ann: knave", GOLD, "any order"),
    ("Knights: Zoey, Noah\nKnaves: Mary Ann", GOLD, "by role"),
    ("The knave is Mary Ann. The knights are Noah and Zoey", GOLD, "the knights"),
    ("The knights are Zoey, Mary Ann and Noah. There are no knaves", GOLD.replace("knave", "knight"),
     "a wrong answer that speaks of all"),
    ("The knight is Zoey. Noah is a knight", None, "speaks of all knights and then names another"),
    ("mary ann is a knave", "Mary Ann is a knave", "the others left out"),
    ("Zoey is a knight, Zoey is a knave", None, "two roles"),
    ("Zoey is probably a knight", None, "a hedge"),
    ("Emma is a knight", None, "nobody known"),
    ("There are no knaves", None, "nobody named"),
    ("", None, "blank"),
]  # fmt: skip


@table("answer, nums, vote, reason", EQUATIONS)
def test_equation_vote(answer, nums, vote, reason):
    assert equation_vote(turn(answer), nums, 8) == vote, reason


@table("answer, vote, reason", NUMBERS)
def test_number_vote(answer, vote, reason):
    assert number_vote(turn(answer), "8") == vote, reason


@table("answer, vote, reason", PEOPLE)
def test_roles_vote(answer, vote, reason):
    assert roles_vote(turn(answer), NAMES, ROLES) == vote, reason


def test_without_an_answer_block_there_is_no_vote():
    assert equation_vote("<think>1 + 2", [1, 2], 3) is None
    assert number_vote("<think>72</think>72", "72") is None
    assert roles_vote("Zoey is a knight", NAMES, ROLES) is None
    assert read_number("-2.5") == -2.5


def gold_column(name: str, case: dict) -> str:
    return json.dumps([case[column] for column in ("nums", "target", "answer", "names", "roles") if column in case])


@pytest.mark.parametrize("name", ["equation", "number", "roles"])
def test_right_answers_of_the_corpus_share_a_vote(name):
    vote_of = {"equation": equation_vote, "number": number_vote, "roles": roles_vote}[name]
    by_problem: dict[str, list] = {}
    for case in FILES[name]:
        if case["verdict"] is not None:
            columns = {column: value for column, value in case.items() if column not in ("text", "verdict", "reason")}
            vote = vote_of(case["text"], **columns)
            by_problem.setdefault(gold_column(name, case), []).append((case["verdict"], vote))
    compared = 0
    for votes in by_problem.values():
        right = {vote for verdict, vote in votes if verdict == "correct"}
        wrong = {vote for verdict, vote in votes if verdict != "correct"}
        assert len(right) <= 1 and None not in right and not right & wrong
        compared += bool(right and wrong)
    assert compared


TOKENS = st.sampled_from(["2", "3", "12", "+", "-", "*", "/", "(", ")", " ", "=", "."])
ANSWERS = st.lists(TOKENS | st.text(max_size=2), max_size=12).map("".join)


@given(ANSWERS, st.integers(-9, 9))
def test_equations_vote_for_the_target_where_they_are_right(answer, target):
    vote = equation_vote(turn(answer), [2, 3], target)
    assert (vote == str(target)) is (equation_verdict(turn(answer), [2, 3], target) is RIGHT)


@given(st.sampled_from("+-*/"), st.permutations([2, 3, 5]), st.sampled_from("+-*/"))
def test_the_value_is_a_vote_of_its_own(first, nums, second):
    answer = f"({nums[0]} {first} {nums[1]}) {second} {nums[2]}"
    vote = equation_vote(turn(answer), [2, 3, 5], 0)
    top, _, bottom = vote.partition("/")
    assume(not bottom)
    assert equation_verdict(turn(answer), [2, 3, 5], int(top)) is RIGHT


WORDS = [
    *(
        "72",
        "7",
        "2",
        "-",
        "−",
        "$",
        ",",
        ".",
        "\\boxed{",
        "}",
        " ",
        "\n",
        "=",
        "(",
        ")",
        "eggs",
        "not",
        "and",
        "minus ",
    ),
    *("\\frac{144}{2}", "/2", "%", "½", "k", "**"),
]
NUMBER_TEXTS = st.lists(st.sampled_from(WORDS), max_size=9).map("".join)


@given(NUMBER_TEXTS, st.sampled_from(["72", "-72", "7", "36", "3.5"]))
def test_numbers_vote_for_the_gold_where_they_are_right(answer, gold):
    of_gold = number_vote(turn(gold), gold)
    assert (number_vote(turn(answer), gold) == of_gold) is (number_verdict(turn(answer), gold) is RIGHT)


CLAIMS = [
    *("Zoey", "Mary Ann", "Noah", " is a knight", " is a knave", ": knave", ", ", "\n", ". ", " and ", " are knights"),
    *("Knights: ", "Knaves:", "The knave is ", "The knights are ", "There are no knaves", "None", "not ", "(1) "),
]


@given(st.lists(st.sampled_from(CLAIMS), max_size=14).map("".join))
def test_roles_vote_for_the_gold_where_they_are_right(answer):
    assert (roles_vote(turn(answer), NAMES, ROLES) == GOLD) is (roles_verdict(turn(answer), NAMES, ROLES) is RIGHT)


@given(st.permutations(range(3)), st.sampled_from([(", ", ": "), ("\n", " is a "), (". ", " is also a ")]))
def test_order_and_form_of_roles_do_not_matter(order, form):
    between, is_a = form
    for roles in itertools.product(["knight", "knave"], repeat=3):
        answer = between.join(f"{NAMES[i]}{is_a}{roles[i]}" for i in order)
        plain = ", ".join(f"{name} is a {role}" for name, role in zip(NAMES, roles, strict=True))
        assert roles_vote(turn(answer), NAMES, ROLES) == plain


@pytest.mark.parametrize("name", [name for name in tasks.names() if hasattr(tasks.get(name), "vote")])
def test_each_task_votes_for_its_own_gold(name):
    task = tasks.get(name)
    first, second = (task.parse_row(raw) for raw in tasks.examples(task, 2))
    vote = task.vote(turn(task.gold_answer(first)), first)
    assert vote and vote == task.vote("Sure! " + turn(task.gold_answer(first), "other words"), first)
    assert task.vote(turn(task.gold_answer(second)), first) != vote
    assert task.vote("<think>hm", first) is None
