"""Launches a run on any machine: checks and plans the recipe, starts what it needs, ends it together."""

import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from mini_r1.config.kinds import KINDS, ONLY_SAMPLE, SCRIPTS
from mini_r1.config.run_config import RunConfig
from mini_r1.data.hub import adapter_base
from mini_r1.launch import vllm_server
from mini_r1.launch.check import preflight, report
from mini_r1.launch.plan import ONE_MACHINE, LaunchPlan, Machines
from mini_r1.launch.supervisor import Process, supervise
from mini_r1.run import run_dir
from mini_r1.run.model_loading import whole_model

READY_SECONDS = 1800.0  # for a server to load and compile a large model from a slow disk; TRL's own default is 240
BUILD = LaunchPlan("hf", 1, (), (), None, 1, (), (), None)  # build_model takes seconds on a CPU


def launch(
    argv: list[str], kind: str, *, gpus: int | None = None, dry_run: bool = False, machines: Machines = ONE_MACHINE
) -> int:
    """Checks, plans and runs a recipe; returns the exit status: 2 for a recipe that cannot run, else the trainer's.

    Args:
        argv: `--config FILE --key value ...`, as the script gets them.
        kind: which script runs the recipe, a key of `kinds.KINDS`.
        gpus: how many to use; 0: a CPU instead; None: as many as the recipe was written for, or are there.
        dry_run: print the plan and the commands, and start nothing.
    """
    check = preflight(argv, kind, gpus=gpus, machines=machines, assume_gpus=dry_run)
    report(check, "plan" if dry_run else "problems")
    if check.failed:
        return 2
    config, plan = check.config, check.plan or BUILD
    folder = Path(config.output_dir)
    if dry_run:
        return _show(processes(config, plan, argv, check.longest_prompt))
    if config.overwrite_output_dir:
        if folder.exists():
            print(f"{folder} is moved to {run_dir.set_aside(folder)}, as overwrite_output_dir says", flush=True)
        argv = [*argv, "--overwrite_output_dir", "false"]  # logs will be in the new folder already
    elif kind != "build_model" and (folder / "summary.json").exists():
        if kind in ONLY_SAMPLE:
            run_dir.refuse_other_model(folder, config.recipe, config.model_name_or_path or "")
        print(f"{folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
        return 0
    if plan.server_gpus and adapter_base(config.model_name_or_path):
        whole_model(config.model_name_or_path)  # the server serves it
    return supervise(processes(config, plan, argv, check.longest_prompt), folder / "logs")


def processes(config: RunConfig, plan: LaunchPlan, argv: list[str], longest_prompt: int) -> list[Process]:
    """The processes to start on this machine: the vLLM server, where the plan has one, then the trainer.

    Args:
        longest_prompt: in tokens; the server's context is as long as this and `max_completion_length` together.
    """
    machines = plan.machines
    main_port, server_port, group_port = vllm_server.free_ports(3)
    host = config.given("vllm_server_host") or vllm_server.LOOPBACK
    server_port = config.given("vllm_server_port") or server_port
    group_port = config.given("vllm_group_port") or group_port
    started = []
    if plan.server_gpus:
        length = longest_prompt + config.max_completion_length
        server = vllm_server.server_argv(config, host, server_port, length)
        environment = vllm_server.server_environment(config, plan.server_gpus)
        url = f"http://{host}:{server_port}{vllm_server.HEALTH}"
        started.append(Process("server", server, environment, url, READY_SECONDS))
    if machines.part != "server":
        flags = list(plan.flags)
        if plan.backend == "server":
            ports = {"vllm_server_host": host, "vllm_server_port": server_port, "vllm_group_port": group_port}
            flags += [word for key, value in ports.items() for word in (f"--{key}", str(value))]
        command = [*_launcher(plan, main_port), str(SCRIPTS / KINDS[config.kind]), *argv, *flags]
        environment = vllm_server.trainer_environment(config, plan.trainer_gpus, plan.backend)
        started.append(Process("trainer", command, environment))
    # DeepSpeed and vLLM look for programs of this environment, such as ninja
    path = os.pathsep.join(filter(None, [str(Path(sys.executable).parent), os.environ.get("PATH")]))
    return [replace(process, env={"PATH": path, **process.env}) for process in started]


def _launcher(plan: LaunchPlan, port: int) -> list[str]:
    """The command before the script: `accelerate launch` and its flags, or Python for one plain process."""
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
    # beside this Python, as its folder may not be on PATH
    argv = [str(Path(sys.executable).with_name("accelerate")), "launch"]
    return argv + [word for key, value in options.items() if value is not None for word in (f"--{key}", str(value))]


def _show(started: list[Process]) -> int:
    """Prints the commands as a shell takes them."""
    for process in started:
        environment = [f"{name}={shlex.quote(value)}" for name, value in process.env.items() if name != "PATH"]
        print(f"\n{process.name}:\n  {' '.join([*environment, shlex.join(process.argv)])}")
    return 0
