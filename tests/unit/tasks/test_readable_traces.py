"""Cold-start traces in the readable form and in two languages: what rewards, signals and tokenizer make of them."""

import random
import re
from statistics import fmean

import pytest
from repository import ROOT

from mini_r1 import tasks
from mini_r1.config.arguments import SFTArguments
from mini_r1.data.mixture import Part
from mini_r1.data.prompts import get_template, joined, render
from mini_r1.data.reward_loader import load_rewards
from mini_r1.data.traces import IGNORED, trace_dataset
from mini_r1.errors import RecipeError
from mini_r1.evaluation.signals import read_signals
from mini_r1.launch.check_data import gold_completion
from mini_r1.rewards import Verdict, answer_block, language_consistency_reward, summary_format_verdict
from mini_r1.run.tiny_model import build_tokenizer

SETTINGS = {  # of the shipped tiny recipes: problems, traces
    "countdown": (
        {"count": [3, 4], "numbers": [1, 9], "operators": "+-", "target": [1, 36], "in_order": True},
        {"operators": "-+", "limit": 36},
    ),
    "gsm8k": ({"steps": [2, 3, 4], "largest": 40, "prices": False, "templates": "train"}, {}),
    "knights_knaves": ({"count": [3], "names": ["Ava", "Leo", "Mia", "Noah"], "in_order": True, "plain": True}, {}),
}
MIXING = ["countdown", "gsm8k"]
READABLE = get_template("readable")
HAN = re.compile(r"[\u4e00-\u9fff]")


def problems(name: str, n: int = 300) -> tuple:
    """(task, rows, settings of its traces)."""
    task, (generator, settings) = tasks.get(name), SETTINGS[name]
    return task, [task.parse_row(raw) for raw in task.generate(n, 0, **generator)], settings


def texts(name: str, seed: int = 3, n: int = 300, **how) -> list[str]:
    task, rows, settings = problems(name, n)
    rng = random.Random(seed)
    return ["<think>" + joined(task.trace(row, rng, **settings, **how)) for row in rows]


@pytest.mark.parametrize("give_up", [0.0, 0.6])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_summary_holds_the_answer(name, give_up):
    """The reasoning and the answer are those of the plain trace; the reward is the same."""
    task, rows, _ = problems(name)
    (reward,) = load_rewards([task.REWARD], task_module=task)
    columns = {column: [row[column] for row in rows] for column in rows[0]}
    plain, summed_up = (texts(name, give_up=give_up, summary=summary) for summary in (False, True))
    for short, text in zip(plain, summed_up, strict=True):
        assert summary_format_verdict(text) is Verdict.CORRECT
        assert answer_block(text) == answer_block(short)
        assert text.partition("</think>")[0] == short.partition("</think>")[0]
    given = reward(completions=summed_up, **columns)
    assert given == reward(completions=plain, **columns)
    assert (fmean(given) == 1.0) is (give_up == 0)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_broken_summary_lacks_one_tag(name):
    broken = texts(name, summary=True, break_format=1.0)
    assert {sum(tag in text for tag in ("</think>", "<answer>", "</answer>")) for text in broken} == {2}
    assert not any(summary_format_verdict(text) is Verdict.CORRECT for text in broken)


@pytest.mark.parametrize("name", MIXING)
def test_language_reward_of_pure_and_mixed_traces(name):
    for text in texts(name, give_up=0.3):
        assert language_consistency_reward([text]) == [1.0]
        assert not HAN.search(text) and not read_signals(text).mixed_languages
    mixed = texts(name, give_up=0.3, mixed=1.0)
    shares = language_consistency_reward(mixed)
    assert all(HAN.search(text) for text in mixed) and max(shares) < 1
    assert fmean(share > 0 for share in shares) > 0.3, "not only Chinese"
    assert 0.05 < fmean(shares) < 0.5
    some = language_consistency_reward(texts(name, give_up=0.3, mixed=0.3))
    assert 0.6 < fmean(share == 1 for share in some) < 0.8


@pytest.mark.parametrize("name", MIXING)
def test_signals_see_mixed_traces_that_are_long_enough(name):
    """Five words of each script: a short trace has them together with its English summary only."""
    flagged = {
        (mixed, summary): fmean(
            read_signals(text).mixed_languages for text in texts(name, mixed=mixed, summary=summary)
        )
        for mixed in (0.0, 1.0)
        for summary in (False, True)
    }
    assert flagged[0.0, False] == flagged[0.0, True] == 0
    assert flagged[1.0, True] > 0.4
    assert (flagged[1.0, False] > 0.05) is (name == "countdown")


def test_figures_on_the_page():
    page = (ROOT / "docs" / "tasks-and-rewards.md").read_text(encoding="utf-8")
    rewards, seen = [], []
    for name in MIXING:
        given = (fmean(language_consistency_reward(texts(name, n=800, mixed=mixed))) for mixed in (0.0, 0.3, 1.0))
        rewards.append(", ".join(f"{value:.2f}" for value in given))
        mixed = (texts(name, n=800, mixed=1.0, summary=summary) for summary in (False, True))
        seen.append(", ".join(f"{fmean(read_signals(text).mixed_languages for text in all_):.2f}" for all_ in mixed))
    assert f"| {rewards[0]} | {rewards[1]} |" in page, rewards
    assert f"| {seen[0]} | {seen[1]} |" in page, seen


@pytest.mark.parametrize("name", MIXING)
def test_mixing_changes_words_and_nothing_else(name):
    """The numbers, the search and what is learned of it stay, and the answer block is the same."""
    task, rows, settings = problems(name, 100)
    for seed, row in enumerate(rows):
        pure, mixed = (
            task.trace(row, random.Random(seed), **settings, give_up=0.0, mixed=mixed) for mixed in (0.0, 1.0)
        )
        assert [learned for _, learned in pure] == [learned for _, learned in mixed]
        assert re.findall(r"[0-9+*/=-]+", joined(pure)) == re.findall(r"[0-9+*/=-]+", joined(mixed))
        assert pure[-1] == mixed[-1]


def test_mixing_draws_nothing_where_it_is_off():
    for name in MIXING:
        assert texts(name, give_up=0.5, pushed=True, break_format=0.2) == texts(
            name, give_up=0.5, pushed=True, break_format=0.2, mixed=0.0, summary=False
        )


@pytest.mark.parametrize("name", MIXING)
def test_the_tiny_tokenizer_knows_the_words(name):
    """Every phrase of either language is one token, and the gold goes through the whole path."""
    task, rows, settings = problems(name)
    tokenizer = build_tokenizer([(task, READABLE, rows, {**settings, "mixed": 0.5})], seed=1)
    for phrase in ("Next: ", "下一个: " if name == "countdown" else "下一步: "):
        assert len(tokenizer(phrase)["input_ids"]) == 1, phrase
    for text in texts(name, give_up=0.5, mixed=1.0, summary=True):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
        assert not any("\ufffd" in tokenizer.decode([token]) for token in ids), "no word in bytes"
    row = rows[0]
    gold = gold_completion(task, READABLE, row, render(READABLE, task, row, tokenizer))
    text = tokenizer.decode(tokenizer(gold)["input_ids"], skip_special_tokens=True)
    assert summary_format_verdict("<think>" + text) is Verdict.CORRECT


@pytest.mark.parametrize("name", SETTINGS)
def test_traces_follow_the_template(name):
    task, rows, settings = problems(name, 60)
    args = SFTArguments(task=name, trace_phases=[{"share": 1.0, **settings}])
    for template in (READABLE, get_template("mini_r1")):
        tokenizer = build_tokenizer([(task, template, rows, settings)], seed=1)
        made = trace_dataset([Part(name, task, template, args)], [rows], None, tokenizer, seed=0, batch_size=4)
        for ids, labels in zip(made["input_ids"], made["labels"], strict=True):
            completion = [token for token, label in zip(ids, labels, strict=True) if label != IGNORED]
            verdict = summary_format_verdict("<think>" + tokenizer.decode(completion, skip_special_tokens=True))
            assert (verdict is Verdict.CORRECT) is template.asks_for_summary


def test_a_phase_cannot_ask_for_a_summary(tiny_tokenizer, tiny_rows):
    args = SFTArguments(task="countdown", trace_phases=[{"share": 1.0, "limit": 99, "summary": True}])
    part = Part("countdown", tasks.get("countdown"), get_template("mini_r1"), args)
    with pytest.raises(RecipeError, match="prompt_template: readable asks for it") as error:
        trace_dataset([part], [tiny_rows], None, tiny_tokenizer, 0, 4)
    assert error.value.key == "trace_phases"
