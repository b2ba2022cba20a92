"""What the tests of the supervisor share: a caller to run it in, scripts for it to run, and a look at what is left."""

import json
import re
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil

PATIENCE = 60  # seconds after which a test that hangs fails; nothing is timed

# scripts/launch.py in short, with a child of its own that is none of the supervisor's business
CALLER = """
import json, signal, subprocess, sys
from pathlib import Path
from mini_r1.launch.supervisor import Process, supervise
processes, folder, grace, ignored = json.loads(sys.argv[1])
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a test run in the background may ignore some
    signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
earlier = subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True)
status = supervise([Process(**process) for process in processes], Path(folder), grace)
assert earlier.poll() is None
sys.exit(status)
"""
# what it is comes first among its arguments, the token last; each listens on a port and prints which
SCRIPT = """
import os, signal, socket, subprocess, sys
what, port = sys.argv[1], int(sys.argv[2])
def start(what):  # as torch's launcher and vLLM do: in a session of its own
    subprocess.Popen([sys.executable, "-S", __file__, what, "0", sys.argv[-1]], start_new_session=True)
if what == "daemon" and os.fork():
    os._exit(0)
if what == "stubborn":
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
if what == "respawning":
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0) if os.fork() else None)
listener = socket.create_server(("127.0.0.1", port))
if what in ("server", "trainer"):
    for worker in sys.argv[3:-1] or ["worker", "daemon"]:
        start(worker)
os.write(1, b"listens on %d\\n" % listener.getsockname()[1])  # in one piece, as others share the pipe
refusals = 2 if what == "slow" else 0
while True:
    connection, _ = listener.accept()
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 %d X\\r\\nContent-Length: 0\\r\\n\\r\\n" % (503 if refusals > 0 else 200))
    connection.close()
    refusals -= 1
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until(condition):
    """Wait for it to be true; returns its value."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, "this never happened"
        time.sleep(0.02)
    return value


class Run:
    """A caller of `supervise`, and all that has its token among its arguments."""

    def __init__(self, folder: Path, grace: float = 20.0):
        self.token, self.grace = uuid.uuid4().hex, grace
        self.logs = folder / self.token
        self.script = folder / "script.py"
        self.script.write_text(SCRIPT)

    def python(self, name: str, *words: object, **options) -> dict:
        """A process that runs some code."""
        return {"name": name, "argv": [sys.executable, "-S", "-c", *map(str, words), self.token], **options}

    def script_process(self, name: str, *words: object, **options) -> dict:
        """A process that listens, with children that listen."""
        words = [sys.executable, "-S", self.script, *words, self.token]
        return {"name": name, "argv": [str(word) for word in words], **options}

    def server_and_trainer(self) -> list[dict]:
        port = free_port()
        server = self.script_process("server", "server", port, ready_url=f"http://127.0.0.1:{port}/health")
        return [server, self.script_process("trainer", "trainer", 0)]

    def start(self, *processes: dict, ignored: tuple[int, ...] = ()) -> "Run":
        words = [sys.executable, "-c", CALLER, json.dumps([processes, str(self.logs), self.grace, ignored])]
        self.caller = subprocess.Popen(words, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return self

    def wait(self) -> int:
        """The exit status of the caller; from then on, nothing may be left."""
        self.out, self.err = (text.decode() for text in self.caller.communicate(timeout=PATIENCE))
        self.assert_nothing_is_left()
        return self.caller.returncode

    def assert_nothing_is_left(self) -> None:
        assert self.alive() == []
        for port in self.ports():
            with socket.socket() as client:
                assert client.connect_ex(("127.0.0.1", port)), f"something listens on {port} still"

    def alive(self) -> list[psutil.Process]:
        found = psutil.process_iter(["cmdline"])
        return [process for process in found if any(self.token in word for word in process.info["cmdline"] or ())]

    def find(self, *words: str) -> psutil.Process:
        (process,) = [process for process in self.alive() if set(words) <= set(process.info["cmdline"])]
        return process

    def log(self, name: str) -> str:
        file = self.logs / f"{name}.log"
        return file.read_text() if file.exists() else ""

    def ports(self) -> list[int]:
        return [int(port) for name in ("server", "trainer") for port in re.findall(r"on (\d+)", self.log(name))]

    def until_listening(self, count: int) -> None:
        until(lambda: len(self.ports()) == count)
