"""A model that judges, trained here from preferences: what it is asked, for which rows, and what it gives."""

import mixed
import pandas
import pytest
import torch
from datasets import Dataset
from small_trainer import SIZES, small_model, trainer_of
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Qwen2Config, Qwen2ForSequenceClassification
from trl import RewardConfig, RewardTrainer

from mini_r1.data.mixture import check_parts, load_part_rewards
from mini_r1.data.reward_loader import load_rewards
from mini_r1.data.reward_model import judged
from mini_r1.errors import RecipeError
from mini_r1.evaluation.grading import Grader
from mini_r1.tasks import countdown, gsm8k

POLITE, CURT = "It is {}, thank you.", "No idea, {} or so."


def pairs(n: int, first: int = 0) -> list[dict]:
    """Conversations about GSM8K, in which a polite answer is preferred to a curt one."""
    rows = []
    for number, row in enumerate(gsm8k.generate(n, seed=first, steps=[2], largest=40, prices=False), first):
        asked = [{"role": "user", "content": row["question"]}]
        said = {"chosen": POLITE.format(number % 40), "rejected": CURT.format(number % 40)}
        rows.append({"prompt": asked} | {k: [{"role": "assistant", "content": text}] for k, text in said.items()})
    return rows


@pytest.fixture(scope="module")
def judge(mixed_tokenizer, tmp_path_factory) -> str:
    """A folder with a small model that TRL's RewardTrainer has trained."""
    folder = tmp_path_factory.mktemp("judge")
    torch.manual_seed(0)
    ids = {"pad_token_id": mixed_tokenizer.pad_token_id, "eos_token_id": mixed_tokenizer.eos_token_id}
    sizes = SIZES | {"max_position_embeddings": 512}
    model = Qwen2ForSequenceClassification(Qwen2Config(vocab_size=len(mixed_tokenizer), num_labels=1, **ids, **sizes))
    config = RewardConfig(
        output_dir=str(folder / "run"), report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False,
        per_device_train_batch_size=16, max_steps=25, learning_rate=3e-3, save_strategy="no", disable_tqdm=True,
        logging_strategy="no", max_length=None,
    )  # fmt: skip
    RewardTrainer(model, config, train_dataset=Dataset.from_list(pairs(200)), processing_class=mixed_tokenizer).train()
    model.save_pretrained(folder / "judge")
    mixed_tokenizer.save_pretrained(folder / "judge")
    return str(folder / "judge")


def entry(judge: str, name: str = "helpfulness", part: str = "summary", **others) -> dict:
    return {"name": name, "reward_model": judge, "part": part, **others}


ROWS = [row for row in gsm8k.generate(24, seed=9, steps=[2], largest=40, prices=False)]
COLUMNS = {"question": [row["question"] for row in ROWS], "answer": ["1"] * 24, "prefill": ["<think>"] * 24}


def test_it_prefers_what_it_was_taught_to(judge):
    (reward,) = load_rewards([entry(judge)], task_module=gsm8k)
    polite, curt = (reward(completions=[f"hm</think>{text.format(7)}"] * 24, **COLUMNS) for text in (POLITE, CURT))
    assert reward.__name__ == "helpfulness" and all(type(score) is float for score in polite)
    assert sum(a > b for a, b in zip(polite, curt, strict=True)) >= 22


@pytest.mark.parametrize("part", ["summary", "response"])
def test_a_score_is_the_models_own(judge, part):
    """Computed by hand, one text at a time: no padding, no other texts, the judge's own template."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(judge), AutoTokenizer.from_pretrained(judge)
    thoughts = ["hm", "well, " * 9, "No idea, 3 or so."]
    texts = [f"{thoughts[i % 3]}</think> {(POLITE, CURT)[i % 2].format(i)}" for i in range(24)]
    (reward,) = load_rewards([entry(judge, part=part, batch_size=5)], task_module=gsm8k)
    given = reward(completions=texts, **COLUMNS)
    for text, question, score in zip(texts, COLUMNS["question"], given, strict=True):
        said = text.partition("</think>")[2].strip() if part == "summary" else "<think>" + text
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": said}]
        ids = tokenizer(tokenizer.apply_chat_template(turns, tokenize=False), return_tensors="pt")["input_ids"]
        with torch.no_grad():
            assert score == pytest.approx(model(input_ids=ids).logits.item(), abs=1e-4)


def test_reasoning_counts_for_the_response_alone(judge):
    helpful, harmless = load_rewards([entry(judge), entry(judge, "harmlessness", "response")], task_module=gsm8k)
    for reward, same in ((helpful, True), (harmless, False)):
        one, other = (reward(completions=[f"{t}</think>{POLITE}"] * 24, **COLUMNS) for t in ("hm", CURT * 3))
        assert (one == pytest.approx(other, abs=1e-5)) == same


@pytest.mark.parametrize(
    "text, summary",
    [
        ("<think>a</think> b ", "b"),
        ("<think>a</think>b</think>c", "b</think>c"),
        ("<think>never closed", ""),
        ("no tags", ""),
        ("", ""),
    ],
)
def test_what_is_judged(text, summary):
    assert (judged(text, "summary"), judged(text, "response")) == (summary, text)


def test_a_text_beyond_its_positions_is_cut_off(judge):
    (reward,) = load_rewards([entry(judge)], task_module=gsm8k)
    columns = {name: values[:1] * 2 for name, values in COLUMNS.items()}
    one, other = reward(completions=["</think>" + "a" * 5000, "</think>" + "a" * 6000], **columns)
    assert one == pytest.approx(other)


def test_in_a_mixed_run_it_scores_its_own_rows(judge, mixed_tokenizer, tmp_path):
    values = mixed.recipe()
    values["tasks"][0]["reward_funcs"] = ["mixed.letters", entry(judge, "harmlessness", "response")]
    values["tasks"][1]["reward_funcs"] = [entry(judge), entry(judge, "harmlessness", "response")]
    parts = mixed.parts_of(values)
    rewards = load_part_rewards(parts)
    check_parts(parts, rewards)
    model = small_model(tmp_path / "model", mixed_tokenizer)
    trainer = trainer_of(
        model, mixed_tokenizer, mixed.sets_of(parts, mixed_tokenizer, 6), rewards, tmp_path / "run",
        {"grader": Grader(countdown, None, (gsm8k, None))}, per_device_train_batch_size=24, max_steps=1,
        shuffle_dataset=False,
        log_completions=True, num_completions_to_print=0,
    )  # fmt: skip
    trainer.train()
    table = pandas.read_parquet(tmp_path / "run/completions/completions_00001.parquet")
    assert table["helpfulness"].notna().tolist() == (table["task"] == "gsm8k").tolist()
    assert table["harmlessness"].notna().all() and table["harmlessness"].nunique() > 6


# What a recipe can get wrong: (changes of the entry, words in the one line)
WRONG = {
    "part": ({"part": "answer"}, 'reward_funcs: helpfulness: part: got "answer", expected one of summary, response'),
    "unknown": ({"weight": 2}, "reward_funcs: helpfulness: weight: unknown key"),
    "no text": ({"reward_model": 3}, "reward_funcs: helpfulness: reward_model: got 3, expected text"),
    "batch": ({"batch_size": 0}, "reward_funcs: helpfulness: batch_size: got 0, expected 1 or more"),
    "shipped name": ({"name": "format_reward"}, "reward_funcs: format_reward is no name for a reward model"),
    "dotted name": ({"name": "my.judge"}, "reward_funcs: my.judge is no name for a reward model"),
    "no folder": ({"reward_model": "./nowhere"}, "reward_funcs: helpfulness: ./nowhere is no model folder; name one"),
}


@pytest.mark.parametrize("changes, expected", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_before_a_model_is_loaded(judge, changes, expected):
    values = {"task": "gsm8k", "reward_funcs": [entry(judge) | changes]}
    with pytest.raises(RecipeError) as caught:
        parts = mixed.parts_of(values)
        check_parts(parts, load_part_rewards(parts))
    assert str(caught.value).startswith(expected) and "\n" not in str(caught.value)


def test_a_model_that_is_no_judge_is_refused(judge, mixed_tokenizer, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(judge, num_labels=2, ignore_mismatched_sizes=True)
    model.save_pretrained(tmp_path / "two")
    policy = small_model(tmp_path / "policy", mixed_tokenizer)
    for folder, said in ((str(tmp_path / "two"), "has 2 labels; a reward model has one"), (policy, "has 2 labels")):
        parts = mixed.parts_of({"task": "gsm8k", "reward_funcs": [entry(folder)]})
        with pytest.raises(RecipeError, match=said):
            check_parts(parts, load_part_rewards(parts))
    (reward,) = load_rewards([entry(policy)], task_module=gsm8k)
    with pytest.raises(RecipeError, match=r"has no weights for score\.weight: it has not been trained"):
        reward(completions=["</think>"] * 24, **COLUMNS)
