"""The vLLM server's command line and environment, and free ports."""

import json
import socket
import sys
from pathlib import Path

import pytest

from configs import config_of
from mini_r1.errors import RecipeError
from mini_r1.launch.vllm_server import free_ports, port_is_free, server_argv, server_environment, trainer_environment

VALUES = {"model_name_or_path": "Qwen/Qwen2.5-3B-Instruct", "dtype": "bfloat16", "model_revision": "main"}


def flags(values: dict) -> dict[str, str | None]:
    words = server_argv(config_of(VALUES | values), "127.0.0.1", 8123, 1280)
    words = words[words.index(VALUES["model_name_or_path"]) + 1 :]
    after = [*words[1:], None]
    return {
        word: None if nxt is None or nxt.startswith("--") else nxt
        for word, nxt in zip(words, after, strict=True)
        if word.startswith("--")
    }


def test_what_trl_needs_of_the_server():
    words = server_argv(config_of(VALUES), "127.0.0.1", 8123, 1280)
    assert words[:3] == [str(Path(sys.executable).with_name("vllm")), "serve", "Qwen/Qwen2.5-3B-Instruct"]
    found = flags({})
    assert json.loads(found.pop("--weight-transfer-config")) == {"backend": "nccl"}
    assert found == {
        "--host": "127.0.0.1",
        "--port": "8123",
        "--max-model-len": "1280",
        "--dtype": "bfloat16",
        "--gpu-memory-utilization": "0.9",
        "--logprobs-mode": "processed_logprobs",
        "--max-logprobs": "-1",
    }


def test_the_recipe_has_the_last_word():
    found = flags(
        {
            "model_revision": "abc123",
            "vllm_serve_args": {
                "gpu_memory_utilization": 0.8,
                "tensor_parallel_size": 2,
                "enforce_eager": True,
                "enable_prefix_caching": False,
                "max_logprobs": None,
                "compilation_config": {"level": 0},
            },
        }
    )
    assert found["--gpu-memory-utilization"] == "0.8" and found["--tensor-parallel-size"] == "2"
    assert "--enforce-eager" in found and "--no-enable-prefix-caching" in found and "--max-logprobs" not in found
    assert json.loads(found["--compilation-config"]) == {"level": 0} and found["--revision"] == "abc123"
    with pytest.raises(RecipeError, match="enforce_eager: got"):
        flags({"vllm_serve_args": {"enforce_eager": {1, 2}}})


def test_another_program_serves():
    words = server_argv(config_of(VALUES | {"vllm_serve_command": ["python", "-m", "server", "--model"]}), "h", 1, 2)
    assert words[:5] == ["python", "-m", "server", "--model", "Qwen/Qwen2.5-3B-Instruct"]


def test_environments(monkeypatch):
    monkeypatch.delenv("VLLM_HOST_IP", raising=False)
    on_gpu = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "7", "VLLM_HOST_IP": "127.0.0.1"}
    assert server_environment(config_of({}), ("7",)) == {"VLLM_SERVER_DEV_MODE": "1", **on_gpu}
    assert server_environment(config_of({"vllm_server_host": "10.0.0.2"}), ()) == {"VLLM_SERVER_DEV_MODE": "1"}
    assert trainer_environment(config_of({}), ("0", "1"), "server")["CUDA_VISIBLE_DEVICES"] == "0,1"
    assert "VLLM_HOST_IP" not in trainer_environment(config_of({}), ("0",), "colocate")
    assert trainer_environment(config_of({}), (), "hf") == {}
    monkeypatch.setenv("VLLM_HOST_IP", "10.0.0.3")
    assert "VLLM_HOST_IP" not in server_environment(config_of({}), ())


def test_ports():
    ports = free_ports(20)
    assert len(set(ports)) == 20 and all(port_is_free(port) for port in ports)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not port_is_free(taken.getsockname()[1])
