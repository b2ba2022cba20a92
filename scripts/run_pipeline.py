"""Run the stages of a pipeline, one after the other; a finished stage is skipped, an interrupted one goes on.

python scripts/run_pipeline.py --config recipes/pipelines/NAME.yaml [--seed N] [--overwrite_output_dir true] [--gpus N]
"""

import shlex
import sys

from mini_r1.errors import RecipeError, exit_on_recipe_error
from mini_r1.launch import Options, launch
from mini_r1.pipeline import read_pipeline, stages_table, write_summary
from mini_r1.recipe import parse_command_line


def main() -> None:
    path, flags = parse_command_line(sys.argv[1:])
    seed, fresh, gpus = flags.pop("seed", None), flags.pop("overwrite_output_dir", False), flags.pop("gpus", None)
    if flags:
        raise RecipeError(
            "no flag of a pipeline; it knows --seed, --overwrite_output_dir and --gpus, and a stage's keys are set "
            "in its recipe",
            key=next(iter(flags)),
            file="command line",
        )
    pipeline = read_pipeline(path, seed)  # every stage's recipe is checked before the first one starts
    for number, stage in enumerate(pipeline.stages, 1):
        title = f"stage {number}/{len(pipeline.stages)}, {stage.name}"
        if stage.finished and not fresh:
            print(f"=== {title}: finished in {stage.folder}, skipped", flush=True)
            continue
        words = ["--config", stage.recipe, *stage.flags(seed, bool(fresh))]
        print(f"=== {title}: launch.py --run {stage.kind} {shlex.join(words)}", flush=True)
        status = launch(words, Options(stage.kind, gpus))
        if status:
            print(f"error: {title} ended with status {status}; run the same command again to go on", file=sys.stderr)
            sys.exit(status)
    write_summary(pipeline)
    print(f"\n{stages_table(pipeline)}")


if __name__ == "__main__":
    exit_on_recipe_error(main)
