"""Sizes of models: those of the table are the published ones, and LoRA's are what peft counts."""

import json

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, LlamaConfig, Phi3Config, Qwen2Config

from mini_r1.errors import RecipeError
from mini_r1.launch.model_shapes import (
    TABLE,
    kv_cache_bytes,
    lora_parameters,
    model_shape,
    quantized_bytes,
    shape_of,
)

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 64}
ENDS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
CONFIGS = {
    "qwen2": Qwen2Config(**SMALL, **ENDS, num_key_value_heads=2, tie_word_embeddings=True),
    "llama": LlamaConfig(**SMALL, **ENDS, num_key_value_heads=2, head_dim=16, tie_word_embeddings=False),
    "phi3": Phi3Config(**SMALL, **ENDS, num_key_value_heads=4),
}
# parameters of the published models
PUBLISHED = {
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": 7_615_616_512,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "microsoft/Phi-3.5-mini-instruct": 3_821_079_552,
}


@pytest.mark.parametrize("name", TABLE)
def test_the_table_has_the_published_sizes(name):
    shape = model_shape(name)
    published = [size for base, size in PUBLISHED.items() if name in (base, f"{base}-Instruct", f"{base}-Instruct-1M")]
    assert [shape.parameters] == published
    assert shape.source == "table" and shape.dtype == "bfloat16"
    assert shape.tied is (shape.parameters < 3_500_000_000)


def test_a_shape_of_the_table():
    shape = model_shape("Qwen/Qwen2.5-3B-Instruct")
    sizes = (shape.hidden, shape.layers, shape.heads, shape.kv_heads, shape.head_dim, shape.intermediate, shape.vocab)
    assert sizes == (2048, 36, 16, 2, 128, 11008, 151936)
    assert shape.embeddings == 151936 * 2048
    assert kv_cache_bytes(shape, 2) == 36 * 1024  # 36 KiB a token


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_folder_needs_only_its_config(tmp_path, kind):
    CONFIGS[kind].save_pretrained(tmp_path)
    shape = model_shape(str(tmp_path))
    assert shape == shape_of(CONFIGS[kind]) and shape.source == "config"
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    assert shape.parameters == model.num_parameters()
    assert shape.head_dim == (16 if kind == "llama" else 8)
    assert shape.tied is (kind == "qwen2")


def test_names_of_other_architectures_are_understood():
    shape = shape_of(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=64, **ENDS))
    assert (shape.hidden, shape.layers, shape.heads, shape.kv_heads, shape.intermediate) == (32, 2, 4, 4, 128)


def test_a_cached_model_is_not_taken_from_the_table(tmp_path, monkeypatch):
    snapshot = tmp_path / "models--Qwen--Qwen2.5-3B" / "snapshots" / "abc"
    (snapshot.parents[1] / "refs").mkdir(parents=True)
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    CONFIGS["qwen2"].save_pretrained(snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    shape = model_shape("Qwen/Qwen2.5-3B")
    assert (shape.source, shape.hidden) == ("config", 32)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is missing; name a hub id or a local folder"),
        ("runs/no-such-s1", "there is no folder runs/no-such-s1"),
        (
            "somebody/some-model",
            "somebody/some-model is neither in the local cache nor reachable on the hub, and not in",
        ),
        ("{empty}", "{empty} is not a model folder: Unrecognized model in {empty}"),
        ("{bert}", "{bert} is not a model folder: "),
    ],
)
def test_what_is_no_model_is_said(tmp_path, name, message):
    folders = {name: str(tmp_path / name) for name in ("empty", "bert")}
    for folder in folders.values():
        (tmp_path / folder).mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(RecipeError) as error:
        model_shape(name.format(**folders))
    assert str(error.value).startswith("model_name_or_path: " + message.format(**folders))


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize(
    "targets",
    [
        "all-linear",
        ["all-linear"],
        ["q_proj", "down_proj"],
        ["o_proj", "lm_head"],
        ["self_attn.o_proj", "mlp.down_proj"],
        r".*\.[12]\.mlp\.down_proj",
        [r".*o_proj"],
        None,
    ],
    ids=str,
)
def test_lora_counts_what_peft_trains(kind, targets):
    """Through TRL's own ModelConfig, which makes one name of a list of one."""
    from peft import get_peft_model
    from trl import ModelConfig, get_peft_config

    if kind == "phi3" and targets is None:
        with pytest.raises(RecipeError, match=r"peft has no default for phi3; use \[all-linear\] or a list"):
            lora_parameters(shape_of(CONFIGS[kind]), 4, targets)
        return
    model_args = ModelConfig(use_peft=True, lora_r=4, lora_target_modules=targets)
    with torch.device("meta"):
        model = get_peft_model(AutoModelForCausalLM.from_config(CONFIGS[kind]), get_peft_config(model_args))
    trained, _ = model.get_nb_trainable_parameters()
    assert lora_parameters(shape_of(CONFIGS[kind]), 4, targets) == trained


@pytest.mark.parametrize("targets", ["q_proj", ["q_proj"], ["query", "value"], []])
def test_lora_targets_that_are_none(targets):
    with pytest.raises(
        RecipeError, match=r"^lora_target_modules: .*; use \[all-linear\] or a list of two or more of down"
    ):
        lora_parameters(shape_of(CONFIGS["qwen2"]), 4, targets)


def test_four_bits():
    """Half a byte for each weight of a linear layer, the rest in bf16."""
    shape = shape_of(CONFIGS["llama"])
    linear = 3 * (32 * 64 + 2 * 32 * 32 + 64 * 32 + 3 * 32 * 48)
    rest = shape.parameters - linear
    assert quantized_bytes(shape, 2) == linear * 0.5 + 2 * rest
