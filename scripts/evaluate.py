"""Measure a model or checkpoint on held-out problems, with exactly the prompts, sampling and rewards of training.

accelerate launch scripts/evaluate.py --config recipes/NAME-eval.yaml [--model_name_or_path FOLDER] [--key value]
"""

import sys

import tasks
from mini_r1 import hub, prompts
from mini_r1.data import load_rows, to_dataset
from mini_r1.errors import RecipeError, exit_on_recipe_error
from mini_r1.recipe import build, check, parse_command_line, resolve
from mini_r1.stages import dataclass_types


def main() -> None:
    recipe = resolve(*parse_command_line(sys.argv[1:]))
    hub.offline_if_unreachable(recipe.values)
    types = dataclass_types("evaluate")
    recipe = check(recipe, types)
    with recipe.blame():
        task = tasks.get(recipe.values.get("task"))
        template = prompts.get_template(recipe.values.get("prompt_template", "mini_r1"))
        args, config, model_args = build(recipe, types)
        evaluate(recipe, args, config, model_args, task, template)


def evaluate(recipe, args, config, model_args, task, template) -> None:
    from mini_r1 import run_dir

    run = run_dir.start(recipe, config.output_dir, "false", args.overwrite_output_dir)
    if run.finished:
        run.say(f"{run.folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
        return
    tokenizer = hub.load_tokenizer(model_args.model_name_or_path, revision=model_args.model_revision)
    rows = load_rows(args, task)
    if not rows.test:
        raise RecipeError("no held-out problems are left to measure", key="test_fraction")
    test_set, dropped, longest = to_dataset(rows.test, args, task, template, tokenizer)
    run.say(f"{len(test_set)} held-out problems from {rows.source}; {dropped} over-long ones dropped")

    from trl import get_quantization_config

    from mini_r1.evaluation import measure_model
    from mini_r1.finish import end_processes, model_kwargs, results_table

    config.model_init_kwargs = model_kwargs(model_args, config)
    if config.use_vllm and config.vllm_max_model_length is None:
        config.vllm_max_model_length = longest + config.max_completion_length
    packed = get_quantization_config(model_args)
    result = measure_model(model_args.model_name_or_path, tokenizer, test_set, task, config, packed)
    seconds = round(run.seconds(), 1)
    run.say(results_table(None, result))
    run.finish({"stage": "evaluate", "after": result, "seconds": {"total": seconds}, "seed": config.seed})
    end_processes()


if __name__ == "__main__":
    exit_on_recipe_error(main)
