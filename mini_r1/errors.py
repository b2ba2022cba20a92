"""Errors for people: one line that names the file, the key, what is wrong and what would be right."""

import argparse
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


class Parser(argparse.ArgumentParser):
    """A parser of a script's own flags, whose errors are one line, without the usage."""

    def error(self, message: str):
        raise RecipeError(message, file="command line")


class RunStopped(Exception):
    """The end of a run that cannot learn, with the reason in one line. It is not finished; its checkpoints stay."""


def exit_on_recipe_error(main: Callable[[], None], usage: Callable[[], str] | None = None) -> None:
    """Runs a script's `main`; a `RecipeError` becomes one line on stderr and exit status 2, a `RunStopped` status 1.

    Anything else propagates.

    Args:
        usage: returns what `--help` prints in place of `main`; None where `main` answers that itself.
    """
    if usage and {"-h", "--help"} & set(sys.argv[1:]):
        _print_help(usage())
        return
    try:
        main()
    except (RecipeError, RunStopped) as error:
        if os.environ.get("RANK", "0") == "0":  # one line, not one for every process
            print(f"error: {error}", file=sys.stderr, flush=True)
        if isinstance(error, RecipeError):
            sys.exit(2)
        from accelerate import PartialState  # imports torch

        PartialState().wait_for_everyone()  # the launcher ends all others once the first process ends
        PartialState().destroy_process_group()
        sys.exit(1)


def _print_help(text: str) -> None:
    try:
        print(text.strip(), flush=True)
    except BrokenPipeError:  # `--help | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
