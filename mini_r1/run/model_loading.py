"""Loads a run's model as its recipe says, an adapter with its base."""

import os
import shutil
from pathlib import Path

from mini_r1.config.run_config import RunConfig
from mini_r1.data.hub import adapter_base, whole_folder
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
        "model": whole_model(config.model_name_or_path),
        "args": config.training,
        "peft_config": get_peft_config(config.model),
        "quantization_config": get_quantization_config(config.model),
    }


def load_model(config, model_args, device):
    """Loads the model as training does."""
    from transformers import AutoModelForCausalLM  # takes a second
    from trl import get_quantization_config

    quantization = get_quantization_config(model_args)
    kwargs = model_kwargs(model_args, config) | ({"quantization_config": quantization} if quantization else {})
    try:
        model = AutoModelForCausalLM.from_pretrained(whole_model(model_args.model_name_or_path), **kwargs)
    except OSError as error:
        raise RecipeError(str(error).splitlines()[0], key="model_name_or_path") from error
    return model if quantization else model.to(device)


def whole_model(name: str) -> str:
    """Returns the model to load: `name`, or for an adapter's folder a copy that is merged into its base.

    The copy is made once, in `merged/` beside the adapter, and anew where the adapter is newer. Sums are in float32, as
    bfloat16 loses the small differences that an adapter makes; the copy has the base's precision.

    Raises:
        RecipeError: where the base cannot be loaded.
    """
    base, folder = adapter_base(name), Path(whole_folder(name))
    if base is None:
        return name
    from accelerate import PartialState  # imports torch

    if "WORLD_SIZE" not in os.environ:  # nobody to wait for
        _merge(name, base, folder)
    else:
        with PartialState().local_main_process_first():
            _merge(name, base, folder)
    return str(folder)


def _merge(adapter: str, base: str, folder: Path) -> None:
    import torch  # takes seconds, as the others
    from peft import PeftModel
    from transformers import AutoConfig, AutoModelForCausalLM

    weights = max(Path(adapter).glob("adapter_model.*"), key=lambda file: file.stat().st_mtime, default=None)
    if weights is None:
        raise RecipeError(f"{adapter} has no adapter_model.safetensors", key="model_name_or_path")
    if folder.is_dir() and folder.stat().st_mtime >= weights.stat().st_mtime:
        return
    print(f"merging the adapter {adapter} into {base}, in {folder}", flush=True)
    try:
        stored = AutoConfig.from_pretrained(base).dtype
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    except (OSError, ValueError) as error:
        problem = f"the base {base} of the adapter {adapter} cannot be loaded: {str(error).splitlines()[0]}"
        raise RecipeError(problem, key="model_name_or_path") from error
    scratch = folder.with_name(f"{folder.name}.tmp")
    merged = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    merged.to(stored or torch.float32).save_pretrained(scratch)
    for file in Path(adapter).iterdir():  # the tokenizer and its chat template
        if file.is_file() and not file.name.startswith("adapter_"):
            shutil.copy2(file, scratch)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.rename(folder)
    os.utime(folder)
