"""A run that only samples, for scripts/evaluate.py and scripts/generate.py: a sampler and the problems to ask."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from mini_r1.config.kinds import dataclass_types, name_cpu
from mini_r1.config.recipe import Recipe, build, check, parse_command_line, resolve
from mini_r1.data import hub
from mini_r1.data.mixed_data import load_parts, to_datasets
from mini_r1.data.mixture import Part, chat_of, check_parts, read_parts
from mini_r1.errors import RecipeError
from mini_r1.evaluation.grading import Grader, grader_of
from mini_r1.evaluation.judge import Judge
from mini_r1.evaluation.sampler import Sampler, make_sampler, server_address
from mini_r1.run import run_dir


@dataclass(frozen=True)
class SamplingRun:
    """A started run, with what it needs to sample.

    Attributes:
        problems: rows with `prompt` and `prefill`; a problem's number is its index.
        measured: which model is sampled, see `run_dir.refuse_other_model`.
        judge: what `meet_judge` of `start_sampling_run` returned.
    """

    run: run_dir.Run
    problems: list[dict]
    sampler: Sampler
    grader: Grader
    measured: dict
    judge: Judge | None


def with_recipe(kind: str, argv: list[str], function: Callable) -> None:
    """Check the recipe, and call `function(recipe, args, config, model_args, parts)`.

    Args:
        kind: "evaluate" or "generate".

    Raises:
        RecipeError: for any fault in the recipe, before anything large is loaded.
    """
    recipe = resolve(*parse_command_line(argv))
    hub.offline_if_unreachable(recipe.values)
    types = dataclass_types(kind)
    recipe = check(recipe, types)
    with recipe.blame():
        parts = read_parts(recipe.values, types[0])
        check_parts(parts, [])
        values = recipe.values
        if values.get("server") or (values.get("use_vllm") and values.get("vllm_mode") == "server"):
            values = values | {"use_cpu": True, "bf16": False, "fp16": False}  # the model is elsewhere
        name_cpu(values)
        function(recipe, *build(replace(recipe, values=values), types), parts)


def start_sampling_run(
    recipe: Recipe,
    args,
    config,
    model_args,
    parts: list[Part],
    *,
    held_out: bool,
    samples: int | None = None,
    meet_judge: Callable[[], Judge | None] = lambda: None,
) -> SamplingRun | None:
    """Start the run or resume it, and load its problems and the model; None where it is finished.

    Args:
        held_out: whether to sample the held-out problems; else those of training.
        samples: of each problem; None: as many as evaluations draw.
        meet_judge: called unless the run is finished, before anything large is loaded.
    """
    run = run_dir.start(recipe, config.output_dir, "false", args.overwrite_output_dir)
    model = model_args.model_name_or_path
    measured = run_dir.refuse_other_model(run.folder, recipe, model)
    if run.finished:
        run.say(f"{run.folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
        return None
    judge = meet_judge()
    tokenizer = hub.load_tokenizer(model, revision=model_args.model_revision)
    rows = load_parts(parts)
    asked = [own.test if held_out else own.train for own in rows]
    if held_out and not any(asked):
        raise RecipeError("no held-out problems are left to measure", key="test_fraction")
    data, dropped, longest = to_datasets(parts, asked, tokenizer)
    problems = data.to_list()
    if args.server and args.server_chat:  # the whole answer is the server's then
        problems = [{**problem, "prefill": ""} for problem in problems]
    which, sources = "held-out" if held_out else "training", " and ".join(own.source for own in rows)
    run.say(f"{len(problems)} {which} problems from {sources}; {dropped} over-long ones dropped")
    sampler = make_sampler(args, config, model_args, tokenizer, problems, longest, chat_of(parts), samples)
    if server := server_address(args, config):
        measured = run_dir.refuse_other_model(run.folder, recipe, model, sampler.model) | {"server": server}
    run.write(run_dir.MEASURED, measured)
    return SamplingRun(run, problems, sampler, grader_of(parts), measured, judge)
