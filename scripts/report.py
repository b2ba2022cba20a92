"""Writes one page about all seeds of a recipe, or about the given runs: report.html and PNGs of its figures.

python scripts/report.py --config recipes/NAME.yaml [--output DIR] [--title TEXT] [--beside RECIPE_OR_FOLDER ...]
python scripts/report.py RUN_DIR [RUN_DIR ...] [--output DIR] [--title TEXT] [--beside RECIPE_OR_FOLDER ...]

The runs may be finished, running or killed. `--beside` names controls: other recipes, with all their seeds, or run
directories. The default is the recipe's own controls, such as countdown-tiny-random-reward, where they have runs.
"""

import argparse
import sys
from pathlib import Path

from mini_r1.config.recipe import COMMAND_LINE
from mini_r1.errors import Parser, RecipeError, exit_on_recipe_error
from mini_r1.report.learning import results_table
from mini_r1.report.page import draw_images, write_page
from mini_r1.report.runs import group_runs, seed_folders, seeds_of

CONTROLS = ("random-reward", "sft-control")  # NAME-random-reward, ... stand beside NAME where they have runs


def main() -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    parser.add_argument("folders", nargs="*", type=Path, metavar="RUN_DIR")
    parser.add_argument("--config", metavar="FILE")
    parser.add_argument("--beside", nargs="+", default=[], action="extend", metavar="RECIPE_OR_FOLDER")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: runs/NAME-report")
    parser.add_argument("--title")
    flags = parser.parse_args(sys.argv[1:])
    if bool(flags.config) == bool(flags.folders):
        raise RecipeError("give --config recipes/NAME.yaml, or run directories, one of both", file=COMMAND_LINE)
    folders = seeds_of(flags.config) if flags.config else flags.folders
    beside = [folder for name in flags.beside for folder in _folders(name)]
    if flags.config and not beside:
        beside = [folder for control in CONTROLS for folder in seed_folders(f"{Path(flags.config).stem}-{control}")]
    groups = group_runs(folders, beside)
    name = Path(flags.config).stem if flags.config else groups[0].name
    output = flags.output or Path("runs") / f"{name.replace('/', '-')}-report"
    if output.exists() and not output.is_dir():
        raise RecipeError("is a file; a folder is wanted", key="output", file=str(output))
    page = write_page(groups, flags.title or name, output)
    images = draw_images(groups, output)
    for row in results_table(groups):
        gains = (f"{key} {' -> '.join(filter(None, row[key]))}" for key in ("pass@1", "format") if any(row[key]))
        print(f"{row['runs']}, seeds {row['seeds']}: {', '.join(gains) or 'no held-out measurement'}")
    print(f"report: {page}, {page.stat().st_size / 1e6:.1f} MB, and {len(images)} PNGs beside it")


def _folders(name: str) -> list[Path]:
    is_recipe = name.endswith((".yaml", ".yml")) or ("/" not in name and not Path(name).exists())
    return seeds_of(name) if is_recipe else [Path(name)]


if __name__ == "__main__":
    exit_on_recipe_error(main)
