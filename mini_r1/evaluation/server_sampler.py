"""Sampling from any OpenAI-compatible server, many problems at a time.

The server completes token ids, exactly training's prompt (vLLM takes them), or the prompt's text where it refuses ids:
a request for one token of the first prompt shows which. Only with `conversation` it is asked in a chat, without the
prefill, which is another prompt (`note` says so). All completions of a problem are one request; a server that returns
fewer, or refuses several, gets further requests.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

from mini_r1.data.prompts import prompt_ids
from mini_r1.errors import RecipeError
from mini_r1.evaluation.sampler import Completion, Sampling, problem_seed
from mini_r1.evaluation.server_client import NO_SUCH_PATH, REFUSED, RETRIES, Refusal, ServerClient

# Fields that OpenAI's protocol lacks, with the value that turns each off. A field that is off is left out, except for
# servers that would use defaults of their own or of the model's generation_config.json. A server names its software in
# /v1/models, as `owned_by`.
EXTRAS_OFF = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
HAVE_DEFAULTS = ("vllm", "sglang", "llamacpp")
VLLM = "vllm"
REFUSED_SEVERAL = (*REFUSED, 500)  # 500: how llama.cpp refuses several completions of one prompt
OTHER_PROMPT = "this is another prompt, and numbers are not comparable with training's"


class ServerSampler:
    """A `Sampler` that asks a server.

    A server that does not know `top_k`, `min_p` or `repetition_penalty` may ignore them silently: they are not in
    OpenAI's protocol.

    Args:
        url: such as http://localhost:8000/v1.
        tokenizer: the model's, as training uses it.
        model: its name on the server; None: the only one served.
        concurrency: how many problems are asked at a time.
        timeout: seconds in which an answer, with all completions of a problem, must be there.
        api_key: None: the environment's OPENAI_API_KEY, if there is one.
        conversation: number of a problem -> its chat (`mini_r1.data.prompts.messages`): asks in a chat, without the
            prefill, services that cannot complete a prompt.
        retries: how often a request that was lost is tried again.

    Attributes:
        model: its name on the server.
        note: a sentence on why the numbers are not comparable with training's, or None. Known after the first
            sample.

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
        retries: int = RETRIES,
    ):
        self.sampling, self.tokenizer = sampling, tokenizer
        self.concurrency, self.conversation = concurrency, conversation
        self.note = f"asked in a conversation without the prefill: {OTHER_PROMPT}" if conversation else None
        self._takes_ids: bool | None = None  # None: not known yet
        self._gives_several: bool | None = None
        self._client = ServerClient(url, api_key, timeout, retries)
        self.model, self._software = asyncio.run(self._find_model(model))

    @property
    def _samples(self) -> int:
        return 1 if self.sampling.greedy else self.sampling.samples

    def sample(self, prompts: dict[int, str]) -> Iterator[dict[int, list[Completion]]]:
        """See `mini_r1.evaluation.sampler.Sampler`: yields each problem as it finishes. A greedy
        completion is sampled once and counts for all.

        Raises:
            RecipeError: once a request has failed for good; problems that were under way have been yielded by then.
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
        failure, pending = None, set()
        async with self._client.opened():
            if self._takes_ids is None and not self.conversation:
                number = next(iter(prompts))
                self._takes_ids = await self._try_ids(number, prompts[number])
            free = asyncio.Semaphore(self.concurrency)

            async def one(number: int) -> dict[int, list[Completion]]:
                async with free:
                    return {} if failure else {number: await self._complete(number, prompts[number])}

            try:
                pending = {asyncio.create_task(one(number)) for number in prompts}
                while pending:
                    done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                    failure = failure or next((task.exception() for task in done if task.exception()), None)
                    finished: dict[int, list[Completion]] = {}
                    for task in done:
                        finished |= {} if task.exception() else task.result()
                    if finished:
                        yield finished
            finally:
                for task in pending:
                    task.cancel()
                await asyncio.gather(*pending, return_exceptions=True)
        if failure:
            raise failure

    async def _find_model(self, model: str | None) -> tuple[str, str]:
        """The names of the model and of the server's software, see `ServerClient.find_model`."""
        async with self._client.opened() as client:
            return await client.find_model(model)

    async def _try_ids(self, number: int, prompt: str) -> bool:
        """Whether the server completes token ids; asks for one token."""
        ids = prompt_ids(prompt, self.tokenizer)
        counted = None
        for what in (ids, prompt):
            fields = self._fields(number, 1, 0) | {"prompt": what, "max_tokens": 1}
            try:
                answer = await self._client.ask("/completions", fields)
            except Refusal as error:
                if error.status in NO_SUCH_PATH:
                    hint = "if it chats, server_chat: true asks it without the prefill, which is another prompt"
                    raise RecipeError(f"{error.problem}; {hint}", key="server") from error
                if error.status not in REFUSED or what is prompt:
                    raise
                continue
            read_completions(answer, self.tokenizer, 1, self._client.url)
            counted = _count(answer, "prompt_tokens")
            if what is ids and counted in (None, len(ids)):  # else it took the ids for a list of prompts, say
                if self._software == VLLM:
                    await self._check_tokenizer(prompt, ids)
                return True
        if counted not in (None, len(ids)):
            self.note = f"the server makes {counted} tokens of a prompt of {len(ids)} in training: {OTHER_PROMPT}"
        return False

    async def _check_tokenizer(self, prompt: str, ids: list[int]) -> None:
        """Refuse a server with another tokenizer: it would complete the ids as other text, without an error."""
        address = self._client.url.removesuffix("/v1") + "/tokenize"
        try:
            answer = await self._client.ask(address, {"model": self.model, "prompt": prompt})
        except Refusal:
            return  # behind a gateway that lets only /v1 through
        if answer.get("tokens") != ids:
            raise RecipeError(
                f"{self._client.url} serves {self.model!r}, whose tokenizer makes other tokens of a prompt than "
                "the one loaded here; name the folder or hub id of the model that is served",
                key="model_name_or_path",
            )

    async def _complete(self, number: int, prompt: str) -> list[Completion]:
        """Samples all completions of a problem. A further request has the seed that vLLM gives the next completion."""
        made: list[Completion] = []
        while missing := self._samples - len(made):
            count = 1 if self._gives_several is False else missing
            try:
                answer = await self._request(number, prompt, count, len(made))
            except Refusal as error:
                if count == 1 or self._gives_several or error.status not in REFUSED_SEVERAL:
                    raise
                self._gives_several = False
                continue
            if count > 1:
                self._gives_several = True
            longest = self.sampling.max_completion_length
            made += read_completions(answer, self.tokenizer, longest, self._client.url)[:count]
        return made * self.sampling.samples if self.sampling.greedy else made

    async def _request(self, number: int, prompt: str, count: int, have: int) -> dict:
        """Requests `count` completions of a problem that has `have` of them already."""
        fields, longest = self._fields(number, count, have), self.sampling.max_completion_length
        if self.conversation:
            asked = [turn for turn in self.conversation(number) if turn["role"] != "assistant"]
            return await self._client.chat(fields | {"messages": asked}, longest)
        what = prompt_ids(prompt, self.tokenizer) if self._takes_ids else prompt
        return await self._client.ask("/completions", fields | {"prompt": what, "max_tokens": longest})

    def _fields(self, number: int, count: int, have: int) -> dict:
        """The fields of a request, without the prompt and the limit of tokens."""
        seed = problem_seed(self.sampling.seed, number) + have
        return {"model": self.model, "n": count, "seed": seed, **sampling_fields(self.sampling, self._software)}


def sampling_fields(sampling: Sampling, server: str) -> dict:
    """The settings of sampling, as fields of a request. `server`: its `owned_by` in /v1/models."""
    greedy = sampling.greedy
    extras = {
        "top_k": -1 if greedy or sampling.top_k <= 0 else sampling.top_k,
        "min_p": 0.0 if greedy else sampling.min_p or 0.0,
        "repetition_penalty": sampling.repetition_penalty,
    }
    return {
        "temperature": 0.0 if greedy else sampling.temperature,
        "top_p": 1.0 if greedy else sampling.top_p,
        **{name: value for name, value in extras.items() if value != EXTRAS_OFF[name] or server in HAVE_DEFAULTS},
        **({"return_token_ids": True} if server == VLLM else {}),
    }


def read_completions(answer: dict, tokenizer, longest: int, url: str) -> list[Completion]:
    """Reads the completions from an answer, in their order, at least one.

    The number of tokens is that of their ids where the server gives them, else the server's count where that is for one
    completion and at most `longest`, else that of the text, with one end token where the completion stopped by itself.

    Raises:
        RecipeError: where there is no completion, or one has no text.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not all(isinstance(one, dict) for one in choices):
        raise RecipeError(f"{url} answers without any completion in `choices`")
    if all(type(one.get("index")) is int for one in choices):
        choices = sorted(choices, key=lambda one: one["index"])
    counted = _count(answer, "completion_tokens") if len(choices) == 1 else None
    return [_completion(one, counted, tokenizer, longest, url) for one in choices]


def _completion(choice: dict, counted: int | None, tokenizer, longest: int, url: str) -> Completion:
    cut_off = choice.get("finish_reason") == "length"
    ids = choice.get("token_ids")
    if isinstance(ids, list) and ids and all(type(token) is int and 0 <= token < 2**31 for token in ids):
        return Completion(text=tokenizer.decode(ids, skip_special_tokens=True), tokens=len(ids), cut_off=cut_off)
    text = choice.get("text")
    if isinstance(choice.get("message"), dict):  # its content is null where a service wrote no more than its reasoning
        text = choice["message"].get("content") or ""
    if not isinstance(text, str):
        raise RecipeError(f"{url} answers with a completion that has no text")
    text = text.encode(errors="replace").decode()  # JSON can hold half a surrogate pair, which UTF-8 cannot
    if counted is None or not 0 < counted <= longest:
        ended = choice.get("finish_reason") == "stop"
        counted = len(tokenizer(text, add_special_tokens=False)["input_ids"]) + ended
    return Completion(text=text, tokens=counted, cut_off=cut_off)


def _count(answer: dict, name: str) -> int | None:
    usage = answer.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int else None


async def _closed(generator) -> None:
    await generator.aclose()
