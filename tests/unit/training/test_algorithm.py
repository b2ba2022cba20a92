"""The trainer's advantages, single completions and temperatures, on a model so small that a step takes milliseconds."""

import statistics

import pandas
import pytest
import torch
from small_trainer import GROUP, kinds_of_letters, logged
from transformers import AutoModelForCausalLM, TrainerCallback

from mini_r1.training.advantages import ADVANTAGES

REINFORCE = {"loss_type": "luspo", "importance_sampling_level": "sequence"}
LOSSES = [REINFORCE, {"loss_type": "dapo"}, {"loss_type": "grpo"}, {"loss_type": "dr_grpo"}]


class Watch(TrainerCallback):
    """Keeps the gradients of every step, before the optimizer uses them."""

    def __init__(self):
        self.gradients = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.gradients.append({name: p.grad.clone() for name, p in model.named_parameters()})


def recorder(seen: list):
    """A reward that remembers what it was asked about."""

    def letters(prompts, completions, completion_ids, **kwargs):
        rewards = kinds_of_letters(completions)
        seen.append((prompts, completion_ids, rewards))
        return rewards

    return letters


def hand_written_gradient(folder, tokenizer, rollout, trained, temperature) -> dict:
    """Of -mean over trained completions of A * sum over tokens of log p(token), in float64, one sequence at a time."""
    policy = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    prompts, completions, rewards = rollout
    chosen = [i for i in range(len(prompts)) if trained == "all" or i % GROUP == 0]
    loss = 0.0
    for i in chosen:
        group = i // GROUP * GROUP
        others = [rewards[j] for j in range(group, group + GROUP) if j != i]
        advantage = (rewards[i] - statistics.mean(others)) / (statistics.stdev(others) + 1e-8)
        advantage = min(max(advantage, -2.0), 2.0)
        prompt = tokenizer(prompts[i])["input_ids"]
        logits = policy(torch.tensor([prompt + completions[i]])).logits[0, len(prompt) - 1 : -1] / temperature
        tokens = torch.tensor(completions[i]).unsqueeze(1)
        loss = loss - advantage * logits.log_softmax(-1).gather(1, tokens).sum() / len(chosen)
    loss.backward()
    return {name: p.grad for name, p in policy.named_parameters()}


@pytest.mark.parametrize("trained", ["all", "one"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_reinforce_lite_is_the_hand_written_policy_gradient(
    build, small_model_dir, tiny_tokenizer, trained, accumulation
):
    seen, watch = [], Watch()
    trainer = build(
        [recorder(seen)],
        {"advantage": "reinforce_lite", "trained_completions": trained},
        max_steps=1, max_grad_norm=0.0, temperature=0.7, top_p=0.9, gradient_accumulation_steps=accumulation,
        model_init_kwargs={"dtype": torch.float64}, **REINFORCE,
    )  # fmt: skip
    trainer.add_callback(watch)
    trainer.train()
    assert len(seen) == 1 and len(seen[0][0]) == 8 * accumulation
    expected = hand_written_gradient(small_model_dir, tiny_tokenizer, seen[0], trained, 0.7)
    ours = watch.gradients[0]
    assert set(ours) == set(expected)
    for name, gradient in expected.items():
        assert gradient.abs().max() > 1e-5
        # TRL's LM head computes in float32, whatever the model does
        assert torch.allclose(ours[name], gradient, rtol=1e-5, atol=2e-6 * gradient.abs().max()), name


def of_trl(rewards: torch.Tensor) -> torch.Tensor:
    """`advantage: group`."""
    return (rewards - rewards.mean(dim=1, keepdim=True)) / (rewards.std(dim=1, keepdim=True) + 1e-4)


@pytest.mark.parametrize("advantage", ["group", *ADVANTAGES])
def test_what_is_logged_is_what_is_trained_with(build, tmp_path, advantage):
    seen = []
    trainer = build([recorder(seen)], {"advantage": advantage}, max_steps=2, log_completions=True,
                    num_completions_to_print=0)  # fmt: skip
    used = []
    own = trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: used.append(inputs["advantages"]) or own(model, inputs)
    trainer.train()
    for step, (_, _, rewards) in enumerate(seen, 1):
        table = pandas.read_parquet(tmp_path / f"run/completions/completions_{step:05}.parquet")
        expected = ADVANTAGES.get(advantage, of_trl)(torch.tensor(rewards).view(-1, GROUP)).view(-1)
        assert torch.allclose(torch.tensor(table["advantage"].to_numpy()).float(), expected, atol=1e-5)
        assert torch.allclose(used[step - 1].sort().values, expected.sort().values, atol=1e-5), "TRL shuffles them"
        logs = next(entry for entry in trainer.state.log_history if entry.get("step") == step)
        assert logs["reward"] == pytest.approx(statistics.mean(rewards))
        assert logs["frac_reward_zero_std"] == 0


def test_unusable_golds_teach_nothing(build):
    """One reward of two is due for the first group, and none for the second."""

    def sometimes(prompts, completions, **kwargs):
        groups = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
        return [float(len(c)) if groups[p] == 0 else None for p, c in zip(prompts, completions, strict=True)]

    def never(completions, **kwargs):
        return [None] * len(completions)

    used = []
    trainer = build([sometimes, never], {"advantage": "leave_one_out"}, max_steps=1)
    own = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: used.append(own(inputs)) or used[-1]
    trainer.train()
    advantages = used[0]["advantages"].view(-1, GROUP)
    assert advantages[0].abs().max() > 0 and advantages[0].sum().abs() < 1e-5
    assert advantages[1].tolist() == [0.0] * GROUP


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss["loss_type"])
def test_one_of_a_group_is_the_same_as_all_where_the_others_have_no_advantage(build, loss):
    """The loss is over what is trained on alone: with all, three of four completions here have advantage 0."""

    def first_alone(rewards):
        advantages = torch.zeros_like(rewards)
        advantages[:, 0] = rewards[:, 0] - rewards[:, 1:].mean(dim=1)
        return advantages

    gradients = []
    for trained in ("one", "all"):
        watch = Watch()
        trainer = build(algorithm={"advantage": "leave_one_out", "trained_completions": trained}, name=trained,
                        max_steps=1, max_grad_norm=0.0, **loss)  # fmt: skip
        trainer.add_callback(watch)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(ADVANTAGES, "leave_one_out", first_alone)
            trainer.train()
        gradients.append(torch.cat([g.flatten() for g in watch.gradients[0].values()]))
    one, all_four = gradients
    # TRL's means are over sequences (a quarter of them here), tokens or a constant number of tokens
    ratio = one.norm() / all_four.norm()
    assert torch.allclose(one, all_four * ratio, atol=1e-6 * one.abs().max())
    if loss["loss_type"] != "dapo":
        assert ratio.item() == pytest.approx(GROUP, rel=1e-4)
    else:
        assert ratio > 1


@pytest.mark.parametrize("settings", [{}, {"beta": 0.1}, {"steps_per_generation": 2}], ids=str)
def test_only_one_of_a_group_is_computed(build, tmp_path, settings):
    """No forward pass for the others: not in the loss, not for the old policy, nor for the reference policy."""
    trainer = build(algorithm={"advantage": "reinforce_lite", "trained_completions": "one"}, log_completions=True,
                    num_completions_to_print=0, max_steps=2, **settings)  # fmt: skip
    passes = []
    for policy in filter(None, (trainer.model, trainer.ref_model)):
        original = policy.forward

        def forward(*args, original=original, **kwargs):
            if kwargs.get("fused_lm_head"):
                passes.append(len(kwargs["input_ids"]))
            return original(*args, **kwargs)

        policy.forward = forward
    trainer.train()
    assert passes and set(passes) == {8 // GROUP}
    assert len(passes) == {"{}": 2, "{'beta': 0.1}": 4, "{'steps_per_generation': 2}": 4}[str(settings)]
    table = pandas.read_parquet(next((tmp_path / "run/completions").glob("*.parquet")))
    assert table["advantage"].isna().tolist() == [False, True, True, True] * (len(table) // GROUP)


def test_padding_that_only_others_needed_is_cut_off(build):
    trainer = build(algorithm={"trained_completions": "one"}, max_steps=1, max_completion_length=24)
    rollout = {
        "prompt_ids": torch.ones(8, 9), "prompt_mask": torch.ones(8, 9), "completion_ids": torch.ones(8, 24),
        "completion_mask": (torch.arange(24) < torch.tensor([3, 24, 9, 9, 7, 24, 9, 1]).unsqueeze(1)).int(),
        "advantages": torch.arange(8.0), "num_items_in_batch": torch.tensor(86),
        "old_per_token_logps": torch.zeros(8, 24),
    }  # fmt: skip
    trainer._logs["advantages"].extend(map(float, range(8)))
    kept = trainer.change_rollout(rollout, torch.zeros(8, 1))
    assert kept["completion_ids"].shape == kept["completion_mask"].shape == kept["old_per_token_logps"].shape == (2, 7)
    assert kept["prompt_ids"].shape == (2, 9) and kept["advantages"].tolist() == [0.0, 4.0]
    assert kept["completion_mask"].sum(dim=1).tolist() == [3, 7] and kept["num_items_in_batch"] == 10


def test_equal_totals_of_different_rewards_teach_nothing(build):
    """0.7 x 1 and 0.2 x 3 + 0.1 x 1 differ in float32: a deviation of nearly nothing must not divide that."""

    def nth(values):
        def reward(completions, **kwargs):
            return [values[i % GROUP] for i in range(len(completions))]

        return reward

    rewards = [nth([1.0, 0.0, 1.0, 0.0]), nth([0.0, 3.0, 0.0, 3.0]), nth([0.0, 1.0, 0.0, 1.0])]
    used = []
    trainer = build(rewards, {"advantage": "reinforce_lite"}, max_steps=1, reward_weights=[0.7, 0.2, 0.1])
    own = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: used.append(own(inputs)) or used[-1]
    trainer.train()
    assert used[0]["advantages"].abs().max() < 1e-6


def test_a_batch_learns_from_groups_of_equal_rewards(build):
    """So the share of groups without variance, for which a run is stopped, is none of its concern."""

    def by_prompt(completions, prompts, **kwargs):
        return [float(prompts.index(prompt) > 0) for prompt in prompts]

    shares = {}
    for advantage in ("group", "batch"):
        trainer = build([by_prompt], {"advantage": advantage}, name=advantage, max_steps=1)
        trainer.train()
        shares[advantage] = logged(trainer, "frac_reward_zero_std")
    assert shares == {"group": [1.0], "batch": [0.0]}
