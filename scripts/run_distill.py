"""On-policy distillation: a student answers the training prompts and learns a teacher's distribution on its answers.

accelerate launch scripts/run_distill.py --config recipes/NAME-distill.yaml [--any_key value]
"""

import sys

from mini_r1.config.kinds import dataclass_types, name_cpu, processes
from mini_r1.config.recipe import build, check, parse_command_line, resolve
from mini_r1.data import hub
from mini_r1.data.mixed_data import describe_mix, describe_rows, load_parts, to_datasets
from mini_r1.data.mixture import check_parts, read_parts, weights
from mini_r1.data.teacher import KEY, check_teacher
from mini_r1.errors import exit_on_recipe_error

SAMPLING = ("max_completion_length", "temperature", "top_p", "top_k", "min_p", "repetition_penalty")


def main() -> None:
    recipe = resolve(*parse_command_line(sys.argv[1:]))
    hub.offline_if_unreachable(recipe.values)

    types = dataclass_types("distill")
    recipe = check(recipe, types)
    with recipe.blame():
        parts = read_parts(recipe.values, types[0])
        check_parts(parts, [])
        name_cpu(recipe.values)
        args, training, model_args = build(recipe, types)
        tokenizer = hub.load_tokenizer(model_args.model_name_or_path, revision=model_args.model_revision)
        check_teacher(recipe.values, tokenizer)
        train(recipe, args, training, model_args, parts, tokenizer)


def train(recipe, args, training, model_args, parts, tokenizer) -> None:
    from mini_r1.run import run_dir
    from mini_r1.training.batch import plan_steps
    from mini_r1.training.curriculum import arrange

    run = run_dir.start(recipe, training.output_dir, training.resume_from_checkpoint, args.overwrite_output_dir)
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
    teacher = recipe.values[KEY]
    if args.dry_run:
        run.say(f"{model_args.model_name_or_path} learns from {teacher}\n{train_set[0]['prompt']}")
        return

    from trl import get_peft_config, get_quantization_config

    from mini_r1.evaluation.grading import grader_of
    from mini_r1.run.model_loading import model_kwargs
    from mini_r1.training.callbacks import add_callbacks, at_the_ends
    from mini_r1.training.exact_resume import R1DistillationTrainer
    from mini_r1.training.finish import results_table, save_and_publish
    from mini_r1.training.grpo_trainer import config_like, measure_trained, seed_processes

    training.model_init_kwargs = model_kwargs(model_args, training)
    # in the student's precision, unless the recipe says otherwise: TRL's own default is that of the teacher's files
    shared = {"dtype": model_args.dtype, "attn_implementation": model_args.attn_implementation}
    training.teacher_model_init_kwargs = {**shared, **(training.teacher_model_init_kwargs or {})}
    if training.use_vllm and training.vllm_max_model_length is None:
        training.vllm_max_model_length = longest + training.max_completion_length
    trainer = R1DistillationTrainer(
        model=model_args.model_name_or_path,
        teacher_model=teacher,
        args=training,
        train_dataset=train_set,
        processing_class=tokenizer,
        peft_config=get_peft_config(model_args),
        quantization_config=get_quantization_config(model_args),
    )
    before = run.read("before.json") if run.checkpoint else None
    after, seconds = None, 0.0

    def measure(name: str) -> dict | None:
        if test_set is None:
            return None
        run.say(f"measuring {len(test_set)} held-out problems {name} training")
        config = config_like(training, args.num_generations_eval, **{key: getattr(training, key) for key in SAMPLING})
        return measure_trained(trainer, tokenizer, test_set, grader_of(parts), config, name)

    def begin() -> None:
        nonlocal before
        if run.checkpoint:
            run.say(f"resuming from {run.checkpoint}")
        elif test_set is not None:
            before = measure("before")
            run.write("before.json", before)
        run.restart_clock()
        seed_processes(training.seed)  # the same draws whether or not the measurement was made in this attempt

    def end() -> None:
        nonlocal after, seconds
        seconds = run.seconds()
        after = measure("after")

    at_the_ends(trainer, begin, end)
    add_callbacks(trainer, run.seconds)
    trainer.train(resume_from_checkpoint=run.checkpoint)
    save_and_publish(trainer, run, "distill", before, after)
    times = {"distill": round(seconds, 1), "total": round(run.preparation + run.seconds(), 1)}
    run.finish({"stage": "distill", "before": before, "after": after, "seconds": times, "seed": training.seed})
    if before and after:
        run.say("\n" + results_table(before, after))
    run_dir.end_processes(trainer.accelerator)


if __name__ == "__main__":
    exit_on_recipe_error(main)
