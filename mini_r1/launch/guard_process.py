"""The guard between the caller of `supervise` and the processes: `python -m mini_r1.launch.guard_process`.

It imports the standard library and psutil only, so that it is up at once.
"""

import datetime
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from mini_r1.launch.supervisor import (
    BAR_SECONDS,
    MOMENT,
    STDERR,
    Output,
    Process,
    Screen,
    end_all,
    left_behind,
    make_subreaper,
    shell_status,
)

NEWS_SECONDS = 15.0  # between two lines that say what is waited for


class _End(Exception):
    """It is time to end all processes.

    Args:
        status: the exit status of the whole.
        reason: for people; None where all went well.
    """

    def __init__(self, status: int, reason: str | None):
        self.status, self.reason = status, reason
        super().__init__(reason)


class _Guard:
    def __init__(self, processes: list[Process], log_folder: Path, grace_seconds: float):
        self.processes, self.log_folder, self.grace_seconds = processes, log_folder, grace_seconds
        self.screen = Screen()
        # kept until the end: a Popen that is deleted collects its process, and nobody learns that it has ended
        self.children: dict[str, subprocess.Popen] = {}
        self.outputs: dict[str, Output] = {}
        self.unready: str | None = None
        self.signals: list[int] = []
        self.alone = False  # the caller is gone

    def run(self) -> int:
        """Start all, watch them, end all; returns the exit status."""
        try:
            for process in self.processes:
                self._start(process)
                if process.ready_url:
                    self._wait_until_ready(process)
            while True:
                self._watch()
        except _End as end:
            if end.reason:
                self._say(end.reason)
            return end.status
        finally:
            self._end()

    def _start(self, process: Process) -> None:
        log = self._log(process.name)
        width = max(len(other.name) for other in self.processes) + 2
        prefix = f"[{process.name}]".ljust(width) + " " if len(self.processes) > 1 else ""
        header = f"=== {datetime.datetime.now():%Y-%m-%d %H:%M:%S} {shlex.join(process.words)}\n"
        try:
            with log.open("a") as file:
                file.write("\n" + header if file.tell() else header)
            child = subprocess.Popen(
                process.words,
                env={"TQDM_MININTERVAL": str(BAR_SECONDS), **os.environ, "PYTHONUNBUFFERED": "1", **process.env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # some programs signal all of their process group
            )
        except OSError as error:
            raise _End(1, f"error: {process.name} cannot be started: {error}") from error
        self.children[process.name] = child
        self.outputs[process.name] = Output(child.stdout, log, self.screen, prefix.encode())

    def _wait_until_ready(self, process: Process) -> None:
        started, news = time.monotonic(), NEWS_SECONDS
        self.unready = process.name
        while not _answers(process.ready_url):
            waited = time.monotonic() - started
            if waited > process.ready_seconds:
                what = f"was not ready after {waited:.0f} s ({process.ready_url} does not answer with 200)"
                raise _End(1, f"error: {process.name} {what}; {self._end_of_log(process.name)}")
            if waited > news:
                news += NEWS_SECONDS
                limit = f"{waited:.0f} s of at most {process.ready_seconds:.0f} s"
                self._say(f"waiting for {process.name} to answer at {process.ready_url}: {limit}")
            pause_ends = time.monotonic() + 0.5
            while time.monotonic() < pause_ends:
                self._watch()
        self.unready = None
        self._say(f"{process.name} is ready after {time.monotonic() - started:.0f} s")

    def _watch(self) -> None:
        """Wait for a moment; raises `_End` when something has happened that ends all."""
        self._listen()
        self._collect()
        ended = {name: child.returncode for name, child in self.children.items() if child.returncode is not None}
        main = self.processes[-1].name
        if main in ended:
            code = ended[main]
            raise _End(shell_status(code), self._obituary(main, code) if code else None)
        for name, code in ended.items():
            raise _End(1, f"error: {self._obituary(name, code)}")
        if self.signals:
            number = self.signals.pop(0)
            raise _End(128 + number, f"got {signal.Signals(number).name}")
        if self.alone:
            raise _End(1, "the launcher is gone")

    def _listen(self) -> None:
        if self.alone:
            time.sleep(MOMENT)
        elif select.select([sys.stdin], [], [], MOMENT)[0]:
            numbers = os.read(sys.stdin.fileno(), 100)
            self.signals += numbers
            self.alone = not numbers

    def _collect(self) -> None:
        """Note which processes have ended; orphans that have ended are collected too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for name, child in self.children.items():
                if child.pid == pid:
                    child.returncode = os.waitstatus_to_exitcode(status)  # as its own wait() would
                    self.outputs[name].catch_up()

    def _end(self) -> None:
        running = [name for name, child in self.children.items() if child.returncode is None]
        for output in self.outputs.values():
            output.on_screen = False  # torch's launcher answers SIGTERM with a page of traceback
        if running:
            hint = "" if self.alone else "; Ctrl-C kills at once"
            self._say(f"ending {' and '.join(running)} (their last words are in their logs{hint})")
        left = end_all((), self.grace_seconds, self._impatient)
        if left:
            self._say(left_behind(left))
        for output in self.outputs.values():
            output.join(1.0)  # not for ever: a pipe can have been handed to a process outside

    def _impatient(self) -> bool:
        self._listen()
        return signal.SIGINT in self.signals

    def _obituary(self, name: str, code: int) -> str:
        ended = (
            f"signal {-code} ({signal.strsignal(-code)}) ended {name}"
            if code < 0
            else f"{name} ended with status {code}"
        )
        if name == self.unready:
            return f"{ended} before it was ready; {self._end_of_log(name)}"
        return f"{ended}; its log is {self._log(name)}"

    def _end_of_log(self, name: str) -> str:
        lines = [line.decode(errors="replace") for line in list(self.outputs[name].last_lines)]
        return "\n    ".join([f"the end of {self._log(name)}:", *lines])

    def _log(self, name: str) -> Path:
        return self.log_folder / f"{name}.log"

    def _say(self, text: str) -> None:
        self.screen.write(STDERR, text.encode(errors="replace") + b"\n")


def _answers(url: str) -> bool:
    import http.client  # slow to import, and needed for servers only
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is not behind a proxy
    try:
        with opener.open(url, timeout=2) as response:
            return response.status == 200
    except (OSError, http.client.HTTPException):
        return False


def main() -> int:
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as pipe:  # unbuffered: signals come after the line
        line = pipe.readline()
    if not line.endswith(b"\n"):
        return 1  # the caller was killed while it wrote
    request = json.loads(line)
    make_subreaper(True)
    processes = [Process(**process) for process in request["processes"]]
    guard = _Guard(processes, Path(request["log_folder"]), request["grace_seconds"])
    signal.signal(signal.SIGINT, lambda number, frame: None)  # comes through the caller, which counts
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: guard.signals.append(number))
    return guard.run()


if __name__ == "__main__":
    sys.exit(main())
