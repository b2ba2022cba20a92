"""Sampling with transformers' `generate`, as `GRPOTrainer` does it without vLLM."""

from collections.abc import Iterator

import torch
from accelerate.utils import set_seed

from mini_r1.data.prompts import prompt_ids
from mini_r1.evaluation.sampler import Completion, Sampling, problem_seed


class TransformersSampler:
    """A `Sampler` over a loaded model. It samples in fixed batches, number // problems_at_once, each with its own seed.

    Args:
        model: a transformers causal language model, on its device.
        tokenizer: the model's.
        problems_at_once: problems of one batch.
        completions_at_once: how many are generated together at most; a larger batch is split.
        share: (this process, number of processes): the process takes every so-many-th batch.
    """

    def __init__(
        self,
        model,
        tokenizer,
        sampling: Sampling,
        problems_at_once: int = 1,
        completions_at_once: int | None = None,
        share: tuple[int, int] = (0, 1),
    ):
        self.model, self.tokenizer, self.sampling = model.eval(), tokenizer, sampling
        self.problems_at_once, self.share = problems_at_once, share
        self.completions_at_once = completions_at_once or problems_at_once * sampling.samples
        self.ends = _end_tokens(model, tokenizer)

    def sample(self, prompts: dict[int, str]) -> Iterator[dict[int, list[Completion]]]:
        """See `mini_r1.evaluation.sampler.Sampler`. A batch that lacks a problem draws other completions."""
        batches: dict[int, list[int]] = {}
        for number in sorted(prompts):
            batches.setdefault(number // self.problems_at_once, []).append(number)
        process, processes = self.share
        for batch, numbers in batches.items():
            if batch % processes == process:
                yield self._sample([prompts[number] for number in numbers], numbers)

    def _sample(self, prompts: list[str], numbers: list[int]) -> dict[int, list[Completion]]:
        set_seed(problem_seed(self.sampling.seed, numbers[0]))
        repeated = [ids for ids in prompt_ids(prompts, self.tokenizer) for _ in range(self.sampling.samples)]
        drawn: list[Completion] = []
        for first in range(0, len(repeated), self.completions_at_once):
            drawn += self._generate(repeated[first : first + self.completions_at_once])
        size = self.sampling.samples
        return {number: drawn[i * size : (i + 1) * size] for i, number in enumerate(numbers)}

    @torch.no_grad()
    def _generate(self, prompts: list[list[int]]) -> list[Completion]:
        wanted, width = self.sampling, max(map(len, prompts))
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self.ends[0]
        ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        how = {"do_sample": False}
        if not wanted.greedy:
            how = {"do_sample": True, "temperature": wanted.temperature, "top_p": wanted.top_p, "min_p": wanted.min_p}
            how["top_k"] = wanted.top_k
        output = self.model.generate(
            input_ids=ids.to(self.model.device),
            attention_mask=mask.to(self.model.device),
            max_new_tokens=wanted.max_completion_length,
            repetition_penalty=wanted.repetition_penalty,
            eos_token_id=self.ends,
            pad_token_id=pad,
            disable_compile=True,
            **how,
        )
        return [self._read(row) for row in output[:, width:].tolist()]

    def _read(self, ids: list[int]) -> Completion:
        ends = (place for place, token in enumerate(ids) if token in self.ends)
        tokens = next(ends, None)
        cut_off = tokens is None
        kept = ids if cut_off else ids[: tokens + 1]
        return Completion(self.tokenizer.decode(kept, skip_special_tokens=True), len(kept), cut_off)


def _end_tokens(model, tokenizer) -> list[int]:
    """The end tokens of the model's generation settings and of the tokenizer, as in TRL."""
    ends = model.generation_config.eos_token_id
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    own = tokenizer.eos_token_id
    return ends if own is None or own in ends else [own, *ends]
