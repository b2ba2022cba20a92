"""launch.py with a real vLLM server (its CPU build) and TRL's own client: what comes back, and that nothing is left
behind, whichever way it ends. Minutes; run by `make test-vllm`."""

import json
import os
import random
import signal
import socket
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from launched import RECIPE, TASK_ARGS, Launch
from stand_in_trainer import GREEDY, SAMPLED
from transformers import AutoModelForCausalLM

from mini_r1 import tasks
from mini_r1.data.hub import load_tokenizer
from mini_r1.data.prompts import get_template, prompt_ids, render

pytestmark = pytest.mark.vllm

AT_ONCE = min(4, os.cpu_count())  # a start takes a core for most of a minute, and 3 GB of memory
TAKEN = "a port that is taken"
GENERATING = ("generating",) * 10
ANY_MOMENT = ("server", "engine", "worker", "generating", "generating") * 2  # the first three: while the server starts
KILLS = [  # (who gets it, signal, when, launch.py's exit status)
    pytest.param("trainer", signal.SIGKILL, GENERATING, 128 + signal.SIGKILL, id="trainer"),
    pytest.param("server", signal.SIGKILL, ANY_MOMENT, 1, id="server"),
    pytest.param("launch.py", signal.SIGKILL, ANY_MOMENT, -signal.SIGKILL, id="launcher"),
    pytest.param("launch.py", signal.SIGINT, ANY_MOMENT, 128 + signal.SIGINT, id="Ctrl-C"),
    pytest.param("engine", signal.SIGKILL, ("engine", "generating"), 1, id="engine"),
    pytest.param("guard", signal.SIGKILL, ("engine", "generating"), 128 + signal.SIGKILL, id="guard"),
]
API_SERVER = RECIPE["vllm_serve_command"][:-1]
WRONG_SERVERS = [  # keys of the recipe, what the end of the server's log says
    pytest.param({"vllm_serve_args": {"no_such_flag": 1}}, "unrecognized arguments: --no-such-flag", id="flag"),
    pytest.param(
        {"vllm_serve_command": [*API_SERVER, "--model", "/no/such/model", "--served-model-name"]},
        "/no/such/model",
        id="model",
    ),
    pytest.param({"vllm_serve_args": {"port": TAKEN}}, "Address already in use", id="port"),
]
STOPPED_BY_THE_CHECK = [  # before anything is started: keys of the recipe, what is said
    pytest.param({"vllm_serve_command": ["/no/such/vllm"]}, "vllm_serve_command: there is no program", id="program"),
    pytest.param({"model_name_or_path": "/no/such/model"}, "model_name_or_path: ", id="model"),
    pytest.param({"vllm_server_port": TAKEN}, "vllm_server_port: port", id="port"),
]


@pytest.fixture
def launch(tmp_path, tiny_model_dir):
    """`launch(stand_in, **recipe_keys)`; what still runs when the test is over, is killed."""
    started = []

    def start(stand_in: dict | None, **recipe) -> Launch:
        folder = Path(tempfile.mkdtemp(prefix="launch-", dir=tmp_path))
        one = Launch(folder, {"model_name_or_path": str(tiny_model_dir), **recipe}, stand_in)
        started.append(one)
        return one

    yield start
    for one in started:
        one.kill()


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


def with_port(recipe: dict, port: int) -> dict:
    """The keys with `port` in the place of TAKEN."""
    return json.loads(json.dumps(recipe).replace(f'"{TAKEN}"', str(port)))


def greedy(model, prompt: list[int], tokens: int) -> list[int]:
    """What transformers generates without sampling, up to the end token and with it."""
    ids = torch.tensor([prompt])
    made = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens)
    return made[0, len(prompt) :].tolist()


def logprobs(model, prompt: list[int], completion: list[int], temperature: float) -> torch.Tensor:
    """Of each token of the completion, shape (tokens,)."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    return (logits / temperature).log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0]


def test_generates_what_transformers_does(launch, tmp_path, tiny_model_dir):
    tokenizer = load_tokenizer(str(tiny_model_dir))
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype="float32").eval()
    task = tasks.get("countdown")
    rows = task.generate(**{**TASK_ARGS, "n": 24}, seed=1)
    texts = [render(get_template("mini_r1"), task, row, tokenizer).text for row in rows]
    ids = [prompt_ids(text, tokenizer) for text in texts]
    result = tmp_path / "result.json"

    started = launch({"texts": texts, "ids": ids, "result": str(result), "status": 3})
    assert started.status() == 3, started.printed()  # the trainer's
    assert started.left_behind() == []
    found = json.loads(result.read_text())

    made = found["greedy"]
    assert made["prompt_ids"] == ids  # the server's tokenizer adds nothing to a rendered prompt
    same = [
        ours == theirs
        for ours, theirs in zip(
            (greedy(model, prompt, GREEDY["max_tokens"]) for prompt in ids), made["completion_ids"], strict=True
        )
    ]
    assert sum(same) >= 23  # two tokens can be as likely as each other, but for rounding

    made = found["sampled"]
    assert len(made["completion_ids"]) == 4 * len(ids)
    for number, (completion, of_tokens) in enumerate(zip(made["completion_ids"], made["logprobs"], strict=True)):
        assert tokenizer.decode(completion)
        expected = logprobs(model, ids[number // 4], completion, SAMPLED["temperature"])
        torch.testing.assert_close(torch.tensor(of_tokens)[:, 0], expected, atol=1e-3, rtol=0)
    assert [[[token] for token in completion] for completion in made["completion_ids"]] == made["logprob_token_ids"]

    assert found["world_size"] == 1 and found["server"]["weight_transfer_config"]["backend"] == "nccl"
    assert "needs a CUDA device" in found["refusal"]  # where a CPU ends
    ports = {found["flags"]["vllm_server_port"], found["flags"]["vllm_group_port"]}
    assert ports <= started.ports and not ports & {8000, 51216}  # TRL's own, at which two runs would collide
    assert "Application startup complete" in (started.run / "logs" / "server.log").read_text()


@pytest.mark.parametrize("who, signal_number, moments, status", KILLS)
def test_a_kill_leaves_nothing(launch, who, signal_number, moments, status):
    def kill_once(number: int) -> str:
        """One launch, up to its end; returns what was wrong, or nothing."""
        started = launch({})
        started.wait_until(moments[number])
        time.sleep(random.Random(number).uniform(0, 2))
        victim = started.find(who)
        victim.send_signal(signal_number)
        found, left = started.status(), started.left_behind()
        right = found == status and not left and len(started.ports) >= 1
        return "" if right else f"{number}, {moments[number]}: status {found}, left {left}\n{started.printed()[-3000:]}"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = list(filter(None, pool.map(kill_once, range(len(moments)))))
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("recipe, said", WRONG_SERVERS)
def test_a_server_that_fails_is_shown(launch, taken_port, recipe, said):
    started = launch({}, **with_port(recipe, taken_port))
    assert started.status() == 1
    started.ports.discard(taken_port)
    assert started.left_behind() == []
    error = started.printed().partition("\nerror: ")[2]
    assert error.startswith("server ended with status ") and said in error


@pytest.mark.parametrize("recipe, said", STOPPED_BY_THE_CHECK)
def test_a_wrong_recipe_starts_nothing(launch, taken_port, recipe, said):
    started = launch({}, **with_port(recipe, taken_port))
    assert started.status() == 2
    assert f"recipe.yaml: {said}" in started.printed() and not (started.run / "logs").exists()


def test_the_real_trainer_reaches_the_server(launch):
    """It stops where it sends the first weights, the one thing that needs GPUs; its status is launch.py's."""
    started = launch(None)
    assert started.status() == 1, started.printed()
    assert "Weight synchronization runs on vLLM's NCCL weight-transfer engine" in started.printed()
    assert started.left_behind() == []
