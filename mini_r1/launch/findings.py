"""Collects what the parts of a check find; a part that fails does not stop the others."""

from contextlib import contextmanager
from dataclasses import dataclass

from mini_r1.config.recipe import Recipe
from mini_r1.data.mixture import Part
from mini_r1.errors import RecipeError

LEVELS = ("error", "warning", "note", "ok")  # in the order in which they are reported


@dataclass(frozen=True)
class Finding:
    """One line for people.

    Attributes:
        level: one of `LEVELS`; an error means that the run would fail.
        text: where it can, as in `RecipeError`: file, key, what is wrong and what would be right.
    """

    level: str
    text: str


class Findings:
    """Collects findings about a recipe; each about a key names the file that set it."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.broken: set[str] = set()  # keys left out because their value is wrong: what follows from that is no news
        self._found: dict[str, Finding] = {}  # by text: nothing is said twice

    def error(self, problem: str, key: str | None = None, file: str | None = None) -> None:
        if key is None or key not in self.broken:
            self._add("error", problem, key, file)

    def warning(self, problem: str, key: str | None = None) -> None:
        self._add("warning", problem, key, None)

    def note(self, text: str, key: str | None = None) -> None:
        self._add("note", text, key, None)

    def ok(self, text: str) -> None:
        self._found.setdefault(text, Finding("ok", text))

    def of(self, part: Part) -> "Findings":
        """Findings that go where these go, about one task: of a mixed run, each names `tasks` and the task."""
        return _TaskFindings(self, part) if part.mixed else self

    @contextmanager
    def part(self):
        """Inside, a `RecipeError` becomes an error and ends the part; anything else is a bug of ours and propagates."""
        try:
            yield
        except RecipeError as error:
            self.error(error.problem, error.key, error.file)

    def sorted(self) -> list[Finding]:
        """All findings, errors first, else in the order in which they were made."""
        return sorted(self._found.values(), key=lambda finding: LEVELS.index(finding.level))

    def _add(self, level: str, problem: str, key: str | None, file: str | None) -> None:
        if file is None and (key is not None or level == "error"):
            file = self.recipe.origin.get(key, self.recipe.path)
        text = str(RecipeError(problem, key=key, file=file))
        self._found.setdefault(text, Finding(level, text))


class _TaskFindings(Findings):
    """See `Findings.of`."""

    def __init__(self, whole: Findings, part: Part):
        self.recipe, self.broken, self._found, self._part = whole.recipe, whole.broken, whole._found, part

    def ok(self, text: str) -> None:
        kind, colon, rest = text.partition(": ")
        super().ok(f"{kind}{colon}{self._part.name}: {rest}")

    def _add(self, level: str, problem: str, key: str | None, file: str | None) -> None:
        blamed = self._part.blamed(RecipeError(problem, key=key))
        super()._add(level, blamed.problem, blamed.key, file)
