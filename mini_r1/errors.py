"""Errors for people: one line that names the file, the key, what is wrong and what would be right."""

import os
import sys
from collections.abc import Callable


class RecipeError(Exception):
    """A recipe, dataset or run directory that cannot be used as it is.

    Args:
        problem: what is wrong and what would be right, without a final newline.
        key: the recipe key (or flag) at fault, if there is one.
        file: the file that holds it, if there is one.
    """

    def __init__(self, problem: str, *, key: str | None = None, file: str | None = None):
        self.problem, self.key, self.file = problem, key, file
        super().__init__(problem)

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.problem) if part)


def exit_on_recipe_error(main: Callable[[], None]) -> None:
    """Run `main`; a `RecipeError` becomes one line on stderr and exit status 2; anything else propagates."""
    try:
        main()
    except RecipeError as error:
        if os.environ.get("RANK", "0") == "0":  # once, not once for every process
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
