"""Accuracy of any model on held-out rows, by the rollout path of training: same prompts, sampling, parser, rewards."""

import time
from types import ModuleType

from mini_r1.errors import RecipeError
from mini_r1.reward_loader import load_rewards


def measure_model(model, tokenizer, test_set, task: ModuleType, config, quantization=None) -> dict:
    """`R1GRPOTrainer.measure` for a model that is not being trained with GRPO.

    Args:
        model: the name of a model, or the trainer that has just trained one.
        test_set: a dataset of rows with `prompt`, as `to_dataset` makes it.
        quantization: how the weights of a named model are packed, from TRL's `get_quantization_config`.
        config: a `GRPOConfig`: sampling, samples per problem (`num_generations_eval`), batch size, device, backend.

    Raises:
        RecipeError: for a named model where DeepSpeed does not split its weights: it has no other use without training.
    """
    from mini_r1.callbacks import add_callbacks
    from mini_r1.trainer import R1GRPOTrainer

    named = isinstance(model, str)
    if named and config.deepspeed_plugin is not None and config.deepspeed_plugin.zero_stage != 3:
        raise RecipeError(
            "ZeRO below stage 3 splits nothing that an evaluation has; use --config_file configs/ddp.yaml",
            key="--config_file",
            file="accelerate launch",
        )
    correct = load_rewards([task.REWARD], None, None, task)[0]
    trainer = R1GRPOTrainer(
        model=model if named else model.model,
        reward_funcs=[correct],
        args=config,
        train_dataset=test_set,
        eval_dataset=test_set,
        processing_class=tokenizer,
        quantization_config=quantization,
        correct=correct,
    )
    if not named:  # DeepSpeed and FSDP wrap a model only once: go on with what the training has wrapped
        trainer.accelerator, trainer.model_wrapped = model.accelerator, model.model_wrapped
        trainer.deepspeed = model.deepspeed
    add_callbacks(trainer, time.monotonic)
    return trainer.measure(config.seed)


def config_like(training, args):
    """A `GRPOConfig` that evaluates with the device, precision and batch size of an `SFTConfig`.

    Args:
        args: `SFTArguments`, for the samples per problem and their length.
    """
    from trl import GRPOConfig

    samples = args.num_generations_eval
    batch = max(samples, training.per_device_eval_batch_size // samples * samples)
    return GRPOConfig(
        output_dir=training.output_dir,
        report_to="none",
        seed=training.seed,
        use_cpu=training.use_cpu,
        bf16=training.bf16,
        fp16=training.fp16,
        gradient_checkpointing=False,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=batch,
        num_generations=samples,
        max_completion_length=args.max_completion_length,
    )
