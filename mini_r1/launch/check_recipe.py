"""Checks what needs the recipe and the number of GPUs only: keys, hardware, batch, settings, rewards."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from mini_r1.config.algorithm import check_algorithm
from mini_r1.config.batch import BatchPlan, plan_batch
from mini_r1.config.kinds import dataclass_types
from mini_r1.config.recipe import Recipe, parse_command_line
from mini_r1.config.run_config import RunConfig, check, construct
from mini_r1.data import hub
from mini_r1.data.conversations import check_sources
from mini_r1.data.mixture import Part, check_parts, load_part_rewards, read_parts
from mini_r1.data.preferences import check_preferences
from mini_r1.errors import RecipeError
from mini_r1.evaluation.judge import read_judge
from mini_r1.evaluation.rejection_sampling import read_filters
from mini_r1.launch.check_model import maker_of
from mini_r1.launch.findings import Findings
from mini_r1.launch.hardware import Gpu, usable_gpus
from mini_r1.launch.plan import GROUPED, LaunchPlan, Machines, plan_launch, server_size


def check_keys(recipe: Recipe, kind: str, findings: Findings) -> RunConfig:
    """The run with right keys and values only; every other one is an error."""
    while True:
        try:
            config = check(kind, recipe)
            break
        except RecipeError as error:
            findings.error(error.problem, error.key, error.file)
            findings.broken.add(error.key)
            recipe = replace(recipe, values={key: recipe.values[key] for key in recipe.values if key != error.key})
    if not config.output_dir:
        findings.error("is missing; name a folder, such as runs/{recipe}-s{seed}", "output_dir")
        config = config.with_values(output_dir=f"runs/{recipe.name}")
    return config


class Planned(NamedTuple):
    """What runs where.

    Attributes:
        plan, batch: None where nothing can run; the batch also where there are no groups.
        config: the run with what the plan changes.
        gpus: those that were planned for.
    """

    plan: LaunchPlan | None
    batch: BatchPlan | None
    config: RunConfig
    gpus: list[Gpu]


def find_gpus(config: RunConfig, wanted: int | None, assume: bool, findings: Findings) -> list[Gpu]:
    """The GPUs to plan for: those that are here, or made up ones where `assume` allows it, or after an error."""
    if config.use_cpu:
        return []
    gib = config.gpu_gib
    try:
        gpus = usable_gpus(wanted, gib, assume)
    except RecipeError as error:
        findings.error(error.problem, error.key, error.file)
        return usable_gpus(max(wanted, 1), gib, True)
    if are_assumed(gpus):
        size = f"{gib:g} GiB each" if gib else "unknown size (set gpu_gib)"
        findings.note(f"{len(gpus)} GPUs of {size} are assumed, they are not here")
    return gpus


def are_assumed(gpus: list[Gpu]) -> bool:
    return any(gpu.name == "assumed" for gpu in gpus)


def as_written(config: RunConfig, processes: int | None = None) -> list[Gpu]:
    """Made up GPUs: those that the recipe was written for, or needs for so many training processes.

    Raises:
        RecipeError: where it does not say how many the server takes.
    """
    count = processes or config.num_processes or 1
    if config.use_cpu:
        return []
    if config.use_vllm and config.vllm_mode == "server" and not config.vllm_server_base_url:
        count += server_size(config)
    return [Gpu(str(index), "assumed", config.gpu_gib, None) for index in range(count)]


def plan_run(config: RunConfig, gpus: list[Gpu], exact: bool, machines: Machines, findings: Findings) -> Planned:
    """Plan the launch; after an error there is no plan, and what needs one is not checked."""
    try:
        plan = plan_launch(config, gpus, exact=exact, machines=machines)
        for note in plan.notes:
            findings.note(note)
        config = config.with_values(**parse_command_line(["--config", config.recipe.path, *plan.flags])[1])
        batch = plan_batch(config, plan.processes) if config.kind in GROUPED and plan.processes else None
        return Planned(plan, batch, config, gpus)
    except RecipeError as error:
        findings.error(error.problem, error.key, error.file)
        return Planned(None, None, config, gpus)


def count_steps(batch: BatchPlan, rows: int | None) -> tuple[int | None, int | None]:
    """(optimizer steps, rollouts) of the run; None where they depend on a number of rows that is not known.

    Too few rows for a rollout count as unknown: `describe` has reported them.
    """
    if batch.max_steps <= 0 and (rows or 0) < batch.prompts_per_generation:
        return None, None
    steps = batch.total_steps(rows)
    return steps, min(steps, batch.total_rollouts(rows))


def check_settings(config: RunConfig, processes: int) -> None:
    """Build TRL's own settings, as one of so many processes would, and let them object.

    Args:
        config: with whole groups: about those, our own messages say more.

    Raises:
        RecipeError: where a dataclass refuses a combination of values.
    """
    # never pickled: so that neither a GPU nor a process group is touched
    elsewhere = {"device": SimpleNamespace(type="cpu"), "world_size": processes, "n_gpu": 1}
    values = config.recipe.values | {"use_cpu": True, "tf32": None}
    for each in dataclass_types(config.kind)[1:]:
        construct(type(each.__name__, (each,), elsewhere) if hasattr(each, "world_size") else each, values, config)


def read_asked(config: RunConfig, look_only: bool, findings: Findings) -> tuple[list[Part] | None, list | None]:
    """(parts, rewards) of the run: its tasks, and None for what is wrong and has been reported.

    Args:
        look_only: nothing will be started, so a reward model that another recipe of this folder makes is no error.
    """
    args, kind = config.args, config.kind
    if kind == "reward":  # no policy: nobody is asked
        with findings.part():
            check_preferences(args)
        hub.offline_if_unreachable(config, [args])
        return None, []
    parts, rewards = _find_parts(config, findings), None
    hub.offline_if_unreachable(config, [part.args for part in parts or []])  # before transformers is imported
    if kind not in GROUPED:
        with findings.part():
            if kind != "build_model" and parts:
                check_parts(parts, [])  # a cold start is measured, too
        with findings.part():
            if config.sft_datasets is not None:
                check_sources(config.sft_datasets)
        return parts, []
    with findings.part():
        check_algorithm(config)
    with findings.part():
        read_filters(config.filters)
    with findings.part():
        read_judge(config.judge)
    if args.guards:
        from mini_r1.training.guards import read_guards  # imports transformers

        with findings.part():
            read_guards(args.guards)
    if parts is None:
        return None, None
    with findings.part():
        # an evaluation takes no notice of reward_funcs
        rewards = load_part_rewards(parts, as_asked=kind == "r1_grpo")
        weights = config.reward_weights
        if weights is not None and len(weights) != len(rewards):
            raise RecipeError(
                f"{len(weights)} weights for {len(rewards)} rewards; give one for each of reward_funcs, or null",
                key="reward_weights",
            )
    with findings.part():
        check_parts(parts, _there_by_now(rewards or [], look_only, findings))
        return parts, rewards
    return parts, None


def _there_by_now(rewards: list, look_only: bool, findings: Findings) -> list:
    """The rewards without those whose model is not there yet, as an earlier recipe makes it; these are warned of."""
    found = []
    for reward in rewards:
        name = getattr(reward, "judge", None)
        maker = maker_of(findings.recipe, name) if look_only else None
        if maker and not Path(name).exists():
            key = "tasks" if findings.recipe.values.get("tasks") else "reward_funcs"
            findings.warning(f"{reward.__name__}: {name} is not there yet; {maker[0]} makes it", key)
        else:
            found.append(reward)
    return found


def _find_parts(config: RunConfig, findings: Findings) -> list[Part] | None:
    """The tasks of the recipe. Where its template does not exist, all else is right for itself: it has none then."""
    if "tasks" in findings.broken:  # what is left names no task
        return None
    with findings.part():
        return read_parts(config.args)
    with findings.part():
        named = config.with_values(prompt_template="mini_r1")
        return [replace(part, template=None) for part in read_parts(named.args)]
    return None
