"""A run that only samples, for scripts/evaluate.py and scripts/generate.py: a sampler and the problems to ask."""

from collections.abc import Callable
from dataclasses import dataclass

from mini_r1.config.run_config import RunConfig
from mini_r1.data import hub
from mini_r1.data.mixture import chat_of
from mini_r1.data.problems import load_parts, to_datasets
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


def start_sampling_run(
    config: RunConfig,
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
    args, parts, recipe, model = config.args, config.parts, config.recipe, config.model_name_or_path
    run = run_dir.start(config)
    measured = run_dir.refuse_other_model(run.folder, recipe, model)
    if run.finished:
        run.say(f"{run.folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
        return None
    judge = meet_judge()
    tokenizer = hub.load_tokenizer(model, revision=config.model_revision)
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
    sampler = make_sampler(config, tokenizer, problems, longest, chat_of(parts), samples)
    if server := server_address(config):
        measured = run_dir.refuse_other_model(run.folder, recipe, model, sampler.model) | {"server": server}
    run.write(run_dir.MEASURED, measured)
    return SamplingRun(run, problems, sampler, grader_of(parts), measured, judge)
