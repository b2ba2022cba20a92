"""scripts/evaluate.py: the same numbers however often it is killed, no problem sampled twice, intervals that hold."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from repository import ROOT

from mini_r1 import tasks
from mini_r1.evaluation.completion_log import CompletionLog
from mini_r1.evaluation.evaluate import measure
from mini_r1.evaluation.grading import Grader
from mini_r1.evaluation.sampler import Completion, Sampling
from mini_r1.evaluation.transformers_sampler import TransformersSampler

RECIPE = """
extends: _base/grpo.yaml
task: countdown
task_args: {n: 120, seed: 0, count: [3], numbers: [1, 9], in_order: true}
test_fraction: 0.5
max_prompt_tokens: 128
max_completion_length: 24
use_cpu: true
bf16: false
dtype: float32
gradient_checkpointing: false
per_device_eval_batch_size: 8
num_generations_eval: 4
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory, small_model_dir) -> Path:
    """A working directory with a recipe; measuring takes its small model some seconds."""
    top = tmp_path_factory.mktemp("home")
    (top / "recipes").mkdir()
    (top / "recipes/_base").symlink_to(ROOT / "recipes/_base")
    (top / "recipes/small.yaml").write_text(RECIPE + f"model_name_or_path: {small_model_dir}\n")
    return top


def words_for(name: str, *words: str) -> list[str]:
    return ["--config", "recipes/small.yaml", "--output_dir", f"runs/{name}", *words]


@pytest.fixture
def evaluate(home, run_script, monkeypatch, capsys):
    """`evaluate(name, ...)`: scripts/evaluate.py in this process, in `home`; gives what it printed."""

    def evaluate(name: str, *words: str) -> str:
        capsys.readouterr()
        run_script("evaluate.py", *words_for(name, *words))
        return capsys.readouterr().out

    monkeypatch.chdir(home)
    return evaluate


def found(home: Path, name: str) -> tuple[dict, list, list]:
    folder = home / "runs" / name
    records = [pq.read_table(folder / "evaluation" / f"{kind}.parquet").to_pylist() for kind in ("after", "greedy")]
    return json.loads((folder / "summary.json").read_text()), *records


def test_killed_and_begun_again_it_ends_with_the_same(home, evaluate):
    """kill -9 after some batches, and the last line torn; nothing that was kept is asked again."""
    output = evaluate("straight")
    assert "pass@4" in output and "greedy" in output
    command = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), *words_for("killed")]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # sums in the same order as here
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    kept = home / "runs/killed/evaluation/after-0.jsonl"
    while not (kept.exists() and kept.read_text().count("\n") >= 3):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (home / "runs/killed/summary.json").exists()
    whole = kept.read_text()
    kept.write_text(whole + '{"49": [["to')
    before = len(CompletionLog(home / "runs/killed", "after").read())
    assert 0 < before < json.loads((home / "runs/straight/summary.json").read_text())["after"]["n"]
    assert kept.read_text() == whole, "the torn line is gone"
    evaluate("killed")
    straight, again = found(home, "straight"), found(home, "killed")
    for summary in (straight[0], again[0]):
        assert summary.pop("manifest")["versions"]["trl"]
        del summary["seconds"]
    assert again == straight
    assert (straight[0]["after"]["samples"], "greedy" in straight[0]["after"]) == (4, True)
    assert not list((home / "runs/killed/evaluation").glob("*.jsonl")), "all is in the parquet files"
    assert "nothing to do" in evaluate("killed")


def test_other_weights_are_not_taken_for_those_measured(evaluate, run_script, tiny_tokenizer, tmp_path, capsys):
    from small_trainer import SIZES

    from mini_r1.run.tiny_model import build_model

    folder = tmp_path / "model"
    words = ["--model_name_or_path", str(folder), "--max_eval_rows", "4"]

    def train(seed: int) -> None:
        build_model(tiny_tokenizer, seed=seed, **SIZES).save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)

    train(1)
    evaluate("retrained", *words)
    train(2)
    # the launcher, which loads nothing where all is finished, sees it, too
    for script in (["evaluate.py"], ["launch.py", "--run", "evaluate"]):
        with pytest.raises(SystemExit, match="2"):
            run_script(*script, *words_for("retrained", *words))
        assert "or had other weights than are there now: start anew" in capsys.readouterr().err


class CutOff(Exception):
    pass


class Counting:
    """A sampler around another one that is cut off after some batches, and notes what it was asked."""

    def __init__(self, sampler, batches: int):
        self.sampler, self.batches, self.sampling, self.asked = sampler, batches, sampler.sampling, []

    def sample(self, prompts):
        for batch, finished in enumerate(self.sampler.sample(prompts)):
            if batch == self.batches:
                raise CutOff
            self.asked += finished
            yield finished


def problems(tiny_rows, tiny_tokenizer) -> list[dict]:
    from mini_r1.data.prompts import get_template, render

    task, template = tasks.get("countdown"), get_template("mini_r1")
    return [
        {"prompt": render(template, task, row, tiny_tokenizer).text, "prefill": "<think>", "difficulty": 3, **row}
        for row in tiny_rows[:40]
    ]


def test_what_was_kept_is_never_asked_again(small_model_dir, tiny_tokenizer, tiny_rows, tmp_path):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(small_model_dir)
    sampling = Sampling(2, 8, 1.0, 1.0, 0, None, 1.0, seed=3)
    rows, grader = problems(tiny_rows, tiny_tokenizer), Grader(tasks.get("countdown"))
    whole = measure(tmp_path / "whole", "after", rows, TransformersSampler(model, tiny_tokenizer, sampling, 8), grader)
    asked = []
    for batches in (3, 0, 5, 100):
        sampler = Counting(TransformersSampler(model, tiny_tokenizer, sampling, 8), batches)
        try:
            result = measure(tmp_path / "cut", "after", rows, sampler, grader)
        except CutOff:
            result = None
        asked += sampler.asked
    assert result == whole
    assert sorted(asked) == list(range(40)), "each problem once"
    paths = [tmp_path / name / "evaluation" / "after.parquet" for name in ("whole", "cut")]
    assert pq.read_table(paths[0]) == pq.read_table(paths[1])


def test_a_small_batch_in_several_turns_and_another_share(small_model_dir, tiny_tokenizer, tiny_rows):
    """Two processes draw together what one draws alone; greedily, the size of a turn makes no difference."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(small_model_dir)
    prompts = {number: row["prompt"] for number, row in enumerate(problems(tiny_rows, tiny_tokenizer)[:12])}

    def drawn(samples: int, top_k: int, **settings) -> dict[int, list[Completion]]:
        sampling = Sampling(samples, 8, 1.0, 1.0, top_k, None, 1.0, seed=3)
        batches = TransformersSampler(model, tiny_tokenizer, sampling, **settings).sample(prompts)
        return {number: completions for batch in batches for number, completions in batch.items()}

    alone = drawn(2, 0, completions_at_once=6)
    assert len(alone) == 12 and all(len(completions) == 2 for completions in alone.values())
    shares = [drawn(2, 0, completions_at_once=6, share=(process, 2)) for process in (0, 1)]
    assert all(shares) and alone == shares[0] | shares[1]
    assert drawn(3, 1, completions_at_once=36) == drawn(3, 1, completions_at_once=2)
    for completion in (completion for completions in alone.values() for completion in completions):
        assert 1 <= completion.tokens <= 8 and (completion.tokens == 8 or not completion.cut_off)


def test_a_server_of_known_accuracy_is_in_its_interval(serve, sampler, tiny_tokenizer, tiny_rows, tmp_path):
    """A scripted server that is right with probability 0.7, estimated 100 times at 95%."""
    p, task = 0.7, tasks.get("countdown")
    row = tiny_rows[0]
    right = task.gold_answer(row)
    rows = [{**problem, **row} for problem in problems(tiny_rows, tiny_tokenizer)]

    def answer(path, body, number):
        if "completions" not in path or body.get("max_tokens") == 1:
            return None
        texts = [
            f"</think><answer>{right if random.Random(body['seed'] * 7 + index).random() < p else '1'}</answer>"
            for index in range(body["n"])
        ]
        choices = [{"index": i, "text": text, "finish_reason": "stop"} for i, text in enumerate(texts)]
        return 200, {"choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": 9 * len(texts)}}

    inside, grader, asking = 0, Grader(task), sampler(serve(answer).url, concurrency=4)
    for seed in range(100):
        asking.sampling = replace(asking.sampling, seed=seed)
        result = measure(tmp_path / str(seed), "after", rows, asking, grader)
        low, high = result["intervals"]["pass@1"]
        inside += low <= p <= high
    assert inside >= 93
