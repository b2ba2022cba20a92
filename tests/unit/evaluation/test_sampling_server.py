"""ServerSampler against a real HTTP server that follows a script: each protocol, and many problems at a time."""

import threading
from dataclasses import replace
from itertools import pairwise

import pytest
from scripted_server import PROMPTS, RETRIES, RIGHT, WRONG, collect, expected, texts

from mini_r1.data.prompts import prompt_ids
from mini_r1.errors import RecipeError
from mini_r1.evaluation.sampler import problem_seed
from mini_r1.evaluation.server_client import turn_of
from mini_r1.rewards import equation_reward, format_reward


def test_token_ids_where_the_server_takes_them(serve, sampler, tiny_tokenizer):
    server = serve(counts=lambda body: len(body["prompt"]))
    made = sampler(server.url)
    found, error = collect(made)
    assert error is None and texts(found) == expected() and made.note is None
    assert {one.tokens for of_one in found.values() for one in of_one} == {
        len(tiny_tokenizer(text)["input_ids"]) + 1 for text in (RIGHT, WRONG)
    }
    by_seed = {body["seed"]: body for _, body in server.asked}
    assert len(server.asked) == len(by_seed) == len(PROMPTS) and len(server.probes) == 1
    for number, prompt in PROMPTS.items():
        assert by_seed[problem_seed(1, number)] == {
            "model": "tiny", "prompt": prompt_ids(prompt, tiny_tokenizer), "max_tokens": 40, "temperature": 0.9,
            "top_p": 0.95, "n": 2, "seed": problem_seed(1, number),
        }  # fmt: skip


def refuse_completions(path, body, number):
    return (404, {"detail": "Not Found"}) if path == "/v1/completions" else None


def refuse_several(path, body, number):
    return (500, {"error": {"message": "Only one completion choice is allowed"}}) if body and body["n"] > 1 else None


def test_a_server_that_refuses_token_ids(serve, sampler):
    server = serve(lambda path, body, number: body and (400, {"error": {"message": "prompt must be a string"}}))
    found, error = collect(sampler(server.url))
    assert found == {} and len(server.probes) == 1 and not server.asked
    assert error.startswith("server: ") and "must be a string; if it chats, server_chat: true" in error


def test_a_server_that_takes_token_ids_for_many_prompts(serve, sampler, tiny_tokenizer):
    found, error = collect(sampler(serve(counts=lambda body: 1).url))
    length = len(prompt_ids(PROMPTS[5], tiny_tokenizer))
    assert found == {} and f"takes the {length} token ids of a prompt for 1; if it chats, server_chat: true" in error


def test_whether_a_server_takes_token_ids_is_asked_once(serve, sampler):
    server = serve()
    made = sampler(server.url)
    collect(made)
    assert collect(made)[1] is None and len(server.probes) == 1


def test_prompt_tokens_counted_for_each_completion_are_no_other_prompt(serve, sampler):
    server = serve(counts=lambda body: len(body["prompt"]) * body["n"])
    made = sampler(server.url)
    assert collect(made)[1] is None and made.note is None
    assert all(isinstance(body["prompt"], list) for _, body in server.asked)


def conversation(number: int) -> list[dict]:
    return [{"role": "user", "content": f"What is {number}?"}]


def test_chat_only(serve, sampler):
    server = serve(refuse_completions)
    made = sampler(server.url, conversation=conversation)
    found, error = collect(made)
    assert error is None and texts(found) == expected()
    assert "without the prefill" in made.note and "not comparable" in made.note
    chats = [body for path, body in server.asked if path == "/v1/chat/completions"]
    assert len(chats) == len(PROMPTS) and not any("prompt" in body for body in chats)
    said = sorted(body["messages"][0]["content"] for body in chats)
    assert said == sorted(f"What is {number}?" for number in PROMPTS)
    assert all(len(body["messages"]) == 1 for body in chats)


def test_a_chat_that_wants_its_limit_by_another_name(serve, sampler):
    def script(path, body, number):
        if body and "chat" in path and "max_tokens" in body:
            return 400, {"error": {"message": "Use 'max_completion_tokens' instead."}}
        return refuse_completions(path, body, number)

    server = serve(script)
    found, error = collect(sampler(server.url, conversation=conversation, concurrency=1))
    assert error is None and texts(found) == expected()
    assert [body["max_completion_tokens"] for _, body in server.asked[1:]] == [40] * len(PROMPTS)


def test_chat_only_without_a_conversation(serve, sampler):
    found, error = collect(sampler(serve(refuse_completions).url))
    assert found == {} and "status 404: Not Found; if it chats, server_chat: true" in error


@pytest.mark.parametrize("most, requests", [(1, 5), (2, 3), (100, 1)])
def test_a_server_that_gives_fewer_is_asked_again(serve, sampler, most, requests):
    server = serve(most=most)
    found, error = collect(sampler(server.url, how={"samples": 5}))
    assert error is None and texts(found) == expected(samples=5)  # the same ones, however many came at a time
    assert len(server.asked) == requests * len(PROMPTS)


def test_a_server_that_refuses_several(serve, sampler):
    server = serve(refuse_several)
    found, error = collect(sampler(server.url, how={"samples": 3}, concurrency=1))
    assert error is None and texts(found) == expected(samples=3)
    asked = [body["n"] for _, body in server.asked]
    assert asked == [3] * (1 + RETRIES) + [1] * 3 * len(PROMPTS), "that it refuses is found out once"
    assert isinstance(server.asked[0][1]["prompt"], list)


def test_more_than_was_asked_for_is_left_out(serve, sampler):
    def script(path, body, number):
        return (200, server.completions(path, {**body, "n": 9})) if body else None

    server = serve(script)
    found, error = collect(sampler(server.url))
    assert error is None and texts(found) == expected()


def test_greedy_sampling(serve, sampler):
    server = serve()
    how = {"samples": 1, "top_k": 1, "min_p": 0.1}
    found, error = collect(sampler(server.url, how=how))
    assert error is None and len(server.asked) == len(found) == len(PROMPTS)
    body = server.asked[0][1]
    assert (body["n"], body["temperature"], body["top_p"]) == (1, 0.0, 1.0) and not {"top_k", "min_p"} & body.keys()
    assert {made[0].tokens for made in found.values()} == {17}  # the server's own count of the only completion


@pytest.mark.parametrize(
    "how, owner, sent",
    [
        ({}, "someone", {}),
        ({"top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1}, "someone",
         {"top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1}),
        # else the defaults of the model's generation_config.json would step in, such as Qwen's top_k 20
        ({}, "vllm", {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "return_token_ids": True}),
        ({}, "llamacpp", {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}),
    ],
)  # fmt: skip
def test_fields_beyond_the_protocol(serve, sampler, how, owner, sent):
    def script(path, body, number):
        return (404, b"") if path == "/tokenize" else None

    server = serve(script, owner=owner)
    assert collect(sampler(server.url, how=how))[1] is None
    names = {"top_k", "min_p", "repetition_penalty", "return_token_ids"}
    assert {name: value for name, value in server.asked[-1][1].items() if name in names} == sent


def test_token_ids_in_an_answer_are_what_counts(serve, sampler, tiny_tokenizer):
    ids = [*tiny_tokenizer(RIGHT)["input_ids"], tiny_tokenizer.eos_token_id]

    def script(path, body, number):
        if body and body["max_tokens"] > 1:
            choice = {"text": "shown otherwise", "finish_reason": "stop", "token_ids": ids}
            return 200, {"choices": [choice, {**choice, "token_ids": ids[:3], "finish_reason": "length"}]}
        return None

    found, error = collect(sampler(serve(script).url))
    whole, cut = found[5]
    assert error is None and (whole.text, whole.tokens, whole.cut_off) == (RIGHT, len(ids), False)
    assert (cut.text, cut.tokens, cut.cut_off) == (tiny_tokenizer.decode(ids[:3]), 3, True)


def test_one_of_several_models(serve, sampler):
    server = serve(models=("a", "b"))
    assert collect(sampler(server.url, model="b"))[1] is None
    assert {body["model"] for _, body in server.asked} == {"b"}


def test_a_server_without_a_list_of_models(serve, sampler):
    server = serve(lambda path, body, number: (404, b"no") if path == "/v1/models" else None)
    assert texts(collect(sampler(server.url, model="mine"))[0]) == expected()
    with pytest.raises(RecipeError, match=r"status 404: no$"):
        sampler(server.url)


def test_same_seeds_same_completions_in_any_order(serve, sampler):
    server = serve()
    first = texts(collect(sampler(server.url))[0])
    backwards = dict(reversed(PROMPTS.items()))
    assert texts(collect(sampler(server.url, concurrency=1), backwards)[0]) == first
    assert texts(collect(sampler(server.url, how={"seed": 2}))[0]) != first


def test_seeds_of_different_problems_are_far_apart():
    seeds = sorted(problem_seed(seed, number) for seed in (0, 1, 42) for number in range(300))
    assert all(0 <= seed < 2**30 for seed in seeds)
    assert sum(later - seed < 64 for seed, later in pairwise(seeds)) < 5  # 64 samples each


@pytest.mark.parametrize("concurrency", [1, 4])
def test_concurrency_is_used(serve, sampler, concurrency):
    gate = threading.Event()
    server = serve(gate=gate)
    made = sampler(server.url, concurrency=concurrency)
    results = []
    thread = threading.Thread(target=lambda: results.append(collect(made)))
    thread.start()
    while server.busy < concurrency:
        assert thread.is_alive()  # it ends when the gate has been shut for a minute
        thread.join(0.01)
    gate.set()
    thread.join()
    assert results[0][0].keys() == PROMPTS.keys() and server.together == concurrency


def test_each_problem_is_yielded_as_it_finishes(serve, sampler):
    slow, gate = problem_seed(1, 5), threading.Event()

    def script(path, body, number):
        if body and body["max_tokens"] > 1 and body["seed"] == slow:
            gate.wait(timeout=60)
        return None

    order = []
    for finished in sampler(serve(script).url).sample(PROMPTS):
        order += finished
        if len(order) == len(PROMPTS) - 1:
            gate.set()
    assert order[-1] == 5 and sorted(order) == sorted(PROMPTS)


def test_the_sampling_of_a_sampler_may_change(serve, sampler):
    """As an evaluation does, which samples first and measures greedily then."""
    server = serve()
    made = sampler(server.url)
    collect(made)
    before = len(server.asked)
    made.sampling = replace(made.sampling, samples=1, top_k=1)
    found, error = collect(made)
    assert error is None and all(len(completions) == 1 for completions in found.values())
    later = [body for _, body in server.asked[before:]]
    assert len(later) == len(PROMPTS) and {(body["n"], body["temperature"]) for body in later} == {(1, 0.0)}


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_in_a_field_of_its_own_is_part_of_the_turn(serve, sampler, field):
    """A server with a reasoning parser: the answer alone would be in no format, and score 0."""
    said = {"role": "assistant", "content": "<answer>7 + 5</answer>", field: "\nSeven and five.\n"}

    def parsed(path, body, _):
        if body and "chat" in path:
            choice = {"index": 0, "finish_reason": "stop", "message": said}
            return 200, {"choices": [choice] * body["n"], "usage": {}}

    server = serve(parsed)
    found, error = collect(sampler(server.url, conversation=conversation))
    (turn,) = {completion.text for completions in found.values() for completion in completions}
    assert error is None and turn == "<think>\nSeven and five.\n</think>\n\n<answer>7 + 5</answer>"
    assert format_reward([turn]) == equation_reward([turn], nums=[[7, 5]], target=[12]) == [1.0]


@pytest.mark.parametrize(
    ("message", "reason", "turn"),
    [
        ({"content": "a", "reasoning": "b"}, "stop", "<think>\nb\n</think>\n\na"),
        ({"content": None, "reasoning": "b"}, "length", "<think>\nb"),
        ({"content": "", "reasoning_content": "b"}, "stop", "<think>\nb\n</think>\n\n"),
        ({"content": "<think>b</think>a", "reasoning": "b"}, "stop", "<think>b</think>a"),
        ({"content": "a", "reasoning": None, "reasoning_content": ""}, "stop", "a"),
        ({"content": "a", "reasoning": {"steps": 1}}, "stop", "a"),
    ],
)
def test_turns(message, reason, turn):
    assert turn_of({"message": message, "finish_reason": reason}, "http://x") == turn
    assert turn_of({"text": "a", "finish_reason": reason}, "http://x") == "a"
