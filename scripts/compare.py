"""Compares the stages of a pipeline over all seeds in runs/: means, spread, tokens, seconds, memory, as Markdown.

python scripts/compare.py --config NAME [--seeds "[1, 2, 3]"] [--against STAGE] [--by_difficulty] [--plot FILE.png]

--seeds LIST      these seeds. Left out: all in runs/
--against STAGE   also each stage's pass@1, less that of this stage with the same seed
--by_difficulty   a row for each difficulty of the held-out problems
--plot FILE.png   also draw what was measured
"""

import sys
from pathlib import Path

from mini_r1.config.recipe import parse_command_line
from mini_r1.errors import RecipeError, exit_on_recipe_error
from mini_r1.pipeline.comparison import differences, find_seeds, markdown, read_outcomes, stages_figure, table


def main() -> None:
    path, flags = parse_command_line(sys.argv[1:])
    seeds, against, levels, plot = (flags.pop(name, None) for name in ("seeds", "against", "by_difficulty", "plot"))
    if flags:
        raise RecipeError(
            "unknown; there are --seeds, --against, --by_difficulty and --plot",
            key=next(iter(flags)),
            file="command line",
        )
    if seeds is not None and (not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds)):
        raise RecipeError(f"got {seeds!r}, expected a list such as [1, 2, 3]", key="seeds", file="command line")
    outcomes = read_outcomes(path, find_seeds(path) if seeds is None else seeds)
    print(markdown(table(outcomes, bool(levels))))
    if against is not None:
        print("\n" + markdown(differences(outcomes, str(against))))
    if plot is not None:
        from mini_r1.report.plots import draw_figure  # matplotlib: a second that the table need not wait for

        used = sorted({seed for by_seed in outcomes.values() for seed in by_seed})
        draw_figure(stages_figure(outcomes, f"{Path(path).stem}, seeds {', '.join(map(str, used))}"), Path(str(plot)))


if __name__ == "__main__":
    exit_on_recipe_error(main, lambda: __doc__)
