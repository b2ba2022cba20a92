"""The part of a check that needs the recipe and the number of GPUs only: keys, hardware, batch, settings, rewards."""

from dataclasses import MISSING, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from mini_r1.config.algorithm import check_algorithm
from mini_r1.config.batch import BatchPlan, plan_batch
from mini_r1.config.recipe import Recipe, build, check, parse_command_line
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

# After an error, what to go on with to find others: key at fault -> values that are right for themselves.
_WHOLE_GROUPS = {
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "num_generations": 2,
    "steps_per_generation": None,
    "generation_batch_size": None,
    "num_iterations": 1,
}
_MENDED = {
    **dict.fromkeys(_WHOLE_GROUPS, _WHOLE_GROUPS),
    "per_device_eval_batch_size": {"per_device_eval_batch_size": 8, "num_generations_eval": 1},
    "save_steps": {"save_strategy": "no"},
    "accelerate_config": {"accelerate_config": None},
    "vllm_mode": {"vllm_mode": "colocate"},
    "use_vllm": {"use_vllm": False},
    "vllm_tensor_parallel_size": {"vllm_tensor_parallel_size": 1},
    "vllm_serve_args": {"vllm_serve_args": None},
    "use_cpu": {},  # no GPU: those of the recipe are assumed
}


def check_keys(recipe: Recipe, types: tuple[type, ...], findings: Findings) -> Recipe:
    """The recipe with right keys and values only; every other one is an error."""
    while True:
        try:
            recipe = check(recipe, types)
            break
        except RecipeError as error:
            findings.error(error.problem, error.key, error.file)
            findings.broken.add(error.key)
            recipe = replace(recipe, values={key: recipe.values[key] for key in recipe.values if key != error.key})
    if not recipe.values.get("output_dir"):
        findings.error("is missing; name a folder, such as runs/{recipe}-s{seed}", "output_dir")
        recipe = replace(recipe, values=recipe.values | {"output_dir": f"runs/{recipe.name}"})
    return recipe


def with_defaults(recipe: Recipe, types: tuple[type, ...]) -> dict[str, Any]:
    """Every key with its value: the recipe's, or else the default of the dataclass that declares it."""
    declared = [field for each in types for field in fields(each)]
    return {field.name: field.default for field in declared if field.default is not MISSING} | {
        field.name: field.default_factory() for field in declared if field.default_factory is not MISSING
    } | recipe.values  # fmt: skip


class Planned(NamedTuple):
    """What runs where.

    Attributes:
        plan, batch: None where nothing can run; the batch also where there are no groups.
        recipe: one that can be launched so, also where the one given cannot.
        changed: values that the script is told beside its recipe.
        gpus: those that were planned for.
    """

    plan: LaunchPlan | None
    batch: BatchPlan | None
    recipe: Recipe
    changed: dict[str, Any]
    gpus: list[Gpu]


def find_gpus(values: dict, wanted: int | None, assume: bool, findings: Findings) -> list[Gpu]:
    """The GPUs to plan for: those that are here, or made up ones where `assume` allows it, or after an error."""
    if values.get("use_cpu"):
        return []
    gib = values.get("gpu_gib")
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


def as_written(values: dict, processes: int | None = None) -> list[Gpu]:
    """Made up GPUs: those that the recipe was written for, or needs for so many training processes.

    Raises:
        RecipeError: where it does not say how many the server takes.
    """
    count = processes or values.get("num_processes") or 1
    if values.get("use_cpu"):
        return []
    if values.get("use_vllm") and values.get("vllm_mode") == "server" and not values.get("vllm_server_base_url"):
        count += server_size(values)
    return [Gpu(str(index), "assumed", values.get("gpu_gib"), None) for index in range(count)]


def plan_run(
    recipe: Recipe, kind: str, gpus: list[Gpu], exact: bool, machines: Machines, findings: Findings
) -> Planned:
    """Plan the launch. After an error it goes on with what is right for itself, so that others are found."""
    tried = set()
    while True:
        try:
            plan = plan_launch(recipe, kind, gpus, exact=exact, machines=machines)
            break
        except RecipeError as error:
            findings.error(error.problem, error.key, error.file)
            if error.key in tried or error.key not in _MENDED:
                return Planned(None, None, recipe, {}, gpus)
            tried.add(error.key)
            recipe = replace(recipe, values=recipe.values | _MENDED[error.key])
            with findings.part():
                gpus = gpus or as_written(recipe.values)
    for note in plan.notes:
        findings.note(note)
    changed = parse_command_line(["--config", recipe.path, *plan.flags])[1]
    recipe = replace(recipe, values=recipe.values | changed)
    batch = plan_batch(recipe.values, plan.processes) if kind in GROUPED and plan.processes else None
    return Planned(plan, batch, recipe, changed, gpus)


def count_steps(batch: BatchPlan, rows: int | None) -> tuple[int | None, int | None]:
    """(optimizer steps, rollouts) of the run; None where they depend on a number of rows that is not known.

    Too few rows for a rollout count as unknown: `describe` has reported them.
    """
    if batch.max_steps <= 0 and (rows or 0) < batch.prompts_per_generation:
        return None, None
    steps = batch.total_steps(rows)
    return steps, min(steps, batch.total_rollouts(rows))


def check_settings(recipe: Recipe, types: tuple[type, ...], processes: int) -> None:
    """Build TRL's own settings, as one of so many processes would, and let them object.

    Args:
        recipe: with whole groups: about those, our own messages say more.

    Raises:
        RecipeError: where a dataclass refuses a combination of values.
    """
    elsewhere = {"device": SimpleNamespace(type="cpu"), "world_size": processes, "n_gpu": 1}
    types = tuple(
        type(each.__name__, (each,), elsewhere) if hasattr(each, "world_size") else each for each in types
    )  # so that neither a GPU nor a process group is touched
    build(replace(recipe, values=recipe.values | {"use_cpu": True, "tf32": None}), types)


def load_words(values: dict, types: tuple[type, ...], kind: str, look_only: bool, findings: Findings) -> tuple:
    """(parts, rewards) of the recipe: its tasks, and None for what is wrong and has been reported.

    Args:
        look_only: nothing will be started, so a reward model that another recipe of this folder makes is no error.
    """
    if kind == "reward":  # no policy: nobody is asked
        with findings.part():
            check_preferences(values)
        return None, []
    parts, rewards = _find_parts(values, types[0], findings), None
    if kind not in GROUPED:
        with findings.part():
            if kind != "build_model" and parts:
                check_parts(parts, [])  # a cold start is measured, too
        with findings.part():
            if values.get("sft_datasets") is not None:
                check_sources(values["sft_datasets"])
        return parts, []
    with findings.part():
        check_algorithm(values)
    with findings.part():
        read_filters(values.get("filters"))
    with findings.part():
        read_judge(values.get("judge"))
    if values.get("guards"):
        from mini_r1.training.guards import read_guards  # imports transformers

        with findings.part():
            read_guards(values["guards"])
    if parts is None:
        return None, None
    with findings.part():
        # an evaluation takes no notice of reward_funcs
        rewards = load_part_rewards(parts, as_asked=kind == "r1_grpo")
        weights = values.get("reward_weights")
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


def _find_parts(values: dict, kind: type, findings: Findings) -> list[Part] | None:
    """The tasks of the recipe. Where its template does not exist, all else is right for itself: it has none then."""
    if "tasks" in findings.broken:  # what is left names no task
        return None
    with findings.part():
        return read_parts(values, kind)
    with findings.part():
        return [replace(part, template=None) for part in read_parts(values | {"prompt_template": "mini_r1"}, kind)]
    return None


def own_arguments(values: dict, types: tuple[type, ...]):
    """Our own dataclass of the recipe's kind, without TRL's; from values that have been checked."""
    return types[0](**{field.name: values[field.name] for field in fields(types[0])})
