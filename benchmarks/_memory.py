"""What benchmarks/memory.py measures, each in a process of its own: python benchmarks/_memory.py PART ARGUMENTS.

ARGUMENTS are JSON: a list for the function of that name, and a map. Prints a map of bytes.
"""

import ctypes
import gc
import json
import sys
import tempfile
import weakref
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mini_r1.config.recipe import Recipe
from mini_r1.config.run_config import RunConfig, run_config
from mini_r1.launch.memory import Run
from mini_r1.launch.model_shapes import TABLE, ModelShape, shape_of

# hidden, intermediate, layers, heads, key-value heads, vocabulary; Qwen2, but for the last
SIZES = {
    "0.16M": (64, 172, 2, 4, 2, 1024),
    "27M": (512, 1408, 8, 8, 2, 8192),
    "129M": (768, 3072, 12, 12, 4, 32768),
    "338M": (1024, 4096, 20, 16, 4, 32768),
    "0.17M, Phi-3": (64, 172, 2, 4, 4, 1024),
}
PROMPT = 32  # tokens of all prompts
ON_CPU = {
    "use_cpu": True,
    "bf16": False,
    "optim": "adamw_torch",
    "test_fraction": 0,
    "lora_target_modules": "all-linear",
}


def config_of(name: str):
    """The configuration of a model of SIZES, or of the table of real models."""
    from transformers import AutoConfig, Phi3Config, Qwen2Config

    if name in TABLE:
        fields = dict(TABLE[name])
        return AutoConfig.for_model(fields.pop("model_type"), **fields)
    hidden, inner, layers, heads, kv_heads, vocab = SIZES[name]
    return (Phi3Config if "Phi" in name else Qwen2Config)(
        hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=kv_heads, vocab_size=vocab, tie_word_embeddings=True, max_position_embeddings=4096,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip


def shape(name: str) -> ModelShape:
    return shape_of(config_of(name))


def grpo_of(values: dict) -> RunConfig:
    """A GRPO run of these values, and of the schema's defaults."""
    return run_config("r1_grpo", Recipe("recipe.yaml", values, {}))


def run_of(name: str, processes: int = 1, **values) -> Run:
    """The estimate's numbers for a recipe on a CPU with these values."""
    return Run(grpo_of(ON_CPU | values), shape(name), processes, "hf", PROMPT, None)


def make(name: str, dtype: str):
    """The model with random weights."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config_of(name), dtype=getattr(torch, dtype)).train()


def resident(peak: bool = False) -> int:
    """Bytes of memory of this process, now or at its peak since `forget_peak`."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    field = "VmHWM:" if peak else "VmRSS:"
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field)) * 1024


def forget_peak() -> int:
    """Counts the peak anew; returns what is held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident()


def tracker(static):
    """A dispatch mode that counts the bytes of all live tensors but the `static` ones: `now` and `peak`."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Tracker(TorchDispatchMode):
        def __init__(self):
            super().__init__()
            self.sizes = {tensor.untyped_storage()._cdata: 0 for tensor in static}
            self.now = self.peak = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(out):
                if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.sizes:
                    storage = tensor.untyped_storage()
                    self.sizes[storage._cdata] = storage.nbytes()
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self.freed, storage._cdata)
            return out

        def freed(self, key):
            self.now -= self.sizes.pop(key)

    return Tracker()


def states(name: str, dtype: str) -> dict[str, int]:
    """Resident memory that weights, gradients and AdamW add, in plain torch."""
    import torch

    def backward(model):
        model(torch.zeros(1, 8, dtype=torch.long)).logits.float().mean().backward()

    warm = make("27M", dtype)  # libraries, threads
    backward(warm)
    torch.optim.AdamW(warm.parameters()).step()
    del warm
    before = resident()
    model = make(name, dtype)
    weights = resident()
    backward(model)
    gradients = resident()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    return {"weights": weights - before, "gradients": gradients - weights, "optimizer": resident() - gradients}


def tensors(name: str, batch: int, length: int, fake: bool, **values) -> dict[str, int]:
    """Bytes of tensors: kept by the forward pass for the backward pass, and alive at the peak of the backward pass.

    fake: torch computes shapes only, so that real models at their real size fit anywhere.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from trl.trainer.utils import add_fused_lm_head

    run = run_of(name, **values)
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = (storage.nbytes(), tensor)
        return tensor

    with FakeTensorMode() if fake else nullcontext():
        model = make(name, run.s.dtype)
        add_fused_lm_head(model, outputs=("log_probs", "entropy"))
        if run.lora is not None:
            model = with_adapters(model, run.s.lora_dropout)
        if run.s.gradient_checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        for weight in model.parameters():  # as after the first micro-batch
            weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
        static = [tensor for weight in model.parameters() for tensor in (weight, weight.grad) if tensor is not None]
        ids, mask = torch.zeros(batch, length, dtype=torch.long), torch.ones(batch, length, dtype=torch.long)
        if not fake:
            mask[0, :3] = 0  # prompts differ in length
        labels = torch.cat([torch.full_like(ids[:, :PROMPT], -100), ids[:, PROMPT:]], 1)
        tracked = tracker(static)
        known = set(tracked.sizes)
        with tracked:
            autocast = torch.autocast("cpu", torch.bfloat16, enabled=run.compute == 2)
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
                out = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
            kept_bytes = sum(size for size, _ in kept.values())
            kept.clear()
            tracked.peak = tracked.now
            out.log_probs.sum().backward()
        return {"kept": kept_bytes, "peak": tracked.peak}


def cache(name: str, batch: int, prompt: int, new: int) -> dict[str, int]:
    """Bytes of the KV cache after generating, and of all tensors at the peak, as trainers generate."""
    import torch

    model = make(name, "float32").eval()
    mask = torch.ones(batch, prompt, dtype=torch.long)
    mask[0, :3] = 0  # prompts differ in length
    tracked = tracker(model.parameters())
    with torch.no_grad(), tracked:
        made = model.generate(
            torch.full((batch, prompt), 5), attention_mask=mask, max_new_tokens=new, min_new_tokens=new,
            do_sample=True, temperature=0.9, top_k=0, return_dict_in_generate=True,
        )  # fmt: skip
    layers = made.past_key_values.layers
    return {"cache": sum(part.nbytes for layer in layers for part in (layer.keys, layer.values)), "peak": tracked.peak}


def trainer(name: str, device: str, **values) -> dict[str, int]:
    """Peak of two steps of TRL's GRPOTrainer: resident memory beyond that after the imports, or the GPU's."""
    import torch
    from datasets import Dataset
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer
    from trl import GRPOConfig, GRPOTrainer

    letters = {token: i for i, token in enumerate(["<pad>", "<end>", *sorted(ByteLevel.alphabet())])}
    tokenizer = Qwen2Tokenizer(vocab=letters, merges=[], unk_token="<pad>", pad_token="<pad>", eos_token="<end>")
    rows = Dataset.from_dict({"prompt": ["a" * PROMPT] * 64})
    before = forget_peak()
    with torch.device(device):
        model = make(name, values.pop("dtype"))
        if values.pop("use_peft"):
            model = with_adapters(model, 0.05)
    with tempfile.TemporaryDirectory() as folder:
        own = {"output_dir": folder, "report_to": "none", "save_strategy": "no", "logging_strategy": "no"}
        args = GRPOConfig(max_steps=2, num_generations=4, use_cpu=device == "cpu", **own, **values)
        GRPOTrainer(model, lengths, args, rows, processing_class=tokenizer).train()
    return {"total": torch.cuda.max_memory_allocated() if device == "cuda" else resident(peak=True) - before}


def lengths(completions, **_) -> list[float]:
    """A reward that differs within a group."""
    return [float(len(text) % 7) for text in completions]


def with_adapters(model, dropout: float):
    """The model with TRL's LoRA: rank 16, on all linear layers."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(model, LoraConfig("CAUSAL_LM", r=16, target_modules="all-linear", lora_dropout=dropout))
    model.enable_input_require_grads()
    return model


def sharded(name: str, how: str, dtype: str) -> dict[str, int]:
    """Resident memory of one of several processes in its second step: weights, gradients, AdamW and buffers.

    Args:
        how: zero2 or zero3, by DeepSpeed with the settings that accelerate makes of configs/; ddp or fsdp2, by torch,
            split as accelerate splits a model.
    """
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    def loss(model):
        return model(torch.zeros(1, 8, dtype=torch.long)).logits.float().mean()

    loss(make("27M", dtype)).backward()  # libraries, threads
    if "zero" in how:
        import deepspeed

        deepspeed.init_distributed("gloo")
    else:
        torch.distributed.init_process_group("gloo")
    before = resident()
    model = make(name, "float32" if how == "fsdp2" else dtype)
    if how == "fsdp2":
        policy = {"mp_policy": MixedPrecisionPolicy(getattr(torch, dtype), getattr(torch, dtype))}
        for layer in model.model.layers:
            fully_shard(layer, **policy)
        fully_shard([model.model.norm, model.model.embed_tokens, model.lm_head], **policy, reshard_after_forward=False)
        fully_shard(model, **policy)
    elif how == "ddp":
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters())
    if "zero" in how:
        config = {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 2,
            "bf16": {"enabled": dtype == "bfloat16"},
            "zero_optimization": {"stage": int(how[-1])},
            "zero_allow_untested_optimizer": True,
        }
        engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    for i in range(4):
        if how == "fsdp2":
            model.set_requires_gradient_sync(i % 2 == 1)  # as accelerate does while gradients accumulate
        engine.backward(loss(engine)) if "zero" in how else loss(model).backward()
        if i == (2 if how == "fsdp2" else 3):  # where gradients take most
            return {"total": resident() - before}
        if "zero" in how:
            engine.step()
        elif i == 1:
            optimizer.step()
            optimizer.zero_grad()
    raise AssertionError


if __name__ == "__main__":
    part, arguments, values = sys.argv[1], *map(json.loads, sys.argv[2:])
    measured = {"states": states, "tensors": tensors, "cache": cache, "trainer": trainer, "sharded": sharded}[part]
    print(json.dumps(measured(*arguments, **values)), flush=True)
