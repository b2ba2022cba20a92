"""Checks whether a recipe would run here: all errors at once, before a model is loaded.

    check = preflight(["--config", "recipes/countdown.yaml"], gpus=8, assume_gpus=True)
    report(check, "all")

`PARTS` lists the parts of a check in order. A part gets the one `Check`, reports what is wrong, and sets what it
learns. `preflight` leaves out a part that needs what no earlier part could learn.
"""

import sys

import yaml

from mini_r1.config.recipe import parse_command_line, resolve
from mini_r1.config.run_config import run_config
from mini_r1.launch import check_data, check_machine, check_model, check_recipe, memory
from mini_r1.launch.findings import Check
from mini_r1.launch.plan import ONE_MACHINE, Machines, on_cpu

# Each part, and the attributes of a `Check` that it needs.
PARTS = {
    check_recipe.check_keys: (),
    check_recipe.check_tasks: (),
    check_machine.check_accounts: (),
    check_recipe.check_gpus: (),
    check_recipe.check_plan: ("gpus",),
    check_recipe.check_settings: ("trainer",),
    check_data.check_rows: ("parts",),
    check_model.check_tokenizer: (),
    check_model.check_teacher_model: (),
    check_model.check_shape: ("first_model",),
    check_data.check_own_data: ("tokenizer",),
    check_data.check_prompts: ("parts",),
    check_data.check_batch: ("batch",),
    check_model.check_context: ("longest_prompt",),
    check_model.check_vllm: ("plan",),
    check_machine.check_packages: ("plan",),
    check_machine.check_compiler_locks: ("plan",),
    check_machine.check_bfloat16: ("plan",),
    check_machine.check_ports: ("plan",),
    check_model.check_precision: ("trainer",),
    memory.check_memory: ("trainer",),
    check_machine.check_disk: ("trainer", "shape"),
    check_machine.check_run_folder: ("trainer",),
}
# The parts for a run that builds a model: it takes seconds, on a CPU.
TO_BUILD = (check_recipe.check_keys, check_recipe.check_tasks)
# The topics of the findings "ok" that are printed; all others always are. The trainer prints its data and batch itself.
DETAILS: dict[str, tuple[str, ...] | None] = {
    "problems": ("memory",),
    "plan": ("batch", "data", "prompts", "memory"),
    "all": None,
}


def preflight(
    argv: list[str],
    kind: str = "r1_grpo",
    *,
    gpus: int | None = None,
    machines: Machines = ONE_MACHINE,
    assume_gpus: bool = False,
    processes: int | None = None,
) -> Check:
    """Checks a recipe for a launch.

    Args:
        argv: `--config FILE --key value ...`.
        kind: which script runs it, a key of `kinds.KINDS`.
        gpus: how many to use; 0: a CPU instead; None: as many as the recipe was written for, or are there.
        assume_gpus: nothing will be started. Missing GPUs are assumed, and what only a machine that trains needs
            (packages for GPUs, a reachable hub, the model of an earlier stage) gives a warning where it is missing.
        processes: how many training processes somebody started by hand; None: the check plans them.
    """
    check = Check(gpus, machines, assume_gpus, processes)
    with check.part():
        check.flags = on_cpu(kind) if gpus == 0 else []
        check.config = run_config(kind, resolve(*parse_command_line([*argv, *check.flags]), kind))
    if check.config is None:
        return check
    for part in TO_BUILD if kind == "build_model" else PARTS:
        if all(getattr(check, need) is not None for need in PARTS[part]):
            with check.part():
                part(check)
    return check


def report(check: Check, details: str) -> None:
    """Prints the findings, one line each, errors first and on stderr.

    Args:
        details: a key of `DETAILS`; with "all", where there is no error, one prompt with its rewards and the resolved
            recipe follow.
    """
    for finding in check.findings:
        where = sys.stderr if finding.level == "error" else sys.stdout
        topics = DETAILS[details]
        if finding.level != "ok" or topics is None or finding.topic in topics:
            print(f"{finding.level}: {finding.text}", file=where, flush=True)
    if details == "all" and not check.failed:
        if check.example:
            print(f"\n--- one prompt{check.example}")
        resolved = yaml.safe_dump(check.config.recipe.values, sort_keys=False, width=110)
        print(f"\n--- {check.config.recipe.path}, resolved\n{resolved}")
