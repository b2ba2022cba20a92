"""`trained_completions: one`, a small subject of its own: only the first completion of each group is trained on.

It is as good a draw as any other. The others serve as its baseline and get no forward or backward pass. A micro-batch
must then hold whole groups, which batch.py checks.
"""

import math
from collections.abc import Callable

import torch


def keep_first(rollout: dict, size: int, unit: int | None) -> dict:
    """The rows of the first completion of each group, without the columns that are padding for all of them.

    Args:
        rollout: what TRL makes of the completions of one process, groups together.
        size: completions of each group.
        unit: TRL's `pad_to_multiple_of`.
    """
    kept = {name: value[::size] if _has_rows(value) else value for name, value in rollout.items()}
    unit, width = unit or 1, kept["completion_ids"].shape[1]
    longest = math.ceil(int(kept["completion_mask"].sum(dim=1).max().clamp(min=1)) / unit) * unit
    for name, value in kept.items():
        if _has_rows(value) and value.dim() == 2 and value.shape[1] == width and not name.startswith("prompt"):
            kept[name] = value[:, :longest]
    return kept


def score_first(
    compute: Callable[..., tuple], size: int, input_ids, attention_mask, logits_to_keep: int, **kwargs
) -> tuple:
    """What `compute` gives, for the first completion of each group alone; the log-probabilities of the others are 0."""
    kwargs["batch_size"] = max((kwargs.get("batch_size") or len(input_ids)) // size, 1)
    logps, *others = compute(input_ids[::size], attention_mask[::size], logits_to_keep, **kwargs)
    all_logps = logps.new_zeros(len(input_ids), logps.shape[1])
    all_logps[::size] = logps
    return all_logps, *others


def _has_rows(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0
