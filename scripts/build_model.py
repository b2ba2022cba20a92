"""Makes a tiny policy with random weights, and its tokenizer, from a recipe. Downloads nothing.

python scripts/build_model.py --config recipes/NAME-base.yaml [--any_key value]
"""

from mini_r1.config.run_config import RunConfig
from mini_r1.data.load_run import run_recipe
from mini_r1.data.problems import load_parts
from mini_r1.run import run_dir
from mini_r1.run.tiny_model import build_model, build_tokenizer


def make(config: RunConfig) -> None:
    args, parts = config.args, config.parts
    run = run_dir.start(config)
    if run.finished:
        run.say(f"{run.folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
        return
    rows = [own.train for own in load_parts(parts)]
    made_for = [
        (part.task, part.template, own, part.args.trace_args or {}) for part, own in zip(parts, rows, strict=True)
    ]
    tokenizer = build_tokenizer(made_for, args.seed)
    model = build_model(tokenizer, args.seed, **(args.model_sizes or {}))
    tokenizer.save_pretrained(run.folder)
    model.save_pretrained(run.folder)
    run.say(f"{model.num_parameters():,} parameters, {len(tokenizer)} tokens, in {run.folder}")
    run.finish({"stage": "build", "seconds": {"total": round(run.seconds(), 1)}, "seed": args.seed})


if __name__ == "__main__":
    run_recipe("build_model", make)
