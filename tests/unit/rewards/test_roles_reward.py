"""The Knights and Knaves reward: tables of what it says, then properties over any text and any names.

rewards/corpus/roles.jsonl has many more whole turns and their verdicts.
"""

import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import MEGABYTE, RIGHT, UNPARSEABLE, WRONG, table, turn

from mini_r1.rewards.roles import ANSWER_CAP, ROLES, roles_reward, roles_verdict

NAMES, GOLD = ["Zoey", "Ethan"], ["knight", "knave"]
HUB = "(1) Zoey is a knight\n(2) Ethan is a knave"

# Zoey is a knight, Ethan a knave: (answer, verdict, reason)
ANSWERS = [
    (HUB, RIGHT, "the form asked for"),
    ("Ethan is a knave and Zoey is a knight", RIGHT, "any order"),
    ("The answer is: Knights: Zoey; Knaves: Ethan.", RIGHT, "lead-in and headings"),
    ("Zoey is the knight. The knave is Ethan.", RIGHT, "the only knight and the only knave"),
    ("Zoey is the only knight, while the only knave is Ethan!", RIGHT, "the only one of a role"),
    ("(999) Zoey is a knight\n(1) Ethan is a knave", RIGHT, "list numbers need no order"),
    (HUB + " " * (ANSWER_CAP - len(HUB)), RIGHT, "as long as the cap"),
    (HUB + " " * (ANSWER_CAP - len(HUB) + 1), WRONG, "one character over the cap"),
    ("Zoey is a knight, Ethan is a knight", WRONG, "understandable, but wrong"),
    ("Zoey is a knight", WRONG, "understandable, but incomplete"),
    ("Zoey is not a knight", WRONG, "a known person and a role, outside the grammar"),
    ("The knights are Zoey and Ethan", WRONG, "both called knights"),
    ("Everyone is a knight", UNPARSEABLE, "nobody is named"),
    ("Zoey lies", UNPARSEABLE, "no role is named"),
    ("", UNPARSEABLE, "empty"),
    (". Zoey is a knight, Ethan is a knave", WRONG, "a separator in front"),
    ("and Zoey is a knight, Ethan is a knave", WRONG, "and in front"),
    ("Zoey is a knight, Ethan is a knave, and", WRONG, "and at the end"),
    ("Zoey is a knight, Ethan is a knave, but maybe not", WRONG, "but and a hedge"),
    ("Zoey is a knight, while Ethan", WRONG, "while without a whole claim after it"),
    ("The roles are not as follows: " + HUB, WRONG, "a lead-in that denies"),
    ("There are no knights. " + HUB, WRONG, "no knights, but there is one"),
    ("| Role | Name |\n|---|---|\n| Zoey | knight |\n| Ethan | knave |", WRONG, "a header over the other column"),
    ("Zoey is a knight - Ethan is a knave", WRONG, "a dash is a bullet at the start of a line only"),
    ("Zoey: knight)\n(Ethan: knave", WRONG, "stray parentheses"),
    ("(1000) Zoey is a knight\nEthan is a knave", WRONG, "a list number above 999"),
    ("Zoey is a knight NEWLINE Ethan is a knave", WRONG, "a word is no line break"),
    ("Zoey ARROW knight, Ethan ARROW knave", WRONG, "a word is no arrow"),
]

# (text, verdict, reason); only the verdict is looked at, not the time
MEGABYTES = [
    (turn(HUB, reasoning="Zoey is a knave. " * (MEGABYTE // 17)), RIGHT, "no cap on the reasoning"),
    (turn(HUB, reasoning="</answe" * (MEGABYTE // 7)), RIGHT, "near-tags in the reasoning"),
    *[(turn(unit * (MEGABYTE // len(unit))), WRONG, f"answer of {unit!r}") for unit in ("Zoey ", "(", "and ", HUB)],
    *[(unit * (MEGABYTE // len(unit)), UNPARSEABLE, f"nothing but {unit}") for unit in ("<think>", "<answer>")],
]
# Up to the cap the whole grammar is at work: (start, what follows again and again, verdict)
UP_TO_CAP = [
    *[("", unit, UNPARSEABLE) for unit in ("Zoey, ", "Zoey and ", "(", "(1) ", "\n", "knights: ", "{", "|", "-", "a'")],
    *[(HUB, unit, WRONG) for unit in (" and Zoey", "(1)", ".", ", Ethan is a knave", "\n- Zoey", "|", "{", "-")],
    *[("", unit, UNPARSEABLE) for unit in ("answer: ", "the roles are ", "in conclusion, ", "there are no ", "but ")],
    *[(HUB, unit, WRONG) for unit in (", but ", " and\n", "# ", "\n# Knights\n", "!", "\nThe only knave ")],
    *[("Knights\n- Zoey", unit, WRONG) for unit in ("\n- Ethan", "\nEthan, Zoey", "\nnone", "\nKnaves")],
    *[("Knights: Zoey", unit, WRONG) for unit in (", Ethan", " and Ethan", "\n", "\nEthan", "(1)", "\nKnights: Zoey")],
    ('{"Zoey": "knight"', ',"Ethan": "knave"', WRONG),
    ("| Zoey | knight |", "\n| Ethan | knave |", WRONG),
    (HUB, "\n", RIGHT),
]

# Gold that no answer can be judged by: (names, roles, reason)
UNUSABLE = [
    (None, GOLD, "names of another task's row"),
    (NAMES, None, "roles of another task's row"),
    ([], [], "nobody"),
    ("ab", GOLD, "names as text"),
    (NAMES, "kk", "roles as text"),
    ({"Zoey": 1, "Ethan": 2}, GOLD, "names as a map"),
    (NAMES, ["knight"], "a role missing"),
    (["Zoey"], GOLD, "a name missing"),
    (["Zoey", None], GOLD, "a hole in the names"),
    (["Zoey", ["Ethan"]], GOLD, "a list for a name"),
    (NAMES, ["knight", None], "a hole in the roles"),
    (NAMES, ["knight", ["knave"]], "a list for a role"),
    (NAMES, [True, False], "roles as bools"),
    (NAMES, ["knight", "spy"], "an unknown role"),
    (NAMES, ["Knight", "knave"], "a role in another case"),
    (["Zoey", "zoey"], GOLD, "names equal but for case"),
    (["Mary Ann", "mary  ann "], GOLD, "names equal but for blanks"),
    (["Bob", "Bob."], GOLD, "names equal but for a full stop"),
    (["Zoey", ""], GOLD, "an empty name"),
    (["Zoey", "\t"], GOLD, "a blank name"),
    (["Zoey", "`*_"], GOLD, "emphasis marks alone"),
    (["Zoey", "knave"], GOLD, "a role for a name"),
    (["Zoey", "The Knight"], GOLD, "a name with a role in it"),
    (["A", "B"], GOLD, "an article for a name"),
    (["Ann and Bob", "Zoey"], GOLD, "a name with an and in it"),
    (["Zoey", "Ethan: knave"], GOLD, "a name with a mark of the grammar in it"),
    (["Zoey", "Mary\nAnn"], GOLD, "a name with a line break in it"),
    (["Zoey", "2"], GOLD, "a list number for a name"),
    (["Zoey", "2 . Ethan"], GOLD, "a list number before a name"),
    (["Zoey", ". Ethan"], GOLD, "a full stop before a name"),
    (["Zoey", "None"], GOLD, "none for a name"),
]

# (names, answer where the first is a knight and all others are knaves, reason)
ODD_NAMES = [
    (["Ann", "Anna", "An"], "Anna and An are knaves, Ann is a knight", "one a part of the other"),
    (["Mary", "Mary Ann", "Ann"], "Knights: Mary; Knaves: Ann, Mary Ann", "one the first word of the other"),
    (["Al Bo Cy", "Al", "Bo Cy"], "Al Bo Cy is a knight. Al is a knave. Bo Cy is a knave.", "two make a third"),
    (["C++", "C", "[x]*$"], "C++: knight, C: knave, [x]*$: knave", "regular expressions"),
    (["O'Neil", "Jean-Luc", "user_1"], "O’Neil: knight\nJean-Luc: knave\nuser_1: knave", "marks inside"),
    (["Zoë", "小明", "Đặng"], "ZOË is a knight\n小明 is a knave\nđặng is a knave", "outside ASCII"),
    (["Dr. Smith", "Smith"], "Smith is a knave. Dr. Smith is a knight.", "full stop inside"),
    (["Knightley", "Knaveson"], "Knightley is a knight, Knaveson is a knave", "a role within a word"),
    (["NEWLINE", "ARROW"], "NEWLINE -> knight\nARROW -> knave", "words that tokens are spelt with"),
]


@table("answer, verdict, reason", ANSWERS)
def test_answer(answer, verdict, reason):
    assert roles_verdict(turn(answer), NAMES, GOLD) is verdict, reason
    assert roles_reward([turn(answer)], names=[NAMES], roles=[GOLD]) == [1.0 if verdict is RIGHT else 0.0], reason


@table("text, verdict, reason", MEGABYTES)
def test_megabyte(text, verdict, reason):
    assert roles_verdict(text, NAMES, GOLD) is verdict, reason


@pytest.mark.parametrize("start, unit, verdict", UP_TO_CAP)
def test_answer_as_long_as_the_cap(start, unit, verdict):
    answer = (start + unit * ANSWER_CAP)[:ANSWER_CAP]
    assert roles_verdict(turn(answer), NAMES, GOLD) is verdict


def test_hundreds_of_people_fit_under_the_cap():
    names = [f"Christopher {number}" for number in range(500)]
    roles = [("knight", "knave")[number % 2] for number in range(500)]
    lines = [f"({i % 999 + 1}) {name} is a {role}" for i, (name, role) in enumerate(zip(names, roles, strict=True))]
    assert roles_verdict(turn("\n".join(lines)), names, roles) is RIGHT
    assert roles_verdict(turn("\n".join(lines[1:])), names, roles) is WRONG


@table("names, roles, reason", UNUSABLE)
def test_unusable_gold_gives_none(names, roles, reason):
    assert roles_reward([turn(HUB), ""], names=[names] * 2, roles=[roles] * 2) == [None, None], reason


@table("names, answer, reason", ODD_NAMES)
def test_odd_names(names, answer, reason):
    roles = ["knight", *["knave"] * (len(names) - 1)]
    assert roles_verdict(turn(answer), names, roles) is RIGHT, reason
    assert roles_verdict(turn(answer), names[::-1], roles) is WRONG, reason


def test_prefill_is_a_part_of_the_text_and_gold_may_be_tuples():
    rest = [turn(HUB).removeprefix("<think>")] * 2
    golds = {"names": [tuple(NAMES), NAMES], "roles": [tuple(GOLD), GOLD]}
    assert roles_reward(completions=rest, prefill=["<think>", ""], **golds) == [1.0, 0.0]


def test_imports_no_torch():
    code = "import sys, mini_r1.rewards.roles; sys.exit('torch' in sys.modules or 'trl' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


PIECES = ["Zoey", "Ethan", "Bob", " is ", " are ", "a ", "knight", "knave", "knights", "knaves", " and ", " not ", "->"]
PIECES += ["or", "none", "both ", "the ", "Answer", "So", "</think>", "<answer>", "</answer>", *'\n\n,;.:-(){}|"1?*#!']
PIECES += [" but ", " also ", " only ", "no "]
SCRAPS = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=40).map("".join)


@given(SCRAPS | st.text(), st.booleans(), st.lists(st.text(max_size=6) | st.sampled_from(PIECES), max_size=4))
def test_no_text_and_no_names_raise(text, in_answer, names):
    text = turn(text) if in_answer else text
    assert roles_reward([text], names=[NAMES], roles=[GOLD])[0] in {0.0, 1.0}
    assert roles_reward([text], names=[names], roles=[["knave"] * len(names)])[0] in {None, 0.0, 1.0}


# Every form below writes out any solution: (people, roles) -> text
def _group(role: str, people: dict[str, str]) -> list[str]:
    return [name for name in people if people[name] == role]


def _listed(names: list[str]) -> str:
    return "".join(names) if len(names) < 2 else ", ".join(names[:-1]) + " and " + names[-1]


def _headings(people: dict[str, str], form: str, between: str) -> str:
    return between.join(form.format(role, ", ".join(_group(role, people)) or "none") for role in ROLES)


def _sentences(people: dict[str, str]) -> str:
    groups = [(role, names) for role in ROLES if (names := _group(role, people))]
    return "; ".join(f"{_listed(n)} is a {r}" if len(n) == 1 else f"{_listed(n)} are {r}s" for r, n in groups)


def _shortest(people: dict[str, str]) -> str:
    """There are no knights. The only knave is Zoey. Zoey and Ethan are also knaves."""
    texts = {0: "There are no {0}s", 1: "The only {0} is {1}"}
    groups = [(role, _group(role, people)) for role in ROLES]
    return ". ".join(texts.get(len(names), "{1} are also {0}s").format(role, _listed(names)) for role, names in groups)


def _each(form: str, between: str):
    return lambda people: between.join(form.format(i, n, r) for i, (n, r) in enumerate(people.items(), 1))


FORMS = [
    *[_each(label + "{1} is a {2}", "\n") for label in ("({0}) ", "{0}. ", "{0}) ", "- ", "* ", "• ", "", "- **", "_")],
    *[_each("{1}" + link + "{2}", "\n") for link in (": ", " - ", " – ", "—", " -> ", " = ", " is ", ": a ", ":** ")],
    *[_each("{1} is a {2}", between) for between in (", ", " and ", ", and ", "; ", ". ", ".\n", ";\n\n", "\r\n")],
    *[_each("- {1} is also a {2}", between + "\n") for between in (",", ", and", ", while", " whereas", ". But")],
    *[_each("{1}" + link, ", but ") for link in (" --> {2}", ": [{2}]")],
    *[_each("({0}) **{1}** is a `{2}`.", between) for between in (" ", "\n")],
    _each("{1} ({2})", ", "),
    _each("| {1} | {2} |", "\n"),
    lambda people: "| Name | Role |\n|:---|---|\n" + _each("| {1} | {2} |", "\n")(people),
    lambda people: "| Person | Type |\n|---|---|\n" + _each("| {1} | {2} |", "\n")(people),
    lambda people: "```json\n{" + _each('"{1}": "{2}"', ", ")(people) + "}\n```",
    lambda people: "{" + _each('"{1}": "{2}"', ", ")(people) + "}",
    lambda people: "{\n" + _each('  "{1}": "{2}"', ",\n")(people) + "\n}",
    lambda people: _headings(people, "{0}s: {1}", "; "),
    lambda people: _headings(people, "**{0}s:** {1}", "\n"),
    lambda people: _headings(people, "The {0}s are {1}", ". "),
    lambda people: _headings(people, "{0}: {1}", "\n"),
    lambda people: _headings(people, "**{0}s**\n- {1}", "\n\n"),
    _sentences,
    _shortest,
]
LEADS = ["", "So", "Therefore,", "Hence,", "Answer:", "**Final answer:**", "The solution is:", "So, the answer is"]
LEADS += ["The roles are as follows:", "### Conclusion\n", "Based on the analysis,", "Here is the solution:", "Roles:"]
PEOPLE = ["Zoey", "Noah", "Ann", "Anna", "Mary", "Mary Ann", "O'Neil", "Jean-Luc", "Zoë", "小明", "C++", "x[0]"]
SOLUTIONS = st.dictionaries(st.sampled_from(PEOPLE), st.sampled_from(list(ROLES)), min_size=1, max_size=6)


@given(SOLUTIONS, st.sampled_from(FORMS), st.sampled_from(LEADS), st.randoms(use_true_random=False), st.booleans())
def test_every_form_of_the_gold_is_right(solution, form, lead, rng, shout):
    people = list(solution.items())
    rng.shuffle(people)
    answer = f"{lead}\n{form(dict(people))}"
    assert roles_verdict(turn(answer.upper() if shout else answer), list(solution), list(solution.values())) is RIGHT


def _other(role: str) -> str:
    return "knave" if role == "knight" else "knight"


@given(SOLUTIONS, st.sampled_from(FORMS), st.sampled_from(LEADS), st.randoms(use_true_random=False))
def test_no_changed_answer_is_right(solution, form, lead, rng: random.Random):
    names, roles = list(solution), list(solution.values())
    right = form(solution)
    name = rng.choice(names)
    without = {person: role for person, role in solution.items() if person != name}
    stranger = {**solution, "Bob": rng.choice(roles)}
    changed = {
        "one role flipped": form({**solution, name: _other(solution[name])}),
        "all roles flipped": form({person: _other(role) for person, role in solution.items()}),
        "one person dropped": form(without),
        "one person added": form(stranger),
        "one person exchanged": form({**without, "Bob": solution[name]}),
        "a person repeated": f"{right}\n{name} is a {solution[name]}",
        "a person contradicted": f"{right}\n{name} is a {_other(solution[name])}",
        "said twice": f"{right}\n{right}",
        "one role negated": right.replace(" is a ", " is not a ", 1).replace(":", ": not", 1).replace("|", "| not", 1),
        "all denied": f"It is false that {right}",
        "hedged": right.replace("kn", "probably kn", 1),
        "doubted": right + "?",
        "alternative": f"{right}\nor\n{right}",
        "a zero-width space": right.replace("kn", "k\u200bn", 1),
    }
    for change, answer in changed.items():
        if answer != right:
            assert roles_verdict(turn(f"{lead}\n{answer}"), names, roles) is not RIGHT, change


INTRUDERS = ["not", "or", "Bob", "maybe", "was", "if", "?", "says", "knight", "knave", "knights", "1 2", "\u200b", "～"]
INTRUDERS += ["only", "no", "but maybe", "also not"]


@given(SOLUTIONS, st.sampled_from(FORMS), st.sampled_from(INTRUDERS), st.randoms(use_true_random=False))
def test_no_word_goes_unnoticed(solution, form, intruder, rng: random.Random):
    words = form(solution).split(" ")
    words.insert(rng.randint(0, len(words)), intruder)
    assert roles_verdict(turn(" ".join(words)), list(solution), list(solution.values())) is not RIGHT
