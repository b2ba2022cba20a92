"""Runs the stages of a pipeline, one after the other; skips finished stages, goes on with interrupted ones.

python scripts/run_pipeline.py --config NAME [--seed N] [--gpus N] [--STAGE.key value]

--seed N        of all stages. Left out: as the recipes say
--gpus N        use N GPUs; 0 is a CPU. Left out: as many as a recipe was written for
--STAGE.key value   set a key of one stage of an experiment, such as --rl.beta 0.1
--from STAGE    begin with this stage, and leave those before it alone
--only STAGE    run this stage alone
--dry_run       say what would be done about each stage, start nothing
--overwrite_output_dir true   start all stages anew, or those that --from or --only leave; old runs are moved aside
"""

import shlex
import sys
from functools import partial

from mini_r1.config.keys import did_you_mean
from mini_r1.config.recipe import parse_command_line
from mini_r1.errors import RecipeError, exit_on_recipe_error
from mini_r1.launch.launcher import launch
from mini_r1.pipeline.stages import Pipeline, read_pipeline
from mini_r1.pipeline.state import Choice, choose, describe, refusal, stages_table, start_anew, summary, write_summary

FLAGS = ("seed", "gpus", "from", "only", "dry_run", "overwrite_output_dir")


say = partial(print, flush=True)


def read_flags(flags: dict) -> None:
    """Refuses a flag that a pipeline does not know, or one without the value that it needs."""
    for key, value in flags.items():
        if key not in FLAGS and "." not in key:
            raise RecipeError(
                f"no flag of a pipeline; it knows --{', --'.join(FLAGS)}, and a stage's keys are set in its recipe, or "
                f"with --STAGE.{key}{did_you_mean(key, FLAGS)}",
                key=key,
                file="command line",
            )
        if key in ("from", "only") and value is True:
            raise RecipeError("needs the name of a stage", key=f"--{key}", file="command line")
        if key == "gpus" and type(value) is not int:
            raise RecipeError(f"got {value!r}, expected a whole number", key="--gpus", file="command line")
        if key in ("dry_run", "overwrite_output_dir") and not isinstance(value, bool):
            raise RecipeError(f"got {value!r}, expected true or false", key=f"--{key}", file="command line")


def dry_run(pipeline: Pipeline, choice: Choice) -> int:
    """Prints one line a stage; returns the exit status."""
    refused = False
    for number, stage in enumerate(pipeline.stages, 1):
        line, no = describe(stage, pipeline, choice)
        refused |= no
        say(f"stage {number}/{len(pipeline.stages)}, {line}")
    return 2 if refused else 0


def run(pipeline: Pipeline, choice: Choice, gpus: int | None) -> int:
    """Runs what the choice has and is not finished; returns the exit status of the first stage that fails."""
    for stage in pipeline.stages:
        problem = refusal(stage, pipeline, choice)
        if problem:
            raise problem
    if choice.anew:
        start_anew(choice, say)
    for number, stage in enumerate(pipeline.stages, 1):
        if stage not in choice.stages:
            continue
        title = f"stage {number}/{len(pipeline.stages)}, {stage.name}"
        if summary(stage):
            say(f"=== {title}: finished in {stage.folder}, skipped")
            continue
        say(f"=== {title}: launch.py --run {stage.kind} {shlex.join(stage.argv)}")
        status = launch(stage.argv, stage.kind, gpus=gpus)
        if status:
            again = "the same command" + (" without --overwrite_output_dir" if choice.anew else "")
            print(f"error: {title} ended with status {status}; run {again} again to go on", file=sys.stderr)
            return status
        if not summary(stage):
            print(f"error: {title} ended, and left no summary.json of its own in {stage.folder}", file=sys.stderr)
            return 1
    write_summary(pipeline, say)
    say(f"\n{stages_table(pipeline)}")
    return 0


def main() -> None:
    path, flags = parse_command_line(sys.argv[1:])
    read_flags(flags)
    told = {key: value for key, value in flags.items() if "." in key}
    pipeline = read_pipeline(path, flags.get("seed"), told)  # checks every stage's recipe before the first one starts
    start, only = (str(flags[key]) if key in flags else None for key in ("from", "only"))  # a stage may be called "2"
    choice = choose(pipeline, start, only, flags.get("overwrite_output_dir", False))
    sys.exit(dry_run(pipeline, choice) if flags.get("dry_run") else run(pipeline, choice, flags.get("gpus")))


if __name__ == "__main__":
    exit_on_recipe_error(main, lambda: __doc__)
