"""Sampling from an OpenAI-compatible server, many problems at a time.

The server completes token ids, exactly training's prompt, as vLLM, SGLang and llama.cpp do; or it chats, without the
prefill, which is another prompt. All completions of a problem are one request; a server that returns fewer, or refuses
several, gets further requests.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

from mini_r1.data.prompts import prompt_ids
from mini_r1.errors import RecipeError
from mini_r1.evaluation.sampler import Completion, Sampling, problem_seed
from mini_r1.evaluation.server_client import NO_SUCH_PATH, REFUSED, Refusal, ServerClient, choices_of, turn_of

# Fields that OpenAI's protocol lacks, with the value that turns each off. Requests leave out a field that is off, but
# for servers that would use a default of their own or of generation_config.json (`owned_by` in /v1/models).
EXTRAS_OFF = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
HAVE_DEFAULTS = ("vllm", "sglang", "llamacpp")
VLLM = "vllm"
REFUSED_SEVERAL = (*REFUSED, 500)  # 500: how llama.cpp refuses several completions of one prompt
HINT = (
    "if it chats, server_chat: true asks it without the prefill, which is another prompt; else it has to complete "
    "token ids, as vLLM does"
)


class ServerSampler:
    """A `Sampler` that asks a server.

    A server that does not know `top_k`, `min_p` or `repetition_penalty` may ignore them silently: they are not in
    OpenAI's protocol.

    Args:
        url: such as http://localhost:8000/v1.
        tokenizer: the model's, as training uses it.
        model: its name on the server; None: the only one served.
        concurrency: how many problems are asked at a time.
        conversation: number of a problem -> its chat without the prefill, for services that cannot complete a prompt.

    Attributes:
        model: its name on the server.
        note: a sentence on why the numbers are not comparable with training's, or None.

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
        conversation: Callable[[int], list[dict]] | None = None,
    ):
        self.sampling, self.tokenizer = sampling, tokenizer
        self.concurrency, self.conversation = concurrency, conversation
        self.note = None
        if conversation:
            self.note = (
                "asked in a conversation without the prefill: this is another prompt, and numbers are not comparable "
                "with training's"
            )
        self._ids_checked = False
        self._gives_several: bool | None = None
        self._client = ServerClient(url)
        self.model, self._software = self._client.find_model(model)

    def sample(self, prompts: dict[int, str]) -> Iterator[dict[int, list[Completion]]]:
        """See `mini_r1.evaluation.sampler.Sampler`: yields each problem as it finishes.

        Raises:
            RecipeError: once a request has failed for good; problems that were under way have been yielded by then.
        """
        if prompts and not (self.conversation or self._ids_checked):
            self._check_ids(next(iter(prompts.values())))
            self._ids_checked = True

        async def complete(number: int) -> dict[int, list[Completion]]:
            return {number: await self._complete(number, prompts[number])}

        yield from self._client.ask_all(complete, prompts, self.concurrency)

    def _check_ids(self, prompt: str) -> None:
        """Refuses a server that does not complete token ids, or has another tokenizer; asks for one token."""
        url, ids = self._client.url, prompt_ids(prompt, self.tokenizer)
        try:
            answer = self._client.ask_once("/completions", self._fields(0, 1) | {"prompt": ids, "max_tokens": 1})
        except Refusal as error:
            if error.status not in (*NO_SUCH_PATH, *REFUSED):
                raise
            raise RecipeError(f"{error.problem}; {HINT}", key="server") from error
        counted = (answer.get("usage") or {}).get("prompt_tokens")
        if counted not in (None, len(ids)):  # it takes the ids for a list of prompts, say
            raise RecipeError(f"{url} takes the {len(ids)} token ids of a prompt for {counted}; {HINT}", key="server")
        if self._software != VLLM:
            return
        try:
            tokenize = url.removesuffix("/v1") + "/tokenize"
            answer = self._client.ask_once(tokenize, {"model": self.model, "prompt": prompt})
        except Refusal:
            return  # behind a gateway that lets only /v1 through
        if answer.get("tokens") != ids:  # it would complete the ids as other text, without an error
            raise RecipeError(
                f"{url} serves {self.model!r}, whose tokenizer makes other tokens of a prompt than the one loaded "
                "here; name the folder or hub id of the model that is served",
                key="model_name_or_path",
            )

    async def _complete(self, number: int, prompt: str) -> list[Completion]:
        """Samples all completions of a problem. A further request has the seed that vLLM gives the next completion."""
        made: list[Completion] = []
        longest, seed = self.sampling.max_completion_length, problem_seed(self.sampling.seed, number)
        while missing := self.sampling.samples - len(made):
            count = 1 if self._gives_several is False else missing
            fields = self._fields(seed + len(made), count)
            try:
                if self.conversation:
                    answer = await self._client.chat(fields | {"messages": self.conversation(number)}, longest)
                else:
                    fields |= {"prompt": prompt_ids(prompt, self.tokenizer), "max_tokens": longest}
                    answer = await self._client.ask("/completions", fields)
            except Refusal as error:
                if count == 1 or self._gives_several or error.status not in REFUSED_SEVERAL:
                    raise
                self._gives_several = False
            else:
                if count > 1:
                    self._gives_several = True
                made += self._read(answer)[:count]
        return made

    def _fields(self, seed: int, count: int) -> dict:
        """The fields of a request for `count` completions, without the prompt and the limit of tokens."""
        how = self.sampling
        if how.greedy:
            how = replace(how, temperature=0.0, top_p=1.0, top_k=0, min_p=None)
        extras = {
            "top_k": how.top_k if how.top_k > 0 else -1,
            "min_p": how.min_p or 0.0,
            "repetition_penalty": how.repetition_penalty,
        }
        fields = {"model": self.model, "n": count, "seed": seed, "temperature": how.temperature, "top_p": how.top_p}
        for name, value in extras.items():
            if value != EXTRAS_OFF[name] or self._software in HAVE_DEFAULTS:
                fields[name] = value
        return fields | ({"return_token_ids": True} if self._software == VLLM else {})

    def _read(self, answer: dict) -> list[Completion]:
        """Reads the completions of an answer, in their order, at least one."""
        choices = choices_of(answer, self._client.url)
        counted = (answer.get("usage") or {}).get("completion_tokens") if len(choices) == 1 else None
        return [self._completion(choice, counted) for choice in choices]

    def _completion(self, choice: dict, counted: int | None) -> Completion:
        """A completion.

        The number of tokens is that of their ids where the server gives them, else `counted`, the server's count, where
        it can be right, else that of the text, with one end token where the completion stopped by itself.
        """
        cut_off = choice.get("finish_reason") == "length"
        if ids := choice.get("token_ids"):
            return Completion(self.tokenizer.decode(ids, skip_special_tokens=True), len(ids), cut_off)
        text = turn_of(choice, self._client.url)
        if type(counted) is not int or not 0 < counted <= self.sampling.max_completion_length:
            ended = choice.get("finish_reason") == "stop"
            counted = len(self.tokenizer(text, add_special_tokens=False)["input_ids"]) + ended
        return Completion(text, counted, cut_off)
