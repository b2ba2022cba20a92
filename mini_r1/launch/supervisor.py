"""Runs a server and a trainer together; however either of them ends, no process and no port is left behind.

    caller (scripts/launch.py) -> guard process (mini_r1/launch/guard_process.py) -> the processes, and what they start

The guard has a session of its own, so a terminal's Ctrl-C reaches the caller only, which passes it on. The guard's
standard input is a pipe from the caller: first a line of JSON, then a byte for every signal that the caller got. The
end of the pipe says that the caller is gone. Where the guard itself is killed, the caller ends all processes.

Torch's launcher puts workers into sessions of their own, and a killed vLLM leaves its engine processes as orphans. So
caller and guard are "subreapers": orphans become their children instead of init's (prctl(2), Linux only).
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import psutil

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE_SECONDS = 15.0  # between SIGTERM and SIGKILL; vLLM gives its own workers 9
TRACKER_SECONDS = 3.0  # between SIGKILL for the others and for the trackers of shared memory
STUCK_SECONDS = 60.0  # a process that outlives SIGKILL for so long hangs in a driver; nothing but a reboot ends it
MOMENT = 0.05  # between two looks at what runs


@dataclass(frozen=True)
class Process:
    """One process of a run.

    Attributes:
        name: its prefix on the screen, and the name of its log.
        argv: the command line.
        env: variables on top of this process's environment.
        ready_url: the next process starts once this answers HTTP 200.
        ready_seconds: how long to wait for that answer.
    """

    name: str
    argv: list[str]
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    ready_url: str | None = None
    ready_seconds: float = 600.0


def supervise(processes: list[Process], log_folder: Path, grace_seconds: float = GRACE_SECONDS) -> int:
    """Runs processes together until the last one, the main one, ends; then ends all and returns its exit status.

    They start in order. Their output goes to `<log_folder>/<name>.log` and to the screen. All of them end, too, when
    another one than the main one ends (status 1), when one does not get ready (1), and on SIGINT, SIGTERM and SIGHUP
    (128 + the signal's number), except those that the caller ignores, as under `nohup`. Ending is SIGTERM, then SIGKILL
    after `grace_seconds`, or at once on a (second) Ctrl-C. One line on stderr says why it ended. Call it from the main
    thread.

    Returns:
        The exit status of the main process, 128 + n where signal n ended it.
    """
    log_folder.mkdir(parents=True, exist_ok=True)
    request = {"processes": [dataclasses.asdict(process) for process in processes], "log_folder": str(log_folder)}
    sys.stdout.flush()  # the guard writes to the same screen
    mine = psutil.Process().children()
    make_subreaper(True)
    # the folder tells people who look at a list of processes which run this is
    argv = [sys.executable, "-m", "mini_r1.launch.guard_process", str(log_folder)]
    guard = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
    with contextlib.suppress(BrokenPipeError):
        guard.stdin.write(json.dumps({**request, "grace_seconds": grace_seconds}).encode() + b"\n")
        guard.stdin.flush()
    received = []

    def pass_on(number, frame):
        received.append(number)
        with contextlib.suppress(BrokenPipeError):
            os.write(guard.stdin.fileno(), bytes([number]))

    # until here, a signal ends this process, and the guard takes note
    before = {number: signal.getsignal(number) for number in PASSED_ON}
    for number in PASSED_ON:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    try:
        status = guard.wait()
        if status < 0:
            received.clear()
            print(f"error: signal {-status} ended the guard process: ending what it ran", file=sys.stderr, flush=True)

            def pause() -> bool:
                time.sleep(MOMENT)
                return signal.SIGINT in received

            if left := end_all(mine, grace_seconds, pause):
                print(left, file=sys.stderr, flush=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        make_subreaper(False)
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.close()
    return shell_status(status)


def shell_status(code: int) -> int:
    """An exit code of `subprocess`, where -n is signal n, as shells count: 128 + n."""
    return code if code >= 0 else 128 - code


def make_subreaper(wanted: bool) -> None:
    """Makes orphans below this process its children, where the system can."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36  # linux/prctl.h
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, int(wanted), 0, 0, 0)


def end_all(spared: Collection[psutil.Process], grace_seconds: float, pause: Callable[[], bool]) -> str | None:
    """Ends and collects all processes below this one, except the children in `spared` and what is below those.

    SIGTERM goes only to those whose parent is not to end as well: `vllm serve` and torch's launcher stop their own
    workers, in an order that works. A process whose parent has ended gets SIGTERM then. SIGKILL goes to all, to
    the trackers of shared memory a little later: they ignore SIGTERM, remove what others left, and end by themselves.

    Args:
        pause: waits for a moment; true means SIGKILL now, whatever is left of `grace_seconds`.

    Returns:
        A line for people where SIGKILL did not end all within `STUCK_SECONDS`: broken drivers, other users' processes.
    """
    started, kill_time = time.monotonic(), None
    known, asked = set(), set()
    while True:
        known |= _descendants(spared)  # remembered, for systems where an orphan is not found again
        known = {process for process in known if process.is_running()}
        now = time.monotonic()
        if not known:
            return None
        if kill_time is not None and now - kill_time > STUCK_SECONDS:
            pids = ", ".join(str(process.pid) for process in known)
            return f"error: still there {STUCK_SECONDS:.0f} s after SIGKILL, as a driver holds them: process {pids}"
        if kill_time is None and now - started > grace_seconds:
            kill_time = now
        pids = {process.pid for process in known}
        for process in known:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if kill_time is not None:
                    if now - kill_time > TRACKER_SECONDS or not _is_resource_tracker(process):
                        process.kill()
                elif process not in asked and process.ppid() not in pids:
                    asked.add(process)
                    process.terminate()
        if pause() and kill_time is None:
            kill_time = time.monotonic()
        for pid in pids:
            with contextlib.suppress(ChildProcessError):  # its parent still collects it
                os.waitpid(pid, os.WNOHANG)


def _is_resource_tracker(process: psutil.Process) -> bool:
    return any("multiprocessing.resource_tracker" in word for word in process.cmdline())


def _descendants(spared: Collection[psutil.Process]) -> set[psutil.Process]:
    found = set()
    for child in psutil.Process().children():
        if child not in spared:
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {child, *child.children(recursive=True)}
    return found
