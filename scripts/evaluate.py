"""Measure a model or checkpoint on held-out problems, with exactly the prompts, sampling and rewards of training.

python scripts/evaluate.py --config recipes/NAME.yaml [--model_name_or_path FOLDER] [--server URL] [--key value]
python scripts/evaluate.py --compare RUN RUN      two runs on the same problems, or two .parquet files of them
"""

import sys
from dataclasses import replace
from pathlib import Path

from mini_r1 import hub
from mini_r1.errors import RecipeError, exit_on_recipe_error
from mini_r1.mixed_data import load_parts, to_datasets
from mini_r1.mixture import chat_of, check_parts, read_parts
from mini_r1.recipe import build, check, parse_command_line, resolve
from mini_r1.stages import dataclass_types, name_cpu


def main() -> None:
    if sys.argv[1:2] == ["--compare"]:
        from mini_r1.paired import compare

        print(compare([Path(name) for name in sys.argv[2:]]))
        return
    recipe = resolve(*parse_command_line(sys.argv[1:]))
    hub.offline_if_unreachable(recipe.values)
    types = dataclass_types("evaluate")
    recipe = check(recipe, types)
    with recipe.blame():
        parts = read_parts(recipe.values, types[0])
        check_parts(parts, [])
        values = recipe.values
        if values.get("server") or (values.get("use_vllm") and values.get("vllm_mode") == "server"):
            values = values | {"use_cpu": True, "bf16": False, "fp16": False}  # the model is elsewhere
        name_cpu(values)
        args, config, model_args = build(replace(recipe, values=values), types)
        evaluate(recipe, args, config, model_args, parts)


def evaluate(recipe, args, config, model_args, parts) -> None:
    from mini_r1 import run_dir

    run = run_dir.start(recipe, config.output_dir, "false", args.overwrite_output_dir)
    model = model_args.model_name_or_path
    measured = run_dir.refuse_other_model(run.folder, recipe, model)
    if run.finished:
        run.say(f"{run.folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
        return
    tokenizer = hub.load_tokenizer(model, revision=model_args.model_revision)
    rows = load_parts(parts)
    if not any(own.test for own in rows):
        raise RecipeError("no held-out problems are left to measure", key="test_fraction")
    test_set, dropped, longest = to_datasets(parts, [own.test for own in rows], tokenizer)
    problems = test_set.to_list()
    if args.server and args.server_chat:  # the whole answer is the server's then
        problems = [{**problem, "prefill": ""} for problem in problems]
    sources = " and ".join(own.source for own in rows)
    run.say(f"{len(problems)} held-out problems from {sources}; {dropped} over-long ones dropped")

    from mini_r1.evaluation import measure
    from mini_r1.finish import end_processes, results_table
    from mini_r1.grading import Grader
    from mini_r1.kept import Kept
    from mini_r1.sampling.backends import greedy, make_sampler, server_address

    first = parts[0]
    sampler = make_sampler(
        args, config, model_args, first.task, first.template, tokenizer, problems, longest, chat=chat_of(parts)
    )
    if server := server_address(args, config):
        measured = run_dir.refuse_other_model(run.folder, recipe, model, sampler.model) | {"server": server}
    run.write(run_dir.MEASURED, measured)
    drawn, grader = sampler.sampling, Grader(*(part.task for part in parts))
    result = measure(run.folder, "after", problems, sampler, grader)
    if args.measure_greedy and not drawn.greedy:
        sampler.sampling = greedy(drawn)
        most_likely = measure(run.folder, "greedy", problems, sampler, grader)
        if run.main_process:
            result["greedy"] = most_likely["pass@1"]
            result["intervals"]["greedy"] = most_likely["intervals"]["pass@1"]
    if run.main_process:
        note = getattr(sampler, "note", None)
        print("\n".join(filter(None, [results_table(None, result), note])))
        found = {
            "stage": "evaluate",
            "measured": measured,
            "after": result,
            "seconds": {"total": round(run.seconds(), 1)},
        }
        found |= {"note": note} if note else {}
        run.finish({**found, "seed": config.seed, "manifest": run.read("manifest.json")})
        print(f"every completion is in {run.folder}/evaluation, the numbers in {run.folder}/summary.json")
        Kept(run.folder, "after").forget()
        Kept(run.folder, "greedy").forget()
    end_processes()


if __name__ == "__main__":
    exit_on_recipe_error(main)
