"""A client of one OpenAI-compatible server: what it serves, what it answers, and in one line why it does not.

The `openai` library sends the requests, and sends lost ones again. The API key goes into one header and nowhere else:
what a server says is shown with the key blotted out.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

from mini_r1.data.conversations import REASONING
from mini_r1.errors import RecipeError
from mini_r1.rewards.text import THINK_CLOSE, THINK_OPEN

Name, Result = TypeVar("Name"), TypeVar("Result")

TIMEOUT = 600.0  # seconds in which an answer must be there
# The library waits 0.5, 1, 2, 4 and then 8 s each, or up to two minutes where the server asks for it: a minute in all.
RETRIES = 10
LATE_TRIES = 2  # so many timeouts, further tries included: a late answer most often takes as long again
NO_SUCH_PATH = (404, 405, 501)
NO_ACCESS = (401, 403)
REFUSED = (400, 413, 415, 422)  # the request as it is: a prompt that is too long, a field that is not known
LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")
SHOWN_MODELS = 10


class Refusal(RecipeError):
    """A server's answer with another HTTP status than success."""

    def __init__(self, problem: str, status: int):
        super().__init__(problem, key="server")
        self.status = status


class ServerClient:
    """Requests to one server.

    Args:
        url: such as http://localhost:8000 or https://host/v1; without a path, /v1 is meant.

    Raises:
        RecipeError: for a url or a key (OPENAI_API_KEY in the environment) that cannot be one.
    """

    def __init__(self, url: str):
        self.url = _checked(url)
        self._key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise RecipeError(
                "the API key (OPENAI_API_KEY) has characters that no key has; copy it again", key="server"
            )
        self._limits = ("max_tokens", "max_completion_tokens")  # newer chat services know the second only

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        """Opens the connections, which all requests inside share."""
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Timeout  # half a second, which only servers need

        local = urlsplit(self.url).hostname in LOCAL_HOSTS
        async with AsyncOpenAI(
            base_url=self.url,
            api_key=self._key or "none",  # the library wants one
            timeout=Timeout(TIMEOUT, connect=min(TIMEOUT, 30.0), pool=None),
            max_retries=RETRIES,
            http_client=DefaultAsyncHttpxClient(trust_env=not local),  # no proxy leads to this machine
        ) as self._http:
            yield

    async def ask(self, path: str, body: dict | None = None) -> dict:
        """Returns the server's answer, a map: to a POST of `body`, or to a GET without it. For requests of `ask_all`.

        Args:
            path: after the url, such as /models; or a whole address.

        Raises:
            Refusal: for any status but success.
            RecipeError: where there is no answer after the last try, or one that is not JSON.
        """
        import httpx2  # what the library sends with
        import openai

        address = path if path.startswith("http") else self.url + path
        try:
            async with asyncio.timeout(LATE_TRIES * TIMEOUT):
                if body is None:
                    answer = await self._http.get(address, cast_to=httpx2.Response)
                else:
                    answer = await self._http.post(address, body=body, cast_to=httpx2.Response)
        except TimeoutError as error:
            raise RecipeError(f"{address} gives no answer within {LATE_TRIES * TIMEOUT:g} s", key="server") from error
        except openai.APIStatusError as error:
            remedy = "; set OPENAI_API_KEY to a key of this server" if error.status_code in NO_ACCESS else ""
            said = self._plain(_said(error)) + _tries(error) + remedy
            raise Refusal(f"{address} answers with status {error.status_code}: {said}", error.status_code) from error
        except openai.APIConnectionError as error:
            reason = error.__cause__
            said = self._plain(f"{type(reason).__name__}: {reason}".removesuffix(": "))
            raise RecipeError(
                f"{address} does not answer: {said}{_tries(error)}; is the server running?", key="server"
            ) from error
        try:
            found = json.loads(answer.content)
        except (ValueError, RecursionError) as error:
            raise RecipeError(
                f"{address} answers with what is not JSON: {self._plain(answer.text[:400])}", key="server"
            ) from error
        if not isinstance(found, dict):
            raise RecipeError(
                f"{address} answers with JSON that is no map: {self._plain(answer.text[:400])}", key="server"
            )
        return found

    async def chat(self, fields: dict, most_tokens: int) -> dict:
        """Returns the answer to a chat of at most `most_tokens`, a limit that the server knows by one of two names."""
        for limit in self._limits:
            try:
                answer = await self.ask("/chat/completions", {**fields, limit: most_tokens})
            except Refusal as error:
                if error.status not in REFUSED or limit == self._limits[-1]:
                    raise
            else:
                self._limits = (limit,)
                return answer

    def ask_all(
        self, request: Callable[[Name], Awaitable[Result]], names: Iterable[Name], concurrency: int
    ) -> Iterator[Result]:
        """Awaits `request(name)` for every name, at most `concurrency` at a time, and yields each result as it comes.

        Raises:
            RecipeError: once a request has failed for good. It has yielded the others that were under way by then.
        """
        results = self._results(request, names, concurrency)

        async def following() -> Result | None:
            return await anext(results, None)

        with asyncio.Runner() as runner:
            while (result := runner.run(following())) is not None:
                yield result

    async def _results(
        self, request: Callable[[Name], Awaitable[Result]], names: Iterable[Name], concurrency: int
    ) -> AsyncIterator[Result]:
        failure, free = None, asyncio.Semaphore(concurrency)

        async def one(name: Name) -> Result | None:
            nonlocal failure
            async with free:
                try:
                    return None if failure else await request(name)
                except RecipeError as error:
                    failure = failure or error

        async with self._opened():
            for result in asyncio.as_completed([asyncio.create_task(one(name)) for name in names]):
                if (found := await result) is not None:
                    yield found
        if failure:
            raise failure

    def ask_once(self, path: str, body: dict | None = None) -> dict:
        """See `ask`; for a single request."""

        async def once() -> dict:
            async with self._opened():
                return await self.ask(path, body)

        return asyncio.run(once())

    def find_model(self, wanted: str | None) -> tuple[str, str]:
        """Returns the names of the model (the only one for None) and of the server's software ("" where it is unknown).

        Raises:
            RecipeError: where the server does not answer, or does not serve it.
        """
        try:
            answer = self.ask_once("/models")
        except Refusal as error:
            if wanted is None or error.status not in NO_SUCH_PATH:
                raise
            return wanted, ""  # a server without a list refuses a wrong name later
        found = {one["id"]: one.get("owned_by") or "" for one in answer.get("data") or []}
        names = ", ".join(sorted(found)[:SHOWN_MODELS]) + (" and others" if len(found) > SHOWN_MODELS else "")
        if not found:
            raise RecipeError(f"{self.url}/models lists no model; is this an OpenAI-compatible server?", key="server")
        if wanted is None and len(found) > 1:
            raise RecipeError(f"{self.url} serves several models; name one of: {names}", key="server")
        if wanted is not None and wanted not in found:
            raise RecipeError(f"{self.url} does not serve {wanted!r}; it serves: {names}", key="server")
        name = wanted or next(iter(found))
        return name, found[name]

    def _plain(self, text: str) -> str:
        """One short line without the key."""
        text = text.replace(self._key, "***") if self._key else text
        text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
        return text if len(text) <= 200 else text[:200] + " [...]"


def choices_of(answer: dict, url: str) -> list[dict]:
    """The choices in an answer to a completion or a chat, in their order; a `RecipeError` where there is none."""
    if not answer.get("choices"):
        raise RecipeError(f"{url} answers without any completion in `choices`", key="server")
    return sorted(answer["choices"], key=lambda choice: choice.get("index", 0))


def text_of(choice: dict, url: str) -> str:
    """The text of a choice, "" where a chat service wrote no more than its reasoning; a `RecipeError` where none is."""
    text = choice["message"].get("content") or "" if "message" in choice else choice.get("text")
    if not isinstance(text, str):
        raise RecipeError(f"{url} answers with a completion that has no text", key="server")
    return text.encode(errors="replace").decode()  # JSON can hold half a surrogate pair, which UTF-8 cannot


def turn_of(choice: dict, url: str) -> str:
    """The whole turn of a choice: `text_of` it, after the reasoning that a server took out of it into a field.

    Servers with a reasoning parser (such as vLLM's) keep what is in the think block beside the content. A turn that was
    truncated there has no closing tag.
    """
    text, message = text_of(choice, url), choice.get("message") or {}
    reasoning = next((message[key] for key in REASONING if isinstance(message.get(key), str) and message[key]), None)
    if reasoning is None or THINK_OPEN in text:
        return text
    reasoning = reasoning.encode(errors="replace").decode().strip("\n")
    truncated = not text and choice.get("finish_reason") == "length"
    return f"{THINK_OPEN}\n{reasoning}" + ("" if truncated else f"\n{THINK_CLOSE}\n\n{text.lstrip()}")


def _checked(url: str) -> str:
    """Checks a server's url and returns the address that paths are appended to."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, fine = urlsplit(""), False
    if "@" in parts.netloc:
        raise RecipeError(
            "leave name and password out of the server's url; a key belongs into OPENAI_API_KEY", key="server"
        )
    if not fine or parts.query or parts.fragment or not url.isprintable() or " " in url:
        raise RecipeError(f"{url!r} is no url of a server; one looks like http://localhost:8000/v1", key="server")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"


def _tries(error) -> str:
    """The number of tries of a failed request, as text; empty for one."""
    retries = int(error.request.headers.get("x-stainless-retry-count", 0))
    return f" (tried {retries + 1} times)" if retries else ""


def _said(error) -> str:
    """The server's own message: in OpenAI's form, in FastAPI's, or the whole text."""
    said = error.body  # without OpenAI's "error" around it
    if isinstance(said, dict):
        said = said.get("message") or said.get("detail")
    return said if said and isinstance(said, str) else error.response.text[:1000] or error.response.reason_phrase
