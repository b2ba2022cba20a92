"""Writes run directories as training leaves them, without training, for the tests of the report."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

RECIPE = "seed: {seed}\noutput_dir: {folder}\nlearning_rate: 0.0003\nreward_funcs: [format_reward, equation_reward]\n"
QUESTION = (
    "<|user|>\nYou are careful. Combine the numbers {nums} into {target}. Show your work.\n<|assistant|>\n<think>"
)
WAIT = "\nWait, let me check that again. Alternatively, "


def write_run(
    folder: Path,
    steps: int = 40,
    seed: int = 1,
    per_step: int = 16,
    jump: int | None = None,
    learns: bool = True,
    held_out: int = 20,
    texts: list[str] | None = None,
    tasks: Sequence[str] = (),
) -> Path:
    """Writes a finished GRPO run into `folder`.

    Args:
        per_step: completions of each step, in groups of four.
        jump: the step at which accuracy, length and reflection jump; by default they climb smoothly.
        learns: False for a control, whose accuracy does not change.
        held_out: problems of the held-out measurement, four samples each.
        texts: completions that replace the first ones of step 1.
        tasks: of a mixture, whose numbers are those of the whole run, a tenth less from task to task.
    """
    rng = np.random.default_rng(seed)
    (folder / "completions").mkdir(parents=True)
    (folder / "evaluation").mkdir()
    lines = []
    for step in range(1, steps + 1):
        progress = (step >= jump) if jump else step / steps
        skill = 0.3 + 0.6 * progress * learns
        frame = rollouts(step, per_step, skill, rng)
        if step == 1 and texts:
            frame.loc[: len(texts) - 1, "completion"] = texts
        frame.to_parquet(folder / f"completions/completions_{step:05d}.parquet")
        line = metrics(step, frame, skill, rng)
        for i, task in enumerate(tasks):
            line |= {f"mixture/{task}": 1 / len(tasks), f"outcome/{task}/right": line["outcome/right"] * (1 - i / 10)}
        lines.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    measured = {}
    for when, skill in (("before", 0.3), ("after", 0.3 + 0.6 * learns)):
        frame = answers(held_out, skill, np.random.default_rng(700 + seed))
        frame.to_parquet(folder / f"evaluation/{when}.parquet")
        measured[when] = whole = measurement(frame, held_out)
        own = {key: whole[key] for key in ("pass@1", "by_difficulty")}
        if tasks:
            parts = {task: own | {"pass@1": whole["pass@1"] * (1 - i / 10)} for i, task in enumerate(tasks)}
            whole["by_task"] = {task: part | {"n": held_out, "interval": [0.1, 0.95]} for task, part in parts.items()}
    (folder / "before.json").write_text(json.dumps(measured["before"]))
    summary = {"stage": "r1_grpo", **measured, "seconds": {"grpo": 200.0, "total": 321.0}, "seed": seed}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "recipe.yaml").write_text(RECIPE.format(seed=seed, folder=folder))
    manifest = {
        "recipe": "recipes/two.yaml", "command": "run_r1_grpo.py --seed 1", "seed": seed, "git_commit": "0" * 40,
        "git_changed_files": [], "python": "3.11.7", "versions": {"torch": "2.13.0", "vllm": None},
        "hardware": {"machine": "x86_64", "cpus": 2, "gpus": []}, "attempts": [{"started": "2026-01-01", "from": None}],
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def sample(problem: int, skill: float, rng: np.random.Generator) -> dict:
    """One completion with all its recorded columns; `skill` is the probability that it is correct."""
    count = 3 + problem % 2
    nums = [2 + (problem * 7 + i * i) % 11 for i in range(count)]
    target = sum(nums[:-1]) - nums[-1]
    right, well_formed = bool(rng.random() < skill), bool(rng.random() < 0.9)
    answer = " + ".join(map(str, nums[:-1])) + f" {'-' if right else '+'} {nums[-1]}"
    tries = int(rng.integers(1, 3 + int(6 * skill)))
    thought = (WAIT if rng.random() < skill / 2 else "\n").join(
        f"{nums[0]} + {nums[1]} = {nums[0] + nums[1]}, no" for _ in range(tries)
    )
    end = "</think>\n<answer>" if well_formed else "</think>"
    return {
        "prompt": QUESTION.format(nums=nums, target=target), "prefill": "<think>",
        "completion": f"{thought}\n{end}{answer}</answer>", "difficulty": count, "right": right and well_formed,
        "well_formed": well_formed, "tokens": 14 * tries + 12, "cut_off": False,
        "row": json.dumps({"nums": nums, "target": target}),
    }  # fmt: skip


def rollouts(step: int, count: int, skill: float, rng: np.random.Generator) -> pd.DataFrame:
    rows = [sample(step * 5 + i // 4, skill, rng) for i in range(count)]
    for row in rows:
        row |= {"step": step, "format_reward": float(row["well_formed"]), "equation_reward": float(row["right"])}
        row["advantage"] = row["equation_reward"] - skill
    return pd.DataFrame(rows)


def answers(problems: int, skill: float, rng: np.random.Generator, samples: int = 4) -> pd.DataFrame:
    rows = [
        {"problem": problem, "sample": i, **sample(problem, skill, rng), "vote": None}
        for problem in range(problems)
        for i in range(samples)
    ]
    return pd.DataFrame(rows)


def metrics(step: int, frame: pd.DataFrame, skill: float, rng: np.random.Generator) -> dict:
    """The line of metrics.jsonl for a step's rollouts."""
    right, formed = frame["right"].mean(), frame["well_formed"].mean()
    waits = frame["completion"].str.count("Wait").mean()
    line = {
        "step": step, "reward": right + formed, "reward_std": 0.5, "rewards/format_reward/mean": formed,
        "rewards/equation_reward/mean": right, "loss": rng.normal(0, 0.02),
        "entropy": 0.3 - 0.2 * skill + rng.normal(0, 0.01),
        "grad_norm": abs(rng.normal(0.2, 0.02)) + 3 * (step == 30), "learning_rate": 3e-4, "temperature/sampling": 1.0,
        "clip_ratio/region_mean": 0.0, "completions/clipped_ratio": abs(rng.normal(0, 0.01)),
        "frac_reward_zero_std": float(rng.integers(0, 4)) / 8, "completions/mean_length": frame["tokens"].mean(),
        "outcome/right": right, "outcome/answer_wrong": formed - right, "outcome/format_wrong": 1 - formed,
        "outcome/right_given_format": right / formed, "outcome/pass_at_group": min(1.0, right * 1.5),
        "behaviour/verification": waits, "behaviour/backtracking": waits * 0.7 + abs(rng.normal(0, 0.05)),
        "behaviour/alternatives": waits * 0.9, "behaviour/summary": 0.0, "behaviour/reflection": 2.6 * waits,
        "text/mixed_languages": 0.0, "text/repetition": abs(rng.normal(0.05, 0.01)), "text/reopened_thinking": 0.0,
        "time/step": 2.0, "epoch": step / 100,
    }  # fmt: skip
    for kind, rows in (("right", frame[frame["right"]]), ("wrong", frame[~frame["right"]])):
        if len(rows):
            line |= {f"length/{kind}_{part}": float(getattr(rows["tokens"], part)()) for part in ("min", "mean", "max")}
    return {name: value if isinstance(value, int) else round(float(value), 6) for name, value in line.items()}


def lines_of(steps: int, kinds: list[pd.DataFrame], rng: np.random.Generator) -> str:
    """The text of metrics.jsonl for a long run that goes through the given rollouts."""
    frames = [kinds[(step - 1) * len(kinds) // steps] for step in range(1, steps + 1)]
    return "\n".join(json.dumps(metrics(i + 1, frame, 0.5, rng)) for i, frame in enumerate(frames)) + "\n"


def measurement(frame: pd.DataFrame, problems: int) -> dict:
    shares = frame.groupby("problem")["right"].mean()
    first, best = float(shares.mean()), float((shares > 0).mean())
    by_difficulty = {
        str(level): {
            "n": int(part["problem"].nunique()),
            "pass@1": float(part["right"].mean()),
            "mean_length": 30.0,
            "interval": [0.2, 0.95],
        }
        for level, part in frame.groupby("difficulty")
    }
    formed = float(frame["well_formed"].mean())
    return {
        "n": problems, "samples": 4, "pass@1": first, "pass@2": (first + best) / 2, "pass@4": best, "maj@4": first,
        "format": formed, "mean_length": float(frame["tokens"].mean()), "by_difficulty": by_difficulty,
        "right_given_format": first / formed, "cut_off": 0.0,
        "intervals": {"pass@1": [first - 0.08, first + 0.08], "format": [formed - 0.05, formed + 0.05]},
    }  # fmt: skip
