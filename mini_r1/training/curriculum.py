"""The order of the training rows, as the recipe's `curriculum` says, and by the weights of several tasks.

The order depends only on the rows, the seed and the number of prompts that a run asks for: a resumed run, and one on
another number of processes, meets the same rows in the same order.
"""

import torch

from mini_r1.config.batch import BatchPlan
from mini_r1.data.mixture import shares, take_turns


def arrange(train_set, kind: str, plan: BatchPlan, training, weights: dict[str, float] | None = None):
    """Returns the dataset of all prompts that the run asks for, in its order; tells TRL not to shuffle them.

    Args:
        train_set: a dataset with a column `difficulty`.
        kind: the recipe's `curriculum`; with "none" nothing changes, unless tasks are mixed.
        training: a `GRPOConfig`, whose `shuffle_dataset` and `max_steps` are set.
        weights: of each task in the column `task`, where a run mixes several.
    """
    if kind == "none" and weights is None:
        return train_set
    rows = len(train_set)
    prompts = plan.total_rollouts(rows) * plan.prompts_per_generation
    training.shuffle_dataset, training.max_steps = False, plan.total_steps(rows)
    difficulties = list(train_set["difficulty"])
    if weights is not None:
        chosen = mixed_order(list(train_set["task"]), weights, difficulties, kind, prompts, training.seed)
    else:
        chosen = order(difficulties, kind, prompts, plan.prompts_per_generation, training.seed)
    return train_set.select(chosen)


def mixed_order(
    tasks: list[str], weights: dict[str, float], difficulties: list[int], kind: str, prompts: int, seed: int
) -> list[int]:
    """Returns indices of the rows that a run of several tasks asks, in its order.

    Each task gets its share of the prompts (`shares`), in the order of its own curriculum, as difficulties of two tasks
    cannot be compared. The tasks take turns, so that the shares hold in every rollout as nearly as whole prompts allow.
    A task with fewer rows than its share begins anew, shuffled anew.

    Args:
        tasks, difficulties: of the training rows.
        prompts: how many a run asks for.

    Raises:
        RecipeError: as `shares`.
    """
    asked = []
    for name, count in shares(weights, prompts).items():
        rows = [index for index, task in enumerate(tasks) if task == name]
        own = order([difficulties[index] for index in rows], kind, count, 1, seed)
        asked.append([rows[index] for index in own])
    return take_turns(asked)


def order(difficulties: list[int], kind: str, prompts: int, per_rollout: int, seed: int) -> list[int]:
    """Returns `prompts` indices of the rows that a run asks, in its order; one comes again in each epoch.

    - none: epoch after epoch, each shuffled anew.
    - sorted: the rows that a shuffled run would meet (TRL's own draw for the seed), the easiest first, shuffled among
      equally difficult ones.
    - staged: an equal number of rollouts for each difficulty, the easiest first; each has rows of its difficulty only,
      shuffled, and all of them before any comes again.

    Args:
        difficulties: of the training rows.
        kind: "none", "sorted" or "staged".
        prompts: how many a run asks for, in all its rollouts.
        per_rollout: how many of them in one rollout; divides `prompts`.
    """
    generator = torch.Generator().manual_seed(seed)
    if kind == "none":
        return _epochs(list(range(len(difficulties))), len(difficulties), prompts, generator)
    if kind == "sorted":
        whole = len(difficulties) // per_rollout * per_rollout  # TRL drops the rows that do not fill a rollout
        met = _epochs(list(range(len(difficulties))), whole, prompts, generator)
        return sorted(met, key=difficulties.__getitem__)
    levels = sorted(set(difficulties))
    rollouts = prompts // per_rollout
    indices = []
    for number, level in enumerate(levels):
        share = (number + 1) * rollouts // len(levels) - number * rollouts // len(levels)
        rows = [index for index, difficulty in enumerate(difficulties) if difficulty == level]
        indices += _epochs(rows, len(rows), share * per_rollout, generator)
    return indices


def _epochs(rows: list[int], used: int, count: int, generator: torch.Generator) -> list[int]:
    """Returns `count` rows from shuffled epochs, the first `used` rows of each."""
    drawn = []
    while len(drawn) < count:
        drawn += [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()[:used]]
    return drawn[:count]
