"""Is every key of a recipe known, and does its value have the type that TRL declares? Imports no torch.

Unknown keys are refused with the nearest known one, or with the successor of a key that recipes of early 2025 had.
"""

import difflib
import json
import re
import types
import typing
from collections.abc import Iterable
from dataclasses import fields
from enum import Enum
from typing import Any

from mini_r1.errors import RecipeError

# Fields of TRL 0.14 to 0.16 and transformers 4.48 that TRL 1.16 and transformers 5.17 no longer have (compared by
# listing the dataclasses of both), and a few keys of early R1 scripts.
# tests/unit/config/test_recipe.py checks that they are gone and that the names in the advice exist.
SUCCESSORS = {
    "max_prompt_length": "use max_prompt_tokens, which drops longer prompts",
    "torch_dtype": "use dtype",
    "max_seq_length": "use max_length",
    "warmup_ratio": "use warmup_steps, where a value below 1 is a ratio",
    "vllm_device": "use vllm_mode: server (vLLM on GPUs of its own) or vllm_mode: colocate",
    "vllm_max_model_len": "use vllm_max_model_length",
    "vllm_guided_decoding_regex": "use vllm_structured_outputs_regex",
    "vllm_dtype": "leave it out; with vllm_mode: server it is a flag of `vllm serve`",
    "vllm_enable_prefix_caching": "leave it out; with vllm_mode: server it is a flag of `vllm serve`",
    "logging_dir": "use env: {TENSORBOARD_LOGGING_DIR: <folder>}",
    "save_safetensors": "leave it out; checkpoints are always safetensors",
    "evaluation_strategy": "use eval_strategy",
    "per_gpu_train_batch_size": "use per_device_train_batch_size",
    "per_gpu_eval_batch_size": "use per_device_eval_batch_size",
    "no_cuda": "use use_cpu",
    "use_mps_device": "leave it out; the device is found by itself",
    "adafactor": "use optim: adafactor",
    "group_by_length": "use train_sampling_strategy: group_by_length",
    "fp16_backend": "leave it out",
    "half_precision_backend": "leave it out",
    "fp16_opt_level": "leave it out",
    "torchdynamo": "use torch_compile_backend",
    "use_liger": "use use_liger_kernel",
    "gradient_checkpointing_use_reentrant": "use gradient_checkpointing_kwargs: {use_reentrant: ...}",
    "fsdp_min_num_params": "use fsdp_config: {min_num_params: ...}",
    "fsdp_transformer_layer_cls_to_wrap": "use fsdp_config: {transformer_layer_cls_to_wrap: ...}",
    "dispatch_batches": "use accelerator_config: {dispatch_batches: ...}",
    "split_batches": "use accelerator_config: {split_batches: ...}",
    "include_inputs_for_metrics": "use include_for_metrics: [inputs]",
    "push_to_hub_model_id": "use hub_model_id",
    "push_to_hub_organization": "use hub_model_id: <organization>/<name>",
    "push_to_hub_token": "use hub_token",
    "dataset_batch_size": "leave it out",
    "num_of_sequences": "leave it out; the packed length is max_length",
    "chars_per_token": "leave it out",
    "dataset_name": "use dataset_id_or_path",
    "dataset_splits": "use dataset_train_split",
    "tokenizer_name": "leave it out; the tokenizer comes with model_name_or_path",
    "tokenizer_name_or_path": "leave it out; the tokenizer comes with model_name_or_path",
}

# GRPOConfig declares text, documents text or boolean, and turns the boolean into this text.
BOOLEAN_SPELLINGS = {"scale_rewards": {True: "group", False: "none"}}

# Texts that TRL compares only while it computes the loss, after minutes of loading. `loss_type` is SFT's key, too.
CHOICES = {
    "loss_type": ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo", "nll", "dft", "chunked_nll"),
    "importance_sampling_level": ("token", "sequence"),
    "vllm_importance_sampling_mode": ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
}

# Keys that cannot change what a run learns: names and places, what is logged, when it is saved. Everything about
# evaluation is left out of this list on purpose: evaluating draws from the same random stream as training.
# fmt: off
COSMETIC = frozenset({
    "output_dir", "run_name", "resume_from_checkpoint", "dry_run", "overwrite_output_dir", "local_rank",
    "report_to", "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id", "push_to_hub",
    "disable_tqdm", "log_level", "log_level_replica", "log_on_each_node", "logging_strategy", "logging_steps",
    "logging_first_step", "logging_nan_inf_filter", "log_completions", "log_multimodal", "num_completions_to_print",
    "log_unique_prompts", "log_completions_hub_repo", "hub_token", "hub_private_repo", "hub_model_id",
    "hub_strategy", "hub_always_push", "hub_revision", "save_strategy", "save_steps", "save_total_limit",
    "save_on_each_node", "save_only_model", "enable_jit_checkpoint", "vllm_server_base_url", "vllm_server_host",
    "vllm_server_port", "vllm_server_timeout", "vllm_group_port", "ddp_timeout", "dataloader_pin_memory",
    "vllm_serve_command", "gpu_gib", "guards", "server", "server_concurrency", "sample_steps",
})
# fmt: on

ENV = "env"  # not a field: TrlParser exports this map to the environment

_EXPONENT_FLOAT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    type(None): "null",
    Any: "anything",
}
_PLURALS = {int: "whole numbers", float: "numbers", str: "texts", dict: "maps"}


class _Mismatch(Exception):
    """The value does not fit the type hint; carries what was expected."""


def check_values(values: dict, origin: dict[str, str], dataclass_types: Iterable[type]) -> dict:
    """Return `values` with every key known to one of the dataclasses and every value of its declared type.

    Three spellings are put right on the way: `"5e-7"` becomes a number, the `false` that YAML makes of a bare `no`
    becomes `"no"` where that is a choice, and `scale_rewards` may be a boolean, as TRL documents.

    Raises:
        RecipeError: for the first key that is unknown, or whose value does not fit.
    """
    known = {}
    for dataclass_type in dataclass_types:
        hints = typing.get_type_hints(dataclass_type)
        for field in fields(dataclass_type):
            if field.init:
                choices = CHOICES.get(field.name) or field.metadata.get("choices")
                known.setdefault(field.name, (hints[field.name], choices))

    checked = {}
    for key, value in values.items():
        try:
            if key == ENV:
                checked[key] = _environment(value)
            elif key in known:
                checked[key] = _check_value(key, value, *known[key])
            else:
                raise _Mismatch(_unknown_key(key, known))
        except _Mismatch as mismatch:
            raise RecipeError(str(mismatch), key=key, file=origin.get(key)) from None
    return checked


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """The nearest of `options` as `; did you mean x?`, or an empty string where none is near."""
    nearest = difflib.get_close_matches(word, list(options), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _unknown_key(key: str, known: Iterable[str]) -> str:
    underscored = key.replace("-", "_")
    if underscored in SUCCESSORS:
        return f"no longer a key; {SUCCESSORS[underscored]}"
    return "unknown key" + did_you_mean(underscored, [*known, ENV, "extends"])


def _check_value(key: str, value: Any, hint: Any, choices: Iterable | None) -> Any:
    if isinstance(value, bool):
        value = BOOLEAN_SPELLINGS.get(key, {}).get(value, value)
    try:
        value = _fit(value, hint)
    except _Mismatch as mismatch:
        raise _Mismatch(f"got {_show(value)}, expected {mismatch}") from None
    if choices is not None and value is not None and value not in choices:
        raise _Mismatch(f"got {_show(value)}, expected {_one_of(value, choices)}")
    return value


def _environment(value: Any) -> dict[str, str]:
    # A boolean is refused: TrlParser would export Python's "True", which few programs read as true.
    if not isinstance(value, dict):
        raise _Mismatch(f"got {_show(value)}, expected a map of names to texts")
    for name, text in value.items():
        if not isinstance(name, str) or isinstance(text, bool) or not isinstance(text, str | int | float):
            raise _Mismatch(f"got {_show({name: text})}, expected a map of names to texts; put the value in quotes")
    return {name: str(text) for name, text in value.items()}


def _fit(value: Any, hint: Any) -> Any:
    """Return `value` as `hint` wants it, or raise `_Mismatch` with what was expected. Any union member will do."""
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _fit_union(value, members)
    if origin is typing.Literal:
        if any(value == member and type(value) is type(member) for member in members):
            return value
        raise _Mismatch(_one_of(value, members))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _fit_enum(value, hint)
    if hint is float and isinstance(value, str) and _EXPONENT_FLOAT.fullmatch(value):
        return float(value)  # PyYAML reads 5e-7 as text: YAML 1.1 wants 5.0e-7
    if hint is float and type(value) is int:
        return value
    plain = origin or hint
    # A boolean is an int to Python, but never what a recipe means by a number.
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        in_quotes = plain is str and value is not None and not isinstance(value, dict | list)
        raise _Mismatch(_describe(hint) + ("; put it in quotes" if in_quotes else ""))
    try:
        if plain is list and members:
            return [_fit(item, members[0]) for item in value]
        if plain is dict and members:
            return {_fit(name, members[0]): _fit(item, members[1]) for name, item in value.items()}
    except _Mismatch:
        raise _Mismatch(_describe(hint)) from None
    return value


def _fit_union(value: Any, members: tuple) -> Any:
    enums = [member for member in members if isinstance(member, type) and issubclass(member, Enum)]
    # `SchedulerType | str` means a string that names a member: TRL's own conversion would refuse any other.
    members = [member for member in members if not (enums and member is str)]
    expected = []
    for member in members:
        try:
            return _fit(value, member)
        except _Mismatch as mismatch:
            expected.append(str(mismatch))
    raise _Mismatch(" or ".join(dict.fromkeys(expected)))


def _fit_enum(value: Any, hint: type[Enum]) -> str:
    choices = [member.value for member in hint]
    if value is False and "no" in choices:
        return "no"  # a bare `no` is false in YAML 1.1
    if value not in choices:
        raise _Mismatch(_one_of(value, choices))
    return hint(value).value


def _one_of(value: Any, choices: Iterable) -> str:
    choices = [str(choice) for choice in choices]
    nearest = did_you_mean(str(value), choices)
    return "one of its choices" + nearest if nearest else "one of " + ", ".join(choices)


def _describe(hint: Any) -> str:
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_describe(member) for member in members)
    if (origin or hint) is dict:
        return f"a map of {_describe(members[0])} to {_describe(members[1])}" if members else "a map"
    if (origin or hint) is list:
        if not members:
            return "a list"
        item = members[0]
        kinds = typing.get_args(item) if typing.get_origin(item) in (typing.Union, types.UnionType) else (item,)
        return "a list of " + " or ".join(_PLURALS.get(kind, _describe(kind)) for kind in kinds)
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))


def _show(value: Any) -> str:
    """The value as the recipe would spell it, on one line, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
