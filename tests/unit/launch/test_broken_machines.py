"""What is wrong around a recipe, as `make check` says it: ports, disk, packages, GPUs, the folders of model and run."""

import json
import os
import shutil
import socket
from collections import namedtuple

import pytest
from broken import CPU, GPU, LARGE, MINE, Place
from repository import ROOT

from mini_r1.config.recipe import resolve, write_resolved
from mini_r1.config.run_config import check
from mini_r1.launch import check_machine
from mini_r1.launch.findings import Check
from mini_r1.launch.plan import LaunchPlan
from mini_r1.run import checkpoints

NVIDIA_SMI = """#!/bin/sh
case "$*" in
  *compute_cap*) echo "0, {capability}" ;;
  *) echo "0, GPU-0, NVIDIA A100, 81920, {used}" ;;
esac
"""


@pytest.fixture
def place(tmp_path, monkeypatch, capsys, run_script, tiny_model_dir) -> Place:
    return Place(tmp_path, monkeypatch, capsys, run_script, tiny_model_dir)


@pytest.mark.parametrize("key", ["vllm_server_port", "vllm_group_port"])
def test_port_taken(place, key):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (error,) = place.errors(f"{GPU}{key}: {port}", "--gpus", 8)
    assert error.startswith(f"{MINE}{key}: port {port} is in use by ")
    assert f"process {os.getpid()}; end that, choose another, or leave it out" in error


def test_port_of_the_accelerate_file_taken(place):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        text = (
            (ROOT / "configs" / "zero3.yaml").read_text().replace("main_process_port: 0", f"main_process_port: {port}")
        )
        (place.folder / "my.yaml").write_text(text)
        (error,) = place.errors(GPU + "accelerate_config: my.yaml", "--gpus", 8)
    assert error.startswith(f"my.yaml: main_process_port: port {port} is in use")


def test_one_port_for_two(place):
    (error,) = place.errors(GPU + "vllm_server_port: 8123\nvllm_group_port: 8123", "--gpus", 8)
    assert error == MINE + "vllm_group_port: the ports given must differ"


def test_disk_full(place, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(check_machine.shutil, "disk_usage", lambda folder: usage(10**9, 10**9 - 2**20, 2**20))
    (error,) = place.errors(CPU)
    assert error.startswith(
        MINE + "output_dir: 3 checkpoints of 1.7 MiB and the model of 0.6 MiB need 5.8 MiB, and 1.0"
    )
    assert "choose an output_dir on a larger disk" in error


def test_output_dir_is_a_file(place):
    (place.folder / "out").write_text("")
    (error,) = place.errors(CPU)
    assert error.startswith(MINE + "output_dir: ") and "no folder in which this user may write" in error


def test_unsupported_version(place, monkeypatch):
    monkeypatch.setitem(check_machine.SUPPORTED, "trl", ">=2.0")
    (error,) = place.errors(CPU)
    assert error.startswith("requirements.txt: trl: 1.") and "supported is >=2.0; run: pip install -r" in error


def test_no_chat_template(place, tmp_path):
    folder = shutil.copytree(place.model, tmp_path / "base")
    (folder / "chat_template.jinja").unlink()
    (error,) = place.errors(CPU.replace("{model}", str(folder)))
    assert error.startswith("recipes/tiny/countdown-tiny.yaml: prompt_template: this tokenizer has no chat template")
    assert "choose r1_zero" in error


def test_no_weights(place, tmp_path):
    folder = shutil.copytree(place.model, tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    (error,) = place.errors(CPU.replace("{model}", str(folder)))
    assert error == f"{MINE}model_name_or_path: {folder} has a tokenizer and no weights (*.safetensors)"


@pytest.mark.parametrize(
    ("processes", "flags", "start", "remedy"),
    [
        (
            2,
            "",
            MINE + "output_dir: out was begun on 2 training processes and cannot go on exactly on 1",
            "use 2 again",
        ),
        (1, "--beta 0.5", MINE + "output_dir: out holds a run of another recipe (beta: 0.0 -> 0.5)", "undo the change"),
    ],
)
def test_directory_of_another_run(place, processes, flags, start, remedy):
    recipe = check("r1_grpo", resolve(place.write(CPU))).recipe
    write_resolved(recipe, place.folder / "out")
    (place.folder / "out" / "manifest.json").write_text(json.dumps({"hardware": {"processes": processes}}))
    (place.folder / "out" / "checkpoint-20").mkdir()
    checkpoints.mark(place.folder / "out" / "checkpoint-20", seconds=1.0)
    (error,) = place.errors(CPU, *flags.split())
    assert error.startswith(start)
    assert remedy in error


@pytest.mark.parametrize(
    ("gpu", "text", "flags", "start", "remedy"),
    [
        (
            {},
            GPU + "vllm_mode: colocate",
            "",
            "recipes/countdown.yaml: use_vllm: needs the package vllm, which is not installed",
            "pip install -r requirements-gpu.txt",
        ),
        (
            {"used": 80000},
            LARGE + "use_vllm: false\naccelerate_config: zero3_offload\nsave_strategy: 'no'",
            "",
            "environment: CUDA_VISIBLE_DEVICES: GPU 0 (NVIDIA A100) has 1.9 GiB free",
            "end those, or choose other GPUs",
        ),
        (
            {"capability": "7.5"},
            GPU + "use_vllm: false\ndtype: float32\naccelerate_config: null",
            "",
            "recipes/countdown.yaml: bf16: GPU 0 (NVIDIA A100) has none (compute capability 7.5",
            "set bf16: false",
        ),
    ],
)
def test_with_a_gpu(place, monkeypatch, gpu, text, flags, start, remedy):
    """The program that tells of GPUs is one of ours: there is none here."""
    program = place.folder / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text(NVIDIA_SMI.format(**{"capability": "8.0", "used": 0} | gpu))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    # DeepSpeed may be installed here, for `make test-distributed`, or not
    (error,) = (e for e in place.errors(text, *flags.split()) if "needs the package deepspeed" not in e)
    assert error.startswith(start)
    assert remedy in error


def test_a_lock_left_by_a_killed_compiler(tmp_path, monkeypatch):
    lock = tmp_path / "py311_cpu" / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    run = Check(config=check("r1_grpo", resolve(ROOT / "recipes" / "countdown.yaml")))
    run.plan = LaunchPlan("hf", 1, (), (), ROOT / "configs" / "zero3.yaml", 1, (), (), None)
    check_machine.check_compiler_locks(run)
    assert run.findings == []
    lock.touch()
    check_machine.check_compiler_locks(run)
    (warning,) = run.findings
    assert warning.level == "warning" and warning.text.endswith(f"if none does, run: rm {lock}")
