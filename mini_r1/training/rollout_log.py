"""The log of rollouts: metrics beside TRL's own, and whole completions for people to read."""

import json
import os
import re
from pathlib import Path

import numpy as np

from mini_r1.evaluation.signals import BEHAVIOURS, read_signals
from mini_r1.rewards import explain

TEXT = ("mixed_languages", "repetition", "reopened_thinking")
COLUMNS = ("right", "well_formed", "tokens", *BEHAVIOURS, *TEXT)
SAMPLES_FILE = "success_completion_samples.txt"  # the tutorial's: one correct completion of each rollout
FOLDER = "samples"
OF_EACH = 2  # correct and wrong ones of a step


def describe_completions(texts: list[str], graded: dict[str, list]) -> list[list[float]]:
    """Returns a row of numbers for each completion, in the order of `COLUMNS`, for processes to gather.

    Args:
        texts: prefill and completion.
        graded: `Grader.grade`'s columns, and `tokens`.
    """
    rows = []
    columns = (graded[name] for name in ("right", "well_formed", "tokens"))
    for text, right, well_formed, length in zip(texts, *columns, strict=True):
        found = read_signals(text)
        counts = [getattr(found, name) for name in (*BEHAVIOURS, *TEXT)]
        rows.append([np.nan if right is None else right, well_formed, length, *counts])
    return [[float(value) for value in row] for row in rows]


def rollout_metrics(outcomes: np.ndarray, group: int) -> dict[str, float]:
    """Returns the metrics of one rollout, over the completions of all processes.

    - outcome/right (answer and format), outcome/answer_wrong (in the right format), outcome/format_wrong: shares, sum 1
    - outcome/right_given_format; outcome/pass_at_group: share of groups with a right answer
    - length/right_min, _mean, _max, length/wrong_...: tokens, by answer
    - behaviour/...: words for each completion, and behaviour/reflection, their sum; text/...: shares

    A metric without any completion to compute it from is left out.

    Args:
        outcomes: shape (completions, len(COLUMNS)), groups together; right is NaN where the gold is unusable.
        group: completions of each prompt.
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
    """Returns the metrics of each task in a rollout of several.

    outcome/<task>/right and so on, as in `rollout_metrics`; length/<task>/mean: tokens; mixture/<task>: share of the
    completions. Of a task that the rollout lacks only the last, 0.

    Args:
        outcomes, group: as for `rollout_metrics`.
        numbers: shape (completions,): index into `tasks` of each completion's task.
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


def append_success(folder: str | Path, step: int, prompts: list[str], completions: list[str], right: list) -> None:
    """Appends the first correct completion of a rollout to `success_completion_samples.txt`."""
    first = next((i for i, value in enumerate(right) if value), None)
    with open(Path(folder) / SAMPLES_FILE, "a", encoding="utf-8") as file:
        if first is not None:
            file.write(f"===== step {step}\n{prompts[first]}{completions[first]}\n\n")


def samples_due(step: int, every: int, serves: int) -> bool:
    """Returns whether a multiple of `every` is among the `serves` steps from `step` on, which one rollout serves."""
    return bool(every) and (step == 1 or (step + serves - 1) // every > (step - 1) // every)


def write_samples(
    folder: str | Path,
    step: int,
    prompts: list[str],
    completions: list[str],
    graded: dict[str, list],
    rewards: list[dict[str, float]],
) -> None:
    """Writes `samples/step-00020.txt`: correct and wrong completions, each of another problem, with the reason.

    Args:
        graded: `Grader.grade`'s columns, and `tokens`.
        rewards: name -> reward, of each completion.
    """
    right, wrong = {}, {}  # of different problems
    for i, value in enumerate(graded["right"]):
        if value is not None:
            (right if value else wrong).setdefault(prompts[i], i)
    blocks = []
    for i in [*right.values()][:OF_EACH] + [*wrong.values()][:OF_EACH]:
        numbers = ", ".join(f"{name} {value:g}" for name, value in rewards[i].items())
        why = explain(graded["prefill"][i] + completions[i], json.loads(graded["row"][i]), graded["right"][i])
        blocks.append(
            f"===== step {step}, {graded['tokens'][i]} tokens, {numbers}\n===== {why}\n{prompts[i]}{completions[i]}\n"
        )
    path = Path(folder) / FOLDER / f"step-{step:05d}.txt"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(blocks), encoding="utf-8")


def drop_samples_after(folder: str | Path, checkpoint: str | None) -> None:
    """Removes the samples of steps after the checkpoint, and torn ones; without a checkpoint, all samples."""
    step = json.loads((Path(checkpoint) / "trainer_state.json").read_text())["global_step"] if checkpoint else 0
    path = Path(folder) / SAMPLES_FILE
    if not path.exists():
        return
    blocks = re.split(r"^(?====== step )", path.read_text(encoding="utf-8"), flags=re.M)
    kept = [block for block in blocks if (head := re.match(r"===== step (\d+)\n", block)) and int(head[1]) <= step]
    scratch = path.with_suffix(".tmp")
    scratch.write_text("".join(kept), encoding="utf-8")
    os.replace(scratch, path)
