"""Sampling with transformers' `generate`, as `GRPOTrainer` does it without vLLM."""

from collections.abc import Iterator

import torch
from accelerate.utils import set_seed

from mini_r1.data.prompts import prompt_ids
from mini_r1.evaluation.sampler import Completion, Sampling, problem_seed


class TransformersSampler:
    """A `Sampler` over a loaded model.

    It samples in fixed batches, each with its own seed: number // problems_at_once, with as many problems as have
    `completions_at_once` completions.

    Args:
        model: a transformers causal language model, on its device.
        tokenizer: the model's; without a pad token it gets its end token as one.
        completions_at_once: how many are generated together at most; those of one problem may take several turns.
        share: (this process, number of processes): the process takes every so-many-th batch.
    """

    def __init__(self, model, tokenizer, sampling: Sampling, completions_at_once: int, share: tuple[int, int] = (0, 1)):
        self.model, self.tokenizer, self.sampling = model.eval(), tokenizer, sampling
        self.completions_at_once, self.share = completions_at_once, share
        self.problems_at_once = max(1, completions_at_once // sampling.samples)
        self.ends = _end_tokens(model, tokenizer)
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    def sample(self, prompts: dict[int, str]) -> Iterator[dict[int, list[Completion]]]:
        """See `mini_r1.evaluation.sampler.Sampler`. A batch that lacks a problem draws other completions."""
        batches: dict[int, list[int]] = {}
        for number in sorted(prompts):
            batches.setdefault(number // self.problems_at_once, []).append(number)
        process, processes = self.share
        for batch, numbers in batches.items():
            if batch % processes == process:
                yield self._sample({number: prompts[number] for number in numbers})

    def _sample(self, prompts: dict[int, str]) -> dict[int, list[Completion]]:
        samples = self.sampling.samples
        set_seed(problem_seed(self.sampling.seed, min(prompts)))
        repeated = [ids for ids in prompt_ids(list(prompts.values()), self.tokenizer) for _ in range(samples)]
        drawn: list[Completion] = []
        for first in range(0, len(repeated), self.completions_at_once):
            drawn += self._generate(repeated[first : first + self.completions_at_once])
        return {number: drawn[i * samples : (i + 1) * samples] for i, number in enumerate(prompts)}

    @torch.no_grad()
    def _generate(self, prompts: list[list[int]]) -> list[Completion]:
        batch = self.tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        wanted, how = self.sampling, {"do_sample": False}
        if not wanted.greedy:
            how = {"do_sample": True, "temperature": wanted.temperature, "top_p": wanted.top_p, "min_p": wanted.min_p}
            how["top_k"] = wanted.top_k
        output = self.model.generate(
            **batch.to(self.model.device),
            max_new_tokens=wanted.max_completion_length,
            repetition_penalty=wanted.repetition_penalty,
            eos_token_id=self.ends,
            pad_token_id=self.tokenizer.pad_token_id,
            disable_compile=True,
            **how,
        )
        return [self._read(row) for row in output[:, batch["input_ids"].shape[1] :].tolist()]

    def _read(self, ids: list[int]) -> Completion:
        end = next((place for place, token in enumerate(ids) if token in self.ends), None)
        kept = ids if end is None else ids[: end + 1]
        return Completion(self.tokenizer.decode(kept, skip_special_tokens=True), len(kept), cut_off=end is None)


def _end_tokens(model, tokenizer) -> list[int]:
    """The end tokens of the model's generation settings and of the tokenizer, as in TRL."""
    ends = model.generation_config.eos_token_id
    ends = [] if ends is None else [ends] if isinstance(ends, int) else list(ends)
    own = tokenizer.eos_token_id
    return ends if own is None or own in ends else [own, *ends]
