"""Checks whether a recipe would run here: everything that can be said before a model is loaded, all errors at once.

    found = preflight(["--config", "recipes/countdown.yaml"], gpus=8, assume_gpus=True)
    report(found, "all")

Each part stands alone: it reports once what is missing, and the parts that do not need that go on.
"""

import sys
from dataclasses import dataclass, replace

import yaml

from mini_r1.config.batch import BatchPlan
from mini_r1.config.kinds import ONLY_SAMPLE
from mini_r1.config.recipe import parse_command_line, resolve
from mini_r1.config.run_config import RunConfig
from mini_r1.config.yaml_file import load_yaml
from mini_r1.data.mixture import Part, shares, weights
from mini_r1.data.problems import check_types
from mini_r1.errors import RecipeError
from mini_r1.launch.check_data import (
    Prompts,
    example,
    example_row,
    find_rows,
    measure_prompts,
    stand_in_tokenizer,
    together,
)
from mini_r1.launch.check_machine import (
    check_accounts,
    check_compiler_locks,
    check_disk,
    check_gpus,
    check_packages,
    check_ports,
    check_run_folder,
)
from mini_r1.launch.check_model import (
    check_context,
    check_precision,
    check_vllm,
    find_model,
    find_teacher,
    first_model,
    look_up_shape,
)
from mini_r1.launch.check_recipe import (
    are_assumed,
    as_written,
    check_keys,
    check_settings,
    count_steps,
    find_gpus,
    plan_run,
    read_asked,
)
from mini_r1.launch.findings import Finding, Findings
from mini_r1.launch.hardware import Gpu
from mini_r1.launch.memory import check_memory
from mini_r1.launch.model_shapes import ModelShape
from mini_r1.launch.plan import ONE_MACHINE, LaunchPlan, Machines, accelerate_file, on_cpu, read_sharding

# What is said of all that is right, beside everything that is not: the trainer says its data and batch itself.
DETAILS = {"problems": ("memory:",), "plan": ("batch", "data", "prompts", "memory:"), "all": ("",)}


@dataclass
class Preflight:
    """What a check found.

    Attributes:
        findings: errors first, then warnings, notes, and what is right.
        config: the run with what the plan changes; None where the recipe cannot be read.
        plan: what would run where; None where nothing can.
        batch: of a run that samples groups.
        longest_prompt: in tokens; where none could be counted, `max_prompt_tokens`, as longer ones are dropped.
        example: one prompt and what its rewards give, as text; empty where there is none.
    """

    findings: list[Finding]
    config: RunConfig | None = None
    plan: LaunchPlan | None = None
    batch: BatchPlan | None = None
    longest_prompt: int | None = None
    example: str = ""

    @property
    def failed(self) -> bool:
        """Whether there is an error: the run would not work."""
        return any(finding.level == "error" for finding in self.findings)


def preflight(
    argv: list[str],
    kind: str = "r1_grpo",
    *,
    gpus: int | None = None,
    machines: Machines = ONE_MACHINE,
    assume_gpus: bool = False,
    processes: int | None = None,
) -> Preflight:
    """Check a recipe for a launch.

    Args:
        argv: `--config FILE --key value ...`.
        kind: which script runs it, a key of `kinds.KINDS`.
        gpus: use so many, 0: a CPU instead; None: as many as the recipe was written for, or are there.
        assume_gpus: nothing will be started: GPUs that are not here are made up, and what only a machine that trains
            needs (packages for GPUs, a reachable hub, the model of an earlier stage) is a warning where it is missing.
        processes: the run is started by hand on so many training processes; nothing is to be planned.
    """
    try:
        flags = on_cpu(kind) if gpus == 0 else []
        recipe = resolve(*parse_command_line([*argv, *flags]), kind)
    except RecipeError as error:
        return Preflight([Finding("error", str(error))])
    findings = Findings(recipe)
    config = check_keys(recipe, kind, findings)
    parts, rewards = read_asked(config, assume_gpus, findings)
    if kind == "build_model":
        return Preflight(findings.sorted(), config)

    with findings.part():
        if config.accelerate_config:
            accelerate_file(config.accelerate_config)
    check_accounts(config, findings)
    gpu_list = []
    if processes:
        written_for = config.num_processes or processes
        if processes != written_for:
            findings.note(f"the batch was written for {written_for}, and there are {processes}", "num_processes")
        config = config.with_values(num_processes=processes)
        with findings.part():
            gpu_list = as_written(config, processes)
    else:
        gpu_list = find_gpus(config, gpus, assume_gpus, findings)
    planned = plan_run(config, gpu_list, gpus is not None, machines, findings)
    plan, config = planned.plan and replace(planned.plan, flags=(*flags, *planned.plan.flags)), planned.config
    if plan and plan.processes:
        with findings.part():
            check_settings(config, plan.processes)
    found = Preflight([], config, plan, planned.batch)
    if kind == "reward":  # no problems to look at
        tokenizer, _ = find_model(config, assume_gpus, findings)
        prompts, shape = Prompts(), look_up_shape(config, tokenizer is not None, first_model(config), findings)
    else:
        prompts, shape = _look_at_data(found, parts or [], rewards, assume_gpus, findings)
        check_context(config, kind, found.longest_prompt, shape, findings)
    if plan:
        _look_at_machine(found, prompts, shape, planned.gpus, processes is not None, findings)
    found.findings = findings.sorted()
    return found


def report(found: Preflight, details: str) -> None:
    """Print what was found, one line each, errors first and on stderr.

    Args:
        details: a key of `DETAILS`; with "all", where there is no error, one prompt with its rewards and the resolved
            recipe follow.
    """
    for finding in found.findings:
        where = sys.stderr if finding.level == "error" else sys.stdout
        if finding.level != "ok" or finding.text.startswith(DETAILS[details]):
            print(f"{finding.level}: {finding.text}", file=where, flush=True)
    if details == "all" and not found.failed:
        if found.example:
            print(f"\n--- one prompt{found.example}")
        resolved = yaml.safe_dump(found.config.recipe.values, sort_keys=False, width=110)
        print(f"\n--- {found.config.recipe.path}, resolved\n{resolved}")


def _look_at_data(
    found: Preflight, parts: list[Part], rewards: list | None, look_only: bool, findings: Findings
) -> tuple[Prompts, ModelShape | None]:
    """Problems, tokenizer and sizes of the model; fills in the longest prompt and the example, one of each task."""
    config, kind = found.config, found.config.kind
    rows = [find_rows(part.args, part.task, look_only, findings.of(part)) for part in parts]
    tokenizer, maker = find_model(config, look_only, findings)
    if kind == "distill":
        find_teacher(config, tokenizer, look_only, findings)
    first = first_model(config)
    shape = look_up_shape(config, tokenizer is not None, first, findings)
    counted, note = tokenizer is not None, ""
    if not counted:
        tokenizer = stand_in_tokenizer(first or "", maker is not None and first is None)
        note = " (rendered with a chat template of this family, tokens uncounted)"
    measured, examples = [], []
    for part, own in zip(parts, rows, strict=True):
        its, prompts = findings.of(part), Prompts()
        if kind == "evaluate" and own and not own.test and any(each and each.test for each in rows):
            continue  # only the others are measured
        with its.part():
            if own and part.template and counted:
                prompts = measure_prompts(own, part.args, kind, part.task, part.template, tokenizer, its)
        with its.part():
            if part.template and tokenizer and rewards is not None:
                examples.append(f"{note}\n{example(example_row(own, part.task), part, tokenizer, rewards)}")
        if own and not prompts.train:
            prompts = replace(prompts, train=len(own.train))
        measured.append(prompts)
    with findings.part():
        if len(rows) > 1 and all(rows):
            check_types([(part.name, own.train + own.test) for part, own in zip(parts, rows, strict=True)])
    found.example, prompts = "\n\n--- one prompt".join(examples), together(measured)
    with findings.part():
        if kind == "r1_grpo" and found.batch and prompts.train and (given := weights(parts)):
            shares(given, found.batch.total_rollouts(prompts.train) * found.batch.prompts_per_generation)
    if found.batch and kind == "r1_grpo":
        with findings.part():
            for line in found.batch.describe(prompts.train).splitlines():
                findings.ok(f"batch: {line}")
    limits = [part.args.max_prompt_tokens for part in parts] or [config.max_prompt_tokens]
    found.longest_prompt = prompts.longest or max(limits)
    return prompts, shape


def _look_at_machine(
    found: Preflight,
    prompts: Prompts,
    shape: ModelShape | None,
    gpus: list[Gpu],
    by_hand: bool,
    findings: Findings,
) -> None:
    """Checks how the processes share the model, packages, ports, memory, disk and the run directory.

    Where only the server of a run runs on this machine, `plan` has no processes, and training is not looked at.
    """
    plan, file, here = found.plan, found.plan.accelerate_config, not are_assumed(gpus)
    accelerate = {}
    config = found.config.with_values(accelerate_config=str(file) if file else None)
    with findings.part():
        accelerate = load_yaml(file) if file else {}
    sharding = read_sharding(accelerate)
    steps, syncs = count_steps(found.batch, prompts.train) if found.batch else (None, None)
    with findings.part():
        check_vllm(config, plan, found.longest_prompt, findings)
    asked_only = plan.kind in ONLY_SAMPLE and plan.backend == "external"
    check_packages(config, plan.backend != "hf" and not asked_only, sharding.stage > 0, here, findings)
    if sharding.stage > 0:
        check_compiler_locks(findings)
    if not by_hand:
        check_gpus(config, gpus, findings)
        with findings.part():
            check_ports(found.config, plan, accelerate, findings)
    if not plan.processes:
        return
    if plan.kind not in ONLY_SAMPLE:
        check_precision(config, plan, sharding, syncs, findings)
    with findings.part():
        if plan.kind == "reward":
            if not config.use_cpu:
                findings.note("the memory that a reward model takes in training is not estimated")
        elif shape:
            check_memory(config, plan, shape, found.longest_prompt, gpus, findings)
    with findings.part():
        if shape and plan.kind not in ONLY_SAMPLE:
            check_disk(config, shape, sharding, steps, here, findings)
    with findings.part():
        check_run_folder(found.config, plan, findings)
