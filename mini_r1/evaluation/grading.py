"""Grades completions for measurement: by the verdict of their task, whatever numbers a recipe rewards it with."""

import json
from collections.abc import Sequence
from types import ModuleType

from mini_r1 import rewards
from mini_r1.data.prompts import PromptTemplate
from mini_r1.data.reward_loader import Reward, load_rewards, read_entry
from mini_r1.rewards.language import language_share

NOT_THE_TASKS = ("prompt", "prefill", "difficulty", "rewards", "task")  # columns of a row that are not the task's own


class Grader:
    """Grades completions of one task, or of several: each row is graded by the task that its column `task` names.

    Args:
        task: a module of `tasks/`; rows of a single one need no column `task`.
        template: the prompts' own; it says which format is the right one. None: `format_reward`'s.
        others: (task, template) of each further task.
        languages: task -> the language that its reasoning is to be in, where that is not English.
    """

    def __init__(
        self,
        task: ModuleType,
        template: PromptTemplate | None = None,
        *others: tuple[ModuleType, PromptTemplate | None],
        languages: dict[str, str] | None = None,
    ):
        self.tasks, self._correct, self._format = {}, {}, {}
        for each, its_template in [(task, template), *others]:
            name = each.__name__.removeprefix("mini_r1.tasks.")
            self.tasks[name] = each
            self._correct[name] = load_rewards([each.REWARD], None, None, each)[0]
            self._format[name] = getattr(rewards, its_template.format_reward if its_template else "format_reward")
        self._languages = dict.fromkeys(self.tasks, "en") | (languages or {})

    @property
    def correct(self) -> Reward:
        """The reward that decides whether an answer is correct: that of the row's task."""
        if len(self._correct) == 1:
            return next(iter(self._correct.values()))

        def correct(completions, **columns):
            # not `rewards`: a verdict does not depend on what a row is rewarded for
            each = {name: own for name, own in columns.items() if isinstance(own, list) and name != "rewards"}
            return self._each(self._correct, each, completions)

        return correct

    def grade(self, rows: list[dict], completions: list[str]) -> dict[str, list]:
        """The verdicts on completions, as columns; they depend on the texts alone.

        Args:
            rows: the completions' own rows, as `problems.to_datasets` makes them.

        Returns:
            {"right": True, False, or None where the gold is unusable; "well_formed": bool; "difficulty": int;
            "prefill": str; "row": the task's columns as JSON}, with `format_reward` among them where the template names
            another one, so that the report can explain the format; and "task", where the rows have it.
        """
        # without `rewards`, as above
        columns = {name: [row.get(name) for row in rows] for name in rows[0] if name not in ("prompt", "rewards")}
        right = self._each(self._correct, columns, completions)
        well_formed = self._each(self._format, columns, completions)
        graded = {
            "right": [None if value is None else value == 1 for value in right],
            "well_formed": [value == 1 for value in well_formed],
            "difficulty": columns["difficulty"],
            "prefill": columns["prefill"],
            "row": [task_columns(row | self._other_form(row)) for row in rows],
        }
        return graded | ({"task": columns["task"]} if "task" in columns else {})

    def votes(self, rows: list[dict], completions: list[str]) -> list[str | None]:
        """The value of each completion's answer, equal for equal answers; None where no answer can be read."""
        votes = [getattr(self.tasks[self._name(row)], "vote", None) for row in rows]
        return [
            vote and vote(row["prefill"] + text, row) for vote, row, text in zip(votes, rows, completions, strict=True)
        ]

    def language(self, rows: list[dict], completions: list[str]) -> list[float]:
        """The share of words in the task's language, of each completion's reasoning, from 0 to 1."""
        return [
            language_share(row["prefill"] + text, self._languages[self._name(row)])
            for row, text in zip(rows, completions, strict=True)
        ]

    def _name(self, row: dict) -> str:
        return row["task"] if "task" in row else next(iter(self.tasks))

    def _other_form(self, row: dict) -> dict:
        form = self._format[self._name(row)].__name__
        return {} if form == "format_reward" else {"format_reward": form}

    def _each(
        self, by_task: dict[str, Reward], columns: dict[str, list], completions: Sequence[str]
    ) -> list[float | None]:
        """The reward that each row's own task gives its completion."""
        tasks = columns.get("task") or [next(iter(self.tasks))] * len(completions)
        given: list[float | None] = [None] * len(completions)
        for name in dict.fromkeys(tasks):
            own = [i for i, task in enumerate(tasks) if task == name]
            theirs = {column: [values[i] for i in own] for column, values in columns.items()}
            values = by_task[name](completions=[completions[i] for i in own], **theirs)
            for i, value in zip(own, values, strict=True):
                given[i] = value
        return given


def grader_of(parts) -> Grader:
    """The grader of a run's tasks (`mini_r1.data.mixture.Part`)."""
    languages = {}
    for part in parts:
        for name, arguments in map(read_entry, part.args.reward_funcs):
            if name == "language_consistency_reward" and isinstance(arguments.get("language"), str):
                languages[part.name] = arguments["language"]
    first, *others = parts
    return Grader(first.task, first.template, *((part.task, part.template) for part in others), languages=languages)


def task_columns(row: dict) -> str:
    """The task's own columns of a row, as JSON: what the verdict needs, and what explains it.

    In a mixed run without the columns that are null, as those of other tasks are.
    """
    own = {name: value for name, value in row.items() if name not in NOT_THE_TASKS}
    if "task" in row:
        own = {name: value for name, value in own.items() if value is not None}
    return json.dumps(own, ensure_ascii=False)
