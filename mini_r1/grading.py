"""Is a completion right? What is measured: the task's own verdict, whatever numbers a recipe rewards it with."""

import json
from types import ModuleType

import rewards
from mini_r1.prompts import PromptTemplate
from mini_r1.reward_loader import load_rewards

NOT_THE_TASKS = ("prompt", "prefill", "difficulty", "rewards")  # columns of a row that are not the task's own


class Grader:
    """Grades completions of one task.

    Args:
        task: a module of `tasks/`.
        template: the prompts' own; it says which format is the right one. None: `format_reward`'s.
    """

    def __init__(self, task: ModuleType, template: PromptTemplate | None = None):
        self.task = task
        self.format_reward = template.format_reward if template else "format_reward"
        self.correct = load_rewards([task.REWARD], None, None, task)[0]

    def grade(self, rows: list[dict], completions: list[str]) -> dict[str, list]:
        """What is known about each completion, as columns; texts alone are looked at.

        Args:
            rows: the completions' own rows, as `to_dataset` makes them.

        Returns:
            {"right": True, False, or None where the gold is unusable; "well_formed": bool; "difficulty": int;
            "prefill": str; "row": the task's columns as JSON}, and in them `format_reward` where it is another one, so
            that whoever explains a completion later knows what was asked for.
        """
        columns = {name: [row.get(name) for row in rows] for name in rows[0] if name != "prompt"}
        right = self.correct(completions=completions, **columns)
        well_formed = getattr(rewards, self.format_reward)(completions=completions, **columns)
        own = {} if self.format_reward == "format_reward" else {"format_reward": self.format_reward}
        return {
            "right": [None if value is None else value == 1 for value in right],
            "well_formed": [value == 1 for value in well_formed],
            "difficulty": columns["difficulty"],
            "prefill": columns["prefill"],
            "row": [task_columns(row | own) for row in rows],
        }

    def votes(self, rows: list[dict], completions: list[str]) -> list[str | None]:
        """The value of each completion's answer, equal for equal answers; None where there is none to read."""
        vote = getattr(self.task, "vote", None)
        if vote is None:
            return [None] * len(rows)
        return [vote(row["prefill"] + text, row) for row, text in zip(rows, completions, strict=True)]


def task_columns(row: dict) -> str:
    """The columns of a row that are the task's own, as JSON: what the verdict needs, and what explains it."""
    return json.dumps({name: value for name, value in row.items() if name not in NOT_THE_TASKS}, ensure_ascii=False)
