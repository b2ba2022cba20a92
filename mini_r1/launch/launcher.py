"""One command for any machine: check a recipe, plan it for the GPUs at hand, start what it needs, end it together."""

import os
import shlex
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path

from mini_r1.config.kinds import KINDS, ONLY_SAMPLE, SCRIPTS, dataclass_types
from mini_r1.config.recipe import Recipe, parse_command_line, resolve
from mini_r1.launch.memory import COMPLETION
from mini_r1.launch.plan import ON_CPU, ONE_MACHINE, LaunchPlan, Machines
from mini_r1.launch.supervisor import Process, supervise
from mini_r1.launch.vllm_server import (
    HEALTH,
    LOOPBACK,
    free_ports,
    server_environment,
    server_words,
    trainer_environment,
)
from mini_r1.run import run_dir

READY_SECONDS = 1800.0  # for a server to load and compile a large model from a slow disk; TRL's own default is 240


@dataclass(frozen=True)
class Options:
    """What `scripts/launch.py` knows beside a recipe's keys.

    Attributes:
        kind: which script runs the recipe, a key of `stages.KINDS`.
        gpus: use so many; 0: a CPU instead; None: as many as the recipe was written for, or are there.
        dry_run: print the plan and the commands, and start nothing.
    """

    kind: str = "r1_grpo"
    gpus: int | None = None
    dry_run: bool = False
    machines: Machines = ONE_MACHINE


def launch(words: list[str], options: Options) -> int:
    """Check, plan and run a recipe; returns the exit status: 2 for a recipe that cannot run, else the trainer's.

    Args:
        words: `--config FILE --key value ...`, as the script gets them.
    """
    words = [*words, *cpu_flags(options)]
    if options.kind == "build_model":  # seconds, on a CPU: nothing to plan
        command = [sys.executable, str(SCRIPTS / KINDS[options.kind]), *words]
        values = resolve(*parse_command_line(words), options.kind).values
        folder = Path(values.get("output_dir", "runs"))
        if values.get("overwrite_output_dir") and not options.dry_run:
            command += _moved_aside(folder)
        return _show([]) if options.dry_run else supervise([Process("trainer", command)], folder / "logs")

    from mini_r1.launch.check import preflight, report

    found = preflight(words, options.kind, gpus=options.gpus, machines=options.machines, assume_gpus=options.dry_run)
    report(found, "plan" if options.dry_run else "problems")
    if found.failed:
        return 2
    recipe, plan = found.recipe, found.plan
    folder = Path(recipe.values["output_dir"])
    if options.dry_run:
        return _show(processes(recipe, plan, words, found.longest_prompt))
    if recipe.values.get("overwrite_output_dir"):
        words = [*words, *_moved_aside(folder)]
    elif (folder / "summary.json").exists():
        if plan.kind in ONLY_SAMPLE:
            run_dir.refuse_other_model(folder, recipe, recipe.values.get("model_name_or_path", ""))
        print(f"{folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
        return 0
    return supervise(processes(recipe, plan, words, found.longest_prompt), folder / "logs")


def processes(recipe: Recipe, plan: LaunchPlan, words: list[str], longest_prompt: int) -> list[Process]:
    """What is started on this machine: the vLLM server, where the plan has one, then the trainer.

    Args:
        longest_prompt: in tokens; the server's context is this and `max_completion_length`.
    """
    values, machines = recipe.values, plan.machines
    main_port, server_port, group_port = free_ports(3)
    host = values.get("vllm_server_host") or LOOPBACK
    server_port = values.get("vllm_server_port") or server_port
    group_port = values.get("vllm_group_port") or group_port
    started = []
    if plan.server_gpus:
        length = longest_prompt + values.get("max_completion_length", COMPLETION[plan.kind])
        server = server_words(values, host, server_port, length)
        environment = server_environment(values, plan.server_gpus)
        url = f"http://{host}:{server_port}{HEALTH}"
        started.append(Process("server", server, environment, url, READY_SECONDS))
    if machines.part != "server":
        flags = list(plan.flags)
        if plan.backend == "server":
            ports = {"vllm_server_host": host, "vllm_server_port": server_port, "vllm_group_port": group_port}
            flags += [word for key, value in ports.items() for word in (f"--{key}", str(value))]
        command = [*_launcher(plan, main_port), str(SCRIPTS / KINDS[plan.kind]), *words, *flags]
        started.append(Process("trainer", command, trainer_environment(values, plan.trainer_gpus, plan.backend)))
    # so that programs of this environment, such as the ninja that DeepSpeed and vLLM compile with, are found
    path = os.pathsep.join(filter(None, [str(Path(sys.executable).parent), os.environ.get("PATH")]))
    return [replace(process, env={"PATH": path, **process.env}) for process in started]


def _moved_aside(folder: Path) -> list[str]:
    """Put an old run out of the way; returns what the script is told then: logs will be in the new folder already."""
    if folder.exists():
        print(f"{folder} is moved to {run_dir.set_aside(folder)}, as overwrite_output_dir says", flush=True)
    return ["--overwrite_output_dir", "false"]


def cpu_flags(options: Options) -> list[str]:
    """The flags that `--gpus 0` stands for, as far as the script knows them."""
    if options.gpus != 0 or options.kind == "build_model":
        return []
    known = {field.name for kind in dataclass_types(options.kind) for field in fields(kind)}
    given = {key: "null" if value is None else str(value).lower() for key, value in ON_CPU.items() if key in known}
    return [word for key, value in given.items() for word in (f"--{key}", value)]


def _launcher(plan: LaunchPlan, port: int) -> list[str]:
    """What stands before the script: `accelerate launch` and its words, or Python for one plain process."""
    if plan.accelerate_config is None:
        return [sys.executable]
    machines = plan.machines
    options = {
        "config_file": plan.accelerate_config,
        "num_processes": plan.processes,
        "num_machines": machines.count,
        "machine_rank": machines.rank,
        "main_process_ip": machines.main_ip,
        "main_process_port": machines.main_port or port,
    }
    # the one beside this Python, also where its folder is not on PATH
    words = [str(Path(sys.executable).with_name("accelerate")), "launch"]
    return words + [word for key, value in options.items() if value is not None for word in (f"--{key}", str(value))]


def _show(started: list[Process]) -> int:
    """Print the commands as they could be pasted into a shell."""
    for process in started:
        environment = [f"{name}={shlex.quote(value)}" for name, value in process.env.items() if name != "PATH"]
        print(f"\n{process.name}:\n  {' '.join([*environment, shlex.join(process.words)])}")
    return 0
