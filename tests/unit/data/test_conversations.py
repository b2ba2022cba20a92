"""Supervised data from files: every form of row, the mixture, what is learned of it, and what is refused."""

import json

import pytest

from mini_r1 import tasks
from mini_r1.config.arguments import SFTArguments
from mini_r1.data.conversations import check_sources, conversation_dataset, load_conversations, to_texts
from mini_r1.data.mixture import Part
from mini_r1.data.problems import load_rows
from mini_r1.data.prompts import get_template, messages, prompt_ids, render
from mini_r1.data.traces import IGNORED
from mini_r1.errors import RecipeError

COUNTDOWN, MINI_R1, R1_ZERO = tasks.get("countdown"), get_template("mini_r1"), get_template("r1_zero")
READABLE = get_template("readable")
ASKED = [{"role": "user", "content": "Combine 1 and 2."}]
ANSWER = {"role": "assistant", "content": "<think>hm</think><answer>1</answer>"}


def sources(tmp_path, *rows_of_each: list[dict], shares=()) -> list[dict]:
    entries = []
    for number, rows in enumerate(rows_of_each):
        path = tmp_path / f"{number}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        entries.append({"path": str(path)} | ({"share": shares[number]} if shares else {}))
    return entries


def arguments(entries, **more) -> SFTArguments:
    return SFTArguments(task="countdown", sft_datasets=entries, **more)


def countdown(template=MINI_R1) -> list[Part]:
    return [Part("countdown", COUNTDOWN, template, arguments(None))]


def sampled(row: dict, template, tries: int = 0) -> dict:
    """A row as scripts/generate.py leaves it."""
    asked = messages(template, COUNTDOWN, row)
    answer = {
        "role": "assistant",
        "content": template.prefill + "3 + 4 " * tries + "1 + 2</think><answer>1 + 2</answer>",
    }
    return {"messages": [*asked, answer], "task": "countdown", "row": json.dumps(row)}


@pytest.mark.parametrize("asked_with", [MINI_R1, R1_ZERO])
@pytest.mark.parametrize("learned_with", [MINI_R1, R1_ZERO, get_template("reinforce_lite")])
def test_a_row_of_the_task_is_put_as_the_student_is_asked(tiny_rows, tiny_tokenizer, asked_with, learned_with):
    """The context is the rollout's own, token by token, whatever template the teacher had."""
    row = COUNTDOWN.parse_row(tiny_rows[0])
    (part,) = countdown(learned_with)
    prompt, completion = to_texts(sampled(row, asked_with), (part, row), tiny_tokenizer)
    assert prompt == render(learned_with, COUNTDOWN, row, tiny_tokenizer).text
    assert completion == ("" if learned_with.prefill else "<think>") + "1 + 2</think><answer>1 + 2</answer>"


def test_other_forms(tiny_tokenizer):
    rendered = tiny_tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True)
    for row, expected in (
        ({"messages": [*ASKED, ANSWER]}, (rendered, ANSWER["content"])),
        ({"messages": [*ASKED, ANSWER], "task": "gsm8k", "row": "{}"}, (rendered, ANSWER["content"])),
        ({"prompt": ASKED, "completion": [ANSWER]}, (rendered, ANSWER["content"])),
        ({"prompt": "Q: ", "completion": "A"}, ("Q: ", "A")),
    ):
        assert to_texts(row, None, tiny_tokenizer) == expected


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "x"}, ".jsonl: needs messages, conversations,"),
        ({"messages": [ANSWER]}, "needs messages, conversations,"),
        ({"messages": "x"}, "needs messages, conversations,"),
        ({"messages": [ANSWER, *ASKED]}, "its last message must be the assistant's"),
        ({"messages": [*ASKED, {**ANSWER, "content": " "}]}, "a text that is not blank"),
        ({"messages": [*ASKED, {**ANSWER, "content": None}]}, "a text that is not blank"),
    ],
)
def test_bad_rows(tmp_path, tiny_tokenizer, row, said):
    entries = sources(tmp_path, [row])
    made = (countdown(), tiny_tokenizer, 0, 4, None)
    with pytest.raises(RecipeError, match=said) as error:
        conversation_dataset(arguments(entries), *made, held_out=[[]])
    assert error.value.key == "sft_datasets"
    (tmp_path / "more").mkdir()
    good = sources(tmp_path / "more", [{"prompt": "Q", "completion": "A"}])
    dataset, left_out, _ = conversation_dataset(arguments([*entries, *good], skip_bad_rows=True), *made, held_out=[[]])
    assert (len(dataset), left_out) == (1, 1)


def test_only_the_completion_and_the_end_are_learned(tmp_path, tiny_rows, tiny_tokenizer):
    rows = [COUNTDOWN.parse_row(row) for row in tiny_rows[:20]]
    entries = sources(tmp_path, [sampled(row, MINI_R1, tries=i) for i, row in enumerate(rows)])
    made = (countdown(), tiny_tokenizer, 0, 4)
    dataset, left_out, _ = conversation_dataset(arguments(entries), *made, None, held_out=[[]])
    assert (len(dataset), left_out) == (20, 0)
    prompts = {render(MINI_R1, COUNTDOWN, row, tiny_tokenizer).text for row in rows}
    for example in dataset:
        start = sum(label == IGNORED for label in example["labels"])
        assert example["labels"][:start] == [IGNORED] * start
        assert example["labels"][start:] == example["input_ids"][start:]
        assert example["input_ids"][:start] in [prompt_ids(prompt, tiny_tokenizer) for prompt in prompts]
        assert example["input_ids"][-1] == tiny_tokenizer.eos_token_id
    lengths = sorted(map(len, dataset["input_ids"]))
    shorter, left_out, _ = conversation_dataset(arguments(entries), *made, lengths[10] - 1, held_out=[[]])
    assert len(shorter) + left_out == 20 and max(map(len, shorter["input_ids"])) < lengths[10]
    _, left_out, _ = conversation_dataset(arguments(entries), *made, None, held_out=[rows[:3]])
    assert left_out == 3, "what is held out is not learned from"
    with pytest.raises(RecipeError, match="none of the 20 rows can be used"):
        conversation_dataset(arguments(entries), *made, 3, held_out=[[]])


def test_mixture(tmp_path):
    """Shares of what is learned from; the smallest data set for its share sets the size; nothing is taken twice."""
    kinds = [[{"prompt": f"{kind}{i}", "completion": "x"} for i in range(n)] for kind, n in (("a", 100), ("b", 30))]
    entries = sources(tmp_path, *kinds, shares=(0.75, 0.25))
    rows = load_conversations(entries, seed=1)
    named = [row["prompt"] for _, row in rows]
    assert {place for place, row in rows if row["prompt"] == "b7"} == {f"row 7 of {entries[1]['path']}"}
    assert len(set(named)) == len(named) == 120
    assert sum(name.startswith("a") for name in named) == 90
    assert load_conversations(entries, seed=1) == rows != load_conversations(entries, seed=2)
    assert len(load_conversations(sources(tmp_path, *kinds), seed=1)) == 130


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "must be a list"),
        ([], "must be a list"),
        ([{"paths": "x"}], "paths: unknown key; did you mean path?"),
        ([{"task": "chat", "path": "x"}], "path: unknown key"),
        ([{"task": "chat", "trace_args": 1}], "trace_args: got 1, expected a map"),
        ([{"split": "train"}], "each entry needs a path"),
        ([{"path": "x", "share": 0.5}, {"path": "y"}], "the shares must all be given"),
        ([{"path": "x", "share": 0.5}, {"path": "y", "share": 0.6}], "add up to 1"),
        ([{"path": "x", "share": 2}, {"path": "y", "share": -1}], "above 0"),
    ],
)
def test_wrong_entries(given, said):
    with pytest.raises(RecipeError, match=".*" + said.replace("?", r"\?")) as error:
        check_sources(given)
    assert error.value.key == "sft_datasets"


def test_a_task_writes_rows_of_its_own(tmp_path, tiny_rows, tiny_tokenizer):
    """Three of four rows are sampled ones, and the fourth is a trace on a training problem, in the readable form."""
    settings = {"operators": "-+", "limit": 36}
    files = sources(tmp_path, [sampled(COUNTDOWN.parse_row(row), MINI_R1) for row in tiny_rows[:30]], shares=[0.75])
    entries = [*files, {"task": "countdown", "trace_args": settings, "share": 0.25}]
    problems = {"n": 60, "count": [3], "numbers": [1, 9], "operators": "+-", "target": [1, 36], "in_order": True}
    own = arguments(entries, task_args=problems, test_fraction=0.5)
    parts = [Part("countdown", COUNTDOWN, READABLE, own)]
    rows = load_conversations(entries, 1, parts)
    written = [row for _, row in rows if "in order, I find" in row["messages"][-1]["content"]]
    problems = load_rows(own, COUNTDOWN)
    assert len(rows) == 40 and len(written) == 10 and load_conversations(entries, 1, parts) == rows
    assert all(json.loads(row["row"]) in problems.train for row in written)
    dataset, left_out, _ = conversation_dataset(own, parts, tiny_tokenizer, 1, 8, None, held_out=[problems.test])
    texts = [tiny_tokenizer.decode(list(ids)) for ids in dataset["input_ids"]]
    assert left_out == 0 and sum("in order, I find" in text for text in texts) == 10
    for entry, said in (
        ({"task": "gsm8k"}, "'gsm8k' is no task of this recipe; this recipe has countdown"),
        (
            {"task": "countdown", "trace_args": {"rude": 1}},
            "countdown: trace_args: 'rude' is no setting of trace; it knows",
        ),
    ):
        with pytest.raises(RecipeError, match=said):
            load_conversations([entry], 1, parts)


def test_a_missing_file_is_said():
    with pytest.raises(RecipeError, match=r"no/such\.jsonl") as error:
        load_conversations([{"path": "no/such.jsonl"}], 0)
    assert error.value.key == "sft_datasets"
