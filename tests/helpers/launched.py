"""launch.py with a real vLLM server on a CPU: start it, wait for a moment of its life, look for what it leaves."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml
from repository import ROOT

from mini_r1.launch.vllm_server import port_is_free

HERE = Path(__file__).parent
STAND_IN = HERE / "launch_stand_in.py"
LAUNCH = ROOT / "scripts" / "launch.py"
SECONDS = 600.0  # to wait for anything: a busy machine with two cores takes minutes to start one server
PAUSE = 0.5  # seconds between two looks at all processes
END_SECONDS = 60.0  # for all to be gone once launch.py has ended, which its guard sees to if it was killed
# On a machine without GPUs, launch.py sees two: vLLM's CPU build does not look for them.
NVIDIA_SMI = """#!/bin/sh
echo "0, GPU-a, stand-in, 81920, 0"
echo "1, GPU-b, stand-in, 81920, 0"
"""
TASK_ARGS = {"n": 400, "count": [3], "numbers": [1, 9], "operators": "+-", "target": [1, 36], "in_order": True}
RECIPE = {
    "extends": str(ROOT / "recipes" / "_base" / "grpo.yaml"),
    "task": "countdown",
    "task_args": TASK_ARGS,
    "max_prompt_tokens": 64,
    "max_completion_length": 240,
    "per_device_train_batch_size": 16,
    "num_generations": 8,
    "max_steps": 2,
    "dtype": "float32",
    "bf16": False,
    "gradient_checkpointing": False,
    "use_vllm": True,
    "vllm_mode": "server",
    # the `vllm` command does not know the CPU build
    "vllm_serve_command": [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model"],
    "vllm_serve_args": {"enforce_eager": True, "kv_cache_memory_bytes": 64 << 20},
}


class Launch:
    """One running launch.py.

    Args:
        folder: for its recipe, its run directory and what it prints.
        recipe: keys over those of `RECIPE`.
        stand_in: what the trainer does, see stand_in_trainer.py; None: the trainer is the real one.
    """

    def __init__(self, folder: Path, recipe: dict, stand_in: dict | None):
        self.screen, self.run = folder / "screen.txt", folder / "run"
        (folder / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, "output_dir": str(self.run), **recipe}))
        (folder / "nvidia-smi").write_text(NVIDIA_SMI)
        (folder / "nvidia-smi").chmod(0o755)
        self.mark = uuid.uuid4().hex  # all processes below launch.py inherit it, orphans too
        environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
        environment |= {
            "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
            "LAUNCH_MARK": self.mark,
            "SPT_NOENV": "1",  # setproctitle, which vLLM uses, would overwrite /proc/.../environ
            "STAND_IN": json.dumps(stand_in),
            "OMP_NUM_THREADS": "1",
            "DO_NOT_TRACK": "1",  # vLLM would ask every processor for its name, and an address on the net
        }
        script = LAUNCH if stand_in is None else STAND_IN
        words = [sys.executable, str(script), "--config", str(folder / "recipe.yaml"), "--gpus", "2"]
        with self.screen.open("w") as screen:
            self.caller = subprocess.Popen(
                words, env=environment, stdout=screen, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.ports, self.shared_memory = set(), set()

    def processes(self) -> list[psutil.Process]:
        """All that run below (and with) launch.py; what they hold is noted in `ports` and `shared_memory`."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get("LAUNCH_MARK") == self.mark:
                    found.append(process)
                    words = process.cmdline()
                    for flag in ("--port", "--vllm_server_port", "--vllm_group_port"):
                        self.ports |= {int(words[at + 1]) for at, word in enumerate(words) if word == flag}
                    maps = Path(f"/proc/{process.pid}/maps").read_text()
                    self.shared_memory |= set(re.findall(r"(/dev/shm/\S+)$", maps, re.MULTILINE))
        return found

    def find(self, part: str) -> psutil.Process | None:
        """The process that is "launch.py", the "guard", the "server", its "engine" or "worker", or the "trainer"."""
        signs = {"engine": "EngineCore", "worker": "VLLM::Worker", "server": "api_server", "guard": "guard_process"}
        signs |= {"trainer": "stand_in_trainer.py", "launch.py": "launch_stand_in.py"}
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if signs[part] in " ".join(process.cmdline()):
                    return process
        return None

    def wait_for(self, what: str, found: Callable):
        """What `found()` returns once it is true; launch.py must not end before that."""
        end = time.monotonic() + SECONDS
        while not (value := found()):
            assert self.caller.poll() is None, f"ended before {what} was there:\n{self.printed()}"
            assert time.monotonic() < end, f"no {what}:\n{self.printed()}"
            time.sleep(PAUSE)
        return value

    def wait_until(self, moment: str) -> None:
        """Wait for a process, see `find`, or until the server is "generating"."""
        if moment == "generating":
            self.wait_for(moment, lambda: "[trainer] generating" in self.printed())
        else:
            self.wait_for(moment, lambda: self.find(moment))

    def printed(self) -> str:
        return self.screen.read_text(errors="replace")

    def status(self) -> int:
        """Wait for launch.py to end; returns its exit status, as `subprocess` counts."""
        end = time.monotonic() + SECONDS
        while self.caller.poll() is None:
            assert time.monotonic() < end, f"does not end:\n{self.printed()}"
            self.processes()  # notes what they hold
            time.sleep(PAUSE)
        return self.caller.returncode

    def left_behind(self) -> list[str]:
        """Wait until nothing is left; returns what is still there after `END_SECONDS`."""
        end = time.monotonic() + END_SECONDS
        while True:
            left = [f"process {process.pid}" for process in self.processes()]
            left += [f"port {port}" for port in self.ports if not port_is_free(port)]
            left += [path for path in self.shared_memory if Path(path).exists()]
            if not left or time.monotonic() > end:
                return left
            time.sleep(PAUSE)

    def kill(self) -> None:
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
