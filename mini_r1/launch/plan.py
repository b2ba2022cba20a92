"""Plans what runs where, from a recipe and the GPUs at hand; starts nothing.

The plan keeps the recipe's batch: `num_processes` says for how many training processes it was written, and on fewer
(or, where asked for, more) of them each accumulates gradients over more (fewer) micro-batches.
"""

from dataclasses import dataclass
from pathlib import Path

from mini_r1.config.batch import plan_batch
from mini_r1.config.keys import did_you_mean
from mini_r1.config.kinds import ONLY_SAMPLE
from mini_r1.config.recipe import COMMAND_LINE, flag_text
from mini_r1.config.run_config import RunConfig
from mini_r1.config.schema import keys_of_kind
from mini_r1.config.yaml_file import load_yaml
from mini_r1.errors import RecipeError
from mini_r1.launch.hardware import Gpu

CONFIGS = Path(__file__).parents[2] / "configs"
ON_CPU = {  # what --gpus 0 sets
    "use_cpu": True,
    "bf16": False,
    "fp16": False,
    "dtype": "float32",
    "use_vllm": False,
    "accelerate_config": None,
}
GROUPED = ("r1_grpo", *ONLY_SAMPLE)  # kinds whose batch holds whole groups
SAMPLING = (*GROUPED, "distill")  # kinds that vLLM can sample for


@dataclass(frozen=True)
class Machines:
    """The place of this machine in a run over several. The weights of one process are never split over machines.

    Attributes:
        part: "all" (server, where the recipe wants one, and trainer), or only the "trainer" or "server" of a run whose
            other part is on other machines.
        count, rank: of the machines that train.
        main_ip, main_port: where training process 0 listens; a free port of this machine where None.
    """

    part: str = "all"
    count: int = 1
    rank: int = 0
    main_ip: str | None = None
    main_port: int | None = None


ONE_MACHINE = Machines()


@dataclass(frozen=True)
class LaunchPlan:
    """What runs where.

    Attributes:
        backend: what generates: "server" (`vllm serve` on GPUs of its own), "colocate" (vLLM in the training
            processes), "hf" (transformers), or "external" (a server that somebody else started).
        processes: training processes over all machines.
        trainer_gpus, server_gpus: of this machine, as CUDA_VISIBLE_DEVICES names them; empty on a CPU.
        accelerate_config: a file for `accelerate launch`, None for one plain process.
        accumulation: gradient_accumulation_steps in use.
        flags: the script's flags beside its recipe, which keep the batch.
        notes: one line each, for people.
        gpu_gib: memory in GiB of the smallest GPU in use; None on a CPU or where it is not known.
    """

    backend: str
    processes: int
    trainer_gpus: tuple[str, ...]
    server_gpus: tuple[str, ...]
    accelerate_config: Path | None
    accumulation: int
    flags: tuple[str, ...]
    notes: tuple[str, ...]
    gpu_gib: float | None
    machines: Machines = ONE_MACHINE


def plan_launch(
    config: RunConfig, gpus: list[Gpu], *, exact: bool = False, machines: Machines = ONE_MACHINE
) -> LaunchPlan:
    """Plans a run.

    Args:
        gpus: the GPUs that may be used.
        exact: whether to use all of them, as `--gpus` was given, also where the recipe was written for fewer.

    Raises:
        RecipeError: where the recipe cannot run on them, with what to change.
    """
    kind = config.kind
    with config.blame():
        backend = _backend(config)
        if not gpus and not config.use_cpu and not (kind in ONLY_SAMPLE and backend == "external"):
            raise RecipeError(
                "no GPU is visible here, and the recipe does not say use_cpu: true; run it where there are GPUs, try "
                "a recipe whose name ends in -tiny, or give --gpus 8 to check it for 8 that are not here",
                key="use_cpu",
            )
        if kind in ONLY_SAMPLE and backend != "hf":
            return _ask_from_one_process(config, backend, gpus)
        trainers, servers = ([], []) if config.use_cpu else _share_out(config, backend, gpus, machines.part)
        server_gpus, gib = tuple(gpu.index for gpu in servers), _smallest([*trainers, *servers])
        if machines.part == "server":
            accumulation = config.gradient_accumulation_steps
            return LaunchPlan(backend, 0, (), server_gpus, None, accumulation, (), (), gib, machines)
        available = len(trainers)
        if config.use_cpu:  # several processes only where a file says how
            available = (config.num_processes if config.accelerate_config else None) or 1
        written_for = config.num_processes or available * machines.count
        most = available if exact or machines.count > 1 else min(available, written_for)
        changed = _keep_batch(config, backend, written_for, most, machines.count)
        processes, accumulation = changed["num_processes"], changed["gradient_accumulation_steps"]
        flags = [word for key, value in changed.items() for word in (f"--{key}", str(value))]
        here = processes // machines.count
        return LaunchPlan(
            backend,
            processes,
            trainer_gpus=tuple(gpu.index for gpu in trainers[:here]),
            server_gpus=server_gpus,
            accelerate_config=_config_file(config, processes),
            accumulation=accumulation,
            flags=() if processes == written_for else tuple(flags),
            notes=_notes(config, written_for, processes, accumulation, available - here, here < most),
            gpu_gib=gib,
            machines=machines,
        )


@dataclass(frozen=True)
class Sharding:
    """How processes share a model: DeepSpeed's ZeRO stage (0: none) or FSDP, and what is in the CPU's memory."""

    stage: int = 0
    fsdp: bool = False
    optimizer_on_cpu: bool = False
    weights_on_cpu: bool = False


def read_sharding(file: Path | None) -> Sharding:
    """Reads how processes share the model from an accelerate file; None: one plain process."""
    settings = load_yaml(file) if file else {}
    if settings.get("distributed_type") == "FSDP":
        on_cpu = (settings.get("fsdp_config") or {}).get("fsdp_offload_params", False)
        return Sharding(0, True, on_cpu, on_cpu)
    if settings.get("distributed_type") == "DEEPSPEED":
        zero = settings.get("deepspeed_config") or {}
        devices = [zero.get(f"offload_{part}_device", "none") for part in ("optimizer", "param")]
        return Sharding(zero.get("zero_stage", 2), False, *(device != "none" for device in devices))
    return Sharding()


def accelerate_file(name: str) -> Path:
    """The file that `accelerate_config` names: one of configs/, or a path; `RecipeError` where there is none."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else CONFIGS / f"{name}.yaml"
    if not path.is_file():
        there = sorted(file.stem for file in CONFIGS.glob("*.yaml"))
        raise RecipeError(
            f"there is no file {path}{did_you_mean(name, there)}; configs/ has {', '.join(there)}",
            key="accelerate_config",
        )
    return path


def on_cpu(kind: str) -> list[str]:
    """The flags that `--gpus 0` stands for, as far as a kind of run has the keys; none for a build."""
    known = keys_of_kind(kind) if kind != "build_model" else ()
    return [word for key, value in ON_CPU.items() if key in known for word in (f"--{key}", flag_text(key, value))]


def server_size(config: RunConfig) -> int:
    """GPUs that the recipe's vLLM server takes: tensor x data parallel size."""
    flags = config.vllm_serve_args or {}
    sizes = [flags.get(key, 1) for key in ("tensor_parallel_size", "data_parallel_size")]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise RecipeError("tensor_parallel_size and data_parallel_size are whole numbers", key="vllm_serve_args")
    return sizes[0] * sizes[1]


def _backend(config: RunConfig) -> str:
    if config.kind in ONLY_SAMPLE and config.server:
        return "external"
    if config.kind not in SAMPLING or not config.use_vllm:
        return "hf"
    if config.use_cpu:
        raise RecipeError(
            "vLLM gets new weights over NCCL or on the same GPU, so training with it needs a GPU; set use_vllm: false",
            key="use_vllm",
        )
    mode = config.vllm_mode
    return "external" if mode == "server" and config.vllm_server_base_url else mode


def _ask_from_one_process(config: RunConfig, backend: str, gpus: list[Gpu]) -> LaunchPlan:
    """Plans sampling with vLLM: an engine or a server on the GPUs that its sizes say, and one process that asks it."""
    wanted = {"server": server_size(config), "external": 0}.get(backend, config.vllm_tensor_parallel_size or 1)
    if len(gpus) < wanted:
        raise RecipeError(f"vLLM is to use {_gpus(wanted)}, and there is only {_gpus(len(gpus))}", key="vllm_mode")
    used = tuple(gpu.index for gpu in gpus[:wanted])
    ours, theirs = ((), used) if backend == "server" else (used, ())
    return LaunchPlan(backend, 1, ours, theirs, None, 1, (), (), _smallest(gpus[:wanted]))


def _smallest(gpus: list[Gpu]) -> float | None:
    """GiB of the smallest GPU; None where no size is known."""
    return min((gpu.total_gib for gpu in gpus if gpu.total_gib), default=None)


def _share_out(config: RunConfig, backend: str, gpus: list[Gpu], part: str) -> tuple[list[Gpu], list[Gpu]]:
    """(GPUs that train, GPUs of the server: the last ones)."""
    if part != "all" and backend != "server":
        raise RecipeError(f"is for vllm_mode: server, and this recipe generates with {backend}", key="--part")
    if backend != "server" or part == "trainer":
        return gpus, []
    wanted = server_size(config)
    least = wanted if part == "server" else wanted + 1
    if len(gpus) < least:
        raise RecipeError(
            f"server mode needs {_gpus(wanted)} for vLLM and at least one for training, and there is only "
            f"{_gpus(len(gpus))}; use --vllm_mode colocate, or start from recipes/countdown-1gpu.yaml",
            key="vllm_mode",
        )
    return ([], gpus[:wanted]) if part == "server" else (gpus[:-wanted], gpus[-wanted:])


def _keep_batch(config: RunConfig, backend: str, written_for: int, most: int, machines: int) -> dict[str, int]:
    """The keys that keep the batch on as many training processes as possible, at most `most` on each machine.

    An accumulation that was given on the command line stays, and the batch changes.

    Raises:
        RecipeError: where no number of processes fits; it says what is wrong with the largest.
    """
    told = config.recipe.origin.get("gradient_accumulation_steps") == COMMAND_LINE
    old, error = config.gradient_accumulation_steps, None
    for processes in range(most * machines, 0, -machines):
        new, rest = (old, 0) if told else divmod(old * written_for, processes)
        if rest or not new:
            continue
        changed = {"num_processes": processes, "gradient_accumulation_steps": new}
        if config.steps_per_generation:  # counts micro-batches of one process, too
            changed["steps_per_generation"], rest = divmod(config.steps_per_generation * new, old)
        if rest:
            continue
        try:
            _check_fit(config.with_values(**changed), backend, processes)
            return changed
        except RecipeError as problem:
            error = error or problem
        if told:
            break
    raise error or RecipeError("is too small to be shared out", key="gradient_accumulation_steps")


def _check_fit(config: RunConfig, backend: str, processes: int) -> None:
    if config.kind in GROUPED:
        plan_batch(config, processes)
    size = config.vllm_tensor_parallel_size or 1
    if backend == "colocate" and processes % size:
        raise RecipeError(
            f"{processes} processes are no multiple of vLLM's tensor parallel size {size}; use a divisor of "
            f"{processes}, such as 1",
            key="vllm_tensor_parallel_size",
        )


def _notes(
    config: RunConfig, written_for: int, processes: int, accumulation: int, idle: int, unfit: bool
) -> tuple[str, ...]:
    notes = []
    if processes != written_for:
        batch = config.per_device_train_batch_size * processes * accumulation
        kept = batch == config.per_device_train_batch_size * written_for * config.gradient_accumulation_steps
        notes.append(
            f"written for {written_for} training processes, running on {processes}: gradient_accumulation_steps is "
            f"{accumulation} and the batch {'stays' if kept else 'becomes'} {batch}"
        )
    if unfit:
        notes.append(
            f"{_gpus(idle)} left idle: on more than {processes} processes no accumulation keeps the batch; set "
            "--gradient_accumulation_steps to use them with another batch"
        )
    elif idle:
        notes.append(f"{_gpus(idle)} left free, as the recipe is written for {processes}; --gpus N takes more")
    return tuple(notes)


def _gpus(number: int) -> str:
    return f"{number} GPU" + "s" * (number != 1)


def _config_file(config: RunConfig, processes: int) -> Path | None:
    """The accelerate file; none for one plain process. DeepSpeed stays on one: its 32-bit weights change the result.

    An evaluation trains nothing, so each process has the whole model, whatever the file of the training says.
    """
    name = config.accelerate_config
    if name is None:
        return None if processes == 1 else CONFIGS / "ddp.yaml"
    path = accelerate_file(name)
    plain = load_yaml(path).get("distributed_type") == "MULTI_GPU"  # accelerate refuses it for one process
    if config.kind in ONLY_SAMPLE and not plain:
        path, plain = CONFIGS / ("cpu2.yaml" if config.use_cpu else "ddp.yaml"), True
    return None if processes == 1 and plain else path
