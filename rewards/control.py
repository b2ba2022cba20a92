"""A random reward for control runs, hence a short file: whatever a policy gains with it, rewards have not taught it."""

import random


def random_reward(completions, trainer_state=None, **kwargs) -> list[float]:
    """1.0 or 0.0 with the same probability, whatever the completion says.

    Some policies gain even with such a reward (Shao et al., Spurious Rewards, arXiv:2506.10947), so a run is worth
    comparing with it. The draws depend on the step and on all completions together, never on one completion alone, so
    that a resumed run draws the same.

    Args:
        trainer_state: TRL's; None outside a training run.

    Example:
        >>> sorted(set(random_reward([str(number) for number in range(100)])))
        [0.0, 1.0]
    """
    step = trainer_state.global_step if trainer_state is not None else 0
    draws = random.Random(f"{step} {completions}")
    return [float(draws.random() < 0.5) for _ in completions]
