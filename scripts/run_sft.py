"""Fine-tunes a model on think/answer traces of the task's own, or on conversations; loss on the completion only.

accelerate launch scripts/run_sft.py --config recipes/NAME-sft.yaml [--any_key value]
"""

from mini_r1.config.run_config import RunConfig
from mini_r1.data import hub
from mini_r1.data.conversations import conversation_dataset
from mini_r1.data.load_run import run_recipe
from mini_r1.data.problems import describe_rows, load_parts, to_datasets
from mini_r1.data.traces import trace_dataset
from mini_r1.run import run_dir


def train(config: RunConfig) -> None:
    args, training, parts = config.args, config.training, config.parts
    run = run_dir.start(config)
    if run.finished:
        run.say(f"{run.folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
        return
    tokenizer = hub.load_tokenizer(config.model_name_or_path, revision=config.model_revision)
    rows = load_parts(parts)
    if parts:
        run.say(describe_rows(parts, rows))
    held_out = [own.test for own in rows]

    # of a whole step: the same examples in the same steps on any number of processes
    batch = training.train_batch_size * training.world_size * training.gradient_accumulation_steps
    how = (tokenizer, training.seed, batch, training.max_length)
    if args.sft_datasets is not None:
        train_set, left_out, unused = conversation_dataset(args, parts, *how, held_out)
        said = f"conversations, {left_out} left out"
        for field, count in unused.items():
            run.say(f"note: {count} rows have messages with a field {field}, of which nothing is made")
    else:
        train_set, said = trace_dataset(parts, [own.train for own in rows], args.num_traces, *how), "traces"
    training.dataset_kwargs = {"skip_prepare_dataset": True, **(training.dataset_kwargs or {})}
    mean = sum(map(len, train_set["input_ids"])) / len(train_set)
    run.say(f"{len(train_set)} {said}; {mean:.0f} tokens on average")
    if args.dry_run:
        run.say(tokenizer.decode(train_set[0]["input_ids"]))
        return

    from mini_r1.evaluation.grading import grader_of  # all these import torch
    from mini_r1.run.model_loading import trainer_arguments
    from mini_r1.training.callbacks import add_callbacks
    from mini_r1.training.finish import results_table, save_and_publish
    from mini_r1.training.sft_and_distill import MuonFactory, R1SFTTrainer, measure_trained

    muon = None
    if args.muon_learning_rate is not None:
        betas = (training.adam_beta1, training.adam_beta2)
        adamw = {"lr": training.learning_rate, "betas": betas, "weight_decay": training.weight_decay}
        muon = (MuonFactory, {"muon_lr": args.muon_learning_rate, **adamw})
    trainer = R1SFTTrainer(
        **trainer_arguments(config),
        train_dataset=train_set,
        processing_class=tokenizer,
        optimizer_cls_and_kwargs=muon,
    )
    add_callbacks(trainer, run.seconds)
    if run.checkpoint:
        run.say(f"resuming from {run.checkpoint}")
    trainer.train(resume_from_checkpoint=run.checkpoint)
    after = None
    if any(held_out):
        test_set, *_ = to_datasets(parts, held_out, tokenizer)
        samples, length = args.num_generations_eval, args.max_completion_length
        after = measure_trained(trainer, test_set, grader_of(parts), "after", samples, max_completion_length=length)
        run.say(f"held-out: pass@1 {after['pass@1']:.3f}, format {after['format']:.3f} ({after['n']} problems)")
        if parts[0].mixed:
            run.say(results_table(None, after))
    save_and_publish(trainer, run, None, after)
    seconds = round(run.seconds(), 1)
    run.finish({"stage": "sft", "after": after, "seconds": {"sft": seconds, "total": seconds}, "seed": training.seed})
    run_dir.end_processes(trainer.accelerator)


if __name__ == "__main__":
    run_recipe("sft", train)
