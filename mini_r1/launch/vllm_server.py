"""Command line and environment of the vLLM server beside a trainer, and free ports for both.

TRL talks to plain `vllm serve`. What it needs of it (TRL 1.16, trl/generation/vllm_client.py): the development
endpoints, a weight-transfer engine, log-probabilities after temperature and top-k/p, and any number of them.
"""

import json
import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from mini_r1.config.run_config import RunConfig
from mini_r1.data.hub import whole_folder
from mini_r1.errors import RecipeError

LOOPBACK = "127.0.0.1"
HEALTH = "/health"


def server_argv(config: RunConfig, host: str, port: int, max_model_len: int) -> list[str]:
    """The command line of the server.

    Args:
        config: its `vllm_serve_args` are added, and count before our own.
        max_model_len: tokens of the longest prompt and completion together.

    Raises:
        RecipeError: for a flag's value that is neither text, number, true, null, list nor map.
    """
    flags = {
        "host": host,
        "port": port,
        "max_model_len": max_model_len,
        "dtype": config.given("dtype") or "auto",
        "gpu_memory_utilization": 0.9,
        "weight_transfer_config": {"backend": "nccl"},
        "logprobs_mode": "processed_logprobs",
        "max_logprobs": -1,
        "revision": config.model_revision if config.model_revision != "main" else None,
        "trust_remote_code": config.trust_remote_code or None,
        **(config.vllm_serve_args or {}),
    }
    command = config.vllm_serve_command or [str(Path(sys.executable).with_name("vllm")), "serve"]
    model = whole_folder(config.model_name_or_path or "")
    return [*command, model, *(word for key in flags for word in _flag(key, flags[key]))]


def server_environment(config: RunConfig, gpus: tuple[str, ...]) -> dict[str, str]:
    """What the server's environment adds to this one's: the development endpoints, and what the trainer's adds.

    The endpoints are for a trusted network; the server listens on the loopback address unless told otherwise.
    """
    return {"VLLM_SERVER_DEV_MODE": "1", **trainer_environment(config, gpus, "server")}


def trainer_environment(config: RunConfig, gpus: tuple[str, ...], backend: str) -> dict[str, str]:
    """What the trainer's environment adds to this one's: its GPUs, numbered as nvidia-smi numbers them."""
    environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    local = (config.given("vllm_server_host") or LOOPBACK) in (LOOPBACK, "localhost")
    if backend == "server" and local and "VLLM_HOST_IP" not in os.environ:
        # vLLM and TRL would meet on this machine's outward address to pass weights on
        environment["VLLM_HOST_IP"] = LOOPBACK
    return environment


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports of the loopback address on which nothing listens now, chosen by the kernel."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((LOOPBACK, 0))
        return [one.getsockname()[1] for one in sockets]


def port_is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closed connection blocks nothing
        try:
            one.bind((host, port))
        except OSError:
            return False
    return True


def _flag(key: str, value) -> list[str]:
    name = key.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, dict):
        return [f"--{name}", json.dumps(value)]
    if isinstance(value, list):
        return [f"--{name}", *map(str, value)]
    if isinstance(value, str | int | float):
        return [f"--{name}", str(value)]
    raise RecipeError(
        f"{key}: got {value!r}, expected text, a number, true, false, null, a list or a map", key="vllm_serve_args"
    )
