"""The shape of a model where torch is left out (`preflight_imports`): by formula, or else asked of another process.

The formula is that of the decoder family of Llama, Qwen and Phi; tests/unit/launch/test_preflight.py compares it with
models built on torch's meta device, as `model_shapes.model_shape` does.
"""

import pickle
import subprocess
import sys

from mini_r1.data.hub import looks_local
from mini_r1.errors import RecipeError
from mini_r1.launch.model_shapes import TABLE, Linear, ModelShape, model_shape

FAMILY = ("llama", "mistral", "qwen2", "qwen3", "phi3")
_ASK = """
import pickle, sys
from mini_r1.errors import RecipeError
from mini_r1.launch.model_shapes import model_shape
try:
    answer = model_shape(*pickle.loads(bytes.fromhex(sys.argv[1])))
except RecipeError as error:
    answer = error
print("answer", pickle.dumps(answer).hex())
"""


def find_shape(name: str, revision: str | None) -> ModelShape:
    """`model_shape`, also in a process without torch.

    Raises:
        RecipeError: as `model_shape`.
    """
    from transformers import AutoConfig
    from transformers.utils import is_torch_available

    if is_torch_available():
        return model_shape(name, revision)
    try:
        config, source = AutoConfig.from_pretrained(name, revision=revision), "config"
    except (OSError, ValueError):
        fields = dict(TABLE.get(name, {})) if not looks_local(name) else {}
        known, source = fields.pop("model_type", None), "table"
        config = AutoConfig.for_model(known, dtype="bfloat16", **fields) if known else None
    if config is not None and config.model_type in FAMILY:
        return by_formula(config, source)
    words = [sys.executable, "-c", _ASK, pickle.dumps((name, revision)).hex()]
    said = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    answer = pickle.loads(bytes.fromhex(said.rpartition("answer ")[2]))
    if isinstance(answer, RecipeError):
        raise answer
    return answer


def by_formula(config, source: str) -> ModelShape:
    """The shape of a model of `FAMILY`, from its configuration (transformers')."""
    kind, hidden, middle = config.model_type, config.hidden_size, config.intermediate_size
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or hidden // heads
    queries, keys = heads * size, kv_heads * size
    in_attention = getattr(config, "attention_bias", False)
    in_mlp = getattr(config, "mlp_bias", False)
    if kind == "phi3":  # inputs, outputs, bias
        layer = {
            "self_attn.o_proj": (queries, hidden, False),
            "self_attn.qkv_proj": (hidden, queries + 2 * keys, False),
            "mlp.gate_up_proj": (hidden, 2 * middle, False),
            "mlp.down_proj": (middle, hidden, False),
        }
    else:
        layer = {
            "self_attn.q_proj": (hidden, queries, in_attention or kind == "qwen2"),
            "self_attn.k_proj": (hidden, keys, in_attention or kind == "qwen2"),
            "self_attn.v_proj": (hidden, keys, in_attention or kind == "qwen2"),
            "self_attn.o_proj": (queries, hidden, in_attention),
            "mlp.gate_proj": (hidden, middle, in_mlp),
            "mlp.up_proj": (hidden, middle, in_mlp),
            "mlp.down_proj": (middle, hidden, in_mlp),
        }
    norms = 2 * hidden + (2 * size if kind == "qwen3" else 0)
    in_layer = norms + sum(inputs * outputs + bias * outputs for inputs, outputs, bias in layer.values())
    layers, tied = config.num_hidden_layers, config.tie_word_embeddings
    linears = [
        Linear(f"model.layers.{number}.{name}", inputs, outputs, False)
        for number in range(layers)
        for name, (inputs, outputs, _) in layer.items()
    ]
    return ModelShape(
        parameters=layers * in_layer + hidden + config.vocab_size * hidden * (1 if tied else 2),
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=size,
        vocab=config.vocab_size,
        intermediate=middle,
        tied=tied,
        max_positions=config.max_position_embeddings,
        dtype=str(config.dtype or "float32").removeprefix("torch."),
        source=source,
        model_type=kind,
        linears=(*linears, Linear("lm_head", hidden, config.vocab_size, True)),
    )
