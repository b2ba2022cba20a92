"""transformers, vLLM in this process and a real vLLM server say the same: greedy to the letter, sampled in the mean.

With a tiny policy after a short cold start, as random weights have too many ties. Minutes; run by `make test-vllm`."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean, variance

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from repository import ROOT
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM

from mini_r1 import tasks
from mini_r1.data.hub import load_tokenizer
from mini_r1.data.prompts import get_template, prompt_ids, render
from mini_r1.errors import RecipeError
from mini_r1.evaluation.sampler import Sampling
from mini_r1.evaluation.server_sampler import ServerSampler
from mini_r1.evaluation.signals import read_signals
from mini_r1.evaluation.transformers_sampler import TransformersSampler
from mini_r1.evaluation.vllm_sampler import VLLMSampler
from mini_r1.launch.vllm_server import free_ports
from mini_r1.rewards import equation_reward, format_reward

pytestmark = pytest.mark.vllm

COLD_START = {
    "extends": str(ROOT / "recipes" / "countdown-tiny-sft.yaml"),
    "num_traces": 4800,
    "trace_phases": [{"share": 1, "operators": "-+", "limit": 36, "give_up": 0.3, "break_format": 0.05}],
    "num_generations_eval": 2,
    "max_eval_rows": 2,
}
ALSO_AN_END = "I give up and guess.\n"  # one token, which some completions have
LENGTH, ROOM, PROBLEMS = 120, 64, 200
GREEDY = Sampling(1, LENGTH, temperature=1.0, top_p=1.0, top_k=1, min_p=None, repetition_penalty=1.0, seed=1)
DRAWN = {
    "temperature 1": replace(GREEDY, samples=4, top_k=0),
    "all settings": replace(GREEDY, samples=4, temperature=1.3, top_p=0.9, top_k=6, min_p=0.02, repetition_penalty=1.1),
}
ENGINE = {"enforce_eager": True, "kv_cache_memory_bytes": 64 << 20}
SERVER = [
    sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--dtype", "float32", "--enforce-eager",
    "--kv-cache-memory-bytes", str(64 << 20), "--max-model-len", str(ROOM + LENGTH),
    # the CPU build ends at a prompt in pieces that has a seed: "CPU Generator does not use offset"
    "--no-enable-chunked-prefill",
]  # fmt: skip
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
TIE = 1e-3  # two logits closer than that may change places: float32 sums in another order
UNLIKELY = 4.0  # standard errors


@pytest.fixture(scope="module")
def trained(tiny_model_dir, tmp_path_factory) -> Path:
    """A policy that has seen a tenth of the tiny cold start, with two end tokens in its generation settings."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = COLD_START | {"model_name_or_path": str(tiny_model_dir), "output_dir": str(folder / "model")}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    words = [sys.executable, str(ROOT / "scripts" / "run_sft.py"), "--config", str(folder / "recipe.yaml")]
    subprocess.run(words, check=True, env=os.environ | ENVIRONMENT)
    settings = folder / "model" / "generation_config.json"
    tokenizer = load_tokenizer(str(folder / "model"))
    ends = [tokenizer.eos_token_id, *tokenizer(ALSO_AN_END)["input_ids"]]
    assert len(ends) == 2
    # the server's own defaults would come from here too: nothing may depend on them
    defaults = {"top_k": 1, "temperature": 0.1, "top_p": 0.5, "repetition_penalty": 2.0, "min_p": 0.5}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token_id": ends} | defaults))
    return folder / "model"


@pytest.fixture(scope="module")
def tokenizer(trained):
    return load_tokenizer(str(trained))


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    """Problems such as those of the cold start."""
    task = {**yaml.safe_load((ROOT / "recipes/tiny/countdown-tiny.yaml").read_text())["task_args"], "n": PROBLEMS}
    made = tasks.get("countdown").generate(**task | {"seed": 1})
    return [tasks.get("countdown").parse_row(row) for row in made]


@pytest.fixture(scope="module")
def prompts(rows, tokenizer) -> dict[int, str]:
    template, task = get_template("mini_r1"), tasks.get("countdown")
    return {number: render(template, task, row, tokenizer).text for number, row in enumerate(rows)}


@pytest.fixture(scope="module")
def model(trained):
    return AutoModelForCausalLM.from_pretrained(trained, dtype="float32")


@pytest.fixture(scope="module")
def backends(trained, model, tokenizer, tmp_path_factory):
    """One `Sampler` of each kind, for `GREEDY`; tests make others from them, as an engine takes a minute to start."""
    port = free_ports(1)[0]
    log = tmp_path_factory.mktemp("server") / "server.log"
    with log.open("w") as screen, pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setattr("mini_r1.evaluation.server_client.RETRIES", 60)  # the server needs some minutes to start
        words = [*SERVER, "--model", str(trained), "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(words, stdout=screen, stderr=subprocess.STDOUT)
        try:
            offline = VLLMSampler(str(trained), GREEDY, dtype="float32", max_model_length=ROOM + LENGTH, **ENGINE)
            url = f"http://127.0.0.1:{port}"
            yield {
                "transformers": TransformersSampler(model, tokenizer, GREEDY, completions_at_once=50),
                "vllm": offline,
                "server": ServerSampler(url, GREEDY, tokenizer, concurrency=16),
            }
            del offline
        finally:
            server.terminate()
            server.wait(timeout=60)


def collect(backends, name: str, sampling: Sampling, prompts: dict[int, str]) -> dict[int, list]:
    """All completions of a backend with other settings; of the server, by a new client."""
    sampler = backends[name]
    if name == "server":
        sampler = ServerSampler(sampler._client.url, sampling, sampler.tokenizer, concurrency=16)
    sampler.sampling = sampling
    if name == "transformers":
        sampler.completions_at_once = sampler.problems_at_once * sampling.samples
    found = {}
    for finished in sampler.sample(prompts):
        assert not finished.keys() & found.keys() and all(len(made) == sampling.samples for made in finished.values())
        found |= finished
    assert found.keys() == prompts.keys()
    return found


def gap_where_they_part(model, tokenizer, prompt: str, one: str, other: str) -> float:
    """Of the two largest logits, at the first token in which two completions of the prompt differ."""
    one, other = tokenizer(one)["input_ids"], tokenizer(other)["input_ids"]
    pairs = zip(one, other, strict=False)
    place = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    with torch.no_grad():
        logits = model(torch.tensor([prompt_ids(prompt, tokenizer) + one[:place]])).logits[0, -1]
    first, second = logits.topk(2).values.tolist()
    return first - second


@pytest.mark.parametrize("name", ["vllm", "server"])
def test_greedy_is_the_same(backends, model, tokenizer, prompts, name):
    ours = collect(backends, "transformers", GREEDY, prompts)
    theirs = collect(backends, name, GREEDY, prompts)
    differ = [number for number in prompts if ours[number] != theirs[number]]
    assert len(differ) <= PROBLEMS / 100
    for number in differ:
        one, other = ours[number][0].text, theirs[number][0].text
        assert gap_where_they_part(model, tokenizer, prompts[number], one, other) < TIE
    ends = [made[0] for made in theirs.values()]
    assert {one.cut_off for one in ends} == {True, False}  # all ends occur: the length, and both end tokens
    assert 0 < sum(one.text.endswith(ALSO_AN_END) for one in ends) < PROBLEMS
    assert all(ALSO_AN_END not in one.text.removesuffix(ALSO_AN_END) for one in ends)
    assert sum("</answer>" in one.text for one in ends) > PROBLEMS / 4  # the cold start has taught it something
    assert all(one.tokens == LENGTH for one in ends if one.cut_off)


def of_problems(found: dict[int, list], rows: list[dict]) -> dict[str, list[float]]:
    """For each kind of figure, one mean for each problem."""
    figures = {"right": [], "format": [], "tokens": [], "cut off": []}
    for number, made in sorted(found.items()):
        given = {"completions": [one.text for one in made], "prefill": ["<think>"] * len(made)}
        columns = {name: [rows[number][name]] * len(made) for name in ("nums", "target")}
        figures["right"].append(fmean(equation_reward(**given, **columns)))
        figures["format"].append(fmean(format_reward(**given)))
        figures["tokens"].append(fmean(one.tokens for one in made))
        figures["cut off"].append(fmean(one.cut_off for one in made))
    return figures


def standard_errors(ours: list[float], theirs: list[float]) -> float:
    """How far the mean difference of two samples on the same problems is from zero."""
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    spread = math.sqrt(variance(differences) / len(differences))
    return abs(fmean(differences)) / spread if spread else 0.0


@pytest.mark.parametrize("name", ["vllm", "server"])
@pytest.mark.parametrize("how", DRAWN)
def test_sampled_is_the_same_in_the_mean(backends, prompts, rows, name, how):
    ours = of_problems(collect(backends, "transformers", DRAWN[how], prompts), rows)
    theirs = of_problems(collect(backends, name, DRAWN[how], prompts), rows)
    assert len(set(ours["tokens"])) > PROBLEMS / 4
    far = {figure: standard_errors(ours[figure], theirs[figure]) for figure in ours}
    assert max(far.values()) < UNLIKELY, far


@pytest.mark.parametrize("name", ["vllm", "server"])
def test_same_seeds_in_another_order(backends, prompts, name):
    drawn = DRAWN["temperature 1"]
    first = collect(backends, name, drawn, prompts)
    again = collect(backends, name, drawn, dict(reversed(prompts.items())))
    other = collect(backends, name, replace(drawn, seed=2), prompts)
    same = sum(first[number] == again[number] for number in prompts)
    assert same >= 0.95 * PROBLEMS  # other neighbours in a batch, other rounding: now and then another token
    assert sum(first[number] == other[number] for number in prompts) < PROBLEMS / 2
    assert (
        all(len(set(made)) > 1 for made in first.values()) or sum(len(set(made)) for made in first.values()) > PROBLEMS
    )


def test_a_prompt_without_room(backends, tokenizer):
    long = "1 + " * 40
    count = len(prompt_ids(long, tokenizer))
    with pytest.raises(RecipeError) as error:
        collect(backends, "vllm", GREEDY, {3: "1", 7: long})
    assert str(error.value).startswith(f"the prompt of problem 7 has {count} tokens") and f"only {ROOM} fit" in str(
        error.value
    )
    with pytest.raises(RecipeError, match="status 400"):
        collect(backends, "server", GREEDY, {3: "1", 7: long})


def test_a_model_that_vllm_cannot_load(trained):
    with pytest.raises(RecipeError, match=r"^model_name_or_path: vLLM cannot load ") as error:
        VLLMSampler(str(trained), GREEDY, dtype="float32", max_model_length=1 << 20, **ENGINE)
    assert "\n" not in str(error.value)


def test_a_server_of_another_model(backends, trained, prompts):
    other = load_tokenizer(str(trained))
    other.add_tokens([AddedToken("system\nYou are", normalized=False)])
    assert prompt_ids(prompts[0], other) != prompt_ids(prompts[0], backends["server"].tokenizer)
    with pytest.raises(RecipeError, match="whose tokenizer makes other tokens"):
        list(ServerSampler(backends["server"]._client.url, GREEDY, other).sample(prompts))


def test_all_that_is_kept_of_a_real_server_is_right_and_readable(backends, trained, tmp_path):
    """scripts/generate.py by HTTP, and every kept conversation looked at once more, apart from the script."""
    small = yaml.safe_load((ROOT / "recipes/tiny/countdown-tiny.yaml").read_text())["task_args"] | {"n": PROBLEMS}
    recipe = {"extends": str(ROOT / "recipes" / "countdown-tiny-generate.yaml"), "model_name_or_path": str(trained)}
    recipe |= {"task_args": small, "max_completion_length": LENGTH, "output_dir": str(tmp_path / "run")}
    recipe |= {"num_generations": 32}  # after so short a cold start few are right
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    words = ["--config", str(tmp_path / "recipe.yaml"), "--server", backends["server"]._client.url]
    subprocess.run([sys.executable, str(ROOT / "scripts" / "generate.py"), *words], check=True)
    kept = pq.read_table(tmp_path / "run/dataset/train.parquet").to_pylist()
    texts = [one["messages"][-1]["content"] for one in kept]
    rows = [json.loads(one["row"]) for one in kept]
    answers = [text[text.index("<think>") :] for text in texts]
    assert kept and len(set(texts)) == len(kept)
    assert set(format_reward(answers)) == {1.0}
    assert set(equation_reward(answers, **{name: [row[name] for row in rows] for name in ("nums", "target")})) == {1.0}
    assert not any(signals.mixed_languages or signals.repetition for signals in map(read_signals, answers))
    assert not any("```" in text for text in texts)
    every = pq.read_table(tmp_path / "run/generated/samples.parquet").to_pylist()
    columns = {name: [json.loads(one["row"])[name] for one in every] for name in ("nums", "target")}
    right = equation_reward([one["prefill"] + one["completion"] for one in every], **columns)
    assert len(every) > 5000
    assert all(value == 0.0 for one, value in zip(every, right, strict=True) if one["left_out"] == "wrong")
    assert all(value == 1.0 for one, value in zip(every, right, strict=True) if one["left_out"] is None)
    assert sum(one["left_out"] is None for one in every) == len(kept)
