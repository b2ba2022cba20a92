"""ServerSampler against a real HTTP server that is busy, lost, garbled or the wrong one: retries and errors."""

import subprocess
import sys
import threading

import pytest
from scripted_server import PROMPTS, collect, expected, texts

from mini_r1.errors import RecipeError
from mini_r1.evaluation.sampler import problem_seed

KEY = "sk-secret-0123456789"


def test_another_tokenizer_on_the_server(serve, sampler):
    def script(path, body, number):
        return (200, {"tokens": [1, 2, 3]}) if path == "/tokenize" else None

    found, error = collect(sampler(serve(script, owner="vllm").url))
    assert found == {} and error.startswith("model_name_or_path: ") and "whose tokenizer makes other tokens" in error


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, "drop"])
def test_what_passes_is_tried_again(serve, sampler, status):
    def script(path, body, number):
        if body and body["max_tokens"] > 1 and number in (2, 3, 6):
            return "drop" if status == "drop" else (status, b"busy", (("Retry-After", 0),))
        return None

    server = serve(script)
    found, error = collect(sampler(server.url))
    assert error is None and texts(found) == expected()
    assert len(server.asked) == len(PROMPTS) + 3


def test_a_server_that_is_not_up_yet(serve, sampler):
    lists = []

    def script(path, body, number):
        if path == "/v1/models" and len(lists) < 2:
            lists.append(path)
            return 503, {"error": {"message": "loading"}}
        return None

    assert collect(sampler(serve(script).url))[0].keys() == PROMPTS.keys() and len(lists) == 2


def test_the_first_request_is_dropped(serve, sampler):
    def script(path, body, number):
        return "drop" if body and body["max_tokens"] == 1 and number == 1 else None

    server = serve(script)
    found, error = collect(sampler(server.url))
    assert error is None and texts(found) == expected() and isinstance(server.asked[0][1]["prompt"], list)


@pytest.mark.parametrize(
    "answer, said",
    [
        ("drop", "does not answer: RemoteProtocolError"),
        ((503, {"error": {"message": "out of\nmemory"}}), "answers with status 503: out of memory"),
    ],
)
def test_dying_in_the_middle_keeps_what_is_finished(serve, sampler, answer, said):
    def script(path, body, number):
        return answer if body and body["max_tokens"] > 1 and number > 4 else None

    server = serve(script)
    made = sampler(server.url, concurrency=2)
    found, error = collect(made)
    assert 1 <= len(found) <= 4 and texts(found).items() <= expected().items()
    assert error.startswith(f"server: {server.url}/v1/completions ") and said in error and "\n" not in error
    assert "(tried 4 times)" in error  # three retries
    server.script = lambda *_: None
    before = len(server.asked)
    rest, error = collect(made, {number: PROMPTS[number] for number in PROMPTS if number not in found})
    assert error is None and texts(found | rest) == expected()
    done = {problem_seed(1, number) for number in found}
    assert not done & {body["seed"] for _, body in server.asked[before:]}


def test_a_server_that_is_gone(serve, sampler):
    server = serve()
    url = server.url
    server.end()
    with pytest.raises(RecipeError) as error:
        sampler(url)
    assert str(error.value).startswith(f"server: {url}/v1/models does not answer: ConnectError")


def test_too_late(serve, sampler, monkeypatch):
    monkeypatch.setattr("mini_r1.evaluation.server_client.TIMEOUT", 1.0)
    gate = threading.Event()
    server = serve(gate=gate)
    found, error = collect(sampler(server.url), {5: PROMPTS[5]})
    gate.set()
    assert found == {} and "gives no answer within 2 s" in error and len(server.asked) == 2


def test_a_refusal_is_final_and_others_are_kept(serve, sampler):
    def script(path, body, number):
        too_long = body and body["max_tokens"] > 1 and body["seed"] == problem_seed(1, 12)
        return (400, {"error": {"message": "maximum context length is 8. " * 40}}) if too_long else None

    server = serve(script)
    found, error = collect(sampler(server.url, concurrency=1))
    assert 12 not in found and texts(found).items() <= expected().items()
    assert "status 400: maximum context length is 8." in error and error.endswith(" [...]") and len(error) < 320
    assert sum(body["seed"] == problem_seed(1, 12) for _, body in server.asked) == 1


@pytest.mark.parametrize(
    "models, wanted, said",
    [
        (("tiny",), "huge", "does not serve 'huge'; it serves: tiny"),
        (("b", "a"), None, "serves several models; name one of: a, b"),
        (("b", "a"), "c", "does not serve 'c'; it serves: a, b"),
        ("abcdefghijkl", None, "name one of: a, b, c, d, e, f, g, h, i, j and others"),
        ((), None, "lists no model"),
    ],
)
def test_wrong_model(serve, sampler, models, wanted, said):
    with pytest.raises(RecipeError) as error:
        sampler(serve(models=models).url, model=wanted)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "is not JSON"),
        (b"<html>Bad gateway</html>", "is not JSON: <html>Bad gateway</html>"),
        (b'{"choices": [{"text": "1', "is not JSON"),
        (b"\xff\xfe\x00garbage", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "no map"),
        (b"null", "no map"),
        (b"{}", "without any completion"),
        (b'{"choices": []}', "without any completion"),
        (b'{"choices": [{}]}', "no text"),
        (b'{"choices": [{"text": null}]}', "no text"),
        (b'{"choices": [{"text": ["1"]}]}', "no text"),
        (b'{"choices": [{"message": {"content": 7}}]}', "no text"),
    ],
)
def test_garbled_answers(serve, sampler, content, said):
    def script(path, body, number):
        return (200, content) if body and body["max_tokens"] > 1 and number > 2 else None

    server = serve(script)
    found, error = collect(sampler(server.url, concurrency=1))
    assert len(found) == 2 and said in error and server.url in error and "\n" not in error
    at_once, error = collect(sampler(serve(lambda path, body, number: (200, content) if body else None).url))
    assert at_once == {} and said in error
    with pytest.raises(RecipeError):
        sampler(serve(lambda path, body, number: (200, content)).url)


@pytest.mark.parametrize(
    "choice, usage, tokens",
    [
        ({"text": "7"}, {"completion_tokens": 9}, 9),
        ({"text": "7"}, {"completion_tokens": 41}, 1),  # more than may be
        ({"text": "7"}, {"completion_tokens": "9"}, 1),
        ({"text": "7"}, {"completion_tokens": True}, 1),
        ({"text": "7", "finish_reason": "stop"}, None, 2),
        ({"text": "7", "finish_reason": "stop"}, [], 2),
        ({"text": "7", "finish_reason": "length"}, None, 1),
    ],
)
def test_counts_that_make_no_sense(serve, sampler, choice, usage, tokens):
    def script(path, body, number):
        return (200, {"choices": [choice], "usage": usage}) if body and body["max_tokens"] > 1 else None

    found, error = collect(sampler(serve(script).url, how={"samples": 1}), {5: PROMPTS[5]})
    assert error is None and [one.tokens for one in found[5]] == [tokens]
    assert found[5][0].cut_off is (choice.get("finish_reason") == "length")


def test_half_a_letter_can_be_written_to_a_file(serve, sampler):
    def script(path, body, number):
        return (200, b'{"choices": [{"text": "\\ud83d 7"}]}') if body and body["max_tokens"] > 1 else None

    found, _ = collect(sampler(serve(script).url, how={"samples": 1}), {5: PROMPTS[5]})
    assert found[5][0].text == "? 7"


def test_one_may_stop_early(serve, sampler):
    server = serve()
    made = sampler(server.url, concurrency=1)
    for _finished in made.sample(PROMPTS):
        break
    assert texts(collect(made)[0]) == expected()
    assert collect(made, {}) == ({}, None)


def test_the_key_is_sent_and_never_shown(serve, sampler, monkeypatch):
    def script(path, body, number):
        return (401, {"error": {"message": f"no such key: {KEY}"}}) if body else None

    server = serve(script)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    found, error = collect(sampler(server.url))
    assert "set OPENAI_API_KEY to a key of this server" in error
    assert server.headers[-1]["Authorization"] == f"Bearer {KEY}"
    assert found == {} and KEY not in error and "no such key: ***" in error
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    assert KEY not in collect(sampler(server.url))[1]
    assert server.headers[-1]["Authorization"] == f"Bearer {KEY}"
    for bad in (f"{KEY}\n{KEY}", f"{KEY}é"):
        monkeypatch.setenv("OPENAI_API_KEY", bad)
        with pytest.raises(RecipeError) as error:
            sampler(server.url)
        assert KEY not in str(error.value) and "OPENAI_API_KEY" in str(error.value)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host", "http://", "http://host?key=1", "http://[::1", "http://a b/c:d"]
)
def test_wrong_url(sampler, url):
    with pytest.raises(RecipeError, match=r"is no url of a server|does not answer"):
        sampler(url)


def test_a_password_in_the_url_is_not_shown(sampler):
    with pytest.raises(RecipeError) as error:
        sampler(f"http://me:{KEY}@localhost:8000/v1")
    assert KEY not in str(error.value) and "OPENAI_API_KEY" in str(error.value)


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
def test_url_with_and_without_v1(serve, sampler, tail):
    assert sampler(serve().url + tail).model == "tiny"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"])
def test_a_proxy_of_the_environment_does_not_lead_to_this_machine(serve, sampler, monkeypatch, name):
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert sampler(serve().url).model == "tiny"


def test_a_light_command_does_without_the_library():
    """What checks a recipe's judge and server, or shows the help of evaluate.py."""
    code = "import sys, mini_r1.evaluation.judge, mini_r1.evaluation.sampling_run; assert 'openai' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
