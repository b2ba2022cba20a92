"""A real HTTP server that follows a script, for tests of ServerSampler and the judge, and what these tests share."""

import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mini_r1.errors import RecipeError
from mini_r1.evaluation.sampler import Sampling, problem_seed
from mini_r1.evaluation.server_sampler import ServerSampler

RIGHT, WRONG = "7 + 5</think>\n<answer>7 + 5</answer>", "7 - 5</think>\n<answer>7 - 5</answer>"
PROMPTS = {number: f"<think>{number}" for number in (5, 3, 12, 7, 40, 41, 42)}
RETRIES = 3


def hurry(monkeypatch) -> None:
    """Make a client try `RETRIES` times again, and wait a millisecond before each further try."""
    monkeypatch.setattr("mini_r1.evaluation.server_client.RETRIES", RETRIES)
    for name in ("INITIAL_RETRY_DELAY", "MAX_RETRY_DELAY"):
        monkeypatch.setattr(f"openai._base_client.{name}", 0.001)


class Scripted(ThreadingHTTPServer):
    """A server of the model "tiny" that answers right with probability 0.5, as the request's seed says.

    Attributes:
        script: called with the path, the body and the number of the request, before the answer; returns None for the
            usual answer, or (status, what to send: a map, or bytes as they are), or "drop" to hang up.
        asked: (path, body) of all requests so far; `probes`: of those for one token, which show whether ids are taken.
        together: the largest number of requests under way at once.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, script=None, models=("tiny",), owner="someone", most=100, counts=None, gate=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.models, self.owner, self.most = script or (lambda *_: None), models, owner, most
        self.counts, self.gate = counts, gate
        self.asked, self.probes, self.headers = [], [], []
        self.lock, self.busy, self.together = threading.Lock(), 0, 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def end(self) -> None:
        self.shutdown()
        self.server_close()

    def completions(self, path: str, body: dict) -> dict:
        choices = []
        for index in range(min(body["n"], self.most)):
            text = RIGHT if random.Random(body["seed"] + index).random() < 0.5 else WRONG
            text, reason = (text, "stop") if body.get("max_tokens", 99) > 1 else (text[:1], "length")
            said = {"message": {"role": "assistant", "content": text}} if "chat" in path else {"text": text}
            choices.append({"index": index, "finish_reason": reason, **said})
        usage = {"prompt_tokens": self.counts(body)} if self.counts else {}
        return {"choices": choices, "usage": {**usage, "completion_tokens": 17 * len(choices)}}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.headers.append(self.headers)
        answer = self.server.script(self.path, None, 0)
        self.send(*answer if answer else (200, {"data": [self.model(name) for name in self.server.models]}))

    def model(self, name: str) -> dict:
        return {"id": name, "owned_by": self.server.owner}

    def do_POST(self):
        body, server = json.loads(self.rfile.read(int(self.headers["Content-Length"]))), self.server
        with server.lock:
            requests = server.probes if body.get("max_tokens") == 1 else server.asked
            requests.append((self.path, body))
            number = len(requests)
            server.busy += 1
            server.together = max(server.together, server.busy)
        answer = server.script(self.path, body, number)
        if answer is None and server.gate and requests is server.asked:
            server.gate.wait(timeout=60)
        with server.lock:
            server.busy -= 1
        if answer == "drop":
            self.connection.close()
            self.close_connection = True
            return
        self.send(*answer or (200, server.completions(self.path, body)))

    def send(self, status: int, what: dict | list | bytes, headers: tuple = ()):
        content = what if isinstance(what, bytes) else json.dumps(what).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", len(content)), *headers):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def make_sampler(tokenizer, url: str, *, how: dict | None = None, **kwargs) -> ServerSampler:
    """A sampler of two completions for the server; `how`: other fields of its `Sampling`."""
    values = {"samples": 2, "max_completion_length": 40, "temperature": 0.9, "top_p": 0.95, "top_k": 0}
    values |= {"min_p": None, "repetition_penalty": 1.0, "seed": 1, **(how or {})}
    return ServerSampler(url, Sampling(**values), tokenizer, **kwargs)


def collect(sampler, prompts=PROMPTS) -> tuple[dict, str | None]:
    """All that the sampler yields, and the error at the end, or None."""
    found = {}
    try:
        for finished in sampler.sample(prompts):
            assert not finished.keys() & found.keys()
            found |= finished
    except RecipeError as error:
        return found, str(error)
    return found, None


def texts(found: dict) -> dict[int, list[str]]:
    return {number: [one.text for one in found[number]] for number in sorted(found)}


def expected(samples: int = 2, seed: int = 1) -> dict[int, list[str]]:
    """The scripted server's answers to all prompts."""
    return {
        number: [
            RIGHT if random.Random(problem_seed(seed, number) + sample).random() < 0.5 else WRONG
            for sample in range(samples)
        ]
        for number in sorted(PROMPTS)
    }
