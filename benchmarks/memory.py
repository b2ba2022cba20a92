"""What mini_r1/launch/memory.py estimates, beside what is measured. Every measurement is a process of its own.

.venv/bin/python benchmarks/memory.py            on two CPU cores that are free: about ten minutes, and 8 GB of memory
.venv/bin/python benchmarks/memory.py --quick    the smallest models only

Exits with an error where weights, gradients or optimizer are more than 15% from the estimate. ZeRO is left out where
DeepSpeed is not installed. Where there is a GPU, its peak is compared, for the largest model of the recipes that fits.
"""

import argparse
import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks._memory import PROMPT, SIZES, grpo_of, run_of, shape
from benchmarks._timing import table
from mini_r1.launch.memory import GIB, estimate_memory

MIB = 2**20
LIMIT = 0.15
BF16 = {"dtype": "bfloat16", "bf16": True}
PLAIN, CHECKPOINTED, LORA = {"gradient_checkpointing": False}, {"gradient_checkpointing": True}, {"use_peft": True}
REAL = ("Qwen/Qwen2.5-3B", "Qwen/Qwen2.5-7B", "meta-llama/Llama-3.2-3B", "microsoft/Phi-3.5-mini-instruct")
ENV = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def measure(part: str, *arguments, ranks: int = 1, **values) -> dict[str, int]:
    """Bytes that a function of benchmarks/_memory.py measures in a process of its own, or the first of several."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    # glibc gives blocks of this size back at once; generation makes too many of them for a lower one
    env = os.environ | ENV | {"MALLOC_MMAP_THRESHOLD_": str(65536 if part in ("states", "sharded") else MIB)}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(ranks)} if ranks > 1 else {}
    words = [sys.executable, str(Path(__file__).parent / "_memory.py"), part, json.dumps(arguments), json.dumps(values)]
    started = []
    for rank in map(str, range(ranks)):
        output = subprocess.DEVNULL if started else subprocess.PIPE
        env |= {"RANK": rank, "LOCAL_RANK": rank} if ranks > 1 else {}
        started.append(subprocess.Popen(words, env=env, stdout=output, stderr=output, text=True))
    printed, errors = started[0].communicate()
    if any(process.wait() for process in started):
        raise SystemExit(errors[-3000:])
    return json.loads(printed.splitlines()[-1])


def beside(estimate: float, measured: float, limit: float | None = None) -> list[str]:
    """Cells: estimate and measurement in MiB, and how far the estimate is from it."""
    off = estimate / measured - 1
    if limit and abs(off) > limit:
        raise SystemExit(f"estimated {estimate / MIB:,.1f} MiB, measured {measured / MIB:,.1f}: {off:+.0%}")
    return [f"{estimate / MIB:,.1f}", f"{measured / MIB:,.1f}", f"{off:+.1%}"]


def states(sizes: list[str]) -> None:
    rows = []
    for name in sizes:
        for dtype in ("float32", "bfloat16"):
            found = measure("states", name, dtype)
            run = run_of(name, dtype=dtype, bf16=dtype == "bfloat16")
            terms = {"weights": run.weights(), "gradients": run.gradients(True), "optimizer": run.optimizer()}
            limit = LIMIT if terms["weights"] > 10 * MIB else None  # pages count below that
            rows += [[name, dtype, term, *beside(size, found[term], limit)] for term, size in terms.items()]
    notes = "Resident memory that each adds to a process, MiB, in plain torch; AdamW. Within 15% above 10 MiB."
    table("Weights, gradients, optimizer", notes, ["model", "dtype", "term", "estimate", "measured", "off by"], rows)


def sharding(name: str) -> None:
    rows = []
    zero = importlib.util.find_spec("deepspeed") is not None
    for how, file, dtype in (
        ("ddp", "ddp", "float32"), ("fsdp2", "fsdp2", "bfloat16"), ("zero2", "zero2", "float32"),
        ("zero2", "zero2", "bfloat16"), ("zero3", "zero3", "float32"), ("zero3", "zero3", "bfloat16"),
    ):  # fmt: skip
        if zero or "zero" not in how:
            values = {"accelerate_config": file, "dtype": dtype, "bf16": dtype == "bfloat16"}
            run = run_of(name, 2, gradient_accumulation_steps=2, **values)
            # gathered weights stay within DeepSpeed's limits, which are larger than this model
            expected = sum(run.held(True, False).values()) + (run.gathered(sends=False) if how == "zero3" else 0)
            found = measure("sharded", name, how, dtype, ranks=2)
            rows.append([how, dtype, *beside(expected, found["total"], LIMIT)])
    notes = (
        f"The {name} model on two CPU processes: resident memory of one, MiB, for weights, gradients, AdamW and, in "
        "ZeRO-3, its buffers, in the second step of two micro-batches each, where gradients take most."
    )
    table("Split between two processes", notes, ["by", "dtype", "estimate", "measured", "off by"], rows)


def activations(quick: bool) -> None:
    rows = []
    cases = [("27M", 2, 64, False, kind | dtype) for dtype in ({}, BF16) for kind in (PLAIN, CHECKPOINTED)]
    cases += [("27M", 2, 64, False, kind | BF16 | LORA) for kind in (PLAIN, CHECKPOINTED)]
    cases += [("27M", 2, 64, False, CHECKPOINTED | {"bf16": True})]  # float32 weights, bf16 autocast
    cases += [(name, 8, 1280, True, CHECKPOINTED | BF16) for name in REAL[: 1 if quick else None]]
    cases += [] if quick else [(REAL[0], 8, 1280, True, PLAIN | BF16)]
    for name, batch, length, fake, values in cases:
        run = run_of(name, per_device_train_batch_size=batch, max_completion_length=length - PROMPT, **values)
        loss, backward, scored = run.loss(), run.backward(), run.tokens * run.scored * run.shape.hidden * run.stream
        norm = run.tokens * run.shape.hidden * (4 + (run.stream if run.lora is None else 0))
        found = measure("tensors", name, batch, length, fake, **values)
        what = ("LoRA, " if run.lora else "") + run.s["dtype"] + (", autocast" if run.compute < run.stream else "")
        kept = "each layer's input" if run.s["gradient_checkpointing"] else "everything"
        peak = max(loss["activations"] + loss["logits"], backward["activations"])
        label = [name.split("/")[-1], f"{batch} x {length}", what, kept]
        rows.append([*label, *beside(run.kept() + norm + scored, found["kept"]), *beside(peak, found["peak"])])
    notes = (
        "MiB of tensors: kept by the forward pass (layers, last norm, input of the LM head), and alive at the peak of "
        "the backward pass beside weights and gradients. Counted by torch's own hooks; real models with tensors that "
        "have a shape and no content. On a CPU the LM head's tile is folded by torch, which takes more than on a GPU."
    )
    columns = ["model", "tokens", "dtype", "kept is", "kept", "counted", "off by", "peak", "counted", "off by"]
    table("Activations and logits", notes, columns, rows)


def caches(sizes: list[str]) -> None:
    rows = []
    for name in sizes:
        for batch, prompt, new in ((16, PROMPT, 32), (16, PROMPT, 128)):
            found = measure("cache", name, batch, prompt, new)
            run = run_of(name, per_device_train_batch_size=batch, max_completion_length=new)
            exact = batch * (prompt + new - 1) * 2 * run.shape.layers * run.shape.kv_heads * run.shape.head_dim * 4
            cells = [*beside(exact, found["cache"]), *beside(run.generation()["kv_cache"], found["peak"])]
            rows.append([name, f"{batch} x ({prompt} + {new})", *cells])
    notes = (
        "transformers' generate in float32, MiB: keys and values at the end (the last token has none), and all tensors "
        "at the peak, which may be the prompt's forward pass."
    )
    columns = ["model", "tokens", "cache", "counted", "off by", "peak", "counted", "off by"]
    table("KV cache", notes, columns, rows)


def whole(quick: bool) -> None:
    rows = []
    batch = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "max_completion_length": 32}
    cases = [("27M", PLAIN), ("27M", CHECKPOINTED | BF16), ("129M", CHECKPOINTED), ("129M", CHECKPOINTED | LORA)]
    for name, values in cases[: 1 if quick else None]:
        values = {"dtype": "float32", "bf16": False, "optim": "adamw_torch", "use_peft": False} | batch | values
        recipe = values | {"use_cpu": True, "test_fraction": 0, "lora_target_modules": "all-linear"}
        run = {"processes": 1, "backend": "hf", "prompt_tokens": PROMPT, "gpu_gib": None}
        estimate = estimate_memory(grpo_of(recipe), shape(name), **run)
        found = measure("trainer", name, "cpu", **values)
        kind = f"{'LoRA, ' if values['use_peft'] else ''}{values['dtype']}"
        kept = "each layer's input" if values["gradient_checkpointing"] else "everything"
        rows.append([name, kind, kept, estimate.peak, *beside(estimate.total * GIB, found["total"])])
    notes = "Two steps of TRL's GRPOTrainer: peak of the process (VmHWM) beyond what it held after the imports, MiB."
    table("A whole trainer", notes, ["model", "dtype", "kept is", "peak in", "estimate", "measured", "off by"], rows)


def gpu() -> None:
    """The largest real model whose LoRA training fits on the GPU, with transformers' generation."""
    if not torch.cuda.is_available():
        print("\nNo GPU here: its peak is not compared.")
        return
    gib = torch.cuda.get_device_properties(0).total_memory / GIB
    values = {
        "gradient_checkpointing": True,
        "optim": "adamw_torch",
        "max_completion_length": 512,
        "use_peft": True,
    } | BF16
    run = {"processes": 1, "backend": "hf", "prompt_tokens": PROMPT, "gpu_gib": gib}
    recipe = {**values, "lora_target_modules": "all-linear", "test_fraction": 0}
    fitting = [name for name in REAL if estimate_memory(grpo_of(recipe), shape(name), **run).fits]
    name = max(fitting, key=lambda name: shape(name).parameters)
    estimate = estimate_memory(grpo_of(recipe), shape(name), **run)
    allocated = max(sum(terms.values()) - terms["overhead"] for terms in estimate.phases.values())
    cells = beside(allocated * GIB, measure("trainer", name, "cuda", **values)["total"])
    notes = f"{torch.cuda.get_device_name(0)}, LoRA: torch.cuda.max_memory_allocated, MiB; estimate without overhead."
    table("A whole trainer on the GPU", notes, ["model", "estimate", "measured", "off by"], [[name, *cells]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest models only")
    quick = parser.parse_args().quick
    print(f"# Memory{' (--quick)' if quick else ''}\ntorch {torch.__version__}, {os.cpu_count()} CPUs")
    states(list(SIZES)[: 2 if quick else 4])
    sharding("27M")
    activations(quick)
    caches(["27M"] if quick else ["27M", "129M"])
    whole(quick)
    gpu()


if __name__ == "__main__":
    main()
