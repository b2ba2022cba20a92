"""The guard between the caller of `supervise` and the processes: `python -m mini_r1.launch.guard_process`.

It imports the standard library and psutil only, so that it starts at once.
"""

import collections
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
from typing import BinaryIO

from mini_r1.launch.supervisor import MOMENT, Process, end_all, make_subreaper, shell_status

NEWS_SECONDS = 15.0  # between two lines that say what the guard waits for
STDOUT, STDERR = 1, 2
MAX_LINE = 1 << 20  # bytes; more without a newline is cut into lines
BAR_SECONDS = 5  # between two states of a progress bar
SCREEN_SECONDS = 1.0  # how long a write waits for the screen


class Screen:
    """Writes whole lines to stdout and stderr; goes on without a screen that is closed or stuck, as under `less`."""

    def __init__(self):
        self._left_out = 0
        self._closed = set()

    def write(self, stream: int, data: bytes) -> None:
        """Writes whole lines to `STDOUT` or `STDERR`; leaves out, and counts, what the screen does not take in time."""
        end = time.monotonic() + (0 if self._left_out else SCREEN_SECONDS)
        if self._left_out:
            data = b"... %d lines are in the logs only\n" % self._left_out + data
        try:
            while data and stream not in self._closed:
                if not select.select([], [stream], [], max(end - time.monotonic(), 0))[1]:
                    self._left_out += data.count(b"\n")
                    return
                # a pipe that is ready takes so many bytes without blocking
                data = data[os.write(stream, data[: select.PIPE_BUF]) :]
            self._left_out = 0
        except OSError:  # a broken pipe, a terminal that is gone
            self._closed.add(stream)


class Output:
    """Copies what one process and its children print to a log and the screen.

    Each state of a progress bar, which returns to the start of its line, is a line.

    Args:
        pipe: what they print to.
        log: the log's file, which is appended to.
        prefix: of each line on the screen.

    Attributes:
        on_screen: false sends later output to the log only.
        last_lines: the last 15 lines.
        open: false once all writers have closed their end of the pipe.

    Raises:
        OSError: where the log cannot be opened.
    """

    def __init__(self, pipe: BinaryIO, log: Path, screen: Screen, prefix: bytes):
        self.on_screen = self.open = True
        self.last_lines = collections.deque(maxlen=15)
        self._pipe, self._screen, self._prefix, self._name = pipe, screen, prefix, log
        self._log = log.open("ab", buffering=0)
        self._log_fails = False
        self._rest = b""  # output after the last end of a line

    def fileno(self) -> int:
        return self._pipe.fileno()

    def catch_up(self) -> None:
        """Copies what was printed up to now; children of a process that has ended may go on printing."""
        end = time.monotonic() + SCREEN_SECONDS
        while self.open and select.select([self], [], [], 0)[0] and time.monotonic() < end:
            self.copy()

    def copy(self) -> None:
        """Waits for output, and copies it."""
        data = os.read(self.fileno(), 1 << 16)
        self.open = bool(data)
        text = self._rest + (data or (b"\n" if self._rest else b""))
        end = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
        if len(text) - end > MAX_LINE:
            text, end = text + b"\n", len(text) + 1
        self._rest = text[end:]
        # a bar begins with a return, and nothing stands before it
        lines = [line.rstrip() for line in text[:end].splitlines(keepends=True) if line == b"\n" or line.strip()]
        if not lines:
            return
        self.last_lines.extend(lines)
        self._write_log(b"".join(line + b"\n" for line in lines))
        if self.on_screen:
            self._screen.write(STDOUT, b"".join(self._prefix + line + b"\n" for line in lines))

    def _write_log(self, data: bytes) -> None:
        try:
            self._log.write(data)
            self._log_fails = False
        except OSError as error:  # a full disk; the trainer reports it where it cannot go on
            if not self._log_fails:
                self._screen.write(STDERR, f"{self._name} cannot be written: {error}\n".encode())
            self._log_fails = True


class _End(Exception):
    """Raised when it is time to end all processes, with the exit status of the whole and the reason, or None."""


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
        """Starts all processes, watches them, ends them; returns the exit status."""
        try:
            for process in self.processes:
                self._start(process)
                if process.ready_url:
                    self._wait_until_ready(process)
            while True:
                self._watch()
        except _End as end:
            status, reason = end.args
            if reason:
                self._say(reason)
            return status
        finally:
            self._end()

    def _start(self, process: Process) -> None:
        log = self._log(process.name)
        width = max(len(other.name) for other in self.processes) + 2
        prefix = f"[{process.name}]".ljust(width) + " " if len(self.processes) > 1 else ""
        header = f"=== {datetime.datetime.now():%Y-%m-%d %H:%M:%S} {shlex.join(process.argv)}\n"
        try:
            with log.open("a") as file:
                file.write("\n" + header if file.tell() else header)
            child = subprocess.Popen(
                process.argv,
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
        """Waits for a moment; raises `_End` when all processes are to end."""
        self._listen()
        self._collect()
        ended = {name: child.returncode for name, child in self.children.items() if child.returncode is not None}
        main = self.processes[-1].name
        if main in ended:
            raise _End(shell_status(ended[main]), self._how_it_ended(main, ended[main]) if ended[main] else None)
        for name, code in ended.items():
            raise _End(1, f"error: {self._how_it_ended(name, code)}")
        if self.signals:
            number = self.signals.pop(0)
            raise _End(128 + number, f"got {signal.Signals(number).name}")
        if self.alone:
            raise _End(1, "the launcher is gone")

    def _listen(self) -> None:
        """Copies the output of a moment, and notes the caller's signals."""
        printing = [output for output in self.outputs.values() if output.open]
        ready = select.select(printing if self.alone else [sys.stdin, *printing], [], [], MOMENT)[0]
        if sys.stdin in ready:
            ready.remove(sys.stdin)
            numbers = os.read(sys.stdin.fileno(), 100)
            self.signals += numbers
            self.alone = not numbers
        for output in ready:
            output.copy()

    def _collect(self) -> None:
        """Notes which processes have ended, and collects orphans that have ended."""
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
        if left := end_all((), self.grace_seconds, self._impatient):
            self._say(left)
        for output in self.outputs.values():
            output.catch_up()

    def _impatient(self) -> bool:
        self._listen()
        return signal.SIGINT in self.signals

    def _how_it_ended(self, name: str, code: int) -> str:
        ended = f"{name} ended with status {code}"
        if code < 0:
            ended = f"signal {-code} ({signal.strsignal(-code)}) ended {name}"
        if name == self.unready:
            return f"{ended} before it was ready; {self._end_of_log(name)}"
        return f"{ended}; its log is {self._log(name)}"

    def _end_of_log(self, name: str) -> str:
        lines = [line.decode(errors="replace") for line in self.outputs[name].last_lines]
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
    signal.signal(signal.SIGINT, lambda number, frame: None)  # it comes through the caller
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: guard.signals.append(number))
    return guard.run()


if __name__ == "__main__":
    sys.exit(main())
