"""HTTP to an OpenAI-compatible server: tries again where that helps, and says in one line where it does not.

Keys go into one header and nowhere else: what a server says back is shown with the key blotted out.
"""

import asyncio
import contextlib
import json
import os
import random

import httpx

from mini_r1.errors import RecipeError
from mini_r1.evaluation.server_protocol import find_model

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0)  # seconds before another try, each times 0.5 to 1.5
LONGEST_WAIT = 120.0  # seconds, if the server asks for more
LATE_TRIES = 2  # of a request that has no answer in time: most often it would take as long again
TRY_AGAIN = (429, 500, 502, 503, 504)
NO_SUCH_PATH = (404, 405, 501)
LOCAL_HOSTS = ("127.0.0.1", "::1", "localhost")


class Refusal(RecipeError):
    """The server answered, but not with what was asked for. `status` is HTTP's."""

    def __init__(self, problem: str, status: int):
        super().__init__(problem)
        self.status = status


class ServerClient:
    """Requests to one server.

    Args:
        url: such as http://localhost:8000 or https://host/v1; without a path, /v1 is meant.
        api_key: sent as a bearer token; None: the environment's OPENAI_API_KEY, if there is one.
        timeout: seconds in which an answer must begin.
        waits: seconds before each further try.

    Raises:
        RecipeError: for a url or a key that cannot be one.
    """

    def __init__(self, url: str, api_key: str | None, timeout: float, waits: tuple[float, ...] = WAITS):
        self.url, local = _checked(url)
        self.root = self.url.removesuffix("/v1")
        self.timeout, self.waits, self.giving_up = timeout, waits, False
        self._key = (os.environ.get("OPENAI_API_KEY", "") if api_key is None else api_key).strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise RecipeError("the API key (OPENAI_API_KEY) has characters that no key has; copy it again")
        self._settings = {
            "headers": {"Authorization": f"Bearer {self._key}"} if self._key else {},
            "timeout": httpx.Timeout(timeout, connect=min(timeout, 30.0), pool=None),
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=None),
            "trust_env": not local,  # a proxy that the environment names does not lead to this machine
        }

    @contextlib.asynccontextmanager
    async def opened(self):
        """The connections; what is asked in here shares them."""
        async with httpx.AsyncClient(**self._settings) as self._http:
            yield self

    async def ask(self, path: str, body: dict | None = None, tries: int | None = None) -> dict:
        """The server's answer, a map: of a POST with `body`, or a GET without.

        A lost connection and the statuses of `TRY_AGAIN` are tried again with growing waits (after one request was
        given up, `giving_up` makes this the last try of all others).

        Args:
            path: after the url, such as /models; or a whole address.
            tries: at most; None: one more than there are waits.

        Raises:
            Refusal: for any other status at once, and for these after the last try.
            RecipeError: where there is no answer after the last try, or one that is not JSON.
        """
        address = path if path.startswith("http") else self.url + path
        waits = self.waits if tries is None else self.waits[: tries - 1]
        late = 0
        for number in range(len(waits) + 1):
            asked_to_wait = 0.0
            try:
                if body is None:
                    answer = await self._http.get(address)
                else:
                    answer = await self._http.post(address, json=body)
            except httpx.ReadTimeout:
                failure, late = RecipeError(f"{address} gives no answer within {self.timeout:g} s"), late + 1
                if late == LATE_TRIES:
                    break
            except httpx.TransportError as error:
                failure = RecipeError(f"{address} does not answer: {self._plain(_reason(error))}")
            except httpx.RequestError as error:  # such as contents that are not compressed as they claim
                raise RecipeError(f"{address} gives no usable answer: {self._plain(_reason(error))}") from error
            else:
                if answer.status_code == 200:
                    return self._read(answer, address)
                said = self._plain(_message(answer))
                failure = Refusal(f"{address} answers with status {answer.status_code}: {said}", answer.status_code)
                if answer.status_code not in TRY_AGAIN:
                    raise failure
                asked_to_wait = _seconds(answer.headers.get("Retry-After"))
            if number == len(waits) or self.giving_up:
                break
            await asyncio.sleep(max(waits[number] * random.uniform(0.5, 1.5), min(asked_to_wait, LONGEST_WAIT)))
        failure.problem = f"{failure.problem} (tried {number + 1} time{'s' if number else ''})"
        raise failure

    async def find_model(self, wanted: str | None) -> tuple[str, str]:
        """The name of a model that is served, the only one where None is wanted, and that of the server's software
        where it says so.

        Raises:
            RecipeError: where the server does not answer, or does not serve it.
        """
        try:
            return find_model(await self.ask("/models"), wanted, self.url)
        except Refusal as error:
            if wanted is None or error.status not in NO_SUCH_PATH:
                raise
            return wanted, ""  # a server without a list has what it is asked for, or says so

    def _read(self, answer: httpx.Response, address: str) -> dict:
        try:
            found = json.loads(answer.content)
        except (ValueError, RecursionError) as error:
            raise RecipeError(f"{address} answers with what is not JSON: {self._plain(answer.text[:400])}") from error
        if not isinstance(found, dict):
            raise RecipeError(f"{address} answers with JSON that is no map: {self._plain(answer.text[:400])}")
        return found

    def _plain(self, text: str) -> str:
        """One short line without the key."""
        text = text.replace(self._key, "***") if self._key else text
        text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
        return text if len(text) <= 200 else text[:200] + " [...]"


def _checked(url: str) -> tuple[str, bool]:
    """The address that paths follow, and whether it is on this machine."""
    try:
        parts = httpx.URL(url.strip())
    except httpx.InvalidURL:
        parts = httpx.URL("")
    if parts.userinfo:
        raise RecipeError("leave name and password out of the server's url; a key belongs into OPENAI_API_KEY")
    if parts.scheme not in ("http", "https") or not parts.host or parts.query or parts.fragment:
        raise RecipeError(f"{url!r} is no url of a server; one looks like http://localhost:8000/v1")
    path = parts.path.rstrip("/") or "/v1"
    return str(parts.copy_with(path=path)), parts.host in LOCAL_HOSTS


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _message(answer: httpx.Response) -> str:
    """What the server says is wrong: in OpenAI's form, in FastAPI's, or whatever it wrote."""
    try:
        found = json.loads(answer.content)
    except (ValueError, RecursionError):
        found = None
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(key):
            found = found[key]
    return found if isinstance(found, str) else answer.text[:1000] or answer.reason_phrase


def _seconds(header: str | None) -> float:
    """Of a Retry-After header; 0 where it has a date, or nonsense."""
    return float(header) if header and header.isascii() and header.isdigit() else 0.0
