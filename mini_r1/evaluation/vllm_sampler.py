"""Sampling with vLLM's engine in this process, without a server.

The file relies on what vLLM 0.31 does: it ends a completion at the end tokens of generation_config.json and at the
tokenizer's own, as TRL does; the `n` completions of a request have the seeds seed, seed + 1, and so on; the token ids
include the end token. The engine runs in its own process, so a script needs `if __name__ == "__main__"`.
"""

from collections.abc import Iterator

from mini_r1.data.hub import load_tokenizer
from mini_r1.data.prompts import prompt_ids
from mini_r1.errors import RecipeError
from mini_r1.evaluation.sampler import Completion, Sampling, problem_seed

SEQUENCES_AT_ONCE = 2048  # of one chunk; an engine runs 256 or more of them at once


class VLLMSampler:
    """A `Sampler` over vLLM's engine.

    Args:
        model: a hub id or a local folder.
        max_model_length: tokens of the longest prompt and completion together.
        revision: of the model on the hub; None: the newest.
        engine: further arguments of vLLM's `LLM`, in its names.

    Raises:
        RecipeError: where vLLM is not installed or cannot load the model so.
    """

    def __init__(self, model: str, sampling: Sampling, *, max_model_length: int, revision: str | None = None, **engine):
        try:
            from vllm import LLM  # not everybody has it
            from vllm.platforms import current_platform
        except ModuleNotFoundError as error:
            if error.name != "vllm":
                raise
            raise RecipeError("vLLM is not installed; run: pip install -r requirements-gpu.txt") from error
        self.sampling, self.max_model_length = sampling, max_model_length
        self.tokenizer = load_tokenizer(model, revision=revision)
        if current_platform.is_cpu():  # a prompt in pieces rewinds a seeded generator, which a CPU's cannot do
            engine.setdefault("enable_chunked_prefill", False)
        try:
            self.llm = LLM(
                model,
                revision=revision,
                tokenizer_revision=revision,
                max_model_len=max_model_length,
                **engine,
            )
        except (OSError, RuntimeError, ValueError) as error:  # the engine's own process has said more above
            said = " ".join(str(error).split())[:300]
            raise RecipeError(f"vLLM cannot load {model}: {said}", key="model_name_or_path") from error

    def sample(self, prompts: dict[int, str]) -> Iterator[dict[int, list[Completion]]]:
        """See `mini_r1.evaluation.sampler.Sampler`: yields a chunk of problems when all of it is done.

        Raises:
            RecipeError: before anything is sampled, for a prompt that leaves no room for a whole completion.
        """
        from vllm import SamplingParams, TokensPrompt  # not everybody has it

        if not prompts:
            return
        ids = dict(zip(prompts, prompt_ids(list(prompts.values()), self.tokenizer), strict=True))
        room = self.max_model_length - self.sampling.max_completion_length
        number = max(ids, key=lambda number: len(ids[number]))
        if len(ids[number]) > room:
            raise RecipeError(
                f"the prompt of problem {number} has {len(ids[number])} tokens, and with a max_completion_length of "
                f"{self.sampling.max_completion_length} only {max(0, room)} fit into {self.max_model_length}"
            )
        how, sampling = {"temperature": 0.0}, self.sampling
        if not sampling.greedy:
            how = {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
            how["min_p"] = sampling.min_p or 0.0
        numbers, size = list(ids), max(1, SEQUENCES_AT_ONCE // sampling.samples)
        for start in range(0, len(numbers), size):
            chunk = numbers[start : start + size]
            parameters = [
                SamplingParams(
                    **how,
                    n=sampling.samples,
                    seed=problem_seed(sampling.seed, number),
                    repetition_penalty=sampling.repetition_penalty,
                    max_tokens=sampling.max_completion_length,
                    detokenize=False,  # `_completions` decodes with the tokenizer, as in training
                )
                for number in chunk
            ]
            asked = [TokensPrompt(prompt_token_ids=ids[number]) for number in chunk]
            made = self.llm.generate(asked, parameters, use_tqdm=False)
            yield {number: self._completions(one.outputs) for number, one in zip(chunk, made, strict=True)}

    def _completions(self, outputs) -> list[Completion]:
        texts = self.tokenizer.batch_decode([list(one.token_ids) for one in outputs], skip_special_tokens=True)
        return [
            Completion(text=text, tokens=len(one.token_ids), cut_off=one.finish_reason == "length")
            for text, one in zip(texts, outputs, strict=True)
        ]
