"""What the rollouts of a step show beside TRL's own metrics: outcomes, lengths by outcome, signs of reflection."""

import numpy as np

from mini_r1.evaluation.signals import BEHAVIOURS, read_signals

TEXT = ("mixed_languages", "repetition", "reopened_thinking")
COLUMNS = ("right", "well_formed", "tokens", *BEHAVIOURS, *TEXT)


def describe_completions(texts: list[str], graded: dict[str, list], tokens: list[int]) -> list[list[float]]:
    """One row of numbers for each completion, in the order of `COLUMNS`: what processes gather.

    Args:
        texts: prefill and completion.
        graded: `Grader.grade`'s columns.
    """
    rows = []
    for text, right, well_formed, length in zip(texts, graded["right"], graded["well_formed"], tokens, strict=True):
        found = read_signals(text)
        counts = [getattr(found, name) for name in (*BEHAVIOURS, *TEXT)]
        rows.append([np.nan if right is None else right, well_formed, length, *counts])
    return [[float(value) for value in row] for row in rows]


def rollout_metrics(outcomes: np.ndarray, group: int) -> dict[str, float]:
    """Metrics of one rollout, over the completions of all processes.

    Args:
        outcomes: shape (completions, len(COLUMNS)), groups together; right is NaN where the gold is unusable, and such
            completions are left out of whatever asks for right answers.
        group: completions of each prompt.

    Returns:
        outcome/right (answer and format), outcome/answer_wrong (in the right format), outcome/format_wrong: shares,
        sum 1; outcome/right_given_format; outcome/pass_at_group: share of groups with a right answer;
        length/right_min, _mean, _max, length/wrong_...: tokens, by answer; behaviour/...: words for each completion,
        and behaviour/reflection, their sum; text/...: shares. Left out: what has no completion to be had from.
    """
    column = dict(zip(COLUMNS, outcomes.T, strict=True))
    graded = ~np.isnan(column["right"])
    right, formed = column["right"] == 1, column["well_formed"] == 1
    metrics = {}
    if graded.any():
        metrics["outcome/right"] = (right & formed)[graded].mean()
        metrics["outcome/answer_wrong"] = (~right & formed)[graded].mean()
        metrics["outcome/format_wrong"] = (~formed)[graded].mean()
        usable = graded.reshape(-1, group).any(axis=1)
        metrics["outcome/pass_at_group"] = right.reshape(-1, group).any(axis=1)[usable].mean()
    if (graded & formed).any():
        metrics["outcome/right_given_format"] = right[graded & formed].mean()
    for name, which in (("right", right), ("wrong", graded & ~right)):
        if which.any():
            tokens = column["tokens"][which]
            metrics[f"length/{name}_min"] = tokens.min()
            metrics[f"length/{name}_mean"] = tokens.mean()
            metrics[f"length/{name}_max"] = tokens.max()
    for name in BEHAVIOURS:
        metrics[f"behaviour/{name}"] = column[name].mean()
    metrics["behaviour/reflection"] = sum(column[name].mean() for name in BEHAVIOURS)
    for name in TEXT:
        metrics[f"text/{name}"] = column[name].mean()
    return {name: float(value) for name, value in metrics.items()}


def task_metrics(outcomes: np.ndarray, numbers: np.ndarray, tasks: list[str], group: int) -> dict[str, float]:
    """What a rollout of several tasks shows of each.

    Args:
        outcomes, group: as for `rollout_metrics`.
        numbers: shape (completions,): index into `tasks` of each completion's task, one for all of a group.

    Returns:
        outcome/<task>/right and so on, as in `rollout_metrics`; length/<task>/mean: tokens; mixture/<task>: share of
        the completions. Of a task that the rollout lacks only the last, 0.
    """
    metrics = {}
    for number, task in enumerate(tasks):
        own = outcomes[numbers == number]
        metrics[f"mixture/{task}"] = len(own) / len(outcomes)
        if not len(own):
            continue
        for name, value in rollout_metrics(own, group).items():
            kind, _, what = name.partition("/")
            if kind == "outcome":
                metrics[f"outcome/{task}/{what}"] = value
        metrics[f"length/{task}/mean"] = float(own[:, COLUMNS.index("tokens")].mean())
    return metrics
