"""What supervised processes print: line by line into a log each, and to the screen they share. Bytes throughout, as
nothing says that they are UTF-8. Neither a full disk nor a screen that takes nothing holds up who prints."""

import collections
import contextlib
import os
import queue
import select
import threading
import time
from pathlib import Path
from typing import BinaryIO

STDOUT, STDERR = 1, 2
MAX_LINE = 1 << 20  # bytes; more without a newline is cut into lines
BAR_SECONDS = 1.0  # between two states of a progress bar on the screen
SCREEN_SECONDS = 1.0  # a screen that takes nothing for so long is not waited for any more


class Screen(threading.Thread):
    """Writes to stdout and stderr; goes on without them when they are closed, or stuck as under `less`."""

    def __init__(self):
        super().__init__(daemon=True)
        self._waiting = queue.Queue(maxsize=1000)
        self._left_out = 0
        self._closed = set()
        self.start()

    def write(self, stream: int, data: bytes) -> None:
        """Queue whole lines for `STDOUT` or `STDERR`."""
        note = b"... %d lines are in the logs only\n" % self._left_out if self._left_out else b""
        try:
            self._waiting.put((stream, note + data), timeout=self._patience())
            self._left_out = 0
        except queue.Full:
            self._left_out += data.count(b"\n")

    def close(self) -> None:
        """Wait until all is written, unless the screen is stuck."""
        with contextlib.suppress(queue.Full):
            self._waiting.put(None, timeout=self._patience())
            self.join(2 * SCREEN_SECONDS)

    def _patience(self) -> float:
        return 0 if self._left_out else SCREEN_SECONDS

    def run(self) -> None:
        while (item := self._waiting.get()) is not None:
            stream, data = item
            try:
                while data and stream not in self._closed:
                    data = data[os.write(stream, data) :]
            except OSError:  # a broken pipe, a terminal that is gone
                self._closed.add(stream)


class Output(threading.Thread):
    """Copies what one process and its children print, until all of them have closed their end of the pipe.

    Of a progress bar, which returns to the start of its line with each state, the log gets the last state, the screen
    one a second.

    Args:
        pipe: where they print to.
        log: the log's file, which is appended to.
        prefix: of each line on the screen.

    Attributes:
        on_screen: false sends what comes from now on to the log only.
        last_lines: the last 15.

    Raises:
        OSError: where the log cannot be opened.
    """

    def __init__(self, pipe: BinaryIO, log: Path, screen: Screen, prefix: bytes):
        super().__init__(daemon=True)
        self.on_screen = True
        self.last_lines = collections.deque(maxlen=15)
        self._pipe, self._screen, self._prefix, self._name = pipe, screen, prefix, log
        self._log = log.open("ab", buffering=0)
        self._log_fails = False
        self._reading = threading.Lock()
        self._rest = b""  # what came after the last newline
        self._bar_shown, self._bar_time = b"", 0.0
        self.start()

    def run(self) -> None:
        while True:
            bar = last_state(self._rest).rstrip() if b"\r" in self._rest else b""
            wait = max(0.0, self._bar_time - time.monotonic()) if bar and bar != self._bar_shown else None
            if wait == 0 or not select.select([self._pipe], [], [], wait)[0]:
                self._show([bar])
                self._bar_shown, self._bar_time = bar, time.monotonic() + BAR_SECONDS
                continue
            with self._reading:
                data = os.read(self._pipe.fileno(), 1 << 16)
                self._take(data or (b"\n" if self._rest else b""))
            if not data:
                return

    def catch_up(self) -> None:
        """Wait until what was printed up to now is passed on; children of the process may go on printing."""
        end = time.monotonic() + SCREEN_SECONDS
        while self.is_alive() and select.select([self._pipe], [], [], 0)[0] and time.monotonic() < end:
            time.sleep(0.01)
        with self._reading:
            pass

    def _take(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        if len(rest) > MAX_LINE:
            lines, rest = [*lines, rest], b""
        if b"\r" in rest:  # only the last state is kept, and that it is one
            rest = b"\r" + last_state(rest) + (b"\r" if rest.endswith(b"\r") else b"")
        self._rest = rest
        if not lines:
            return
        lines = [last_state(line).rstrip() for line in lines]
        self.last_lines.extend(lines)
        self._write_log(b"".join(line + b"\n" for line in lines))
        # a bar's end may be on the screen already
        self._show(lines[1:] if self._bar_shown and lines[0] == self._bar_shown else lines)
        self._bar_shown = b""

    def _show(self, lines: list[bytes]) -> None:
        if lines and self.on_screen:
            self._screen.write(STDOUT, b"".join(self._prefix + line + b"\n" for line in lines))

    def _write_log(self, data: bytes) -> None:
        try:
            self._log.write(data)
            self._log_fails = False
        except OSError as error:  # a full disk; the trainer will say so itself where it cannot go on
            if not self._log_fails:
                self._screen.write(STDERR, f"{self._name} cannot be written: {error}\n".encode())
            self._log_fails = True


def last_state(line: bytes) -> bytes:
    """What a terminal shows of a line in the end, where carriage returns start it anew."""
    return line.rstrip(b"\r").rpartition(b"\r")[2]
