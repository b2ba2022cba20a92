"""What the tests that kill -9 a pipeline share: start it, watch it, kill all or a part of it, compare what came out."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from repository import ROOT

from mini_r1.config.kinds import KINDS

SCRIPTS = tuple(KINDS.values())
TIMES = ("_time", "runtime", "per_second")  # not to be compared
OF_ONE_ATTEMPT = (
    "train_loss",
    "num_tokens",
)  # TRL's other trainers count from the checkpoint on; GRPO's are exact
NOT_MEASURED = ("seconds", "stages", "manifest")  # of a summary
SAVED = ("model.safetensors", "adapter_model.safetensors")
PATIENCE = 60.0  # seconds for the rest of a pipeline to be gone after a part of it was killed; the guard gives 15
PARTS = ("all", "all", "trainer", "guard", "pipeline")  # what is killed: all processes, or one of them alone


@dataclass
class Home:
    """A working directory in which one pipeline runs, attempt by attempt."""

    folder: Path
    pipeline: str
    seed: int | None = None
    token: str = field(default_factory=lambda: uuid.uuid4().hex)  # in the environment of all that is started here
    process: subprocess.Popen | None = None
    started: float = 0.0
    known: list[psutil.Process] = field(default_factory=list)

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def start(self, *flags: str) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MINI_R1_TEST": self.token}
        words = [sys.executable, str(ROOT / "scripts/run_pipeline.py"), "--config", self.pipeline, *flags]
        words += [] if self.seed is None else ["--seed", str(self.seed)]
        self.started, self.known = time.time(), []
        with open(self.folder / "out.log", "ab") as log:
            self.process = subprocess.Popen(
                words, cwd=self.folder, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def output(self) -> str:
        return (self.folder / "out.log").read_text(errors="replace")

    def alive(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.environ().get("MINI_R1_TEST") == self.token and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def wait_for(self, condition) -> None:
        """Until it is true, or the pipeline has ended; what there is to kill is noted meanwhile."""
        looked = 0.0
        while self.process.poll() is None and not condition():
            if time.monotonic() - looked > 0.5:
                self.known, looked = self.alive(), time.monotonic()
            time.sleep(0.005)

    def kill(self, part: str) -> str:
        """kill -9 one process, or all; returns which, once nothing is left."""
        known = self.known or self.alive()
        found = {"pipeline": [psutil.Process(self.process.pid)], "guard": [], "trainer": []}
        for each in known:
            with suppress(psutil.NoSuchProcess):
                words = each.cmdline()
                if "mini_r1.launch.guard_process" in words:
                    found["guard"].append(each)
                elif any(word.endswith(SCRIPTS) for word in words[:2]):
                    found["trainer"].append(each)
        part = part if found.get(part) else "all"
        for victim in found.get(part, [*found["trainer"], *known]):
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGKILL)
        end = time.monotonic() + PATIENCE
        while rest := self.alive():
            assert time.monotonic() < end, f"still there after kill -9 of {part}: {rest}"
            for process in rest if part == "all" else []:  # started while the others were being killed
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            time.sleep(0.05)
        assert self.process.wait(PATIENCE) != 0
        return part

    def finish(self) -> None:
        """Wait until the pipeline ends by itself; nothing may be left."""
        assert self.process.wait() == 0, self.output()[-6000:]
        assert not self.alive()

    def finished(self) -> dict[str, tuple]:
        """Of every stage that has finished: when its manifest was written, and what is in it and in its summary."""
        found = {}
        for path in self._summaries():
            manifest = path.with_name("manifest.json")
            own = {key: value for key, value in json.loads(path.read_text()).items() if key != "stages"}
            found[str(path.parent.relative_to(self.runs))] = (manifest.stat().st_mtime_ns, manifest.read_text(), own)
        return found

    def results(self) -> dict[str, dict]:
        """Of every stage: what was measured, the log history, and the weights."""
        found = {}
        for path in self._summaries():
            folder, summary = path.parent, json.loads(path.read_text())
            state = folder / "trainer_state.json"
            weights = {name: folder / name for name in SAVED if (folder / name).exists()}
            found[str(folder.relative_to(self.runs))] = {
                "measured": {key: value for key, value in summary.items() if key not in NOT_MEASURED},
                "history": history(json.loads(state.read_text()), summary["stage"]) if state.exists() else None,
                "weights": {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in weights.items()},
            }
        return found

    def saving(self) -> bool:
        """Is a checkpoint, or the model of a whole run, being written at this moment?"""
        for folder in self._folders():
            if (folder / "summary.json").exists():
                continue
            for path in (*folder.glob("checkpoint-*"), *(folder / name for name in SAVED)):
                with suppress(FileNotFoundError):
                    new = path.stat().st_mtime > self.started  # not what an earlier attempt has left
                    if new and not (path / "whole.json").exists():
                        return True
        return False

    def files(self) -> set[str]:
        """What shows how far the pipeline is."""
        found = set()
        for folder in self._folders():
            names = ("manifest.json", "before.json", "summary.json", *SAVED)
            paths = [*folder.glob("checkpoint-*"), *folder.glob("completions/*"), *(folder / name for name in names)]
            found |= {str(path.relative_to(self.runs)) for path in paths if path.exists()}
        return found

    def _folders(self) -> list[Path]:
        return [path.parent for path in (*self.runs.glob("*/manifest.json"), *self.runs.glob("*/*/manifest.json"))]

    def _summaries(self) -> list[Path]:
        paths = [folder / "summary.json" for folder in self._folders()]
        return [path for path in paths if path.exists() and "stage" in json.loads(path.read_text())]


def history(state: dict, stage: str) -> list[dict]:
    """The log history, without times and memory, and what is counted anew in every attempt."""
    left_out = OF_ONE_ATTEMPT if stage in ("sft", "reward") else ()
    return [
        {
            key: value
            for key, value in entry.items()
            if not (key.endswith(TIMES) or key.startswith(("time/", "memory/")) or key in left_out)
        }
        for entry in state["log_history"]
    ]


def run_straight(home: Home) -> list[tuple[float, str]]:
    """Run a pipeline without a kill; returns (seconds, file) for what has appeared in its run directories, in order."""
    timeline, seen = [], set()
    home.start()
    while home.process.poll() is None:
        for file in sorted(home.files() - seen):
            timeline.append((time.time() - home.started, file))
            seen.add(file)
        time.sleep(0.05)
    home.finish()
    return timeline


def run_killed(home: Home, timeline: list[tuple[float, str]], kills: int, seed: int, say=print) -> int:
    """Run a pipeline, kill it at so many moments spread over it, starting it again after each, and let it finish.

    Every second kill comes while something is being saved, the others at a random time after a random file appeared.

    Returns:
        How many kills have left something half saved.
    """
    draw, finished, half_saved = random.Random(seed), {}, 0
    events = [file for _, file in timeline]
    say(f"seed {seed}: {kills} kills over {timeline[-1][0]:.0f} s", flush=True)
    for number in range(kills):
        index = int((number + draw.random()) / kills * 0.9 * len(events))
        gap = timeline[min(index + 1, len(timeline) - 1)][0] - timeline[index][0]
        saving, part = number % 2 == 0, draw.choice(PARTS)
        home.start()
        target = home.runs / events[index]
        # where an earlier attempt has come as far, some time while this one starts
        delay = draw.random() * (timeline[0][0] * 1.5 if target.exists() else min(gap, 10.0))
        home.wait_for(target.exists)
        if saving:
            part = "trainer" if part == "trainer" else "all"  # the end of another one takes moments to come to it
            home.wait_for(home.saving)
        else:
            end = time.monotonic() + delay
            home.wait_for(lambda end=end: time.monotonic() > end)
        assert home.process.poll() is None, f"the run had ended before kill {number + 1}\n{home.output()[-6000:]}"
        part, half = home.kill(part), home.saving()
        half_saved += half
        what = "saving" if saving else f"{delay:.1f} s later"
        say(f"kill {number + 1}: {part}, after {events[index]}, {what}{' (half saved)' if half else ''}", flush=True)
        finished |= {name: state for name, state in home.finished().items() if name not in finished}
        assert finished.items() <= home.finished().items(), "a finished stage was run again"
    home.start()
    home.finish()
    assert finished.items() <= home.finished().items(), "a finished stage was run again"
    return half_saved
