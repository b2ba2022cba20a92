"""Is a completion right? What is measured: the task's own verdict, whatever numbers a recipe rewards it with."""

import json
from types import ModuleType

from mini_r1.reward_loader import load_rewards
from rewards import format_reward

NOT_THE_TASKS = ("prompt", "prefill", "difficulty", "rewards", "task")  # columns of a row that are not the task's own


class Grader:
    """Grades completions of one task, or of several: each row is graded by the task that its column `task` names.

    Args:
        tasks: modules of `tasks/`; rows of a single one need no column `task`.
    """

    def __init__(self, *tasks: ModuleType):
        self.tasks = {task.__name__.rpartition(".")[2]: task for task in tasks}
        self._correct = {name: load_rewards([task.REWARD], None, None, task)[0] for name, task in self.tasks.items()}

    @property
    def correct(self):
        """The reward that decides whether an answer is right; of several tasks, the first one's."""
        return next(iter(self._correct.values()))

    def grade(self, rows: list[dict], completions: list[str]) -> dict[str, list]:
        """What is known about each completion, as columns; texts alone are looked at.

        Args:
            rows: the completions' own rows, as `to_dataset` or `mixed_data.to_datasets` makes them.

        Returns:
            {"right": True, False, or None where the gold is unusable; "well_formed": bool; "difficulty": int;
            "prefill": str; "row": the task's columns as JSON}, and where the rows have it, "task".
        """
        # not `rewards`: what counts as right does not depend on what a row is rewarded for
        columns = {name: [row.get(name) for row in rows] for name in rows[0] if name not in ("prompt", "rewards")}
        well_formed = format_reward(completions=completions, **columns)
        graded = {
            "right": [None if value is None else value == 1 for value in self._rewards(columns, completions)],
            "well_formed": [value == 1 for value in well_formed],
            "difficulty": columns["difficulty"],
            "prefill": columns["prefill"],
            "row": [task_columns(row) for row in rows],
        }
        return graded | ({"task": columns["task"]} if "task" in columns else {})

    def votes(self, rows: list[dict], completions: list[str]) -> list[str | None]:
        """The value of each completion's answer, equal for equal answers; None where there is none to read."""
        only = next(iter(self.tasks))
        votes = [getattr(self.tasks[row.get("task", only)], "vote", None) for row in rows]
        return [
            vote and vote(row["prefill"] + text, row) for vote, row, text in zip(votes, rows, completions, strict=True)
        ]

    def _rewards(self, columns: dict[str, list], completions: list[str]) -> list[float | None]:
        """What each row's own task gives its completion."""
        if "task" not in columns:
            return self.correct(completions=completions, **columns)
        given: list[float | None] = [None] * len(completions)
        for name in dict.fromkeys(columns["task"]):
            own = [i for i, task in enumerate(columns["task"]) if task == name]
            theirs = {column: [values[i] for i in own] for column, values in columns.items()}
            rewards = self._correct[name](completions=[completions[i] for i in own], **theirs)
            for i, reward in zip(own, rewards, strict=True):
                given[i] = reward
        return given


def task_columns(row: dict) -> str:
    """The columns of a row that are the task's own, as JSON: what the verdict needs, and what explains it.

    Of a mixed run's row without those that are null, as columns of other tasks are.
    """
    own = {name: value for name, value in row.items() if name not in NOT_THE_TASKS}
    if "task" in row:
        own = {name: value for name, value in own.items() if value is not None}
    return json.dumps(own, ensure_ascii=False)
