"""The tiny recipes of all tasks: their tokenizer suits the task, and what it writes has room."""

import hashlib
import json
import random

import pytest
from repository import ROOT

from mini_r1 import tasks
from mini_r1.config.recipe import resolve
from mini_r1.data.prompts import get_template, joined, prompt_ids, render
from mini_r1.run.tiny_model import build_tokenizer

RECIPES = ROOT / "recipes"
FAMILIES = ["countdown-tiny", "gsm8k-tiny", "knights-knaves-tiny"]
ONE_TOKEN = {
    "countdown-tiny": [" + ", " = ", "Next: ", "9", "I give up and guess.\n"],
    "gsm8k-tiny": [" * ", "Next: ", "40", " apples", " How", "I stop here.\n"],
    "knights-knaves-tiny": [" Leo is not a knave", " Mia says that", " Ava knight,", " no;", " together yes;", "Next:"],
}
# SHA-256, the first 16 digits, of traces and of the vocabulary, as they were when the README's numbers were measured.
AS_PUBLISHED = {
    "countdown-tiny": ("a4316ccc17507bb1", "106f4921956c3d1e"),
    "gsm8k-tiny": ("82e027d46d7f03b7", "004e72df776c11c1"),
    "knights-knaves-tiny": ("a184b2246aea68cf", "1afcdb231068b576"),
}


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request):
    """(recipe, task, rows, template, tokenizer), with a tenth of the recipe's problems."""
    values = resolve(RECIPES / f"{request.param}-base.yaml").values | resolve(RECIPES / f"{request.param}.yaml").values
    task, template = tasks.get(values["task"]), get_template(values["prompt_template"])
    settings = {**values["task_args"], "n": 800}
    rows = [task.parse_row(row) for row in task.generate(**settings)]
    tokenizer = build_tokenizer([(task, template, rows, values.get("trace_args") or {})], seed=1)
    return request.param, values, task, rows, template, tokenizer


def test_phrases_are_one_token(tiny):
    family, _, _, _, _, tokenizer = tiny
    for phrase in ONE_TOKEN[family]:
        assert len(tokenizer(phrase)["input_ids"]) == 1, phrase


def test_there_is_room_for_prompts_and_traces(tiny):
    _, values, task, rows, template, tokenizer = tiny
    longest = 0
    for row in rows:
        assert len(prompt_ids(render(template, task, row, tokenizer).text, tokenizer)) <= values["max_prompt_tokens"]
        trace = joined(task.trace(row, random.Random(0), **(values.get("trace_args") or {})))
        longest = max(longest, len(tokenizer(trace)["input_ids"]) + 1)  # the end of the turn, too
    assert 0.6 * values["max_completion_length"] < longest <= values["max_completion_length"]


def test_text_survives_the_tokenizer(tiny):
    _, _, task, rows, _, tokenizer = tiny
    for row in rows[:50]:
        for text in (task.question(row), joined(task.trace(row, random.Random(0), give_up=0.5)), "Zoë: 7·8 ≠ 55\n"):
            assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_traces_and_vocabulary_are_those_of_the_published_numbers(tiny):
    family, _, task, rows, _, tokenizer = tiny
    phases = resolve(RECIPES / f"{family}-sft.yaml").values["trace_phases"]
    settings = [{name: value for name, value in phase.items() if name != "share"} for phase in phases]
    rng = random.Random(7)
    traces = [task.trace(row, rng, **how) for how in settings for row in rows[:200]]
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    made = (hashlib.sha256(text.encode()).hexdigest()[:16] for text in (repr(traces), vocabulary))
    assert tuple(made) == AS_PUBLISHED[family]
