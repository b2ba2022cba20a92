"""Make a tiny policy with random weights, and its tokenizer, from a recipe: nothing to download.

python scripts/build_model.py --config recipes/NAME-base.yaml [--any_key value]
"""

import sys

from mini_r1.config.kinds import dataclass_types
from mini_r1.config.recipe import build, check, parse_command_line, resolve
from mini_r1.data.mixed_data import load_parts
from mini_r1.data.mixture import read_parts
from mini_r1.errors import exit_on_recipe_error


def main() -> None:
    recipe = resolve(*parse_command_line(sys.argv[1:]))
    types = dataclass_types("build_model")
    recipe = check(recipe, types)
    with recipe.blame():
        parts = read_parts(recipe.values, types[0])
        (args,) = build(recipe, types)

        from mini_r1.run import run_dir
        from mini_r1.run.tiny_model import build_mixed_tokenizer, build_model

        run = run_dir.start(recipe, args.output_dir, "false", args.overwrite_output_dir)
        if run.finished:
            run.say(f"{run.folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
            return
        rows = [own.train for own in load_parts(parts)]
        made_for = [
            (part.task, part.template, own, part.args.trace_args or {}) for part, own in zip(parts, rows, strict=True)
        ]
        tokenizer = build_mixed_tokenizer(made_for, args.seed)
        model = build_model(tokenizer, args.seed, **(args.model_sizes or {}))
        tokenizer.save_pretrained(args.output_dir)
        model.save_pretrained(args.output_dir)
        run.say(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens, in {args.output_dir}")
        run.finish({"stage": "build", "seconds": {"total": round(run.seconds(), 1)}, "seed": args.seed})


if __name__ == "__main__":
    exit_on_recipe_error(main)
