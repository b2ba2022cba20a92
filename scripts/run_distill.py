"""Distills on policy: a student answers the training prompts and learns a teacher's distribution on its answers.

accelerate launch scripts/run_distill.py --config recipes/NAME-distill.yaml [--any_key value]
"""

from mini_r1.config.batch import plan_steps
from mini_r1.config.kinds import processes
from mini_r1.config.run_config import RunConfig
from mini_r1.data import hub
from mini_r1.data.load_run import run_recipe
from mini_r1.data.mixture import weights
from mini_r1.data.problems import describe_mix, describe_rows, load_parts, to_datasets
from mini_r1.data.teacher import check_teacher
from mini_r1.run import run_dir

SAMPLING = ("max_completion_length", "temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def train(config: RunConfig) -> None:
    from mini_r1.training.curriculum import arrange  # imports torch

    args, training, parts = config.args, config.training, config.parts
    tokenizer = hub.load_tokenizer(config.model_name_or_path, revision=config.model_revision)
    check_teacher(config, tokenizer)
    run = run_dir.start(config)
    if run.finished:
        run.say(f"{run.folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
        return
    rows = load_parts(parts)
    run.say(describe_rows(parts, rows))
    train_rows, dropped, longest = to_datasets(parts, [own.train for own in rows], tokenizer)
    test_set = None
    if any(own.test for own in rows):
        test_set, _, longest_test = to_datasets(parts, [own.test for own in rows], tokenizer)
        longest = max(longest, longest_test)
    run.say(f"prompts up to {longest} tokens, {dropped} longer ones dropped")
    plan = plan_steps(training, processes())
    run.say(plan.describe(len(train_rows)))
    train_set = arrange(train_rows, "none", plan, training, weights(parts))
    if parts[0].mixed:
        run.say(describe_mix(train_rows["task"], train_set["task"]))
    teacher = config.teacher_model_name_or_path
    if args.dry_run:
        run.say(f"{config.model_name_or_path} learns from {teacher}\n{train_set[0]['prompt']}")
        return

    from mini_r1.evaluation.grading import grader_of  # all these import torch
    from mini_r1.run.model_loading import trainer_arguments, whole_model
    from mini_r1.training.callbacks import train_and_measure
    from mini_r1.training.finish import results_table, save_and_publish
    from mini_r1.training.sft_and_distill import R1DistillationTrainer, measure_trained

    # in the student's precision, unless the recipe says otherwise: TRL's own default is that of the teacher's files
    shared = {"dtype": config.model.dtype, "attn_implementation": config.model.attn_implementation}
    training.teacher_model_init_kwargs = {**shared, **(training.teacher_model_init_kwargs or {})}
    if training.use_vllm and training.vllm_max_model_length is None:
        training.vllm_max_model_length = longest + training.max_completion_length
    trainer = R1DistillationTrainer(
        **trainer_arguments(config),
        teacher_model=whole_model(teacher),
        train_dataset=train_set,
        processing_class=tokenizer,
    )

    def measure(name: str) -> dict:
        sampling = {key: getattr(training, key) for key in SAMPLING}
        return measure_trained(trainer, test_set, grader_of(parts), name, args.num_generations_eval, **sampling)

    before, after, seconds = train_and_measure(trainer, run, test_set, measure)
    save_and_publish(trainer, run, before, after)
    times = {"distill": round(seconds, 1), "total": round(run.preparation + run.seconds(), 1)}
    run.finish({"stage": "distill", "before": before, "after": after, "seconds": times, "seed": training.seed})
    if before and after:
        run.say("\n" + results_table(before, after))
    run_dir.end_processes(trainer.accelerator)


if __name__ == "__main__":
    run_recipe("distill", train)
