"""What these tests start in the place of run_r1_grpo.py: it generates through the server and trains nothing.

TRL sends weights to a server over NCCL, between GPUs; a CPU can do everything before that. The environment variable
STAND_IN, a map in JSON, says what: `{"texts": [...], "ids": [...], "result": FILE, "status": 0}` is to generate once
through TRL's VLLMClient, `{}` to generate until it is killed.
"""

import argparse
import json
import os
import socket
import sys
import urllib.request
from pathlib import Path

GREEDY = {"temperature": 0.0, "max_tokens": 24}
SAMPLED = {"temperature": 0.9, "max_tokens": 24, "n": 4}


def generate(flags: argparse.Namespace, texts: list[str], ids: list[list[int]], result: str, status: int) -> int:
    """Write what the server makes of prompts, given as texts and as token ids, to `result`; end with `status`."""
    from trl.generation.vllm_client import VLLMClient

    client = VLLMClient(
        host=flags.vllm_server_host, server_port=flags.vllm_server_port, group_port=flags.vllm_group_port
    )
    found = {"flags": vars(flags), "server": client.get_server_info(), "world_size": client.get_world_size()}
    found |= {"greedy": client.generate(texts, **GREEDY), "sampled": client.generate(ids, **SAMPLED)}
    try:
        client.init_communicator("cpu")
    except NotImplementedError as error:
        found["refusal"] = str(error)
    Path(result).write_text(json.dumps(found))
    return status


def generate_for_ever(flags: argparse.Namespace) -> None:
    """Say "generating" when the first tokens of a long generation are there; go on with the next one."""
    body = {"prompt": "1", "n": 32, "max_tokens": 200, "ignore_eos": True, "stream": True}
    request = urllib.request.Request(
        f"http://{flags.vllm_server_host}:{flags.vllm_server_port}/v1/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    while True:
        with urllib.request.urlopen(request) as answer:
            answer.readline()
            print("generating", flush=True)
            answer.read()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--vllm_server_host")
    parser.add_argument("--vllm_server_port", type=int)
    parser.add_argument("--vllm_group_port", type=int)
    flags, _ = parser.parse_known_args()
    # a trainer listens here, and the server's workers connect to it
    with socket.create_server((flags.vllm_server_host, flags.vllm_group_port)):
        wanted = json.loads(os.environ["STAND_IN"])
        return generate(flags, **wanted) if wanted else generate_for_ever(flags)


if __name__ == "__main__":
    sys.exit(main())
