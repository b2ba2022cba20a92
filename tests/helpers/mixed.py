"""A mixture for tests: two Countdown prompts for each GSM8K one, rewards that remember what they were asked."""

from configs import config_of
from mini_r1.data.mixture import read_parts, weights
from mini_r1.data.problems import load_parts, to_datasets
from mini_r1.training.curriculum import mixed_order

SETTINGS = {
    "countdown": {"n": 60, "seed": 0, "count": [3], "numbers": [1, 12], "target": [1, 99], "in_order": True},
    "gsm8k": {"n": 30, "seed": 0, "steps": [2], "largest": 40, "prices": False, "templates": "train"},
}
CALLS: list[tuple[str, list[str], list]] = []  # reward, tasks of the rows, a column that only its own task has


def letters(completions, task, nums, **kwargs) -> list[float]:
    """Countdown's: how many different letters."""
    CALLS.append(("letters", task, nums))
    return [float(len(set(text))) for text in completions]


def length(completions, completion_ids, task, question, **kwargs) -> list[float]:
    """GSM8K's: a tenth of the tokens, and the place of the last one, so that groups differ."""
    CALLS.append(("length", task, question))
    return [len(ids) / 10 + ids[-1] % 7 for ids in completion_ids]


def both(completions, task, **kwargs) -> list[float]:
    """Of both tasks."""
    CALLS.append(("both", task, task))
    return [float(text.count("e")) for text in completions]


def recipe(**changes) -> dict:
    """The keys of a mixed recipe."""
    entries = [
        {"task": "countdown", "weight": 2, "task_args": SETTINGS["countdown"],
         "reward_funcs": ["mixed.letters", "mixed.both"], "max_eval_rows": 4},
        {"task": "gsm8k", "task_args": SETTINGS["gsm8k"],
         "reward_funcs": ["mixed.both", "mixed.length"], "max_eval_rows": 3},
    ]  # fmt: skip
    return {"tasks": entries, "max_prompt_tokens": 128, "test_fraction": 0.2, **changes}


def parts_of(values: dict | None = None) -> list:
    return read_parts(config_of(values or recipe()).args)


def sets_of(parts: list, tokenizer, prompts: int, kind: str = "none", seed: int = 0) -> tuple:
    """(rows to train on, in the run's order; rows to measure)."""
    rows = load_parts(parts)
    train, _, _ = to_datasets(parts, [own.train for own in rows], tokenizer)
    test, _, _ = to_datasets(parts, [own.test for own in rows], tokenizer)
    order = mixed_order(list(train["task"]), weights(parts), list(train["difficulty"]), kind, prompts, seed)
    return train.select(order), test
