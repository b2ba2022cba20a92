"""Checks this machine: packages, ports, room on the disk, and the run directory."""

import importlib.util
import math
import os
import shutil
import subprocess
from pathlib import Path

import psutil
from packaging.specifiers import SpecifierSet

from mini_r1.config.kinds import ONLY_SAMPLE
from mini_r1.config.run_config import RunConfig
from mini_r1.config.yaml_file import load_yaml
from mini_r1.launch.findings import Check
from mini_r1.launch.memory import BYTES, GIB
from mini_r1.launch.model_shapes import ModelShape, lora_parameters
from mini_r1.launch.plan import Sharding
from mini_r1.launch.vllm_server import LOOPBACK, port_is_free
from mini_r1.run import run_dir
from mini_r1.run.checkpoints import PREFIX, checkpoints, find_checkpoint, read_mark, step_of

# What this code, written for TRL 1.16, works with. The other ranges are those that TRL 1.16 declares (torch's:
# transformers 5.17); tests/unit/launch/test_preflight.py compares. vLLM 0.31 wants transformers below 5.18.
SUPPORTED = {
    "torch": ">=2.5",
    "transformers": ">=5.0,<5.18",
    "trl": ">=1.16,<1.17",
    "datasets": ">=4.7.0",
    "accelerate": ">=1.10.1",
    "peft": ">=0.13.0",
    "deepspeed": ">=0.18.6",
    "vllm": ">=0.22.0,<=0.31.0",
    "bitsandbytes": ">=0.45.1",
}
ON_GPUS = ("vllm", "deepspeed", "bitsandbytes")  # a machine that only checks recipes need not have these
LOGGERS = ("tensorboard", "wandb", "mlflow", "trackio", "swanlab")  # values of report_to, each the name of a package


def check_packages(check: Check) -> None:
    """Checks that every package which the recipe needs is there, in a supported version.

    What this machine lacks is an error where it would train; elsewhere, a package for GPUs only gives a warning.
    """
    config, backend = check.config, check.plan.backend
    vllm = backend != "hf" and not (config.kind in ONLY_SAMPLE and backend == "external")
    needed = dict.fromkeys(SUPPORTED, "task") | {
        "vllm": "use_vllm" if vllm else None,
        "deepspeed": "accelerate_config" if check.sharding.stage else None,
        "bitsandbytes": next((key for key in ("load_in_4bit", "load_in_8bit") if getattr(config, key)), None),
        "peft": "use_peft" if config.use_peft else None,
    }
    there = {}
    for name in SUPPORTED:
        if needed[name] is None:
            continue
        say = check.error if check.here or name not in ON_GPUS else check.warning
        file = "requirements-gpu.txt" if name in ON_GPUS else "requirements.txt"
        found = run_dir.find_distribution(name)
        if found is None:
            say(f"needs the package {name}, which is not installed; run: pip install -r {file}", needed[name])
            continue
        there[name] = found.version
        if not SpecifierSet(SUPPORTED[name]).contains(there[name], prereleases=True):
            say(f"{there[name]} is installed, supported is {SUPPORTED[name]}; run: pip install -r {file}", name, file)
    check.ok("packages", ", ".join(f"{name} {version}" for name, version in there.items()))


def check_compiler_locks(check: Check) -> None:
    """Warns of the lock of a process that was killed while it compiled for DeepSpeed; later ones would wait for it."""
    if not check.sharding.stage:
        return
    folder = os.environ.get("TORCH_EXTENSIONS_DIR") or "~/.cache/torch_extensions"
    for lock in Path(folder).expanduser().glob("*/*/lock"):
        check.warning(
            f"{lock} is there: another run compiles that extension now, or was killed while it did, and this run would "
            f"wait for ever; if none does, run: rm {lock}",
            "accelerate_config",
        )


def check_ports(check: Check) -> None:
    """Checks that the ports are free that the recipe, the command line or the accelerate file name.

    The launcher chooses all other ports, and they are free. The ports of a server on another machine, of somebody
    else's server, or of processes that somebody started by hand are not checked.
    """
    config, plan = check.config, check.plan
    if check.processes:
        return
    host = config.given("vllm_server_host") or LOOPBACK
    wanted = []
    if plan.backend == "server" and plan.machines.part == "all":
        wanted = [(config.given(key), host, key, None) for key in ("vllm_server_port", "vllm_group_port")]
    if plan.processes > 1 and plan.machines.rank == 0:
        key = "main_process_port"
        port, file = plan.machines.main_port, "command line"
        if not port:
            port, file = load_yaml(plan.accelerate_config).get(key), str(plan.accelerate_config)
        wanted.append((port, LOOPBACK, key, file))
    wanted = [entry for entry in wanted if entry[0]]
    for port, address, key, file in wanted:
        if not port_is_free(port, address):
            remedy = "end that, choose another, or leave it out for a free one"
            check.error(f"port {port} is in use{listener(port)}; {remedy}", key, file)
    numbers = [entry[0] for entry in wanted]
    if len(set(numbers)) < len(numbers):
        check.error("the ports given must differ", wanted[-1][2])
    if wanted:
        check.ok("ports", "given are " + ", ".join(f"{key} {port}" for port, _, key, _ in wanted))


def listener(port: int) -> str:
    """The process that listens on a port, where this user may see it: ` (by python, process 123)`, or nothing."""
    try:
        listening = [each for each in psutil.net_connections("tcp") if each.status == psutil.CONN_LISTEN]
        pid = next((each.pid for each in listening if each.laddr.port == port and each.pid), None)
        return f" by {psutil.Process(pid).name()}, process {pid}" if pid else ""
    except psutil.Error:
        return ""


def check_bfloat16(check: Check) -> None:
    """Checks that the GPUs of this machine compute in bfloat16."""
    if not check.gpus or not check.here or not check.config.bf16:
        return
    argv = ["nvidia-smi", "--query-gpu=index,compute_cap", "--format=csv,noheader"]
    lines = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
    capable = dict(line.replace(" ", "").split(",") for line in lines if "," in line)
    for gpu in check.gpus:
        if float(capable.get(gpu.index, "8.0")) < 8:
            check.error(
                f"GPU {gpu.index} ({gpu.name}) has none (compute capability {capable[gpu.index]}, 8.0 is needed); set "
                "bf16: false and dtype: float32",
                "bf16",
            )


def check_accounts(check: Check) -> None:
    """Checks what a run needs to log and to publish: packages, and a token for the hub."""
    config = check.config
    wanted = config.report_to or []
    for name in [wanted] if isinstance(wanted, str) else wanted:
        if name in LOGGERS and importlib.util.find_spec(name) is None:
            check.error(f"needs the package {name}; run: pip install {name}, or choose tensorboard", "report_to")
    if config.push_to_hub:
        from huggingface_hub import get_token  # takes a while, and few runs publish

        if not config.hub_token and not get_token():
            check.error("needs a token of the hub; run: hf auth login, or set HF_TOKEN", "push_to_hub")


def check_run_folder(check: Check) -> None:
    """Says whether a launch would begin the run, resume it, or do nothing; mini_r1/run/run_dir.py decides.

    Raises:
        RecipeError: where it holds another run, or a checkpoint is not there.
    """
    config = check.config
    folder, wanted = Path(config.output_dir), config.resume_from_checkpoint
    if folder.exists() and config.overwrite_output_dir:
        check.note(f"{folder} will be moved aside, not deleted", "overwrite_output_dir")
        return
    run_dir.refuse_other_recipe(folder, config.recipe)
    there = checkpoints(folder)
    whole = [step_of(checkpoint) for checkpoint in there if read_mark(checkpoint)]
    if (folder / "summary.json").exists():
        check.note(f"{folder} is finished: nothing would be done", "output_dir")
    elif wanted is not None and str(wanted).lower() not in ("true", "false"):
        check.note(f"goes on from {find_checkpoint(folder, wanted, print)[0]}", "resume_from_checkpoint")
    elif whole and str(wanted).lower() != "false":
        run_dir.refuse_other_processes(folder, check.plan.processes)
        check.note(f"{folder} holds a run: it goes on from step {max(whole)}", "output_dir")
    else:
        check.ok("run directory", f"{folder}, {'without a whole checkpoint' if there else 'new'}")


def check_disk(check: Check) -> None:
    """Checks that the disk has room for the kept checkpoints, the one being written, and the final model.

    Raises:
        RecipeError: for LoRA targets that are none.
    """
    config = check.config
    if config.kind in ONLY_SAMPLE:
        return
    folder = Path(config.output_dir)
    weights, optimizer = _checkpoint_bytes(config, check.shape, check.sharding)
    checkpoint = weights + (0 if config.save_only_model else optimizer)
    count = _checkpoints_at_once(config, check.steps[0])
    there = sum(file.stat().st_size for file in folder.glob(f"{PREFIX}-*/**/*") if file.is_file())
    needed = max(count * checkpoint - there, 0) + weights
    nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        check.error(f"{nearest} is no folder in which this user may write; choose another", "output_dir")
        return
    free = shutil.disk_usage(nearest).free
    sizes = f"{count} checkpoints of {_size(checkpoint)} and the model of {_size(weights)}"
    if needed <= free:
        check.ok("disk", f"{sizes}, {_size(free)} are free for {folder}")
        return
    many = count > 3  # more than any run needs, on any disk
    (check.error if check.here or many else check.warning)(
        f"{sizes} need {_size(needed)}, and {_size(free)} are free for {folder}; "
        + ("set save_total_limit: 2, or " if many else "make room, or ")
        + "choose an output_dir on a larger disk",
        "save_total_limit" if many else "output_dir",
    )


def _checkpoint_bytes(config: RunConfig, shape: ModelShape, sharding: Sharding) -> tuple[int, int]:
    """Bytes of the model, and of the optimizer's state, in one checkpoint."""
    dtype = shape.dtype if config.dtype in ("auto", None) else config.dtype
    lora = config.use_peft
    trained = lora_parameters(shape, config.lora_r, config.lora_target_modules) if lora else shape.parameters
    stored = 4 if lora or sharding.fsdp else BYTES[dtype]
    if sharding.stage:
        return trained * 2, trained * 12  # DeepSpeed's 32-bit copy, and two averages
    return trained * stored, trained * 2 * (1 if "8bit" in config.optim else stored)


def _checkpoints_at_once(config: RunConfig, steps: int | None) -> int:
    """How many checkpoints are on the disk while one is written; `steps` is None where the run's are not known."""
    strategy, every, limit = config.save_strategy, config.save_steps or 0, config.save_total_limit
    if strategy == "no":
        return 0
    if strategy == "steps" and 0 < every < 1:
        saves = round(1 / every)
    elif strategy == "steps" and every >= 1 and steps:
        saves = math.ceil(steps / every)
    else:
        saves = 1 if limit is None else limit + 1
    return saves if limit is None else min(saves, limit + 1)


def _size(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{size / 2**20:.1f} MiB"
