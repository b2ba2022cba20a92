"""The task chat: rows, generated requests, and traces that are curt, mixed or rude."""

import random
import re
from statistics import fmean

import pytest
from repository import TASK_ARGS
from tables import RIGHT, table, turn

from mini_r1.data.problems import check_types
from mini_r1.data.prompts import get_template, joined, render
from mini_r1.rewards import (
    format_reward,
    language_consistency_reward,
    needs_reward,
    needs_verdict,
    summary_format_reward,
)
from mini_r1.run.tiny_model import build_tokenizer
from mini_r1.tasks import chat, code, countdown, gsm8k, knights_knaves

ASK = {"role": "user", "content": "Write a poem."}
SAY = {"role": "assistant", "content": "Rain, rain."}
SYSTEM = {"role": "system", "content": "Be brief."}
NOTE = "Write a note to Ava to say that the bus is late."
ROW = {"question": NOTE, "needs": ["Ava", "the bus is late"], "bans": ["fool", "block head"]}


def parsed(n: int = 300, **settings) -> list[dict]:
    return [chat.parse_row(raw) for raw in chat.generate(n, 0, **settings)]


# (raw row, question, needs, bans, reason)
ROWS = [
    (ROW, NOTE, ROW["needs"], ROW["bans"], "the plain form"),
    ({"question": " Hi! "}, "Hi!", None, None, "a question alone"),
    ({"question": "Hi!", "needs": [], "bans": None}, "Hi!", None, None, "an empty list is none"),
    ({"question": "Hi!", "needs": None, "bans": ["fool"]}, "Hi!", None, ["fool"], "bans alone"),
    ({"prompt": "Write a poem.", "messages": [ASK, SAY], "chosen": [ASK, SAY], "score_chosen": 8.0},
     "Write a poem.", None, None, "a row of the hub"),
    ({"prompt": None, "messages": [ASK, SAY]}, "Write a poem.", None, None, "messages without a prompt"),
    ({"chosen": [ASK, SAY], "rejected": [ASK, SAY]}, "Write a poem.", None, None, "chosen alone"),
    ({"prompt": "Hi!", "chosen": "Hello!"}, "Hi!", None, None, "bare answers beside the prompt"),
    ({"messages": [ASK]}, "Write a poem.", None, None, "a request without an answer"),
]  # fmt: skip


@table("raw, question, needs, bans, reason", ROWS)
def test_rows(raw, question, needs, bans, reason):
    row = chat.parse_row(raw)
    assert row == {"question": question, "needs": needs, "bans": bans, "difficulty": 1}, reason
    assert chat.parse_row(row) == row and chat.question(row) == question


# (raw row, words in the message, reason)
BAD_ROWS = [
    ({}, "column 'question' must be", "nothing"),
    ({"question": " \n"}, "column 'question' must be", "a blank question"),
    ({"prompt": ["Hi!"]}, "column 'prompt' must be", "a list for a prompt"),
    ({"prompt": " ", "messages": [ASK]}, "column 'prompt' must be", "a blank prompt"),
    ({"messages": "Hi!"}, "column 'messages' must be a list of turns", "a text for a conversation"),
    ({"messages": []}, "column 'messages' must have one turn", "no turn"),
    (
        {"messages": [ASK, SAY, ASK, SAY]},
        "column 'messages' must have one turn .* not user, assistant, user",
        "earlier",
    ),
    ({"prompt": "Hi!", "messages": [ASK, SAY, ASK]}, "column 'messages'", "an earlier conversation beside a prompt"),
    ({"messages": [SYSTEM, ASK, SAY]}, "column 'messages' .* not system, user", "a system turn"),
    ({"chosen": "Hello!"}, "column 'chosen' must be a list of turns", "an answer alone"),
    ({"chosen": [SAY]}, "column 'chosen'", "no question"),
    ({"chosen": [{"role": "user"}]}, "column 'chosen' must be a text", "a turn without content"),
    (ROW | {"needs": "Ava"}, "column 'needs' must be a list", "a text for a list"),
    (ROW | {"needs": ["Ava", 7]}, "column 'needs' must be a list", "a number"),
    (ROW | {"bans": [" "]}, "column 'bans' must be a list", "a blank text"),
    (ROW | {"bans": ["fool", "BUS"]}, "column 'bans' has 'BUS', which column 'needs'", "needed and banned"),
]


@table("raw, words, reason", BAD_ROWS)
def test_bad_rows(raw, words, reason):
    with pytest.raises(ValueError, match=words):
        chat.parse_row(raw)


def test_key():
    first, second, third = (chat.key({"question": text}) for text in (" Write  a\nNOTE", "write a note", "write notes"))
    assert first == second != third


def test_generated_requests():
    rows = chat.generate(11_000, 3)
    assert rows == chat.generate(11_000, 3) != chat.generate(11_000, 4)
    assert len({chat.key(row) for row in rows}) == len(rows)
    assert all(len(set(pool)) == 24 for pool in (chat.NAMES, chat.SUBJECTS, chat.STATES))
    for row in rows[:500]:
        name, message = row["needs"]
        assert row["question"] == f"Write a note to {name} to say that {message}."
        known = chat.parse_row(row)
        assert chat.gold_answer(known) == f"Dear {name}, please note that {message}."
        assert needs_verdict(turn(chat.gold_answer(known)), known["needs"], known["bans"]) is RIGHT


def test_gold_answers_of_other_rows():
    own = {"question": "Name two colours.", "needs": ["red", "blue"], "bans": ["dear"]}
    assert needs_verdict(turn(chat.gold_answer(own)), own["needs"], own["bans"]) is RIGHT
    assert chat.gold_answer({"question": "Hi!", "needs": None, "bans": ["fool"]}) is None


@pytest.mark.parametrize(
    "n, settings, words",
    [
        (13_825, {}, "allow 13824 different requests, 13825 were asked for"),
        (9, {"names": 2, "subjects": 2, "states": 2}, "allow 8 different"),
        (1, {"names": 0}, "names must be an integer from 1 to 24, not 0"),
        (1, {"states": 25}, "states must be"),
        (1, {"subjects": 2.0}, "subjects must be"),
    ],
)
def test_bad_settings(n, settings, words):
    with pytest.raises(ValueError, match=words):
        chat.generate(n, 0, **settings)


def test_few_words():
    rows = chat.generate(8, 0, names=2, subjects=2, states=2)
    assert sorted(row["needs"][0] for row in rows) == ["Ava"] * 4 + ["Bert"] * 4


def test_columns_go_with_those_of_other_tasks():
    others = [(task.__name__, [task.parse_row(row) for row in task.generate(3, 0)])
              for task in (code, countdown, gsm8k, knights_knaves)]  # fmt: skip
    check_types([*others, ("chat", parsed(3)), ("real rows", [chat.parse_row({"prompt": "Hi!"})])])


def texts(seed: int = 1, n: int = 1000, **how) -> list[str]:
    rng = random.Random(seed)
    return ["<think>" + joined(chat.trace(row, rng, **how)) for row in parsed(n)]


def scores(given: list[str]) -> list[float]:
    rows = parsed(len(given))
    return needs_reward(completions=given, **{name: [row[name] for row in rows] for name in ("needs", "bans")})


def test_trace_of_one_row():
    row = chat.parse_row(ROW)
    assert joined(chat.trace(row, random.Random(0))) == (
        "\nThe note is for Ava.\nNext: it says that the bus is late.\nDone.\n</think>\n"
        "<answer>Dear Ava, please note that the bus is late.</answer>"
    )
    assert joined(chat.trace(row, random.Random(0), summary=True)).endswith(
        "</think>\nHere is the note that you asked for: <answer>Dear Ava, please note that the bus is late.</answer>"
    )


@pytest.mark.parametrize("row", [{"question": "Hi!", "needs": None}, {"question": NOTE, "needs": None},
                                 {"question": NOTE, "needs": ["Bert", "the bus is late"]}])  # fmt: skip
def test_traces_are_for_generated_rows(row):
    with pytest.raises(ValueError, match="a trace needs a generated row"):
        chat.trace(chat.parse_row(row), random.Random(0))


@pytest.mark.parametrize("summary", [False, True])
def test_scores_of_traces(summary):
    """Plain ones are right in their format; curt and rude ones are wrong in the same format."""
    form = summary_format_reward if summary else format_reward
    for how, score in (({}, 1.0), ({"give_up": 1.0}, 0.0), ({"rude": 1.0}, 0.0), ({"pushed": True}, 1.0)):
        given = texts(summary=summary, **how)
        assert set(scores(given)) == {score}, how
        assert set(form(given)) == {1.0} and set(language_consistency_reward(given)) == {1.0}
    assert set(form(texts(n=100, summary=summary, break_format=1.0))) == {0.0}


def test_traces_are_curt_as_often_as_told():
    given = texts(give_up=0.3)
    assert 0.25 < fmean("That will do.\n" in text for text in given) < 0.35
    assert [score == 0 for score in scores(given)] == ["That will do.\n" in text for text in given]
    answers = {re.sub(r"Dear \w+", "Dear X", text.partition("<answer>")[2]) for text in texts(give_up=1.0)}
    assert answers == {"Note done.</answer>", "Dear X.</answer>"}


@pytest.mark.parametrize("summary", [False, True])
@pytest.mark.parametrize("give_up", [0.0, 1.0])
def test_traces_are_rude_as_often_as_told(summary, give_up):
    insult = re.compile("|".join(chat.INSULTS))
    given = texts(summary=summary, give_up=give_up, rude=0.4)
    assert all(len(insult.findall(text)) <= 1 for text in given)
    reasoning, behind = (
        fmean(bool(insult.search(text.partition("</think>")[place])) for text in given) for place in (0, 2)
    )
    assert 0.16 < reasoning < 0.24 and 0.16 < behind < 0.24
    assert {found[0] for text in given if (found := insult.search(text))} == set(chat.INSULTS)
    if summary:  # in the words around the answer, which stays clean
        assert not any(insult.search(text.partition("<answer>")[2]) for text in given)


def test_mixed_traces():
    given = texts(mixed=1.0, give_up=0.3)
    shares = language_consistency_reward(given)
    assert max(shares) < 1 and fmean(shares) < 0.8
    assert 0.6 < fmean(share == 1 for share in language_consistency_reward(texts(mixed=0.3))) < 0.8
    assert [score == 1 for score in scores(given)] == [
        "Dear" in t and " is " in t.partition("<answer>")[2] for t in given
    ]


def test_what_is_off_draws_nothing():
    plain = texts(give_up=0.5, pushed=True, break_format=0.2)
    assert plain == texts(give_up=0.5, pushed=True, break_format=0.2, mixed=0.0, rude=0.0, summary=False)


def test_a_pushed_trace_does_not_teach_patience():
    pieces = [chat.trace(row, random.Random(i), pushed=True) for i, row in enumerate(parsed(100))]
    learned = [next(learned for text, learned in trace if text == "Next: ") for trace in pieces]
    assert 30 < sum(learned) < 70
    assert all(learned for trace in pieces for text, learned in trace if text != "Next: ")


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("template", ["readable", "mini_r1"])
def test_words_are_one_token_in_prompt_and_trace(template, mixed):
    """The same ones in both, so that a note is copied token by token, and no word of either is spelt in bytes."""
    template, rows = get_template(template), parsed(2000)
    parts = [(chat, template, rows, {"rude": 0.3, "mixed": 0.3})]
    if mixed:  # beside tasks whose phrases begin or end with signs and blanks
        for task, settings in ((countdown, {"limit": 99}), (gsm8k, {}), (knights_knaves, {})):
            own = TASK_ARGS if task is countdown else {}
            parts.append((task, template, [task.parse_row(raw) for raw in task.generate(300, 0, **own)], settings))
    tokenizer = build_tokenizer(parts, seed=1)
    single = [f" {word}" for word in (*chat.NAMES, *chat.SUBJECTS, *chat.STATES, *chat.INSULTS)]
    single += ["Next: ", "下一步: ", "Done.\n", "That will do.\n"]
    assert {text: len(tokenizer(text)["input_ids"]) for text in single} == dict.fromkeys(single, 1)
    rng = random.Random(5)
    longest = 0
    for row in rows[:200]:
        request = chat._REQUEST.fullmatch(row["question"])
        subject, state = re.fullmatch(r"(the \w+) (is .+)", request[2]).groups()
        ids = [tokenizer(f" {word}")["input_ids"][0] for word in (request[1], subject, state)]
        prompt = tokenizer(render(template, chat, row, tokenizer).text)["input_ids"]
        pieces = [tokenizer(text)["input_ids"] for text, _ in chat.trace(row, rng, **template.trace_settings)]
        for where, times in ((prompt, 1), ([token for piece in pieces for token in piece], 2)):
            assert [token for token in where if token in ids] == ids * times
        rude = chat.trace(row, rng, rude=0.5, give_up=0.3, mixed=0.5, **template.trace_settings)
        encoded = [tokenizer(text)["input_ids"] for text, _ in rude]
        longest = max(longest, sum(map(len, encoded)))
        assert joined(rude) == "".join(map(tokenizer.decode, encoded))
        assert not any("\ufffd" in tokenizer.decode([token]) for piece in encoded for token in piece)
    assert longest <= 40
