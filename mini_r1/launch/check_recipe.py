"""Checks that need only the recipe and the number of GPUs: keys, tasks, rewards, plan, TRL's settings."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from mini_r1.config.algorithm import check_algorithm
from mini_r1.config.batch import plan_batch
from mini_r1.config.kinds import dataclass_types
from mini_r1.config.recipe import parse_command_line
from mini_r1.config.run_config import check as check_config
from mini_r1.config.run_config import construct
from mini_r1.data import hub
from mini_r1.data.conversations import check_sources
from mini_r1.data.mixture import check_parts, load_part_rewards, read_parts
from mini_r1.data.preferences import check_preferences
from mini_r1.data.reward_model import SPLIT
from mini_r1.errors import RecipeError
from mini_r1.evaluation.judge import read_judge
from mini_r1.evaluation.rejection_sampling import read_filters
from mini_r1.launch.check_model import maker_of
from mini_r1.launch.findings import Check
from mini_r1.launch.hardware import Gpu, usable_gpus
from mini_r1.launch.plan import GROUPED, accelerate_file, plan_launch, server_size


def check_keys(check: Check) -> None:
    """Checks every key and the type of its value; takes the wrong ones out of the run."""
    recipe, kind = check.config.recipe, check.config.kind
    while True:
        try:
            check.config = check_config(kind, recipe)
            break
        except RecipeError as error:
            check.error(error.problem, error.key, error.file)
            check.broken.add(error.key)
            recipe = replace(recipe, values={key: recipe.values[key] for key in recipe.values if key != error.key})
    if not check.config.output_dir:
        check.error("is missing; name a folder, such as runs/{recipe}-s{seed}", "output_dir")
        check.config = check.config.with_values(output_dir=f"runs/{recipe.name}")


def check_tasks(check: Check) -> None:
    """Checks tasks, rewards, and all else that the recipe alone decides. Sets `parts` and `rewards`."""
    config, args, kind = check.config, check.config.args, check.config.kind
    if kind == "reward":  # there is no policy
        with check.part():
            check_preferences(args)
        hub.offline_if_unreachable(config, [args])
        return
    check.longest_prompt = args.max_prompt_tokens
    _read_parts(check)
    hub.offline_if_unreachable(config, [part.args for part in check.parts or []])  # before transformers is imported
    if kind not in GROUPED:
        check.rewards = []
        with check.part():
            if kind != "build_model" and check.parts:
                check_parts(check.parts, [])  # a cold start is evaluated, too
        if config.sft_datasets is not None:
            check_sources(config.sft_datasets)
        return
    for look, value in ((check_algorithm, config), (read_filters, config.filters), (read_judge, config.judge)):
        with check.part():
            look(value)
    if args.guards:
        from mini_r1.training.guards import read_guards  # imports transformers

        with check.part():
            read_guards(args.guards)
    if check.parts is None:
        return
    rewards = load_part_rewards(check.parts, as_asked=kind == "r1_grpo")  # an evaluation ignores reward_funcs
    weights = config.reward_weights
    if weights is not None and len(weights) != len(rewards):
        problem = f"{len(weights)} weights for {len(rewards)} rewards; give one for each of reward_funcs, or null"
        check.error(problem, "reward_weights")
    check_parts(check.parts, [reward for reward in rewards if not _comes_later(check, reward)])
    check.rewards = rewards


def _read_parts(check: Check) -> None:
    """Sets `parts`. Where the template does not exist, the tasks have none, and the rest of them is checked."""
    if "tasks" in check.broken:  # the other keys name no task
        return
    with check.part():
        check.parts = read_parts(check.config.args)
        return
    with check.part():
        args = replace(check.config.args, prompt_template="mini_r1")
        check.parts = [replace(part, template=None) for part in read_parts(args)]


def _comes_later(check: Check, reward) -> bool:
    """Whether an earlier recipe has yet to make the model of a reward; warns of it."""
    name = getattr(reward, "judge", None)
    maker = maker_of(check.config.recipe, name) if check.look_only else None
    if not maker or Path(name).exists():
        return False
    key = "tasks" if check.config.recipe.values.get("tasks") else "reward_funcs"
    check.warning(f"{reward.__name__}: {name} is not there yet; {maker[0]} makes it", key)
    return True


def check_gpus(check: Check) -> None:
    """Checks that there are as many GPUs as asked for. Sets `gpus`: assumed ones where nothing will be started."""
    config, processes = check.config, check.processes
    if processes:  # somebody started them by hand
        written_for = config.num_processes or processes
        if processes != written_for:
            check.note(f"the batch was written for {written_for}, and there are {processes}", "num_processes")
        check.config = config.with_values(num_processes=processes)
        served = config.use_vllm and config.vllm_mode == "server" and not config.vllm_server_base_url
        count = 0 if config.use_cpu else processes + (server_size(config) if served else 0)
        check.gpus = [Gpu(str(index), "assumed", config.gpu_gib, None) for index in range(count)]
        return
    gib = config.gpu_gib
    check.gpus = [] if config.use_cpu else usable_gpus(check.wanted_gpus, gib, check.look_only)
    if not check.here:
        size = f"{gib:g} GiB each" if gib else "unknown size (set gpu_gib)"
        check.note(f"{len(check.gpus)} GPUs of {size} are assumed, they are not here")


def check_plan(check: Check) -> None:
    """Plans the run for the GPUs. Sets `plan` and `batch`, and in `config` what the plan changes."""
    config = check.config
    if config.accelerate_config:
        with check.part():
            accelerate_file(config.accelerate_config)
    plan = plan_launch(config, check.gpus, exact=check.wanted_gpus is not None, machines=check.machines)
    for note in plan.notes:
        check.note(note)
    check.config = config.with_values(**parse_command_line(["--config", config.recipe.path, *plan.flags])[1])
    if config.kind == "r1_grpo" and plan.processes:
        check.batch = plan_batch(check.config, plan.processes)
    check.plan = replace(plan, flags=(*check.flags, *plan.flags))


def check_settings(check: Check) -> None:
    """Builds TRL's own settings, as one of the plan's processes would, and reports what TRL refuses.

    Raises:
        RecipeError: where a dataclass refuses a combination of values.
    """
    config = check.config
    for reward in check.rewards or []:
        if hasattr(reward, "judge") and check.sharding.stage == 3:
            check.error(f"{reward.__name__}: {SPLIT}", "accelerate_config")
    # these classes touch neither a GPU nor a process group; nothing pickles their objects
    elsewhere = {"device": SimpleNamespace(type="cpu"), "world_size": check.plan.processes, "n_gpu": 1}
    values = config.recipe.values | {"use_cpu": True, "tf32": None}
    for each in dataclass_types(config.kind)[1:]:
        construct(type(each.__name__, (each,), elsewhere) if hasattr(each, "world_size") else each, values, config)
