"""The interface of sampling, and the choice of its backend: transformers, vLLM in this process, or a server."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from mini_r1.config.run_config import RunConfig
from mini_r1.errors import RecipeError
from mini_r1.run.model_loading import load_model


@dataclass(frozen=True)
class Sampling:
    """The settings of sampling, in TRL's names. `top_k` 0 is off; `top_k` 1 or `temperature` 0 is greedy.

    Attributes:
        samples: completions for each prompt.
        seed: of all draws. The same seed and the same problems give the same completions, in whatever order and after
            however many kills, as far as the backend's arithmetic is reproducible.
    """

    samples: int
    max_completion_length: int
    temperature: float
    top_p: float
    top_k: int
    min_p: float | None
    repetition_penalty: float
    seed: int

    @property
    def greedy(self) -> bool:
        return self.temperature == 0 or self.top_k == 1


@dataclass(frozen=True)
class Completion:
    """One completion, decoded with special tokens skipped, as the rewards see it in training.

    Attributes:
        tokens: how many were generated, the end token included, as TRL counts.
        cut_off: whether it reached `max_completion_length` without an end token.
    """

    text: str
    tokens: int
    cut_off: bool


class Sampler(Protocol):
    """A backend."""

    def sample(self, prompts: dict[int, str]) -> Iterator[dict[int, list[Completion]]]:
        """Sample for every prompt, and yield completions as soon as a problem has all of its own.

        Args:
            prompts: number of the problem -> the string that the policy continues, chat template and prefill included.

        Yields:
            number of the problem -> its `Sampling.samples` completions, for one or several problems at a time. What is
            yielded together is logged together.
        """


def problem_seed(seed: int, problem: int) -> int:
    """The seed of a problem's first completion, 0 to 2**30 - 1; its next ones have `problem_seed + 1` and so on, all
    small enough for every server's integers. A hash, so that neighbouring problems share no seeds."""
    return int.from_bytes(hashlib.sha256(f"{seed} {problem}".encode()).digest()[:4], "big") >> 2


def sampling_of(config, samples: int | None = None) -> Sampling:
    """The settings of a `GRPOConfig`, with `samples` of each problem, or as many as evaluations draw."""
    return Sampling(
        samples=samples or config.num_generations_eval or config.num_generations,
        max_completion_length=config.max_completion_length,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        min_p=config.min_p,
        repetition_penalty=config.repetition_penalty,
        seed=config.seed,
    )


def greedy(sampling: Sampling) -> Sampling:
    """The same settings for one completion of each problem, of the most probable tokens."""
    return replace(sampling, samples=1, top_k=1)


def server_address(config: RunConfig) -> str | None:
    """The address of the server to ask: the recipe's own, or the one that launch.py started; None without a server."""
    if config.server or not (config.use_vllm and config.vllm_mode == "server"):
        return config.server
    base = config.vllm_server_base_url or f"http://{config.vllm_server_host}:{config.vllm_server_port}"
    return base.rstrip("/") + "/v1"


def make_sampler(
    config: RunConfig,
    tokenizer,
    rows,
    longest: int,
    chat: Callable[[dict], list[dict]],
    samples: int | None = None,
) -> Sampler:
    """Makes the backend of an evaluation, or of rejection sampling.

    Args:
        rows: the problems, by number.
        longest: tokens of the longest prompt.
        samples: see `sampling_of`.
        chat: the conversation of a row (`mixture.chat_of`).

    Raises:
        RecipeError: where the backend cannot be loaded, or needs a single process and there are several.
    """
    from accelerate import PartialState  # imports torch

    sampling, process = sampling_of(config.training, samples), PartialState()
    if sampling.greedy and sampling.samples > 1:
        raise RecipeError(
            f"{sampling.samples} greedy completions of a problem are all the same; use 1, or top_k: 0 and a "
            "temperature above 0 to sample",
            key="num_generations" if samples else "num_generations_eval",
        )
    server = server_address(config)
    if process.num_processes > 1 and (server or config.use_vllm):
        raise RecipeError(
            f"{process.num_processes} processes were started, and vLLM or a server is asked by one; use 1 (launch.py "
            "does), and vllm_tensor_parallel_size, or data_parallel_size of a server, for more GPUs",
            key="--num_processes",
        )
    if server:
        from mini_r1.evaluation.server_sampler import ServerSampler  # it imports this file

        return ServerSampler(
            server,
            sampling,
            tokenizer,
            model=config.server_model,
            concurrency=config.server_concurrency,
            conversation=(lambda number: chat(rows[number])[:-1]) if config.server_chat else None,
        )
    if config.use_vllm:
        from mini_r1.evaluation.vllm_sampler import VLLMSampler  # it imports this file

        return VLLMSampler(
            config.model_name_or_path,
            sampling,
            revision=config.model_revision,
            dtype=config.model.dtype or "auto",
            max_model_length=config.vllm_max_model_length or longest + config.max_completion_length,
            gpu_memory_utilization=config.vllm_gpu_memory_utilization,
            tensor_parallel_size=config.vllm_tensor_parallel_size,
        )
    from mini_r1.evaluation.transformers_sampler import TransformersSampler  # imports torch

    if config.training.deepspeed_plugin is not None or config.training.fsdp:
        raise RecipeError(
            "an evaluation splits no model; use configs/ddp.yaml, or for a model larger than a GPU use_vllm: true",
            key="--config_file",
            file="accelerate launch",
        )
    batch = config.per_device_eval_batch_size
    return TransformersSampler(
        load_model(config.training, config.model, process.device),
        tokenizer,
        sampling,
        problems_at_once=max(1, batch // sampling.samples),
        completions_at_once=batch,
        share=(process.process_index, process.num_processes),
    )
