"""Draw the finished runs of a recipe, all seeds in one figure.

python scripts/report.py --config recipes/NAME.yaml [--output FILE.png] [--title TEXT]
"""

import json
import sys
from pathlib import Path

from mini_r1.errors import RecipeError, exit_on_recipe_error
from mini_r1.plots import plot_runs
from mini_r1.recipe import parse_command_line, resolve


def main() -> None:
    path, flags = parse_command_line(sys.argv[1:])
    recipe = resolve(path)
    output = Path(flags.pop("output", f"runs/{recipe.name}.png"))
    title = flags.pop("title", recipe.name)
    if flags:
        raise RecipeError("unknown; there are --output and --title", key=next(iter(flags)), file="command line")
    folders = sorted(file.parent for file in Path("runs").glob(f"{recipe.name}-s*/summary.json"))
    folders = [folder for folder in folders if folder.name.removeprefix(f"{recipe.name}-s").isdigit()]
    if not folders:
        raise RecipeError(f"no finished run in runs/; first run: make train-{recipe.name}", file=path)
    plot_runs(folders, title, output)
    for folder in folders:
        summary = json.loads((folder / "summary.json").read_text())
        gains = (
            f"{key} {summary['before'][key]:.3f} -> {summary['after'][key]:.3f}"
            for key in ("pass@1", "format", "mean_length")
        )
        print(f"{folder.name}: {', '.join(gains)}, seconds {summary['seconds']}")
    print(f"drawn in {output}")


if __name__ == "__main__":
    exit_on_recipe_error(main)
