"""The reward of control runs knows nothing of the text."""

from types import SimpleNamespace

from mini_r1.rewards import random_reward

TEXTS = [f"<think>{number}</think><answer>{number}</answer>" for number in range(2000)]


def at(step: int) -> list[float]:
    return random_reward(completions=TEXTS, trainer_state=SimpleNamespace(global_step=step), prefill=[""] * len(TEXTS))


def test_it_is_a_fair_coin():
    assert 0.45 < sum(at(1)) / len(TEXTS) < 0.55


def test_a_text_gets_another_reward_at_another_step():
    same = sum(first == second for first, second in zip(at(1), at(2), strict=True))
    assert 0.45 < same / len(TEXTS) < 0.55


def test_a_resumed_run_gets_the_same():
    assert at(7) == at(7)


def test_equal_texts_are_drawn_for_one_by_one():
    assert len(set(random_reward(["x"] * 64))) == 2
