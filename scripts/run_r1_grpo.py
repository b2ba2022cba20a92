"""Trains a policy with GRPO from a recipe.

accelerate launch scripts/run_r1_grpo.py --config recipes/NAME.yaml [--any_key value]
"""

import os
import sys

from mini_r1.config.batch import plan_batch
from mini_r1.config.kinds import processes
from mini_r1.config.recipe import parse_command_line, resolve
from mini_r1.config.run_config import RunConfig, help_text, run_config
from mini_r1.data import hub, problems
from mini_r1.data.load_run import load_run
from mini_r1.data.mixture import weights
from mini_r1.errors import exit_on_recipe_error
from mini_r1.run import run_dir


def main() -> None:
    argv = sys.argv[1:]
    if run_config("r1_grpo", resolve(*parse_command_line(argv), "r1_grpo")).dry_run:
        sys.exit(dry_run(argv))
    config = load_run("r1_grpo", argv)
    with config.blame():
        train(config)


def dry_run(argv: list[str]) -> int:
    """Prints what `make check` says, for the processes at hand; returns the exit status. Loads nothing."""
    from mini_r1.launch.check import preflight, report  # only a dry run needs it

    found = preflight(argv, assume_gpus=True, processes=processes())
    if os.environ.get("RANK", "0") == "0":
        report(found, "all")
    return 2 if found.failed else 0


def train(config: RunConfig) -> None:
    from mini_r1.training.curriculum import arrange  # imports torch
    from mini_r1.training.guards import Guards, read_guards

    args, training, parts, rewards = config.args, config.training, config.parts, config.rewards
    guards = read_guards(args.guards)
    run = run_dir.start(config)
    if run.finished:
        run.say(f"{run.folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
        return
    plan = plan_batch(config, processes())
    if args.num_processes not in (None, plan.processes):
        run.say(
            f"note: written for {args.num_processes} processes, running on {plan.processes}: "
            f"{plan.completions_per_step} completions a step; raise gradient_accumulation_steps to keep the batch"
        )
    tokenizer = hub.load_tokenizer(config.model_name_or_path, revision=config.model_revision)
    rows = problems.load_parts(parts)
    run.say(problems.describe_rows(parts, rows))
    train_rows, dropped, longest = problems.to_datasets(parts, [own.train for own in rows], tokenizer)
    test_set = None
    if any(own.test for own in rows):
        test_set, _, longest_test = problems.to_datasets(parts, [own.test for own in rows], tokenizer)
        longest = max(longest, longest_test)
    run.say(f"prompts up to {longest} tokens, {dropped} longer ones dropped")
    run.say(plan.describe(len(train_rows)))
    train_set = arrange(train_rows, args.curriculum, plan, training, weights(parts))
    if parts[0].mixed:
        run.say(problems.describe_mix(train_rows["task"], train_set["task"]))

    from mini_r1.evaluation.grading import grader_of  # all these import torch
    from mini_r1.run.model_loading import trainer_arguments
    from mini_r1.training.callbacks import train_and_measure
    from mini_r1.training.finish import finish_grpo, save_and_publish
    from mini_r1.training.grpo_trainer import R1GRPOTrainer
    from mini_r1.training.rollout_log import drop_samples_after

    if training.use_vllm and training.vllm_max_model_length is None:
        training.vllm_max_model_length = longest + training.max_completion_length
    trainer = R1GRPOTrainer(
        **trainer_arguments(config),
        reward_funcs=rewards,
        train_dataset=train_set,
        eval_dataset=test_set,
        processing_class=tokenizer,
        grader=grader_of(parts),
        options=args,
    )
    trainer.add_callback(Guards(trainer, guards))
    if run.main_process:
        drop_samples_after(run.folder, run.checkpoint)
    before, after, seconds = train_and_measure(
        trainer, run, test_set, lambda name: trainer.measure(training.seed, name)
    )
    save_and_publish(trainer, run, before, after)
    finish_grpo(run, before, after, seconds)
    if run.main_process and before and after:
        from mini_r1.report.plots import plot_runs  # not above: matplotlib would count in the memory of every step

        plot_runs([run.folder], run.folder.name, run.folder / "training.png")
    run.say(f"model, completions, samples, summary.json and training.png are in {run.folder}")
    run_dir.end_processes(trainer.accelerator)


if __name__ == "__main__":
    exit_on_recipe_error(main, lambda: help_text("r1_grpo"))
