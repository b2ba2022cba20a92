"""`Check`, the one object that every part of a check gets: what is known of the run, and the findings."""

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mini_r1.config.batch import BatchPlan
from mini_r1.config.run_config import RunConfig
from mini_r1.data.mixture import Part
from mini_r1.data.problems import Rows
from mini_r1.errors import RecipeError
from mini_r1.launch.hardware import Gpu
from mini_r1.launch.model_shapes import ModelShape
from mini_r1.launch.plan import ONE_MACHINE, LaunchPlan, Machines, Sharding, read_sharding

LEVELS = ("error", "warning", "note", "ok")  # in the order in which they are reported


@dataclass(frozen=True)
class Finding:
    """One line for people.

    Attributes:
        level: one of `LEVELS`; an error means that the run would fail.
        text: where it can, as in `RecipeError`: file, key, what is wrong and what would be right.
        topic: of an "ok", such as data or memory.
    """

    level: str
    text: str
    topic: str = ""


@dataclass
class Check:
    """A run that is being checked. Each part sets what it learns; what no part could learn stays None.

    Attributes:
        wanted_gpus, machines, look_only, processes: the arguments of `preflight`.
        flags: what `--gpus 0` adds to the command line.
        config: the run, without wrong keys and with what the plan changes; None where the recipe cannot be read.
        broken: the wrong keys; errors that follow from them are not reported.
        parts: the tasks; None also where a reward model is trained.
        rewards: the reward functions of all tasks; [] where none are used.
        gpus: the GPUs to plan for.
        plan: what would run where.
        batch: the batch of a run that trains on groups.
        rows: the problems, one entry for each of `parts`, None where they cannot be had.
        tokenizer: the model's own; None where it is not here.
        first_model: see `check_model.first_model`.
        shape: the model's sizes.
        train_rows: how many problems there are to train on.
        longest_prompt: its tokens; `max_prompt_tokens` where nothing could be counted, as longer prompts are dropped.
        example: one prompt of each task and what its rewards give, as text; empty where there is none.
    """

    wanted_gpus: int | None = None
    machines: Machines = ONE_MACHINE
    look_only: bool = False
    processes: int | None = None
    flags: list[str] = field(default_factory=list)
    config: RunConfig | None = None
    broken: set[str] = field(default_factory=set)
    parts: list[Part] | None = None
    rewards: list | None = None
    gpus: list[Gpu] | None = None
    plan: LaunchPlan | None = None
    batch: BatchPlan | None = None
    rows: list[Rows | None] = field(default_factory=list)
    tokenizer: Any = None
    first_model: str | None = None
    shape: ModelShape | None = None
    train_rows: int | None = None
    longest_prompt: int | None = None
    example: str = ""
    _found: dict[str, Finding] = field(default_factory=dict)  # by text, so that nothing is reported twice
    _task: Part | None = None

    @property
    def findings(self) -> list[Finding]:
        """All findings, errors first, otherwise in the order in which they were added."""
        return sorted(self._found.values(), key=lambda finding: LEVELS.index(finding.level))

    @property
    def failed(self) -> bool:
        """Whether there is an error, so that the run would fail."""
        return any(finding.level == "error" for finding in self._found.values())

    @property
    def here(self) -> bool:
        """Whether this machine would train; false where its GPUs are assumed."""
        return not any(gpu.name == "assumed" for gpu in self.gpus or [])

    @property
    def trainer(self) -> LaunchPlan | None:
        """The plan, where it has training processes on this machine; None for a server alone."""
        return self.plan if self.plan and self.plan.processes else None

    @property
    def sharding(self) -> Sharding:
        """How the plan's processes share the model."""
        return read_sharding(self.plan.accelerate_config)

    @property
    def steps(self) -> tuple[int | None, int | None]:
        """(optimizer steps, rollouts) of the run; None where the number of rows is needed and not known.

        Fewer rows than a rollout needs count as unknown; `check_batch` reports them.
        """
        batch, rows = self.batch, self.train_rows
        if batch is None or (batch.max_steps <= 0 and (rows or 0) < batch.prompts_per_generation):
            return None, None
        return batch.total_steps(rows), min(batch.total_steps(rows), batch.total_rollouts(rows))

    def error(self, problem: str, key: str | None = None, file: str | None = None) -> None:
        if key is None or key not in self.broken:
            self._add("error", problem, key, file)

    def warning(self, problem: str, key: str | None = None) -> None:
        self._add("warning", problem, key)

    def note(self, text: str, key: str | None = None) -> None:
        self._add("note", text, key)

    def missing(self, problem: str, key: str) -> None:
        """Adds an error where a run starts, and a warning where nothing will be started."""
        (self.warning if self.look_only else self.error)(problem, key)

    def ok(self, topic: str, text: str) -> None:
        """Adds what is in order; `check.DETAILS` says which topics are printed."""
        of_task = f"{self._task.name}: " if self._task and self._task.mixed else ""
        text = f"{topic}: {of_task}{text}"
        self._found.setdefault(text, Finding("ok", text, topic))

    @contextmanager
    def part(self, task: Part | None = None):
        """A context in which a `RecipeError` becomes an error and ends the part; any other exception propagates.

        Args:
            task: what the findings are about; in a mixed run, each names `tasks` and the task.
        """
        self._task = task
        try:
            yield
        except RecipeError as error:
            self.error(error.problem, error.key, error.file)
        finally:
            self._task = None

    def _add(self, level: str, problem: str, key: str | None, file: str | None = None) -> None:
        if self._task:
            blamed = self._task.blamed(RecipeError(problem, key=key))
            problem, key = blamed.problem, blamed.key
        if file is None and self.config and (key is not None or level == "error"):
            file = self.config.recipe.origin.get(key, self.config.recipe.path)
        text = str(RecipeError(problem, key=key, file=file))
        self._found.setdefault(text, Finding(level, text))
