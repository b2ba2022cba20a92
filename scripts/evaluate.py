"""Measures a model or checkpoint on held-out problems, with exactly the prompts, sampling and rewards of training.

python scripts/evaluate.py --config recipes/NAME.yaml [--model_name_or_path FOLDER] [--server URL] [--key value]
python scripts/evaluate.py --compare RUN RUN      two runs on the same problems, or two .parquet files of them
"""

import sys
from dataclasses import replace
from pathlib import Path

from mini_r1.config.run_config import RunConfig, help_text
from mini_r1.data.load_run import load_run
from mini_r1.errors import exit_on_recipe_error
from mini_r1.evaluation.completion_log import CompletionLog
from mini_r1.evaluation.evaluate import measure
from mini_r1.evaluation.records import compare
from mini_r1.evaluation.sampling_run import start_sampling_run
from mini_r1.run.run_dir import end_processes


def main() -> None:
    if sys.argv[1:2] == ["--compare"]:
        print(compare([Path(name) for name in sys.argv[2:]]))
        return
    config = load_run("evaluate", sys.argv[1:])
    with config.blame():
        evaluate(config)


def evaluate(config: RunConfig) -> None:
    sampling = start_sampling_run(config, held_out=True)
    if sampling is None:
        return

    run, sampler = sampling.run, sampling.sampler
    drawn = sampler.sampling
    result = measure(run.folder, "after", sampling.problems, sampler, sampling.grader)
    if config.measure_greedy and not drawn.greedy:
        sampler.sampling = replace(drawn, samples=1, top_k=1)
        most_likely = measure(run.folder, "greedy", sampling.problems, sampler, sampling.grader)
        if run.main_process:
            result["greedy"] = most_likely["pass@1"]
            result["intervals"]["greedy"] = most_likely["intervals"]["pass@1"]
    if run.main_process:
        from mini_r1.training.finish import results_table  # imports torch

        note = getattr(sampler, "note", None)
        print("\n".join(filter(None, [results_table(None, result), note])))
        found = {
            "stage": "evaluate",
            "measured": sampling.measured,
            "after": result,
            "seconds": {"total": round(run.seconds(), 1)},
        }
        found |= {"note": note} if note else {}
        run.finish({**found, "seed": config.seed, "manifest": run.read("manifest.json")})
        print(f"every completion is in {run.folder}/evaluation, the numbers in {run.folder}/summary.json")
        CompletionLog(run.folder, "after").delete()
        CompletionLog(run.folder, "greedy").delete()
    end_processes()


if __name__ == "__main__":
    exit_on_recipe_error(main, lambda: help_text("evaluate"))
