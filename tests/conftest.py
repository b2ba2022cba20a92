"""What several test files share: a tokenizer and a tiny model, made once, and scripts run inside the test process."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # tests run offline; transformers and datasets read this once, when imported
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, one for each core

import contextlib
import functools
from pathlib import Path

import pytest
import torch  # noqa: F401 (else scripts that leave it out would do so for all tests after them)
from repository import ROOT, TASK_ARGS, run_in_process

from mini_r1 import tasks
from mini_r1.data.prompts import get_template


@pytest.fixture
def run_script():
    """`run_script("run_sft.py", "--config", path)`: the script as `__main__`, in this process."""
    return run_in_process


@pytest.fixture(scope="session")
def tiny_rows() -> list[dict]:
    return tasks.get("countdown").generate(300, 0, **TASK_ARGS)


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_rows):
    """The tokenizer of the tiny Countdown model; it adds no BOS."""
    from mini_r1.run.tiny_model import build_tokenizer

    return build_tokenizer([(tasks.get("countdown"), get_template("mini_r1"), tiny_rows, {"limit": 99})], seed=1)


@pytest.fixture(scope="session")
def mixed_tokenizer():
    """A tokenizer of Countdown and GSM8K, as in tests/helpers/mixed.py."""
    from mixed import SETTINGS

    from mini_r1.run.tiny_model import build_tokenizer

    parts = []
    for name, settings in SETTINGS.items():
        task = tasks.get(name)
        rows = [task.parse_row(row) for row in task.generate(**settings | {"n": 300, "seed": 1})]
        parts.append((task, get_template("mini_r1"), rows, {"limit": 99} if name == "countdown" else {}))
    return build_tokenizer(parts, seed=1)


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory) -> Path:
    """What `scripts/build_model.py` makes of the shipped tiny recipe."""
    folder = tmp_path_factory.mktemp("model") / "countdown-tiny-base-s42"
    recipe = ROOT / "recipes" / "tiny" / "countdown-tiny.yaml"
    run_in_process("build_model.py", "--config", recipe, "--stage", "base", "--output_dir", folder)
    return folder


@pytest.fixture(scope="session")
def small_model_dir(tmp_path_factory, tiny_tokenizer) -> str:
    from small_trainer import small_model

    return small_model(tmp_path_factory.mktemp("small") / "model", tiny_tokenizer)


@pytest.fixture
def build(small_model_dir, tiny_tokenizer, tiny_rows, tmp_path):
    """`build(rewards, algorithm, ...)`: a trainer whose steps take milliseconds, see `small_trainer`."""
    from small_trainer import kinds_of_letters, small_trainer

    def build(rewards=(kinds_of_letters,), algorithm=None, name="run", rows=tiny_rows, **settings):
        return small_trainer(
            small_model_dir, tiny_tokenizer, rows, list(rewards), tmp_path / name, algorithm=algorithm, **settings
        )

    return build


@pytest.fixture
def serve():
    """`serve(script, ...)`: a `Scripted` server that runs until the test is over."""
    from scripted_server import Scripted

    with contextlib.ExitStack() as running:

        def start(*args, **kwargs) -> Scripted:
            server = Scripted(*args, **kwargs)
            running.callback(server.end)
            return server

        yield start


@pytest.fixture
def sampler(tiny_tokenizer, monkeypatch):
    """`sampler(url, ...)`, see `make_sampler`."""
    from scripted_server import hurry, make_sampler

    hurry(monkeypatch)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    return functools.partial(make_sampler, tiny_tokenizer)
