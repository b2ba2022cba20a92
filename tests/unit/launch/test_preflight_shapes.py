"""Sizes of models where torch is left out are those of models built on its meta device."""

import pytest
import transformers
from transformers import AutoConfig

from mini_r1.launch.model_shapes import TABLE, by_formula, find_shape, model_shape


@pytest.mark.parametrize("name", TABLE)
def test_shapes_without_torch(name):
    fields = dict(TABLE[name])
    assert by_formula(
        AutoConfig.for_model(fields.pop("model_type"), dtype="bfloat16", **fields), "table"
    ) == model_shape(name)


SMALL = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 100, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("mistral", {"tie_word_embeddings": True}),
        ("qwen3", {"head_dim": 32}),
        ("phi3", {}),
        ("gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4}),  # not of the family: another process is asked
    ],
)
def test_shapes_of_folders_without_torch(tmp_path, monkeypatch, kind, more):
    AutoConfig.for_model(kind, **{**SMALL, **more}).save_pretrained(tmp_path)
    expected = model_shape(str(tmp_path))
    monkeypatch.setattr(transformers.utils, "is_torch_available", lambda: False)
    assert find_shape(str(tmp_path), None) == expected
