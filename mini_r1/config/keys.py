"""Checks that every key of a recipe is known, and that its value has the type that the schema declares.

The error for an unknown key names the nearest known key, or the successor of a key from recipes of early 2025.
"""

import difflib
import json
import math
from collections.abc import Iterable
from typing import Any

import jsonschema

from mini_r1.errors import RecipeError

# Fields of TRL 0.14 to 0.16 and transformers 4.48 that TRL 1.16 and transformers 5.17 no longer have, and a few keys
# of early R1 scripts. A test checks that they are gone and that the names in the advice exist.
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

# Keys that cannot change what a run learns: names, places, logs, checkpoints. No key of the evaluation is here, because
# an evaluation draws from the same random stream as training.
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

Node = dict[str, Any]  # the JSON schema of one value

# GRPOConfig declares a text, documents a text or a boolean, and turns the boolean into the text.
ALSO_BOOLEAN = ("scale_rewards",)

ENV = "env"  # its values become texts
RUN = "run"  # no field of a dataclass: the kind of run, see kinds.py; it changes no result

_NAMES = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "null": "null",
    "object": "a map",
    "array": "a list",
}
_LIMITS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}
_PLURALS = {"integer": "whole numbers", "number": "numbers", "string": "texts", "object": "maps"}
_STRICT = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
    {
        # JSON Schema calls 8.0 an integer; a number of steps that is written so is a mistake.
        "integer": lambda checker, value: isinstance(value, int) and not isinstance(value, bool),
        # YAML has .nan and .inf: a run with such a rate learns nothing.
        "number": lambda checker, value: (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        ),
    }
)
_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=_STRICT)


def check_values(values: dict, origin: dict[str, str], keys: dict[str, Node]) -> dict:
    """Returns the values, all of a known key and of its type; a `RecipeError` for the first that is not.

    Two spellings are corrected: `false`, which YAML 1.1 makes of a bare `no`, becomes `"no"` where that is a choice; a
    boolean `scale_rewards` becomes its text.

    Args:
        origin: key -> file that set it, for errors.
        keys: key -> JSON schema, from `schema.keys_of_kind` or `schema.keys_of`.
    """
    checked = {}
    for key, value in values.items():
        node = {} if key == RUN else keys.get(key)
        if node is None:
            raise RecipeError(_unknown_key(key, keys), key=key, file=origin.get(key))
        checked[key], problem = _check_value(key, value, node)
        if problem:
            raise RecipeError(problem, key=key, file=origin.get(key))
    return checked


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """The nearest of `options` as `; did you mean x?`, or an empty text where none is near."""
    nearest = difflib.get_close_matches(word, list(options), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _unknown_key(key: str, known: Iterable[str]) -> str:
    underscored = key.replace("-", "_")
    if underscored in SUCCESSORS:
        return f"no longer a key; {SUCCESSORS[underscored]}"
    return "unknown key" + did_you_mean(underscored, [*known, RUN, "extends"])


def _check_value(key: str, value: Any, node: Node) -> tuple[Any, str | None]:
    """Returns the value in its right spelling, and what is wrong with it or None."""
    if key == ENV:
        return _environment(value)
    if key in ALSO_BOOLEAN and isinstance(value, bool):
        return "group" if value else "none", None
    if value is False and any("no" in member.get("enum", []) for member in node.get("anyOf", [node])):
        return "no", None  # a bare `no` is false in YAML 1.1
    if _Validator(node).is_valid(value):
        return value, None
    return value, f"got {_show(value)}, expected {type_text(node, value)}"


def _environment(value: Any) -> tuple[dict[str, str], str | None]:
    # A boolean is refused: Python would export "True", which few programs read as true.
    if not isinstance(value, dict):
        return {}, f"got {_show(value)}, expected a map of names to texts"
    for name, text in value.items():
        if not isinstance(name, str) or isinstance(text, bool) or not isinstance(text, str | int | float):
            return {}, f"got {_show({name: text})}, expected a map of names to texts; put the value in quotes"
    return {name: str(text) for name, text in value.items()}, None


def type_text(node: Node, given: Any = "") -> str:
    """What a value may be, in words: `a whole number or null`.

    Args:
        given: a wrong value; the text then names the nearest choice, or says that quotes are missing.
    """
    limits = {key: node[key] for key in _LIMITS if key in node}
    if "anyOf" in node:
        return " or ".join(dict.fromkeys(type_text(member | limits, given) for member in node["anyOf"]))
    if "enum" in node:
        choices = [str(choice) for choice in node["enum"]]
        nearest = did_you_mean(str(given), choices)
        return f"one of its choices{nearest}" if nearest else "one of " + ", ".join(choices)
    kinds = _types(node)
    if len(kinds) > 1:
        return " or ".join(type_text({**node, "type": kind}, given) for kind in kinds)
    if "items" in node:
        items = node["items"]
        return "a list of " + " or ".join(_PLURALS.get(kind) or type_text(items) for kind in _types(items))
    if "additionalProperties" in node:
        return f"a map of text to {type_text(node['additionalProperties'])}"
    if limits and kinds[0] in ("integer", "number"):
        said = " and ".join(f"{_LIMITS[key]} {limit}" for key, limit in limits.items())
        return f"{_NAMES[kinds[0]]} {said}"
    unquoted = kinds == ["string"] and given is not None and not isinstance(given, dict | list | str)
    return str(_NAMES.get(kinds[0], node.get("title", "anything"))) + ("; put it in quotes" if unquoted else "")


def _types(node: Node) -> list:
    kinds = node.get("type")
    return kinds if isinstance(kinds, list) else [kinds]


def _show(value: Any) -> str:
    """The value as the recipe would spell it, on one line, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
