"""Rejection sampling: sample completions of the training problems, keep right and readable ones as a data set for SFT.

python scripts/generate.py --config recipes/NAME.yaml [--model_name_or_path FOLDER] [--server URL] [--key value]
"""

import sys
from dataclasses import asdict, replace

import tasks
from mini_r1 import hub, prompts
from mini_r1.data import load_rows, to_dataset
from mini_r1.errors import exit_on_recipe_error
from mini_r1.recipe import build, check, parse_command_line, resolve
from mini_r1.rejection import read_filters
from mini_r1.stages import asks_elsewhere, dataclass_types, name_cpu


def main() -> None:
    recipe = resolve(*parse_command_line(sys.argv[1:]))
    hub.offline_if_unreachable(recipe.values)
    types = dataclass_types("generate")
    recipe = check(recipe, types)
    with recipe.blame():
        task = tasks.get(recipe.values.get("task"))
        template = prompts.get_template(recipe.values.get("prompt_template", "mini_r1"))
        filters = read_filters(recipe.values.get("filters"))
        values = asks_elsewhere(recipe.values)
        name_cpu(values)
        args, config, model_args = build(replace(recipe, values=values), types)
        generate(recipe, args, config, model_args, task, template, filters)


def generate(recipe, args, config, model_args, task, template, filters) -> None:
    from mini_r1 import run_dir

    run = run_dir.start(recipe, config.output_dir, "false", args.overwrite_output_dir)
    model = model_args.model_name_or_path
    measured = run_dir.refuse_other_model(run.folder, recipe, model)
    if run.finished:
        run.say(f"{run.folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
        return
    tokenizer = hub.load_tokenizer(model, revision=model_args.model_revision)
    rows = load_rows(args, task)
    problems, dropped, longest = to_dataset(rows.train, args, task, template, tokenizer)
    problems = problems.to_list()
    run.say(f"{len(problems)} training problems from {rows.source}; {dropped} over-long ones dropped")

    from mini_r1.evaluation import sample_all, to_records
    from mini_r1.finish import end_processes
    from mini_r1.generated import DATASET, conversation_of, describe, write_generated
    from mini_r1.grading import Grader
    from mini_r1.model_card import write_dataset_card
    from mini_r1.sampling.backends import make_sampler, server_address

    sampler = make_sampler(
        args, config, model_args, task, template, tokenizer, problems, longest, config.num_generations
    )
    if server := server_address(args, config):
        measured = run_dir.refuse_other_model(run.folder, recipe, model, sampler.model) | {"server": server}
    run.write(run_dir.MEASURED, measured)
    grader = Grader(task)
    kept = sample_all(run.folder, "generated", problems, sampler, grader)
    if kept is not None:
        found = write_generated(
            run.folder,
            to_records(problems, kept.read(), grader),
            args.task,
            conversation_of(template, task, problems),
            filters,
            args.keep_per_problem,
            args.balance_difficulty,
        )
        print(describe(found))
        found |= {"filters": asdict(filters), "keep_per_problem": args.keep_per_problem}
        write_dataset_card(run.folder, recipe, measured, found)
        seconds = round(run.seconds(), 1)
        summary = {"stage": "generate", "measured": measured, "generated": found, "seconds": {"total": seconds}}
        run.finish({**summary, "seed": config.seed})
        print(f"the data set is {run.folder / DATASET}, every sample is in {run.folder}/generated")
        kept.forget()
    end_processes()


if __name__ == "__main__":
    exit_on_recipe_error(main)
