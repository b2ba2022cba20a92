"""Finds the sizes of a model from its configuration alone; reads and allocates no weight.

    shape = model_shape("Qwen/Qwen2.5-3B-Instruct")
    shape.parameters, lora_parameters(shape, 16, "all-linear")      # (3085938688, 29933568)

The configuration is that of a local folder, of the local cache or of the hub. Where none of them has it, a table of
the architectures of our recipes serves, and the shape says so.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mini_r1.data.hub import adapter_base, looks_local, no_model
from mini_r1.errors import RecipeError

KEY, _TARGETS = "model_name_or_path", "lora_target_modules"


class Linear(NamedTuple):
    """A linear layer: its full name, inputs and outputs, and whether it is the output layer (the LM head)."""

    name: str
    inputs: int
    outputs: int
    head: bool


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a causal language model.

    Attributes:
        parameters: exact; a weight that is both embedding and output layer counts once.
        hidden, layers, heads, kv_heads, head_dim, vocab, intermediate: as in the configuration.
        tied: whether embedding and output layer are one weight.
        max_positions: longest sequence in tokens, by its positions.
        dtype: what the configuration says its weights are, such as bfloat16.
        source: "config", or "table" where the model's own configuration could not be had.
        model_type: transformers' name of the architecture.
        linears: every linear layer.
    """

    parameters: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    intermediate: int
    tied: bool
    max_positions: int
    dtype: str
    source: str
    model_type: str
    linears: tuple[Linear, ...] = field(repr=False)

    @property
    def embeddings(self) -> int:
        """Parameters of the embedding and the output layer, once if they are tied."""
        return self.vocab * self.hidden * (1 if self.tied else 2)


# Fields of transformers' configurations, from the models' published config.json. Positions: what the model cards
# promise, which is less than some of those files say.
# tests/unit/launch/test_model_shapes.py has the published parameter counts.
_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
_QWEN = {"model_type": "qwen2", "vocab_size": 151936, "tie_word_embeddings": True, "max_position_embeddings": 32768}
_UNTIED_QWEN = _QWEN | {"vocab_size": 152064, "tie_word_embeddings": False}
_LLAMA = {"model_type": "llama", "vocab_size": 128256, "tie_word_embeddings": True, "max_position_embeddings": 131072}
_PHI = {"model_type": "phi3", "vocab_size": 32064, "tie_word_embeddings": False, "max_position_embeddings": 131072}
_SMALL = {
    name: family | dict(zip(_SIZES, sizes, strict=True))
    for name, family, sizes in (
        ("Qwen/Qwen2.5-0.5B", _QWEN, (896, 4864, 24, 14, 2)),
        ("Qwen/Qwen2.5-1.5B", _QWEN, (1536, 8960, 28, 12, 2)),
        ("Qwen/Qwen2.5-3B", _QWEN, (2048, 11008, 36, 16, 2)),
        ("Qwen/Qwen2.5-7B", _UNTIED_QWEN, (3584, 18944, 28, 28, 4)),
        ("meta-llama/Llama-3.2-1B", _LLAMA, (2048, 8192, 16, 32, 8)),
        ("meta-llama/Llama-3.2-3B", _LLAMA, (3072, 8192, 28, 24, 8)),
    )
}
_QWEN_7B = _SMALL["Qwen/Qwen2.5-7B"]
TABLE: dict[str, dict] = {
    **_SMALL,
    **{f"{name}-Instruct": sizes for name, sizes in _SMALL.items()},
    "Qwen/Qwen2.5-7B": _QWEN_7B | {"max_position_embeddings": 131072},
    "Qwen/Qwen2.5-7B-Instruct-1M": _QWEN_7B | {"max_position_embeddings": 1010000},
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": _QWEN_7B | {"max_position_embeddings": 131072},
    "microsoft/Phi-3.5-mini-instruct": _PHI | dict(zip(_SIZES, (3072, 8192, 32, 32, 32), strict=True)),
}


def model_shape(name_or_path: str, revision: str | None = None) -> ModelShape:
    """The shape of a local model folder or of a model of the hub.

    HF_HUB_OFFLINE says whether the hub is tried; `hub.offline_if_unreachable` sets it where the hub does not answer.

    Args:
        revision: of the hub; a folder and the table have none.

    Raises:
        RecipeError: where there is no such folder, where the model is in neither the cache, the hub nor the table, or
            where it is not a causal language model that transformers itself knows.
    """
    config, source = model_config(name_or_path, revision)
    try:
        return shape_of(config, source)
    except (OSError, ValueError) as error:
        raise RecipeError(no_model(name_or_path, error), key=KEY) from error


def model_config(name_or_path: str, revision: str | None = None) -> tuple:
    """(transformers' configuration of a model, "config" or "table"); arguments and errors as of `model_shape`."""
    from transformers import AutoConfig  # takes seconds

    if not name_or_path:
        raise RecipeError("is missing; name a hub id or a local folder", key=KEY)
    name_or_path = adapter_base(name_or_path) or name_or_path  # merged, it has its base's sizes
    local = looks_local(name_or_path)
    path = Path(name_or_path).expanduser()
    if local and not path.is_dir():
        raise RecipeError(f"there is no folder {name_or_path}", key=KEY)
    try:
        return AutoConfig.from_pretrained(path if local else name_or_path, revision=revision), "config"
    except (OSError, ValueError) as error:
        if local:
            raise RecipeError(no_model(name_or_path, error), key=KEY) from error
        if name_or_path not in TABLE:
            raise RecipeError(
                f"{name_or_path} is neither in the local cache nor reachable on the hub, and not in our table of "
                f"sizes ({', '.join(_SMALL)}, ...); fetch it first where there is internet (make download-RECIPE), or "
                "name a local folder",
                key=KEY,
            ) from error
    fields = dict(TABLE[name_or_path])
    return AutoConfig.for_model(fields.pop("model_type"), dtype="bfloat16", **fields), "table"


def shape_of(config, source: str = "config") -> ModelShape:
    """The shape of the causal language model that a transformers configuration describes, built on the meta device."""
    import torch  # takes seconds
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    head = model.get_output_embeddings()
    text = config.get_text_config()
    heads = text.num_attention_heads
    dtype = getattr(config, "dtype", None) or "float32"
    return ModelShape(
        parameters=sum(p.numel() for p in model.parameters()),
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
        heads=heads,
        kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
        vocab=text.vocab_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        tied=head is not None and head.weight is model.get_input_embeddings().weight,
        max_positions=text.max_position_embeddings,
        dtype=str(dtype).removeprefix("torch."),
        source=source,
        model_type=text.model_type,
        linears=tuple(
            Linear(name, module.in_features, module.out_features, module is head)
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear)
        ),
    )


def lora_parameters(shape: ModelShape, rank: int, targets: str | list[str] | None) -> int:
    """How many parameters LoRA trains: rank x (inputs + outputs), summed over its target layers.

    Exact for `lora_target_modules` as TRL hands it to peft: "all-linear" is every linear layer but the output layer, a
    list names ends of layer names, one name alone is a regular expression for the whole name, and None is peft's own
    choice for the architecture. Not counted: `lora_modules_to_save`, DoRA, and adapters of embeddings.

    Raises:
        RecipeError: where no layer is a target.
    """
    return sum(rank * (layer.inputs + layer.outputs) for layer in lora_layers(shape, targets))


def lora_layers(shape: ModelShape, targets: str | list[str] | None) -> list[Linear]:
    """The linear layers that `lora_target_modules` names; see `lora_parameters`."""
    ends = {layer.name.rpartition(".")[2] for layer in shape.linears if not layer.head}
    choices = f"use [all-linear] or a list of two or more of {', '.join(sorted(ends))}"
    if targets is None:
        from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS  # imports torch

        if shape.model_type not in DEFAULTS:
            raise RecipeError(f"is missing, and peft has no default for {shape.model_type}; {choices}", key=_TARGETS)
        targets = list(DEFAULTS[shape.model_type])
    elif isinstance(targets, list) and len(targets) == 1:
        targets = targets[0]  # as TRL's ModelConfig does, and then peft reads it as a regular expression
    if isinstance(targets, str) and targets.lower() == "all-linear":
        return [layer for layer in shape.linears if not layer.head]
    if isinstance(targets, str):
        meant = [layer for layer in shape.linears if re.fullmatch(targets, layer.name)]
    else:
        meant = [layer for layer in shape.linears if any(f".{layer.name}".endswith(f".{end}") for end in targets)]
    if not meant:
        raise RecipeError(f"{targets!r} is no linear layer of a {shape.model_type} model; {choices}", key=_TARGETS)
    return meant


def kv_cache_bytes(shape: ModelShape, each: int) -> int:
    """Bytes of keys and values for one token in all layers, each number taking `each` bytes. Exact."""
    return 2 * shape.layers * shape.kv_heads * shape.head_dim * each


def quantized_bytes(shape: ModelShape, each: int) -> float:
    """Bytes of the weights in bitsandbytes' 4 bits: linear layers but the output layer; others take `each` bytes.

    Their scales, a sixteenth of a byte for each weight or less, are left out.
    """
    weights = sum(layer.inputs * layer.outputs for layer in shape.linears if not layer.head)
    return weights * 0.5 + (shape.parameters - weights) * each
