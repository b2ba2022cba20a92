"""Temperature schedules, budgets of tokens, and resumed runs, on a model so small that a step takes milliseconds."""

import json

import pytest
import torch
from small_trainer import GROUP, kinds_of_letters, logged

SCHEDULE = {"steps": [[0, 1.2], [2, 1.0], [4, 0.6]]}
TEMPERATURES = [1.2, 1.1, 1.0, 0.8, 0.6, 0.6]


@pytest.mark.parametrize("beta", [0.0, 0.1])
def test_temperature_of_sampling_and_of_the_loss(build, beta):
    """As logged; as transformers divides logits by it; and as the log-probabilities of both policies say."""
    trainer = build(algorithm={"temperature_schedule": SCHEDULE}, max_steps=6, beta=beta)
    told, computed = [], []
    generate = trainer.model.generate
    trainer.model.generate = lambda *a, **k: told.append(k["generation_config"].temperature) or generate(*a, **k)
    own = trainer._get_per_token_logps_and_entropies

    def logps(model, input_ids, attention_mask, logits_to_keep, **kwargs):
        ours = own(model, input_ids, attention_mask, logits_to_keep, **kwargs)
        with torch.no_grad():
            logits = model(input_ids=input_ids, attention_mask=attention_mask).logits[:, -logits_to_keep - 1 : -1]
        tokens = input_ids[:, -logits_to_keep:]
        real = attention_mask[:, -logits_to_keep:].bool()
        for temperature in sorted(set(TEMPERATURES)):
            by_hand = (logits / temperature).log_softmax(-1).gather(2, tokens.unsqueeze(2)).squeeze(2)
            if torch.allclose(ours[0][real], by_hand[real], atol=1e-4):
                computed.append(temperature)
        return ours

    trainer._get_per_token_logps_and_entropies = logps
    trainer.train()
    assert told == pytest.approx(TEMPERATURES)
    assert logged(trainer, "temperature/sampling") == pytest.approx(TEMPERATURES)
    assert logged(trainer, "temperature/loss") == pytest.approx(TEMPERATURES)
    expected = TEMPERATURES if beta == 0 else [t for t in TEMPERATURES for _ in range(2)]
    assert computed == pytest.approx(expected)


def test_updates_see_the_temperature_that_their_rollout_was_drawn_at(build):
    trainer = build(algorithm={"temperature_schedule": SCHEDULE}, max_steps=6,
                    steps_per_generation=2)  # fmt: skip
    trainer.train()
    assert logged(trainer, "temperature/loss") == pytest.approx([1.2, 1.2, 1.0, 1.0, 0.6, 0.6])
    assert logged(trainer, "temperature/sampling") == pytest.approx([1.2, 1.0, 0.6])


def test_temperature_goes_on_after_a_resume(build, tmp_path):
    settings = {"max_steps": 6, "save_strategy": "steps", "save_steps": 3}
    schedule = {"temperature_schedule": SCHEDULE}
    straight = build(algorithm=schedule, name="straight", **settings)
    straight.train()
    resumed = build(algorithm=schedule, name="resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "straight/checkpoint-3"))
    for name in ("temperature/sampling", "temperature/loss", "loss", "reward", "generated_tokens"):
        assert logged(resumed, name) == logged(straight, name)


def test_evaluations_use_the_temperature_of_the_recipe(build):
    trainer = build(algorithm={"temperature_schedule": SCHEDULE}, max_steps=2)
    told = []
    generate = trainer.model.generate
    trainer.model.generate = lambda *a, **k: told.append(k["generation_config"].temperature) or generate(*a, **k)
    trainer.train()
    trainer.measure(1, "after")
    assert told == pytest.approx([1.2, 1.1, 1.0]) and trainer.temperature == pytest.approx(1.1)


def test_a_budget_of_tokens(build, tmp_path):
    """The run ends with the step that uses it up, and leaves no checkpoint there: a resumed run would go farther."""
    endless = {"generation_kwargs": {"suppress_tokens": [2]}}  # every completion has 6 tokens
    trainer = build(
        algorithm={"max_generated_tokens": 100}, max_steps=9, save_strategy="steps", save_steps=1, **endless
    )
    trainer.train()
    assert logged(trainer, "generated_tokens") == [48, 96, 144]
    saved = sorted(folder.name for folder in (tmp_path / "run").glob("checkpoint-*"))
    assert saved == ["checkpoint-1", "checkpoint-2"]
    history = json.loads((tmp_path / "run/checkpoint-2/trainer_state.json").read_text())["log_history"]
    assert history[-1]["generated_tokens"] == 96
    again = build(algorithm={"max_generated_tokens": 100}, max_steps=9, name="again", **endless)
    again.train(resume_from_checkpoint=str(tmp_path / "run/checkpoint-2"))
    assert logged(again, "generated_tokens") == [48, 96, 144]


def test_a_run_resumed_in_its_second_pass_meets_the_same_rows(build, tiny_rows, tmp_path):
    """Six rows, two a step: passes of three steps, each in another order."""
    asked = {"straight": [], "resumed": []}

    def watch(name):
        def reward(completions, prompts, **kwargs):
            asked[name].append(prompts[::GROUP])
            return kinds_of_letters(completions)

        return reward

    settings = {"rows": tiny_rows[:6], "max_steps": 9, "save_strategy": "steps", "save_steps": 5}
    straight = build([watch("straight")], name="straight", **settings)
    straight.train()
    resumed = build([watch("resumed")], name="resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "straight/checkpoint-5"))
    assert asked["straight"][:3] != asked["straight"][3:6]
    assert asked["resumed"] == asked["straight"][5:]
    assert logged(resumed, "loss") == logged(straight, "loss")


def test_a_run_resumed_from_its_last_checkpoint_takes_no_step_more(build, tmp_path):
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 4}
    build(name="straight", **settings).train()
    resumed = build(name="resumed", **settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "straight/checkpoint-4"))
    assert resumed.state.global_step == 4 and len(logged(resumed, "loss")) == 4
