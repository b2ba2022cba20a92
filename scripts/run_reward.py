"""Trains a reward model from preference pairs: one number for a question and its answer, or a part of the answer.

accelerate launch scripts/run_reward.py --config recipes/NAME.yaml [--any_key value]

`{name: ..., reward_model: FOLDER, part: ...}` in a recipe's reward_funcs takes the folder of the model.
"""

from mini_r1.config.run_config import RunConfig
from mini_r1.data import hub
from mini_r1.data.load_run import run_recipe
from mini_r1.data.preferences import accuracy, load_pairs, to_ids
from mini_r1.data.reward_model import shows
from mini_r1.errors import RecipeError
from mini_r1.run import run_dir


def train(config: RunConfig) -> None:
    args, training = config.args, config.training
    run = run_dir.start(config)
    if run.finished:
        run.say(f"{run.folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
        return
    tokenizer = hub.load_tokenizer(config.model_name_or_path, revision=config.model_revision)
    check_template(tokenizer, args.part)
    pairs = load_pairs(args, tokenizer, training.seed, training.max_length)
    run.say(pairs.describe())
    if args.dry_run:
        run.say(tokenizer.apply_chat_template(pairs.train[0]["chosen"], tokenize=False))
        return

    from trl import RewardTrainer  # all these import torch

    from mini_r1.run.model_loading import trainer_arguments
    from mini_r1.training.callbacks import add_callbacks
    from mini_r1.training.finish import save_and_publish

    trainer = RewardTrainer(
        **trainer_arguments(config),
        train_dataset=to_ids(pairs.train, tokenizer),
        processing_class=tokenizer,
    )
    add_callbacks(trainer, run.seconds)

    def measure() -> float | None:
        model = trainer.accelerator.unwrap_model(trainer.model)
        return accuracy(model, tokenizer, pairs.test, training.per_device_eval_batch_size) if pairs.test else None

    if run.checkpoint:
        run.say(f"resuming from {run.checkpoint}")
        before = (run.read("before.json") or {}).get("accuracy")
    else:
        before = measure()
        run.write("before.json", {"accuracy": before})
    trainer.train(resume_from_checkpoint=run.checkpoint)
    found = {"before": before, "after": measure(), "n": len(pairs.test)}
    if pairs.test:
        run.say(f"held-out pairs in the right order: {before:.3f} -> {found['after']:.3f} ({found['n']} pairs)")
    save_and_publish(trainer, run, None, found)
    seconds = round(run.seconds(), 1)
    counts = {"pairs": len(pairs.train), "left_out": pairs.left_out, "part": args.part}
    times = {"reward": seconds, "total": seconds}
    # no "after": that is a measurement of completions, and this model writes none
    run.finish({"stage": "reward", "accuracy": found, **counts, "seconds": times, "seed": training.seed})
    run_dir.end_processes(trainer.accelerator)


def check_template(tokenizer, part: str) -> None:
    """Refuses a tokenizer whose chat template cannot show what is to be judged."""
    if not tokenizer.chat_template:
        raise RecipeError("has no chat template; use a model that has one", key="model_name_or_path")
    if not shows(tokenizer, part):
        raise RecipeError("the model's chat template leaves reasoning out; use part: summary", key="part")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token


if __name__ == "__main__":
    run_recipe("reward", train)
