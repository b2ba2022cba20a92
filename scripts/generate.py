"""Rejection sampling: samples completions of training problems, keeps correct and readable ones as a data set for SFT.

python scripts/generate.py --config recipes/NAME.yaml [--model_name_or_path FOLDER] [--server URL] [--key value]
"""

from dataclasses import asdict

from mini_r1.config.run_config import RunConfig
from mini_r1.data.load_run import run_recipe
from mini_r1.evaluation.evaluate import sample_all, to_records
from mini_r1.evaluation.judge import judge_records
from mini_r1.evaluation.rejection_sampling import DATASET, describe, read_filters, write_generated
from mini_r1.evaluation.sampling_run import start_sampling_run
from mini_r1.run.run_dir import end_processes
from mini_r1.training.model_card import write_dataset_card


def generate(config: RunConfig) -> None:
    args, parts = config.args, config.parts
    filters = read_filters(args.filters)
    sampling = start_sampling_run(config, held_out=False)
    if sampling is None:
        return

    run, judge, problems = sampling.run, sampling.judge, sampling.problems
    # the bar shows the rules' verdicts only where the rules decide
    log = sample_all(run.folder, "generated", problems, sampling.sampler, None if judge else sampling.grader)
    if log is not None:
        drawn = to_records(problems, log.read(), sampling.grader)
        judged = {}
        if judge:
            drawn = list(drawn)
            judged = {"judge": judge_records(run.folder, judge, drawn, parts, problems)}
        most, balanced = args.keep_per_problem, args.balance_difficulty
        found = write_generated(run.folder, drawn, parts, problems, filters, most, balanced)
        found |= judged
        print(describe(found))
        found |= {"filters": asdict(filters), "keep_per_problem": args.keep_per_problem}
        write_dataset_card(run.folder, config, sampling.measured, found)
        summary = {"stage": "generate", "measured": sampling.measured, "generated": found, "seed": config.seed}
        run.finish({**summary, "seconds": {"total": round(run.seconds(), 1)}})
        print(f"the data set is {run.folder / DATASET}, every sample is in {run.folder}/generated")
        log.delete()
    end_processes()


if __name__ == "__main__":
    run_recipe("generate", generate)
