"""The JSON schema of recipes: the keys of each kind of run, with type, default, choices and help.

The dataclasses of TRL and of arguments.py make it. It is committed as recipes/schema.json, so that editors, and scripts
without TRL, can read it. After an upgrade of TRL, or for a new key, run: python -m mini_r1.config.schema
"""

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any

from mini_r1.config.keys import ALSO_BOOLEAN, Node
from mini_r1.config.kinds import KINDS, ONLY_SAMPLE, dataclass_types

SCHEMA_FILE = Path(__file__).parents[2] / "recipes" / "schema.json"

# Choices that TRL compares only while it computes the loss, after minutes of loading, by TRL's dataclass.
CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "GRPOConfig": {
        "loss_type": ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo"),
        "importance_sampling_level": ("token", "sequence"),
        "scale_rewards": ("group", "batch", "none"),
        "vllm_importance_sampling_mode": ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask"),
    },
    "SFTConfig": {"loss_type": ("nll", "dft", "chunked_nll")},
}
# What a number may be: of the rest, TRL, transformers and vLLM say some late, and compute nonsense with some.
_COUNT, _SHARE = {"minimum": 1}, {"minimum": 0, "maximum": 1}
_NOT_NEGATIVE, _POSITIVE = {"minimum": 0}, {"exclusiveMinimum": 0}
_POSITIVE_SHARE, _BELOW_ONE = {"exclusiveMinimum": 0, "maximum": 1}, {"minimum": 0, "exclusiveMaximum": 1}
RANGES: dict[str, Node] = {
    **dict.fromkeys(
        ("learning_rate", "muon_learning_rate", "beta", "epsilon", "epsilon_high", "weight_decay", "max_grad_norm",
         "warmup_steps", "top_k", "seed"),
        _NOT_NEGATIVE,
    ),
    **dict.fromkeys(
        ("temperature", "repetition_penalty", "num_train_epochs", "logging_steps", "save_steps"), _POSITIVE
    ),
    **dict.fromkeys(
        ("max_completion_length", "max_prompt_tokens", "per_device_train_batch_size", "per_device_eval_batch_size",
         "gradient_accumulation_steps", "num_generations", "num_generations_eval", "num_iterations", "num_traces",
         "steps_per_generation", "generation_batch_size", "max_generated_tokens", "max_eval_rows", "max_train_rows",
         "lora_r", "vllm_tensor_parallel_size"),
        _COUNT,
    ),
    **dict.fromkeys(("min_p", "top_entropy_quantile", "label_smoothing_factor"), _SHARE),
    **dict.fromkeys(("top_p", "vllm_gpu_memory_utilization"), _POSITIVE_SHARE),
    **dict.fromkeys(("adam_beta1", "adam_beta2", "lora_dropout", "test_fraction"), _BELOW_ONE),
}  # fmt: skip
# Keys of a stage only.
FOR_STAGES: dict[str, Node] = {
    "init_from": {"type": "string", "description": "The earlier stage whose model this one starts from."},
    "data_from": {"type": "string", "description": "The earlier stage (run: generate) whose data set it learns from."},
    "teacher_from": {"type": "string", "description": "The earlier stage whose model teaches it (run: distill)."},
    "from": {"type": "string", "description": "The recipe that has this very stage; its run directory is shared."},
}
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null", dict: "object"}


def node_of(hint: Any, choices: Iterable | None = None) -> Node:
    """The JSON schema of a type hint's values.

    Args:
        choices: the only texts, besides null if the hint has it.
    """
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        # `SchedulerType | str` is a text that names a member: TRL refuses any other
        named = any(isinstance(member, type) and issubclass(member, Enum) for member in members)
        nodes = [
            node_of(each, None if each is type(None) else choices) for each in members if not (named and each is str)
        ]
        if all(set(node) == {"type"} for node in nodes):
            return {"type": [node["type"] for node in nodes]}
        return {"anyOf": nodes} if len(nodes) > 1 else nodes[0]
    if choices is not None or origin is typing.Literal:
        return {"enum": list(choices if choices is not None else members)}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    if hint is Any:
        return {}
    plain = origin or hint
    if plain is list:
        return {"type": "array"} | ({"items": node_of(members[0])} if members else {})
    if plain is dict and members:
        return {"type": "object", "additionalProperties": node_of(members[1])}
    if plain in _TYPES:
        return {"type": _TYPES[plain]}
    return {"not": {}, "title": getattr(hint, "__name__", str(hint))}  # a Python object; no recipe has one


def keys_of(*dataclass_types: type) -> dict[str, Node]:
    """key -> schema, with `default` and `description`, of the fields of dataclasses; the first with a key counts."""
    keys: dict[str, Node] = {}
    for each in dataclass_types:
        hints, late = typing.get_type_hints(each), CHOICES.get(each.__name__, {})
        for field in dataclasses.fields(each):
            if not field.init or field.name in keys:
                continue
            node = node_of(hints[field.name], late.get(field.name) or field.metadata.get("choices"))
            if field.name in ALSO_BOOLEAN:
                node = {"anyOf": [node, {"type": "boolean"}]}
            default = field.default if field.default is not dataclasses.MISSING else None
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            described = {"description": " ".join(field.metadata["help"].split())} if "help" in field.metadata else {}
            node |= RANGES.get(field.name, {})
            keys[field.name] = node | {"default": default.value if isinstance(default, Enum) else default} | described
    return keys


@functools.cache
def keys_of_kind(kind: str) -> dict[str, Node]:
    """key -> schema of a kind of run, as `keys_of`, from recipes/schema.json."""
    return json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))["$defs"][kind]["properties"]


def schema_text() -> str:
    """The content of recipes/schema.json for the installed TRL. Imports TRL."""
    kinds = {kind: dict(sorted(keys_of(*dataclass_types(kind)).items())) for kind in KINDS}
    for kind in ONLY_SAMPLE:  # 0 is greedy; no loss divides by it
        kinds[kind]["temperature"] = _NOT_NEGATIVE | {
            name: value for name, value in kinds[kind]["temperature"].items() if name not in _POSITIVE
        }
    own: dict[str, Node] = {
        "extends": {"type": "string", "description": "Another recipe, by name or path, whose values come first."},
        "stage": {"type": "string", "description": "Which stage of the other recipe is meant, where it has several."},
        "run": {"enum": list(KINDS), "description": "The kind of run: which script runs the recipe."},
    }
    for key in sorted({key for keys in kinds.values() for key in keys}):
        variants: dict[str, Node] = {}  # a few keys have another schema in another kind
        for kind, keys in kinds.items():
            if key in keys:
                node = {name: value for name, value in keys[key].items() if name != "default"}
                variants.setdefault(json.dumps(node), {"$ref": f"#/$defs/{kind}/properties/{key}"})
        refs = list(variants.values())
        own[key] = refs[0] if len(refs) == 1 else {"anyOf": refs}
    by_kind = [
        {"if": {"properties": {"run": {"const": kind}}, "required": ["run"]}, "then": {"$ref": f"#/$defs/{kind}"}}
        for kind in KINDS
    ]
    stage = {"type": "object", "properties": own | FOR_STAGES, "additionalProperties": False, "allOf": by_kind}
    listed = {key: {"type": "string"} for key in ("name", "run", "recipe", "init_from", "data_from", "teacher_from")}
    listed["set"] = {"type": "object"}
    stages = {
        "description": "The stages of an experiment, in order: a map from name to stage, or a list of recipes.",
        "anyOf": [
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/stage"}},
            {"type": "array", "items": {"type": "object", "properties": listed, "additionalProperties": False}},
        ],
    }
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A recipe of Mini-R1",
        "description": "Made by python -m mini_r1.config.schema. Keys, types, defaults and help are TRL's and ours.",
        "type": "object",
        "properties": own | {"stages": stages},
        "additionalProperties": False,
        "allOf": by_kind,
        "$defs": {kind: {"properties": keys} for kind, keys in kinds.items()} | {"stage": stage},
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
    print(f"wrote {SCHEMA_FILE}")
