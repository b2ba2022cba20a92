"""What `needs_reward` gives, and what `explain` says of it: tables of (text, expected, reason)."""

from tables import MEGABYTE, RIGHT, UNPARSEABLE, WRONG, table, turn

from mini_r1.rewards import explain, needs_reward, needs_verdict
from mini_r1.rewards.needs import ANSWER_CAP

NEEDS, BANS = ["Ava", "the bus is late"], ["fool", "block head"]
GOOD = "Dear Ava, the bus is late."
# (text, needs, bans, verdict, reason)
VERDICTS = [
    (turn(GOOD), NEEDS, BANS, RIGHT, "the note"),
    (turn("THE  BUS\nIs\tlate, ava"), NEEDS, BANS, RIGHT, "case, blanks and order do not matter"),
    (turn("(Ava): \"the bus is late\""), NEEDS, None, RIGHT, "punctuation is a border"),
    (turn("_Ava_, the bus is late"), NEEDS, None, RIGHT, "so is an underscore, as in Markdown"),
    (f"<think>hm</think>Here you are: {turn(GOOD)[18:]} Bye!", NEEDS, None, RIGHT, "in a summary"),
    (turn("I use C++."), ["c++"], None, RIGHT, "a need that ends with a sign"),
    (turn("Avant, Eva, Ava."), ["Ava"], None, RIGHT, "the whole word behind a longer one"),
    (turn(GOOD, "a" * MEGABYTE), NEEDS, BANS, RIGHT, "no cap on the reasoning"),
    (turn(GOOD, "fools" * (MEGABYTE // 5)), NEEDS, BANS, RIGHT, "a megabyte of longer words"),
    (turn(GOOD + "!" * (ANSWER_CAP - len(GOOD))), NEEDS, None, RIGHT, "as long as the cap"),
    (turn("Good."), None, ["fool"], RIGHT, "bans alone, kept"),
    (turn("Tomfoolery, fools!"), None, ["fool"], RIGHT, "a part of a longer word is not banned"),
    (turn("fool2, 2fool, éfool"), None, ["fool"], RIGHT, "digits and other letters make longer words, too"),
    (turn("block, head"), None, ["block head"], RIGHT, "a sign between the words of a ban"),
    (turn("the bus is late"), NEEDS, None, WRONG, "the name is missing"),
    (turn("Dear Ava."), NEEDS, None, WRONG, "the message is missing"),
    (turn("Ava, the bus is not late"), NEEDS, None, WRONG, "a word in between"),
    (turn("Ava, the bus is later"), NEEDS, None, WRONG, "part of a longer word"),
    (turn("Ava, the van is late", GOOD), NEEDS, None, WRONG, "the message in the thinking only"),
    (f"{GOOD}{turn('Done.')}{GOOD}", NEEDS, None, WRONG, "outside of the answer block"),
    (turn(" "), NEEDS, None, WRONG, "a blank answer"),
    (turn(GOOD + "!" * ANSWER_CAP), NEEDS, None, WRONG, "longer than the cap"),
    (turn(GOOD, "What a fool."), NEEDS, BANS, WRONG, "an insult in the thinking"),
    (turn(f"{GOOD} You FOOL!"), NEEDS, BANS, WRONG, "an insult in the answer"),
    (turn(GOOD) + " Bye, fool", NEEDS, BANS, WRONG, "an insult behind the answer"),
    ("Fool! " + turn(GOOD), NEEDS, BANS, WRONG, "an insult in front of it all"),
    (turn(GOOD, "block \n head"), NEEDS, BANS, WRONG, "an insult of two words over a line break"),
    (turn("fool"), None, ["fool"], WRONG, "bans alone, broken"),
    (turn(GOOD) + f"<answer>{GOOD}</answer>", NEEDS, None, UNPARSEABLE, "two answer blocks"),
    (f"<think>hm</think>{GOOD}", NEEDS, None, UNPARSEABLE, "no answer block"),
    (f"<think><answer>{GOOD}</answer>", NEEDS, None, UNPARSEABLE, "thinking that is never closed"),
    ("", None, ["fool"], UNPARSEABLE, "nothing at all"),
    (turn(GOOD), None, None, None, "no needs, no bans: only a reward model judges"),
    ("", [], [], None, "empty lists"),
    (turn(GOOD), "Ava", None, None, "unusable: a text for a list"),
    (turn(GOOD), ["Ava"], [" "], None, "unusable: a blank ban"),
    (turn(GOOD), [7], None, None, "unusable: a number"),
]  # fmt: skip


@table("text, needs, bans, verdict, reason", VERDICTS)
def test_verdicts(text, needs, bans, verdict, reason):
    assert needs_verdict(text, needs, bans) is verdict, reason
    given = {RIGHT: 1.0, None: None}.get(verdict, 0.0)
    assert needs_reward(completions=[text], needs=[needs], bans=[bans]) == [given]
    begins = {RIGHT: "right", WRONG: "wrong: ", UNPARSEABLE: "no answer: ", None: "no verdict: "}[verdict]
    assert explain(text, {"needs": needs, "bans": bans}).startswith(begins)


# (answer, sentence, reason)
SENTENCES = [
    (GOOD, "right: it has what is asked for, and nothing that is banned", "right"),
    ("Dear Ava.", "wrong: the answer lacks 'the bus is late'", "the message is missing"),
    ("fool", "wrong: the answer lacks 'Ava', the answer lacks 'the bus is late' and the response has 'fool', which is "
     "banned", "all of it"),
]  # fmt: skip


@table("answer, sentence, reason", SENTENCES)
def test_sentences(answer, sentence, reason):
    row = {"needs": NEEDS, "bans": BANS}
    assert explain(turn(answer), row) == sentence
    assert explain(turn(answer), row | {"nums": None, "target": None}) == sentence
