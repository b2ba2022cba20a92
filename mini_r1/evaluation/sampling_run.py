"""A run that only samples, of scripts/evaluate.py or scripts/generate.py: its problems and its backend."""

from dataclasses import dataclass

from mini_r1.config.run_config import RunConfig
from mini_r1.data import hub
from mini_r1.data.mixture import Part, chat_of
from mini_r1.data.problems import load_parts, to_datasets
from mini_r1.errors import RecipeError
from mini_r1.evaluation.grading import Grader, grader_of
from mini_r1.evaluation.judge import Judge, read_judge
from mini_r1.evaluation.sampler import Sampler, Sampling
from mini_r1.evaluation.server_sampler import ServerSampler
from mini_r1.evaluation.vllm_sampler import VLLMSampler
from mini_r1.run import run_dir
from mini_r1.run.model_loading import load_model, whole_model


@dataclass(frozen=True)
class SamplingRun:
    """A started run, with what it needs to sample.

    Attributes:
        problems: rows with `prompt` and `prefill`; a problem's number is its index.
        measured: the model that is sampled, see `run_dir.refuse_other_model`.
        judge: of the completions, see `mini_r1.evaluation.judge`; None where the task's rules decide.
    """

    run: run_dir.Run
    problems: list[dict]
    sampler: Sampler
    grader: Grader
    measured: dict
    judge: Judge | None


def start_sampling_run(config: RunConfig, *, held_out: bool) -> SamplingRun | None:
    """Starts the run or resumes it, and loads its problems and the model; None where it is finished.

    Args:
        held_out: whether to sample the held-out problems, with as many completions of each as evaluations draw; else
            the training problems, `num_generations` times each, with the judge that the recipe names.
    """
    from accelerate import PartialState  # imports torch

    args, parts, recipe, model = config.args, config.parts, config.recipe, config.model_name_or_path
    judge_settings = None if held_out else read_judge(args.judge)
    run = run_dir.start(config)
    measured = run_dir.refuse_other_model(run.folder, recipe, model)
    if run.finished:
        run.say(f"{run.folder} is finished, nothing to do (start anew with --overwrite_output_dir true)")
        return None
    if (count := PartialState().num_processes) > 1 and (config.use_vllm or server_address(config) or judge_settings):
        raise RecipeError(
            f"{count} processes were started, and vLLM, a server or a judge is asked by one; use 1, and for more GPUs "
            "use_vllm: true with vllm_tensor_parallel_size, or a server with data_parallel_size",
            key="--num_processes",
        )
    judge = Judge(judge_settings) if judge_settings else None  # before anything large is loaded
    tokenizer = hub.load_tokenizer(model, revision=config.model_revision)
    rows = load_parts(parts)
    asked = [own.test if held_out else own.train for own in rows]
    if held_out and not any(asked):
        raise RecipeError(
            "no held-out problems are left to measure; raise it, or name a dataset_test_split", key="test_fraction"
        )
    data, dropped, longest = to_datasets(parts, asked, tokenizer)
    problems = data.to_list()
    if args.server and args.server_chat:  # the server writes the whole answer, with its think tag
        problems = [{**problem, "prefill": ""} for problem in problems]
    which, sources = "held-out" if held_out else "training", " and ".join(own.source for own in rows)
    run.say(f"{len(problems)} {which} problems from {sources}; {dropped} over-long ones dropped")
    sampler = make_sampler(config, parts, problems, tokenizer, longest, held_out)
    if server := server_address(config):
        measured = run_dir.refuse_other_model(run.folder, recipe, model, sampler.model) | {"server": server}
    run.write(run_dir.MEASURED, measured)
    return SamplingRun(run, problems, sampler, grader_of(parts), measured, judge)


def server_address(config: RunConfig) -> str | None:
    """The address of the server to ask: the recipe's own, or the one that launch.py started; None without a server."""
    if config.server or not (config.use_vllm and config.vllm_mode == "server"):
        return config.server
    base = config.vllm_server_base_url or f"http://{config.vllm_server_host}:{config.vllm_server_port}"
    return base.rstrip("/") + "/v1"


def make_sampler(
    config: RunConfig, parts: list[Part], problems: list[dict], tokenizer, longest: int, held_out: bool
) -> Sampler:
    """Makes the backend that the recipe names: a server, vLLM in this process, or transformers.

    Args:
        longest: tokens of the longest prompt.
        held_out: see `start_sampling_run`.

    Raises:
        RecipeError: where the backend cannot be loaded.
    """
    training = config.training
    samples = config.num_generations
    if held_out:
        samples = training.num_generations_eval or training.num_generations
    sampling = Sampling(
        samples=samples,
        max_completion_length=training.max_completion_length,
        temperature=training.temperature,
        top_p=training.top_p,
        top_k=training.top_k,
        min_p=training.min_p,
        repetition_penalty=training.repetition_penalty,
        seed=training.seed,
    )
    if sampling.greedy and samples > 1:
        raise RecipeError(
            f"{samples} greedy completions of a problem are all the same; use 1, or top_k: 0 and a "
            "temperature above 0 to sample",
            key="num_generations_eval" if held_out else "num_generations",
        )
    if server := server_address(config):
        chat = chat_of(parts)
        return ServerSampler(
            server,
            sampling,
            tokenizer,
            model=config.server_model,
            concurrency=config.server_concurrency,
            conversation=(lambda number: chat(problems[number])) if config.server_chat else None,
        )
    if config.use_vllm:
        return VLLMSampler(
            whole_model(config.model_name_or_path),
            sampling,
            revision=config.model_revision,
            dtype=config.model.dtype or "auto",
            max_model_length=config.vllm_max_model_length or longest + config.max_completion_length,
            gpu_memory_utilization=config.vllm_gpu_memory_utilization,
            tensor_parallel_size=config.vllm_tensor_parallel_size,
        )
    from accelerate import PartialState  # imports torch

    from mini_r1.evaluation.transformers_sampler import TransformersSampler  # imports torch

    process = PartialState()
    if training.deepspeed_plugin is not None or training.fsdp:
        raise RecipeError(
            "an evaluation splits no model; use configs/ddp.yaml, or for a model larger than a GPU use_vllm: true",
            key="--config_file",
            file="accelerate launch",
        )
    return TransformersSampler(
        load_model(training, config.model, process.device),
        tokenizer,
        sampling,
        completions_at_once=config.per_device_eval_batch_size,
        share=(process.process_index, process.num_processes),
    )
