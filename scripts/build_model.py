"""Make a tiny policy with random weights, and its tokenizer, from a recipe: nothing to download.

python scripts/build_model.py --config recipes/NAME-base.yaml [--any_key value]
"""

import sys

import tasks
from mini_r1 import prompts
from mini_r1.data import load_rows
from mini_r1.errors import exit_on_recipe_error
from mini_r1.recipe import build, check, parse_command_line, resolve
from mini_r1.stages import dataclass_types


def main() -> None:
    recipe = resolve(*parse_command_line(sys.argv[1:]))
    types = dataclass_types("build_model")
    recipe = check(recipe, types)
    with recipe.blame():
        task = tasks.get(recipe.values.get("task"))
        template = prompts.get_template(recipe.values.get("prompt_template", "mini_r1"))
        (args,) = build(recipe, types)

        from mini_r1 import run_dir
        from mini_r1.tiny_model import build_model, build_tokenizer

        run = run_dir.start(recipe, args.output_dir, "false", args.overwrite_output_dir)
        if run.finished:
            run.say(f"{run.folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
            return
        tokenizer = build_tokenizer(task, template, load_rows(args, task).train, args.trace_args or {}, args.seed)
        model = build_model(tokenizer, args.seed, **(args.model_sizes or {}))
        tokenizer.save_pretrained(args.output_dir)
        model.save_pretrained(args.output_dir)
        run.say(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens, in {args.output_dir}")
        run.finish({"stage": "build", "seconds": {"total": round(run.seconds(), 1)}, "seed": args.seed})


if __name__ == "__main__":
    exit_on_recipe_error(main)
