"""What both benchmarks share: the clock, the tables, the heading."""

import argparse
import importlib.metadata
import os
import platform
import textwrap
import time
from collections.abc import Callable, Sequence

WIDTH = 100  # of the notes; tables may be wider


def is_quick(description: str) -> bool:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="about ten seconds: less of everything, rough figures")
    return parser.parse_args().quick


def best_seconds(call: Callable[[], object], spend: float, least: int = 2) -> float:
    """Seconds of the fastest run of `call`: at least `least` runs, then until `spend` seconds are gone.

    The fastest, as whatever else runs on the machine can only add to it.
    """
    best, gone, runs = float("inf"), 0.0, 0
    while runs < least or gone < spend:
        start = time.perf_counter()
        call()
        seconds = time.perf_counter() - start
        best, gone, runs = min(best, seconds), gone + seconds, runs + 1
    return best


def number(value: float) -> str:
    """Three digits that count, thousands commas: 0.012, 1.23, 12.3, 1,235."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.{1 if value >= 10 else 2 if value >= 1 else 3}f}"


def table(title: str, notes: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a heading, wrapped notes and aligned columns; figures to the right, words to the left."""
    cells = [list(columns), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    words = [any(any(map(str.isalpha, row[i])) for row in cells[1:]) for i in range(len(columns))]
    print(f"\n## {title}\n{textwrap.fill(notes, WIDTH)}\n")
    for row in cells:
        parts = zip(row, widths, words, strict=True)
        line = [cell.ljust(width) if left else cell.rjust(width) for cell, width, left in parts]
        print("  ".join(line).rstrip(), flush=True)


def heading(title: str, peer: str, quick: bool) -> bool:
    """Prints what is run on what; returns whether the package `peer`, to be compared with, is installed."""
    print(f"# {title}{' (--quick: rough figures)' if quick else ''}")
    print(f"Python {platform.python_version()}, {os.cpu_count()} CPUs ({platform.machine()}), one process.")
    print(f"Load average before the start: {os.getloadavg()[0]:.1f}. Times are the best of several runs.")
    try:
        print(f"Beside it, in the same run: {peer} {importlib.metadata.version(peer)}.")
    except importlib.metadata.PackageNotFoundError:
        print(f"The comparison with {peer} is left out: it is not installed here (make bench installs it).")
        return False
    return True
