"""Generated word problems: recomputed from their annotations alone, varied, split by template, never too few."""

import random
import re
from fractions import Fraction

import pytest

from mini_r1.rewards import number_reward
from mini_r1.tasks import gsm8k
from mini_r1.tasks.gsm8k import TEMPLATES, WORDS, fill, write

REAL = {"question": "How many?", "answer": "48/2 = <<48/2=24>>24\n#### 24"}
STAND_FOR = {"2": ("twice", "half", "around"), "7": ("week",), "12": ("dozen",), "100": ("%",)}
RESERVED = {name for name, template in TEMPLATES.items() if template.held_out}


def score(answer: object, gold: str) -> float | None:
    return number_reward([f"<think>x</think><answer>{answer}</answer>"], answer=[gold])[0]


def evaluate(step: str) -> tuple[list[str], Fraction, str]:
    """ "6*1.25=7.50" -> operands as written, the exact value of the left side, the right side as written."""
    left, op, right, result = re.fullmatch(r"([0-9.]+)([-+*/])([0-9.]+)=([0-9.]+)", step).groups()
    x, y = Fraction(left), Fraction(right)
    value = {"+": x + y, "-": x - y, "*": x * y, "/": x / y}[op]
    return [left, right], value, result


def numbers(text: str) -> list[str]:
    return re.findall(r"[0-9]+(?:\.[0-9]+)?", text)


def constants(template: str) -> set[str]:
    """The operands that a word of the template stands for, such as 7 for a week."""
    return {word for step in TEMPLATES[template].steps for word in step.split(" ") if word.isdigit()}


def check(raw: dict, largest: int = 1000, prices: bool = True) -> dict:
    """Recompute a generated problem from its annotations alone; return the parsed row."""
    template = TEMPLATES[raw["template"]]
    parsed = gsm8k.parse_row(raw)
    known = set(numbers(raw["question"])) | constants(template.name)
    steps = re.findall(r"<<(.*?)>>", raw["answer"])
    for step, line in zip(steps, raw["answer"].split("\n"), strict=False):
        operands, value, result = evaluate(step)
        assert known >= set(operands), raw
        assert Fraction(result) == value > 0 and (value * 100).denominator == 1, raw
        assert "$" in line or result.isdigit(), "only money has cents"
        assert line.count(f"<<{step}>>{result}") == 1 and line.count(step.partition("=")[0] + " = ") == 1, line
        known.add(result)
    written = numbers(raw["question"] + "\n" + raw["answer"]) + list(constants(template.name))
    assert all(0 < Fraction(number) <= largest for number in written), raw
    assert all(re.fullmatch(r"[1-9][0-9]*|[0-9]+\.[0-9][0-9]", number) for number in written), raw
    assert prices or all(number.isdigit() for number in written), raw
    assert raw["answer"].split("\n")[-1] == f"#### {result}" and parsed["answer"] == result
    assert parsed["difficulty"] == len(steps) == len(template.steps)
    assert parsed["template"] == template.name
    assert "{" not in raw["question"] + raw["answer"] and not re.search(r"  |\$\$| \.", raw["question"])
    return parsed


SETTINGS = [
    {},
    {"steps": [1, 2], "prices": False},
    {"steps": (3, 4), "distractors": 1.0, "largest": 400},
    {"largest": 50, "prices": False, "distractors": 0, "templates": "train"},
    {"templates": "test", "distractors": True},
    {"templates": ["half", "bike"], "largest": 2000},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_generate(settings):
    rows = gsm8k.generate(400, 7, **settings)
    assert gsm8k.generate(400, 7, **settings) == rows
    assert gsm8k.generate(100, 7, **settings) == rows[:100]
    assert gsm8k.generate(400, 8, **settings) != rows
    assert len({gsm8k.key(raw) for raw in rows}) == len(rows) == 400
    for raw in rows:
        parsed = check(raw, settings.get("largest", 1000), settings.get("prices", True))
        assert score(gsm8k.gold_answer(parsed), parsed["answer"]) == 1.0
        assert score(write(Fraction(parsed["answer"]) + 1), parsed["answer"]) == 0.0
        assert parsed["difficulty"] in settings.get("steps", (1, 2, 3, 4))
    used = {raw["template"] for raw in rows}
    if settings.get("templates") == "test":
        assert used == RESERVED
    elif settings.get("templates") == "train":
        assert not used & RESERVED
    elif "templates" in settings:
        assert used == set(settings["templates"])


def test_templates_are_many_varied_and_evenly_used():
    rows = gsm8k.generate(2000, 0)
    counts = {name: sum(raw["template"] == name for raw in rows) for name in TEMPLATES}
    assert len(counts) >= 24 and min(counts.values()) > 2000 / len(counts) / 2
    assert 6 <= len(RESERVED) <= 8
    for steps in (1, 2, 3, 4):  # both splits have problems of every difficulty
        groups = {template.held_out for template in TEMPLATES.values() if len(template.steps) == steps}
        assert groups == {True, False}
    questions = " ".join(raw["question"] for raw in rows)
    assert all(f" {word}" in f" {questions}" for words in WORDS.values() for word in words)
    golds = [gsm8k.parse_row(raw)["answer"] for raw in rows]
    assert any("." in gold for gold in golds) and len(set(golds)) > 500


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
def test_distractors_occur_as_often_as_told_and_are_not_used(probability):
    could, told = 0, 0
    for raw in gsm8k.generate(1500, 1, distractors=probability, largest=100):
        extra = TEMPLATES[raw["template"]].extra
        distracted = bool(extra) and extra.rpartition("}")[2] in raw["question"]
        used = set(numbers(raw["answer"])) | constants(raw["template"])
        assert len([number for number in numbers(raw["question"]) if number not in used]) == distracted, raw
        could += bool(extra)
        told += distracted
    assert could > 500
    assert told / could == pytest.approx(probability, abs=0.06)


def test_distractors_stay_in_their_own_range():
    ages = [
        re.search(r"The farmer is ([0-9]+) years old", raw["question"])
        for raw in gsm8k.generate(200, 3, distractors=1.0, templates=["fewer"])
    ]
    assert all(age and 18 <= int(age[1]) <= 70 for age in ages)
    low = gsm8k.generate(50, 3, distractors=1.0, templates=["fewer"], largest=15, prices=False)
    assert not any("The farmer" in raw["question"] for raw in low)  # no sensible age is at most 15


def test_months_and_days_are_told_in_order():
    for raw in gsm8k.generate(200, 0, templates=["half", "trips"]):
        for kind in ("month", "day"):
            told = [
                word for word in re.findall(r"[A-Z][a-z]+", raw["question"].rpartition(". ")[0]) if word in WORDS[kind]
            ]
            places = [WORDS[kind].index(word) for word in told]
            assert places == sorted(set(places))


def test_payer_takes_the_smallest_bill():
    for raw in gsm8k.generate(200, 0, templates=["change"], distractors=0):
        cost = Fraction(re.search(r"=([0-9.]+)>>", raw["answer"])[1])
        bill = Fraction(re.search(r"pays with \$([0-9]+)", raw["question"])[1])
        assert bill == min(bill for bill in (5, 10, 20, 50, 100) if bill >= cost)


def test_held_out_templates():
    for raw in gsm8k.generate(300, 2):
        assert gsm8k.held_out(gsm8k.parse_row(raw)) is (True if raw["template"] in RESERVED else None)
    assert gsm8k.held_out(gsm8k.parse_row(REAL)) is None
    assert gsm8k.held_out(gsm8k.parse_row(REAL | {"template": "somebody else's"})) is None


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_is_whole(name):
    template, rng = TEMPLATES[name], random.Random(0)
    drawn = [fill(template, rng, largest=1000, prices=True, distractors=0.5) for _ in range(100)]
    made = [raw for raw in drawn if raw]
    assert len(made) >= 3
    for raw in made:
        check(raw)
    for number in constants(name):
        assert any(word in f"{template.story} {template.ask}" for word in STAND_FOR[number])
    assert template.ask.endswith("?") and template.story.endswith(".")
    assert not template.extra or re.search(r"\{other:[0-9]+-[0-9]+\}", template.extra)
    assert len([sentence for sentence in template.steps.values() if sentence.count("{}") == 1]) == len(template.steps)


@pytest.mark.parametrize(
    ("n", "settings", "expected"),
    [
        (100, {"templates": ["dozen"], "largest": 20}, "different problems, 100 were asked for"),
        (1, {"largest": 1}, "these settings allow only about 0 different problems, 1 were asked for"),
        (1, {"templates": ["week"], "largest": 6}, "only about 0 different problems"),
        (1, {"steps": [5]}, "steps must list numbers of steps from 1 to 4, such as"),
        (1, {"steps": []}, "steps must list numbers of steps from 1 to 4, such as"),
        (1, {"steps": 2}, "steps must list numbers of steps from 1 to 4, such as"),
        (1, {"steps": "2"}, "steps must list numbers of steps"),
        (1, {"steps": [2, True]}, "steps must list numbers of steps"),
        (1, {"largest": "40"}, "largest must be an integer, such as 1000, not '40'"),
        (1, {"largest": 40.0}, "largest must be an integer, such as 1000, not 40.0"),
        (1, {"prices": "no"}, "prices must be true or false, not 'no'"),
        (1, {"templates": 3}, "templates must be one of all, train, test, or a list of names, not 3"),
        (1, {"templates": [["gift"]]}, "there is no template"),
        (1, {"distractors": "0.5"}, "distractors must be a probability from 0 to 1, not '0.5'"),
        (1, {"steps": [1], "templates": ["bike"]}, "has a number of steps in"),
        (1, {"templates": "some"}, "templates must be one of all, train, test, or a list of names, not 'some'"),
        (1, {"templates": ["gift", "bikes"]}, "there is no template 'bikes'; choose among: gift, bake, "),
        (1, {"distractors": 1.5}, "distractors must be a probability from 0 to 1, not 1.5"),
        (1, {"distractors": -0.1}, "distractors must be a probability"),
    ],
)
def test_impossible_settings(n, settings, expected):
    with pytest.raises(ValueError, match=expected):
        gsm8k.generate(n, 0, **settings)
