"""Advantages: how much better a completion is than what it is compared with, as the recipe's `advantage` says.

Each function takes the total rewards of a rollout, shape (groups, completions of each group), NaN where no reward is
due, and returns advantages of the same shape. A NaN gets 0 and is left out of every mean and deviation. Deviations are
unbiased. Sums are in float64: in float32 equal rewards may differ from their mean in the last digit, which a division
by a deviation of nearly 0 would blow up.

`advantage: group` is not here, as TRL computes it: GRPO (arXiv:2402.03300, section 4.1.2), (r_i - mean(r)) / (std(r) +
1e-4) over the group, or as `scale_rewards` says.
"""

from collections.abc import Callable

import torch

CLAMP = 2.0


def leave_one_out(rewards: torch.Tensor) -> torch.Tensor:
    """RLOO (arXiv:2402.14740, section 2.2): A_i = r_i - mean of the other rewards of the group.

    Its baseline is unbiased: it leaves out a completion's own reward. Equal rewards give 0, as does a group of one.
    """
    return _finish(rewards.double() - _others(rewards).nanmean(dim=2))


def reinforce_lite(rewards: torch.Tensor) -> torch.Tensor:
    """Reinforce-Lite (its report of 2025): A_i = (r_i - mean of the others) / (std of the others + 1e-8), in [-2, 2].

    Where the others are equal, any difference from them is clamped: a single correct answer among wrong ones gets 2.
    Equal rewards give 0, as does a group of one.
    """
    others = _others(rewards)
    mean = others.nanmean(dim=2, keepdim=True)
    scaled = (rewards.double() - mean.squeeze(2)) / (_deviation(others, mean).squeeze(2) + 1e-8)
    return _finish(scaled.clamp(-CLAMP, CLAMP))


def batch(rewards: torch.Tensor) -> torch.Tensor:
    """REINFORCE++ (arXiv:2501.03262, section 3): A_i = (r_i - mean(r)) / (std(r) + 1e-8), over the whole rollout.

    Groups do not matter: the answers to an easy question are all good, those to a hard one all bad. A rollout of equal
    rewards gives 0.
    """
    rewards = rewards.double()
    mean = rewards.nanmean()
    return _finish((rewards - mean) / (_deviation(rewards.reshape(1, -1), mean) + 1e-8))


ADVANTAGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    function.__name__: function for function in (leave_one_out, reinforce_lite, batch)
}


def compare(rewards: torch.Tensor, weights: list[float] | None, size: int, advantage: str) -> torch.Tensor:
    """Returns the advantage of each completion of a rollout, shape (completions,).

    Args:
        rewards: of all processes, shape (completions, reward functions), groups together; NaN where none is due.
        weights: of each reward function; None: 1.
        size: completions of each group.
        advantage: a key of `ADVANTAGES`.
    """
    weights = weights or [1.0] * rewards.shape[1]
    weighted = rewards.double() * torch.tensor(weights, dtype=torch.float64, device=rewards.device)
    # rounded, as equal totals of different rewards differ in their last digits
    totals = weighted.nansum(dim=1).round(decimals=6).masked_fill(weighted.isnan().all(dim=1), torch.nan)
    return ADVANTAGES[advantage](totals.view(-1, size)).view(-1)


def _others(rewards: torch.Tensor) -> torch.Tensor:
    """Returns a tensor whose [g, i, j] is reward j of group g, NaN where j is i."""
    size = rewards.shape[1]
    own = torch.eye(size, dtype=torch.bool, device=rewards.device)
    return rewards.double().unsqueeze(1).repeat(1, size, 1).masked_fill(own, torch.nan)


def _deviation(values: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Returns the unbiased standard deviation along the last dimension, which is kept; 0 for a single value."""
    count = (~values.isnan()).sum(dim=-1, keepdim=True)
    squares = (values - mean).square().nansum(dim=-1, keepdim=True)
    return (squares / (count - 1).clamp(min=1)).sqrt()


def _finish(advantages: torch.Tensor) -> torch.Tensor:
    return advantages.nan_to_num(nan=0.0).float()
