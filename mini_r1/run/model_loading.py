"""Loads a run's model as its recipe says; short, as transformers does the work."""

from mini_r1.config.run_config import RunConfig
from mini_r1.errors import RecipeError


def model_kwargs(model_args, training) -> dict:
    """The arguments of `from_pretrained`, from TRL's `ModelConfig`."""
    return {
        "revision": model_args.model_revision,
        "attn_implementation": model_args.attn_implementation,
        "dtype": model_args.dtype,
        **(training.model_init_kwargs or {}),
    }


def trainer_arguments(config: RunConfig) -> dict:
    """Returns what a TRL trainer gets of a run: its settings, and the model as the recipe says."""
    from trl import get_peft_config, get_quantization_config  # imports torch

    config.training.model_init_kwargs = model_kwargs(config.model, config.training)
    return {
        "model": config.model_name_or_path,
        "args": config.training,
        "peft_config": get_peft_config(config.model),
        "quantization_config": get_quantization_config(config.model),
    }


def load_model(config, model_args, device):
    """Loads the model, or an adapter with its base, as training does."""
    from transformers import AutoModelForCausalLM  # takes a second
    from trl import get_quantization_config

    quantization = get_quantization_config(model_args)
    kwargs = model_kwargs(model_args, config) | ({"quantization_config": quantization} if quantization else {})
    try:
        model = AutoModelForCausalLM.from_pretrained(model_args.model_name_or_path, **kwargs)
    except OSError as error:
        raise RecipeError(str(error).splitlines()[0], key="model_name_or_path") from error
    return model if quantization else model.to(device)
