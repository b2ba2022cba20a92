r"""GSM8K: grade-school word problems; the answer is one number.

One real row (https://huggingface.co/datasets/openai/gsm8k, config main, split train; arXiv:2110.14168):
    {"question": "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How
                  many clips did Natalia sell altogether in April and May?",
     "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nNatalia sold 48+24 = <<48+24=72>>72 clips altogether
                in April and May.\n#### 72"}
"""

import functools
import operator
import random
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from mini_r1.rewards.number import number_vote, parse_gold
from mini_r1.tasks.traces import attempts, closing, in_two_languages

HUB_ID = "openai/gsm8k"
REWARD = "number_reward"
ANSWER_EXAMPLE = "the number"  # no number: a model gives it as its answer (docs/tasks-and-rewards.md)

# The annotations of calculation steps in golds; a step of a generated gold has two numbers.
_STEP = re.compile(r"<<([^<>]*)>>")
_TWO_NUMBERS = re.compile(r"([0-9.]+)([-+*/])([0-9.]+)=([0-9.]+)")
# The Chinese phrases of a trace that mixes languages.
_CHINESE = {"Next": "下一步", "Done": "算完了", "I stop here": "我就停在这里"}
# The words of a question's key: numbers with their sign and decimals, words with their combining marks (which `\w`
# lacks; nearly all marks are in the first two planes), and signs that change what a number means.
_MARKS = "".join(mark for mark in map(chr, range(0x300, 0x20000)) if unicodedata.category(mark).startswith("M"))
_NUMBER = r"-?[$€£]?(?:\d+(?:,\d{3}(?!\d))*(?:\.\d+)?|(?<!\w)\.\d+)"
_WORD = re.compile(rf"{_NUMBER}|(?:[^\W\d_]|[{_MARKS}])[^\W\d_]*(?:[{_MARKS}][^\W\d_]*)*|[%/*+=<>≤≥≠^×÷±√]")
# Apostrophes go, and all minus signs become one.
_SAME_SIGNS = str.maketrans({"'": None, "’": None, "−": "-", "–": "-"})
_NOT_IN_NUMBERS = str.maketrans("", "", ",$€£")


def parse_row(raw: dict) -> dict:
    r"""A raw row, or a parsed one -> the task's columns and `difficulty`.

    Returns:
        {"question": str, "answer": the gold number as written, such as "1,234", "rationale": the text before `####`
        ("" where the answer is a bare number), "template": name of the generated problem's template, None for a real
        row, "difficulty": how many calculation steps the gold has}. Steps are the annotations `<<48/2=24>>`, or, where
        there are none (104 of 8,133 real rows), the lines with a `=`; at least 1.

    Raises:
        ValueError: naming the column, where it is missing, of the wrong type or blank, or holds no number.
    """
    for column in ("question", "answer"):
        if column not in raw:
            raise ValueError(f"column {column!r} is missing")
    number = raw["answer"]
    raw = {**raw, "answer": str(number) if type(number) in (int, float) else number}  # as numbers in a CSV file are
    for column in ("question", "answer"):
        if not isinstance(raw[column], str) or not raw[column].strip():
            raise ValueError(f"column {column!r} must be a text that is not blank, not {raw[column]!r}")
    for column in ("rationale", "template"):
        if not isinstance(raw.get(column), str | None):
            raise ValueError(f"column {column!r} must be a text, not {raw[column]!r}")
    rationale, marked, answer = raw["answer"].rpartition("####")
    if not marked:
        rationale = raw.get("rationale") or ""
    try:
        parse_gold(answer)
    except ValueError as error:
        raise ValueError(f"column 'answer': {error}") from error
    steps = len(_STEP.findall(rationale)) or sum("=" in line for line in rationale.split("\n"))
    return {
        "question": raw["question"],
        "answer": answer.strip(),
        "rationale": rationale.rstrip(),
        "template": raw.get("template"),
        "difficulty": max(1, steps),
    }


def key(row: dict) -> str:
    """The question's words and numbers.

    Case, blanks and punctuation do not make another problem; a decimal point, a minus directly before a number and the
    signs of a calculation do.

    Example: "It's 1,200 apples!" and "its 1200  Apples" are "its 1200 apples".
    """
    words = _WORD.findall(row["question"].casefold().translate(_SAME_SIGNS))
    return " ".join(words).translate(_NOT_IN_NUMBERS)


def question(row: dict) -> str:
    return row["question"]


def gold_answer(row: dict) -> str:
    return row["answer"]


def held_out(row: dict) -> bool | None:
    """True for a problem of a reserved template, which no run trains on; None where the problem's key decides."""
    template = TEMPLATES.get(row["template"])
    return True if template and template.held_out else None


def vote(text: str, row: dict) -> str | None:
    return number_vote(text, row["answer"])


def generate(
    n: int,
    seed: int,
    *,
    steps: Sequence[int] = (1, 2, 3, 4),
    largest: int = 1000,
    prices: bool = True,
    distractors: float = 0.25,
    templates: str | Sequence[str] = "all",
) -> list[dict]:
    """`n` different problems as raw rows, with a column `template`; the same for the same arguments.

    Each problem's template is drawn uniformly, and drawn again where 300 tries give no new problem of it. So templates
    are about equally frequent, but templates whose numbers seldom fit these settings are rarer.

    Args:
        steps: a list of how many calculation steps a problem may have, 1 to 4.
        largest: the largest number anywhere in a problem and its steps. Templates have their own, everyday ranges, so
            that few problems have numbers beyond 1000.
        prices: whether money may have cents; otherwise it is whole dollars, and every number is an integer.
        distractors: probability of a sentence with a number that is not needed, in templates that have one. It is left
            out where `largest` and the problem's other numbers leave no sensible number for it.
        templates: "all", "train" (not reserved for testing), "test" (the reserved ones), or a list of names. Problems
            of reserved templates are always for testing: with "all", about a quarter of the problems are held
            out on top of the recipe's test_fraction.

    Raises:
        ValueError: where a setting is of the wrong kind or out of its range, or the settings allow fewer than `n`
            different problems.
    """
    if not isinstance(steps, list | tuple) or not steps or any(type(k) is not int or not 1 <= k <= 4 for k in steps):
        raise ValueError(f"steps must list numbers of steps from 1 to 4, such as [2, 3], not {steps!r}")
    if type(largest) is not int:
        raise ValueError(f"largest must be an integer, such as 1000, not {largest!r}")
    if not isinstance(prices, bool):
        raise ValueError(f"prices must be true or false, not {prices!r}")
    if not isinstance(distractors, int | float) or not 0 <= distractors <= 1:
        raise ValueError(f"distractors must be a probability from 0 to 1, not {distractors!r}")
    chosen = [template for template in _choose(templates) if len(template.steps) in steps]
    if not chosen:
        raise ValueError(f"no template of {templates!r} has a number of steps in {list(steps)}")
    rng = random.Random(seed)
    rows: list[dict] = []
    seen, misses = set(), 0
    while len(rows) < n:
        template = rng.choice(chosen)
        for _ in range(300):  # so that a template whose numbers seldom fit is not rarer than the others
            row = fill(template, rng, largest=largest, prices=prices, distractors=distractors)
            if row and (identity := key(row)) not in seen:
                seen.add(identity)
                rows.append(row)
                misses = 0
                break
            misses += 1
        if misses > 20_000:
            raise ValueError(f"these settings allow only about {len(rows)} different problems, {n} were asked for")
    return rows


def _choose(templates: str | Sequence[str]) -> list:
    """The templates of a group or a list of names."""
    groups = {
        "all": list(TEMPLATES),
        "train": [name for name, template in TEMPLATES.items() if not template.held_out],
        "test": [name for name, template in TEMPLATES.items() if template.held_out],
    }
    if not isinstance(templates, str | list | tuple) or (isinstance(templates, str) and templates not in groups):
        raise ValueError(f"templates must be one of {', '.join(groups)}, or a list of names, not {templates!r}")
    names = groups[templates] if isinstance(templates, str) else templates
    for name in names:
        if name not in list(TEMPLATES):
            raise ValueError(f"there is no template {name!r}; choose among: {', '.join(TEMPLATES)}")
    return [TEMPLATES[name] for name in names]


def trace(
    row: dict,
    rng: random.Random,
    *,
    give_up: float = 0.0,
    pushed: bool = False,
    break_format: float = 0.0,
    mixed: float = 0.0,
    summary: bool = False,
) -> list[tuple[str, bool]]:
    """A worked completion, from after `<think>`: the gold's calculations one after the other, then the answer.

    It needs generated rows. One phrase after a calculation decides how it goes on: "Next: ", "Done." or "I stop here.".

    Args:
        give_up: probability, after each calculation but the last, to stop and answer its result, which is wrong. Where
            the result happens to equal the gold, the trace goes on.
        pushed, break_format, mixed, summary: see `tasks/traces.py`.

    Returns:
        Pieces of text and whether each is to be learned; joined, they are the completion.

    Raises:
        ValueError: where the rationale is not a chain of calculations with two numbers that ends in the answer.
    """
    written = _STEP.findall(row["rationale"])
    steps = [step for text in written if (step := _TWO_NUMBERS.fullmatch(text))]
    if not steps or len(steps) < len(written) or steps[-1][4] != row["answer"]:
        raise ValueError("a trace needs a generated row, whose rationale has steps of two numbers, such as <<6*4=24>>")
    lines = ["{} {} {} = {}\n".format(*step.groups()) for step in steps]
    wrong = [step[4] != row["answer"] for step in steps]
    stop = "I stop here.\n"
    pieces, ended = attempts(lines, rng, go_on="Next: ", stop=stop, give_up=give_up, pushed=pushed, may_stop=wrong)
    if ended + 1 == len(steps):
        pieces.append(("Done.\n", True))
        words = "All the steps are done, and the last of them gives {}."
    else:
        words = "I stopped before all the steps were done, at {}."
    pieces = in_two_languages(pieces, rng, mixed, _CHINESE)
    return [*pieces, closing(steps[ended][4], rng, break_format, words if summary else "")]


# Generated problems: templates as data, and the function that fills one in. Non-integers are always amounts of money,
# written with two decimals, `3.50`, in question, steps and answer alike, so that a trace can copy an operand as it is.
# All arithmetic is exact.

_WORDS = {
    "name": "Ada Ben Carla Dmitri Elif Femi Grace Hugo Ines Jamal Kenji Lena Mateo Nadia Oscar Priya Quinn Rosa Samir "
    "Tara Uma Viktor Wanda Yusuf",
    "fruit": "apples pears plums oranges lemons peaches mangoes melons",
    "sweet": "cookies muffins pancakes brownies cupcakes doughnuts waffles pretzels",
    "toy": "marbles stickers beads shells stamps coins buttons cards",
    "supply": "pencils notebooks erasers markers folders rulers brushes crayons",
    "flower": "roses tulips daisies lilies violets orchids",
    "animal": "sheep goats cows ducks hens geese rabbits horses",
    "clothes": "shirts scarves hats ties belts sweaters gloves",
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "month": "January March April June August October",
}
WORDS = {kind: words.split() for kind, words in _WORDS.items()}
_EXTRA = re.compile(r"([^:]*)\{other:([0-9]+)-([0-9]+)\}(.*)")  # of a template: a number that is not needed
CALENDAR = {"day", "month"}  # kinds whose words keep their order: the story names the earlier first
BILLS = (5, 10, 20, 50, 100)
OPERATIONS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda x, y: Fraction(x) / y if x % y else x // y,
}


@dataclass(frozen=True)
class Template:
    """One kind of word problem.

    In its sentences {name}, {toy}, {toy2}, ... are drawn from `WORDS`; a digit means another word of the kind. All
    other fields are numbers, and `${field}` marks an amount of money.

    Attributes:
        story, ask: the story and its question.
        numbers: field -> (smallest, largest), of an integer, or of a price where it is money; (smallest, largest,
            distance), of whole numbers only; or a calculation on earlier fields; or "bill for" a calculation, the
            smallest of `BILLS` that covers it.
        steps: "result = left op right" -> the sentence that tells the result at `{}`. An operand that is a number is a
            constant behind a word, such as 7 for a week. The last result is the gold.
        extra: a sentence with a number from 18 to 70, as in {other:18-70}, that nothing needs; "" for none.
        held_out: for testing only.
    """

    name: str
    story: str
    ask: str
    numbers: dict[str, tuple[int, ...] | str]
    steps: dict[str, str]
    extra: str = ""
    held_out: bool = False

    @functools.cached_property
    def words(self) -> dict[str, list[str]]:
        """Kind of word -> the fields that need one."""
        fields = re.findall(r"\{([a-z]+[0-9]?)\}", " ".join([self.story, self.ask, self.extra, *self.steps.values()]))
        kinds = {field: field.rstrip("23") for field in dict.fromkeys(fields)}
        return {kind: [f for f in kinds if kinds[f] == kind] for kind in kinds.values() if kind in WORDS}

    @functools.cached_property
    def money(self) -> set[str]:
        """The fields of the story that are amounts of money."""
        return {field for field in self.numbers if "${" + field + "}" in self.story}


# fmt: off
TEMPLATES = {template.name: template for template in [
    # One step
    Template("gift", "{name} has {a} {toy}. {name2} gives {name} {b} more.", "How many {toy} does {name} have now?",
             {"a": (2, 400), "b": (2, 400)}, {"now = a + b": "{name} now has {} {toy}."},
             "{name2} is {other:6-60} years old."),
    Template("bake", "{name} baked {a} {sweet} and gave {b} of them to the neighbors.", "How many {sweet} are left?",
             {"a": (4, 200), "b": (2, 150)}, {"left = a - b": "There are {} {sweet} left."},
             "Baking took {other:20-90} minutes."),
    Template("rows", "A garden has {a} rows with {b} {flower} in each row.", "How many {flower} are in the garden?",
             {"a": (2, 30), "b": (2, 30)}, {"all = a * b": "The garden has {} {flower}."},
             "There are {other:3-40} trees around the garden."),
    Template("share", "{name} shares {all} {sweet} equally among {k} friends.",
             "How many {sweet} does each friend get?", {"k": (2, 12), "q": (2, 40), "all": "k * q"},
             {"each = all / k": "Each friend gets {} {sweet}."}),
    Template("price", "{name} wants to buy {n} {supply} that cost ${price} each.",
             "How many dollars does {name} need?", {"n": (2, 20), "price": (1, 15)},
             {"cost = n * price": "{name} needs ${}."}, "The shop closes in {other:10-60} minutes."),
    Template("dozen", "{name} buys {a} dozen eggs for a bakery.", "How many eggs does {name} buy?", {"a": (2, 60)},
             {"eggs = a * 12": "{name} buys {} eggs."}),
    Template("fewer", "A farm has {a} {animal}. It has {b} fewer {animal2} than {animal}.",
             "How many {animal2} does the farm have?", {"a": (4, 300), "b": (2, 250)},
             {"rest = a - b": "The farm has {} {animal2}."}, "The farmer is {other:18-70} years old.", held_out=True),
    # Two steps
    Template("half", "{name} sold {a} {toy} in {month}, and then sold half as many in {month2}.",
             "How many {toy} did {name} sell altogether in {month} and {month2}?", {"q": (2, 200), "a": "q * 2"},
             {"second = a / 2": "{name} sold {} {toy} in {month2}.",
              "all = a + second": "{name} sold {} {toy} altogether."}),
    Template("change", "{name} buys {n} {fruit} for ${price} each and pays with ${bill}.",
             "How many dollars of change does {name} get?",
             {"n": (2, 12), "price": (1, 8), "bill": "bill for n * price"},
             {"cost = n * price": "The {fruit} cost ${}.", "change = bill - cost": "{name} gets ${} back."},
             "{name} has {other:2-12} more {fruit} at home."),
    Template("bus", "A bus leaves with {a} people. At the first stop {b} people get off and {c} people get on.",
             "How many people are on the bus after the first stop?", {"a": (4, 90), "b": (2, 60), "c": (2, 60)},
             {"stay = a - b": "{} people stay on the bus.", "all = stay + c": "Then there are {} people on the bus."},
             "The ride takes {other:10-60} minutes."),
    Template("twice", "{name} found {a} {toy}. {name2} found twice as many as {name}.",
             "How many {toy} did they find together?", {"a": (2, 300)},
             {"second = a * 2": "{name2} found {} {toy}.", "all = a + second": "Together they found {} {toy}."},
             "They searched for {other:10-60} minutes."),
    Template("week", "{name} reads {a} pages every day. The book has {b} pages.",
             "How many pages are left after one week?", {"a": (2, 60), "b": (20, 600)},
             {"read = a * 7": "{name} reads {} pages in a week.", "left = b - read": "There are {} pages left."}),
    Template("teams", "{a} girls and {b} boys come to a sports day. They form teams of {k}.",
             "How many teams are there?",
             {"k": (2, 12), "q": (2, 20), "come": "k * q", "a": (2, 120), "b": "come - a"},
             {"all = a + b": "{} children come.", "teams = all / k": "They form {} teams."},
             "They have {other:3-40} balls."),
    Template("tickets", "{a} adults and {b} children visit a museum. A ticket costs ${price}.",
             "How many dollars do they pay for all tickets?", {"a": (2, 20), "b": (2, 30), "price": (1, 15)},
             {"all = a + b": "{} people visit the museum.", "cost = all * price": "They pay ${}."},
             "The museum has {other:5-40} rooms."),
    Template("tank", "An empty tank has room for {a} liters. A pump fills in {b} liters a minute for {c} minutes.",
             "How many more liters can the tank hold?", {"a": (10, 800), "b": (2, 30), "c": (2, 30)},
             {"full = b * c": "The pump fills in {} liters.", "left = a - full": "The tank can hold {} more liters."},
             held_out=True),
    Template("wage", "{name} works {n} hours for ${wage} an hour and gets a tip of ${tip}.",
             "How many dollars does {name} get altogether?", {"n": (2, 12), "wage": (8, 30), "tip": (1, 30)},
             {"pay = n * wage": "{name} gets ${} for the hours.", "all = pay + tip": "{name} gets ${} altogether."},
             "The way to work takes {other:5-60} minutes.", held_out=True),
    # Three steps
    Template("basket", "{name} buys {a} {fruit} for ${p} each and {b} {supply} for ${q} each.",
             "How many dollars does {name} spend?", {"a": (2, 12), "p": (1, 6), "b": (2, 12), "q": (1, 9)},
             {"first = a * p": "The {fruit} cost ${}.", "second = b * q": "The {supply} cost ${}.",
              "all = first + second": "{name} spends ${}."}, "There are {other:3-30} people in the shop."),
    Template("bags", "A baker makes {a} trays of {b} {sweet}, sells {c} of them and packs the rest into bags of {k}.",
             "How many bags are there?",
             {"a": (2, 15), "b": (4, 30), "k": (2, 12), "q": (2, 20), "made": "a * b", "rest": "k * q",
              "c": "made - rest"},
             {"all = a * b": "The baker makes {} {sweet}.", "left = all - c": "{} {sweet} are left.",
              "bags = left / k": "They fill {} bags."}),
    Template("savings", "{name} saves ${a} every week for {n} weeks, spends ${c} of it on {clothes} and gets ${d} as a "
             "gift.", "How many dollars of the savings and the gift are left?",
             {"a": (2, 40), "n": (2, 20), "c": (2, 90), "d": (2, 90)},
             {"saved = a * n": "{name} saves ${}.", "left = saved - c": "After the {clothes}, ${} are left.",
              "all = left + d": "With the gift, ${} are left."}, "{name} is {other:8-30} years old."),
    Template("percent", "A school has {a} students. {p}% of them walk to school, and the others take the bus.",
             "How many students take the bus?", {"p": (5, 95), "a": (200, 1000, 100)},
             {"one = a / 100": "One percent of the students is {}.", "walk = one * p": "So {} students walk.",
              "ride = a - walk": "{} students take the bus."}, "The school is {other:10-90} years old."),
    Template("fence", "A field is {a} meters long and {b} meters wide. A fence around it costs ${price} a meter.",
             "How many dollars does the fence cost?", {"a": (2, 90), "b": (2, 60), "price": (1, 15)},
             {"half = a + b": "Length and width are {} meters.", "around = half * 2": "The fence is {} meters long.",
              "cost = around * price": "The fence costs ${}."}, "The field is {other:2-20} miles from town."),
    Template("ages", "{name} is {a} years old. {name2} is twice as old as {name}, and {name3} is {b} years younger "
             "than {name2}.", "How many years old are {name} and {name3} together?", {"a": (4, 45), "b": (2, 60)},
             {"second = a * 2": "{name2} is {} years old.", "third = second - b": "{name3} is {} years old.",
              "all = a + third": "Together they are {} years old."}),
    Template("trips", "A van carries {a} boxes a trip. It makes {b} trips on {day} and {c} trips on {day2}. There were "
             "{d} boxes at first.", "How many boxes are left?",
             {"a": (2, 40), "b": (2, 12), "c": (2, 12), "d": (10, 900)},
             {"trips = b + c": "The van makes {} trips.", "gone = trips * a": "It carries {} boxes.",
              "left = d - gone": "{} boxes are left."}, "A trip takes {other:10-45} minutes.", held_out=True),
    Template("pizza", "{name} cuts {a} pizzas into {b} slices each. {c} friends eat {d} slices each.",
             "How many slices are left?", {"a": (2, 30), "b": (4, 12), "c": (2, 30), "d": (2, 6)},
             {"all = a * b": "There are {} slices.", "gone = c * d": "The friends eat {} slices.",
              "left = all - gone": "{} slices are left."}, held_out=True),
    # Four steps
    Template("outfit", "{name} buys {a} {clothes} for ${p} each and {b} {clothes2} for ${q} each, and pays with "
             "${bill}.", "How many dollars of change does {name} get?",
             {"a": (2, 8), "p": (2, 25), "b": (2, 8), "q": (2, 25), "bill": (20, 400, 5)},
             {"first = a * p": "The {clothes} cost ${}.", "second = b * q": "The {clothes2} cost ${}.",
              "all = first + second": "Together that is ${}.", "change = bill - all": "{name} gets ${} back."},
             "The sale ends in {other:2-14} days."),
    Template("points", "{name} scores {a} points in the first game, twice as many in the second game, and {b} more in "
             "the third game than in the second.", "How many points does {name} score in the three games?",
             {"a": (2, 120), "b": (2, 90)},
             {"second = a * 2": "In the second game it is {} points.", "third = second + b": "In the third it is {}.",
              "two = a + second": "The first two games make {} points.", "all = two + third": "All make {} points."},
             "The team has {other:5-15} players."),
    Template("hens", "{name} has {a} hens that lay {b} eggs each. {name} keeps {c} eggs, sells the others for ${price} "
             "each, and pays ${feed} for feed.", "How many dollars does {name} earn after paying for the feed?",
             {"a": (2, 30), "b": (2, 7), "c": (2, 60), "price": (1, 3), "feed": (2, 40)},
             {"all = a * b": "The hens lay {} eggs.", "sold = all - c": "{name} sells {} eggs.",
              "sum = sold * price": "The eggs bring ${}.", "left = sum - feed": "After the feed, ${} are left."},
             "The hens are {other:5-24} months old."),
    Template("outing", "{a} girls, {b} boys and {c} teachers go to the lake in vans with {k} seats. All seats are "
             "taken. A van costs ${price}.", "How many dollars do the vans cost?",
             {"k": (4, 15), "q": (2, 10), "come": "k * q", "c": (2, 9), "kids": "come - c", "a": (2, 60),
              "b": "kids - a", "price": (20, 90)},
             {"kids2 = a + b": "There are {} children.", "all = kids2 + c": "{} people go.",
              "vans = all / k": "They need {} vans.", "cost = vans * price": "The vans cost ${}."},
             "The lake is {other:3-60} miles away."),
    Template("bike", "A bike costs ${goal}. {name} has ${a} and mows {n} lawns for ${p} each. The missing money comes "
             "in {k} equal payments.", "How many dollars is each payment?",
             {"goal": (40, 500, 5), "a": (2, 150), "n": (2, 12), "p": (2, 20), "k": (2, 6)},
             {"earned = n * p": "The lawns bring ${}.", "have = a + earned": "{name} then has ${}.",
              "missing = goal - have": "${} are missing.", "each = missing / k": "Each payment is ${}."},
             "{name} is {other:8-18} years old."),
    Template("party", "{a} guests drink {b} cups of juice each. A bottle fills {k} cups and costs ${price}. A coupon "
             "takes off ${d} in all.", "How many dollars does the juice cost?",
             {"k": (2, 8), "q": (2, 8), "a": "k * q", "b": (2, 5), "price": (1, 8), "d": (1, 20)},
             {"cups = a * b": "The guests drink {} cups.", "bottles = cups / k": "That is {} bottles.",
              "sum = bottles * price": "They cost ${}.", "cost = sum - d": "With the coupon it is ${}."},
             "The party lasts {other:45-180} minutes.", held_out=True),
    Template("books", "{name} has two books, one of {a} pages and one of {b} pages. {name} reads {c} pages a day for "
             "{d} days, and the rest in {k} days, the same number of pages each day.",
             "How many pages a day is that at the end?",
             {"c": (4, 40), "d": (2, 9), "k": (2, 9), "q": (4, 40), "read": "c * d", "rest": "k * q",
              "both": "read + rest", "a": (20, 300), "b": "both - a"},
             {"all = a + b": "The books have {} pages.", "done = c * d": "{name} first reads {} pages.",
              "left = all - done": "{} pages are left.", "each = left / k": "That is {} pages a day."}, held_out=True),
]}
# fmt: on


def fill(
    template: Template, rng: random.Random, *, largest: int, prices: bool, distractors: float
) -> dict[str, str] | None:
    """A row with the hub's columns and `template`, or None where the numbers drawn do not fit.

    Every number is at most `largest`; counts are whole and from 2 up, money is positive and has cents, or, without
    `prices`, whole dollars. The distractor differs from all other numbers, so that nobody mistakes it for one of them;
    it is left out where its range has no such number.
    """

    def fits(value: int | Fraction, money: bool) -> bool:
        whole = value * 100 if money and prices else value
        return (0 if money else 1) < value <= largest and whole.denominator == 1

    values: dict[str, int | Fraction] = {}
    for field, how in template.numbers.items():
        money = field in template.money
        if isinstance(how, str):
            value = _calculate(how.removeprefix("bill for "), values)[0]
            if how.startswith("bill for "):
                value = min((bill for bill in BILLS if bill >= value), default=0)  # 0 does not fit
            values[field] = value
        else:
            low, high, *distance = how
            if low > largest:
                return None
            step = distance[0] if distance else 1
            values[field] = low + step * int(rng.random() * ((min(high, largest) - low) // step + 1))
            if money and prices and not distance and rng.random() < 0.5:
                values[field] += Fraction(rng.randrange(5, 100, 5), 100)
        if not fits(values[field], money):
            return None
    used, results = set(values.values()), []
    for formula, sentence in template.steps.items():
        result, _, calculation = formula.partition(" = ")
        value, left, right = _calculate(calculation, values)
        if not fits(value, "${}" in sentence):
            return None
        values[result] = value
        used |= {value, left, right}
        results.append((sentence, calculation.split(" ")[1], left, right, value))
    lines = []
    for sentence, op, left, right, value in results:  # in a loop of its own, since most draws do not get this far
        formula = f"{write(left)}{op}{write(right)}"
        dollar = "$" if "${}" in sentence else ""
        lines.append((sentence.replace("${}", "{}"), f"{formula} = {dollar}<<{formula}={write(value)}>>{write(value)}"))
    told = {field: write(number) for field, number in values.items()}
    for kind, fields in template.words.items():
        words = rng.sample(WORDS[kind], len(fields))
        if kind in CALENDAR:
            words.sort(key=WORDS[kind].index)
        told |= zip(fields, words, strict=True)
    story = [template.story, template.ask]
    if template.extra and rng.random() < distractors:
        parts = _EXTRA.fullmatch(template.extra)
        assert parts, template.extra
        before, least, most, after = parts.groups()
        free = [number for number in range(int(least), min(int(most), largest) + 1) if number not in used]
        if free:
            story.insert(1, f"{before}{rng.choice(free)}{after}")
    answer = [sentence.format(result, **told) for sentence, result in lines] + [f"#### {write(value)}"]
    return {"question": " ".join(story).format(**told), "answer": "\n".join(answer), "template": template.name}


def write(value: int | Fraction) -> str:
    """The text of a number: whole numbers as they are, amounts with cents with two decimals."""
    return str(int(value)) if value.denominator == 1 else f"{int(value)}.{int(value * 100) % 100:02d}"


def _calculate(calculation: str, values: dict) -> tuple[int | Fraction, int | Fraction, int | Fraction]:
    """Value, left and right operand of "left op right", each operand a field or an integer."""
    left, op, right = calculation.split(" ")
    x = values[left] if left in values else int(left)
    y = values[right] if right in values else int(right)
    return OPERATIONS[op](x, y), x, y
