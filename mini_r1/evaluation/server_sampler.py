"""Sampling from any OpenAI-compatible server, many problems at a time.

A server is asked the way that suits it best, found out with the first prompt:
1. token ids to complete: exactly training's prompt (vLLM takes them);
2. the prompt's text to complete;
3. where that is wished, and only then, in a chat: without the prefill, which is another prompt (`note` says so).
Each with all completions of a problem in one request, or, where the server refuses that, in one request each.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

from mini_r1.data.prompts import prompt_ids
from mini_r1.errors import RecipeError
from mini_r1.evaluation.sampler import Completion, Sampling, problem_seed
from mini_r1.evaluation.server_client import NO_SUCH_PATH, WAITS, Refusal, ServerClient
from mini_r1.evaluation.server_protocol import (
    VLLM,
    Way,
    prompt_tokens,
    read_completions,
    sampling_fields,
    ways,
)

NOT_THIS_WAY = (400, 415, 422, 500)  # 500: how llama.cpp refuses several completions of one prompt
FIRST_TRIES = 3  # of a request that is perhaps not understood
OTHER_PROMPT = "this is another prompt, and numbers are not comparable with training's"


class ServerSampler:
    """A `Sampler`.

    A server that does not know `top_k`, `min_p` or `repetition_penalty` may ignore them without a word: they are not in
    OpenAI's protocol.

    Args:
        url: such as http://localhost:8000/v1.
        tokenizer: the model's, as training uses it.
        model: its name on the server; None: the only one served.
        concurrency: how many problems are asked at a time.
        timeout: seconds in which an answer, with all completions of a problem, must be there.
        api_key: None: the environment's OPENAI_API_KEY, if there is one.
        conversation: number of a problem -> its chat (`mini_r1.data.prompts.messages`): ask in a chat, without the
            prefill, for services that complete nothing.
        waits: seconds before each further try of a request that was lost.

    Attributes:
        model: its name on the server.
        note: a sentence on what makes the numbers hard to compare with training's, or None. Known once something was
            sampled.

    Raises:
        RecipeError: where the server does not answer, or does not serve this model.
    """

    def __init__(
        self,
        url: str,
        sampling: Sampling,
        tokenizer,
        *,
        model: str | None = None,
        concurrency: int = 64,
        timeout: float = 600.0,
        api_key: str | None = None,
        conversation: Callable[[int], list[dict]] | None = None,
        waits: tuple[float, ...] = WAITS,
    ):
        self.sampling, self.tokenizer = sampling, tokenizer
        self.concurrency, self.conversation = concurrency, conversation
        self.note = f"asked in a conversation without the prefill: {OTHER_PROMPT}" if conversation else None
        self._way = None
        self._client = ServerClient(url, api_key, timeout, waits)
        self.model, self._server = asyncio.run(self._find_model(model))

    @property
    def _samples(self) -> int:
        return 1 if self.sampling.greedy else self.sampling.samples

    def sample(self, prompts: dict[int, str]) -> Iterator[dict[int, list[Completion]]]:
        """See `mini_r1.evaluation.sampler.Sampler`: each problem as it finishes. Greedy, one completion counts for all.

        Raises:
            RecipeError: once a request has failed for good; what else was under way then has been yielded.
        """
        if not prompts:
            return
        finished = self._sample(prompts)

        async def some() -> dict[int, list[Completion]] | None:
            return await anext(finished, None)

        with asyncio.Runner() as runner:
            try:
                while done := runner.run(some()):
                    yield done
            finally:
                runner.run(_closed(finished))

    async def _sample(self, prompts: dict[int, str]) -> AsyncIterator[dict[int, list[Completion]]]:
        self._client.giving_up, failure, pending = False, None, set()
        async with self._client.opened():
            number = next(iter(prompts))
            if self._way is None and (first := await self._choose_way(number, prompts[number])):
                yield {number: first}
                prompts = {other: prompts[other] for other in prompts if other != number}
            free = asyncio.Semaphore(self.concurrency)

            async def one(number: int) -> tuple[int, list[Completion]] | None:
                async with free:
                    if self._client.giving_up:
                        return None
                    return number, await self._complete(number, prompts[number], self._way)

            try:
                pending = {asyncio.create_task(one(number)) for number in prompts}
                while pending:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    errors = [task.exception() for task in done if task.exception()]
                    if errors:
                        failure, self._client.giving_up = failure or errors[0], True
                    finished = dict(task.result() for task in done if not task.exception() and task.result())
                    if finished:
                        yield finished
            finally:
                for task in pending:
                    task.cancel()
                await asyncio.gather(*pending, return_exceptions=True)
        if failure:
            raise failure

    async def _find_model(self, model: str | None) -> tuple[str, str]:
        """The model's name, and that of the server's software where it says so."""
        async with self._client.opened() as client:
            return await client.find_model(model)

    async def _choose_way(self, number: int, prompt: str) -> list[Completion] | None:
        """Find out how this server is asked, with one token for each completion; in a chat with the whole problem, as
        services that reason before they chat refuse to stop so early: its completions are returned then."""
        ids = prompt_ids(prompt, self.tokenizer)
        left = ways(chat=self.conversation is not None, several=self._samples > 1)
        while True:
            way, made = left.pop(0), None
            try:
                if way.chat:
                    made = await self._complete(number, prompt, way, FIRST_TRIES)
                else:
                    counts = await self._count_prompt(number, prompt, way)
            except Refusal as error:
                if error.status in NO_SUCH_PATH and not way.chat:
                    hint = "if it chats, server_chat: true asks it without the prefill, which is another prompt"
                    raise RecipeError(f"{error.problem}; {hint}", key="server") from error
                if error.status not in NOT_THIS_WAY or not left:
                    raise
                continue
            if not way.chat and counts is not None and len(ids) not in counts:
                if way.ids:  # taken for something else, such as a list of prompts
                    continue
                self.note = f"the server makes {counts[0]} tokens of a prompt of {len(ids)} in training: {OTHER_PROMPT}"
            if way.ids and self._server == VLLM:
                await self._check_tokenizer(prompt, ids)
            self._way = way
            return made

    async def _count_prompt(self, number: int, prompt: str, way: Way) -> tuple[int, ...] | None:
        """How many tokens the server sees in a prompt, if it says: in one, or in as many as it makes completions."""
        count = 1 if way.single else self._samples
        answer = await self._request(number, prompt, way, count, 0, FIRST_TRIES, {way.limit: 1})
        made = read_completions(answer, self.tokenizer, 1, self._client.url)
        counted = prompt_tokens(answer)
        return None if counted is None else (counted, counted / len(made))

    async def _check_tokenizer(self, prompt: str, ids: list[int]) -> None:
        """Token ids of another model's vocabulary would be answered too, with nonsense."""
        try:
            answer = await self._client.ask(f"{self._client.root}/tokenize", {"model": self.model, "prompt": prompt})
        except Refusal:
            return  # behind a gateway that lets only /v1 through
        if answer.get("tokens") != ids:
            raise RecipeError(
                f"{self._client.url} serves {self.model!r}, whose tokenizer makes other tokens of a prompt than "
                "the one loaded here; name the folder or hub id of the model that is served",
                key="model_name_or_path",
            )

    async def _complete(self, number: int, prompt: str, way: Way, tries: int | None = None) -> list[Completion]:
        """All completions of a problem. A server that gives fewer than it was asked for is asked again, with the seed
        that vLLM would have given the next one."""
        made: list[Completion] = []
        while missing := self._samples - len(made):
            count = 1 if way.single else missing
            answer = await self._request(number, prompt, way, count, len(made), tries)
            longest = self.sampling.max_completion_length
            made += read_completions(answer, self.tokenizer, longest, self._client.url)[:count]
        return made * self.sampling.samples if self.sampling.greedy else made

    async def _request(
        self, number: int, prompt: str, way: Way, count: int, have: int, tries: int | None, other: dict | None = None
    ) -> dict:
        """The answer to a request for `count` completions of a problem that has `have` of them; `other` fields win."""
        if way.chat:
            what = {"messages": [turn for turn in self.conversation(number) if turn["role"] != "assistant"]}
        else:
            what = {"prompt": prompt_ids(prompt, self.tokenizer) if way.ids else prompt}
        fields = {
            "model": self.model,
            **what,
            **sampling_fields(self.sampling, self._server),
            way.limit: self.sampling.max_completion_length,
            "n": count,
            "seed": problem_seed(self.sampling.seed, number) + have,
            **(other or {}),
        }
        return await self._client.ask(way.path, fields, tries)


async def _closed(generator) -> None:
    await generator.aclose()
