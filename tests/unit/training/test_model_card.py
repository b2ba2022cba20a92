"""The cards: valid metadata for the hub, with results in a model-index, and the facts in the text."""

import json

import pytest
from huggingface_hub import ModelCard

from mini_r1.config.recipe import Recipe
from mini_r1.config.run_config import run_config
from mini_r1.training.model_card import write_card

BEFORE = {"pass@1": 0.25, "format": 0.5, "mean_length": 40.0, "n": 8, "samples": 4}
AFTER = BEFORE | {"pass@1": 0.75, "format": 1.0}
VALUES = {
    "model_name_or_path": "Qwen/Qwen2.5-0.5B", "dataset_id_or_path": "openai/gsm8k", "task": "gsm8k", "seed": 1,
    "prompt_template": "mini_r1",
}  # fmt: skip


@pytest.fixture
def card(tmp_path):
    """`card(kind, before, after, **values)`: what was written, loaded again."""

    def write(kind: str, before, after, **values) -> ModelCard:
        manifest = {"versions": {"trl": "1.2", "vllm": None}, "git_commit": "abc"}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        recipe = Recipe("recipes/x.yaml", VALUES | values, {})
        write_card(tmp_path, run_config(kind, recipe), before, after)
        found = ModelCard.load(tmp_path / "README.md")
        assert "Versions: trl 1.2; git commit abc." in found.text and found.text.startswith(f"\n# {tmp_path.name}\n")
        return found

    return write


def test_of_a_policy(card):
    found = card("r1_grpo", BEFORE, AFTER)
    data = found.data
    assert (data.library_name, data.tags, data.base_model) == (
        "transformers",
        ["trl", "grpo", "reasoning"],
        VALUES["model_name_or_path"],
    )
    assert data.datasets == ["openai/gsm8k"]
    assert [(one.metric_type, one.metric_value) for one in data.eval_results] == [("pass@1", 0.75), ("format", 1.0)]
    assert {(one.task_type, one.dataset_type, one.dataset_name) for one in data.eval_results} == {
        ("text-generation", "openai/gsm8k", "gsm8k")
    }
    assert "| held-out problems | before | after |" in found.text and "| pass@1 | 0.250 | 0.750 |" in found.text
    assert "| mean length, tokens | 40.000 | 40.000 |" in found.text
    assert "Measured on 8 problems, 4 samples each." in found.text and "GRPO (arXiv:2402.03300)" in found.text


def test_without_a_measurement_there_is_no_index(card):
    found = card("sft", None, None, model_name_or_path="runs/base", dataset_id_or_path=None, task=None,
                 tasks=[{"task": "countdown"}, {"task": "gsm8k"}])  # fmt: skip
    assert found.data.to_dict() == {"library_name": "transformers", "tags": ["trl", "sft", "reasoning"]}
    assert "the tasks `countdown` (generated problems) and `gsm8k` (generated problems)" in found.text
    assert "| held-out" not in found.text


def test_of_a_reward_model(card):
    found = card("reward", None, {"before": 0.5, "after": 0.875, "n": 16}, preference_datasets=[{"path": "a.jsonl"}])
    (result,) = found.data.eval_results
    assert (result.task_type, result.metric_type, result.metric_value) == ("text-classification", "accuracy", 0.875)
    assert "the preference pairs of `a.jsonl`" in found.text and "in the right order: 0.500 -> 0.875." in found.text


def test_a_mixture_names_all_its_data(card):
    gsm8k = {"task": "gsm8k", "dataset_id_or_path": "openai/gsm8k"}
    tasks = [{"task": "countdown", "dataset_id_or_path": "a/b"}, gsm8k, {"task": "chat"}]
    found = card("r1_grpo", BEFORE, AFTER, task=None, tasks=tasks, dataset_id_or_path=None)
    assert found.data.datasets == ["a/b", "openai/gsm8k"]
    assert {one.dataset_type for one in found.data.eval_results} == {"a/b, openai/gsm8k"}
    assert "the tasks `countdown` (a/b) and `gsm8k` (openai/gsm8k) and `chat` (generated problems)" in found.text


def test_conversations_are_named(card):
    found = card("sft", None, None, task=None, dataset_id_or_path=None,
                 sft_datasets=[{"path": "open-r1/some-set"}, {"path": "mine.jsonl"}])  # fmt: skip
    assert "on the conversations of `open-r1/some-set` and `mine.jsonl`, seed 1" in found.text
    assert found.data.datasets == ["open-r1/some-set"]


def test_settings_licence_and_use(card):
    found = card("r1_grpo", BEFORE, AFTER, learning_rate=1e-6, num_generations=8, beta=0.001).text
    assert "learning_rate 1e-06" in found and "num_generations 8" in found and "beta 0.001" in found
    assert "licence of the model that it began with" in found
    program = found.partition("```python\n")[2].partition("```")[0]
    compile(program, "card", "exec")
    assert "Let me solve this step by step." in program and "What is 12 + 30?" in program


def test_a_prompt_of_ones_own(card):
    found = card("r1_grpo", BEFORE, AFTER, prompt_template={"user": "Q: {question}", "chat": False}).text
    assert "the recipe's own template" in found and "prompt = 'Q: What is 12 + 30?<think>'" in found
