"""Real processes are started and killed: whatever ends a run, no process and no listening port stays behind."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from supervised import PATIENCE, Run, free_port, until

KILL, TERM, INT, HUP = signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path)
    yield run
    for process in run.alive():  # after a failure
        process.kill()


WHO = {
    "caller": lambda run: run.caller,
    "guard": lambda run: run.find("mini_r1.launch.guard_process"),
    "trainer": lambda run: run.find("trainer"),
    "server": lambda run: run.find("server"),
}
KILLS = [
    ("trainer", KILL, 137, "signal 9 (Killed) ended trainer; its log is LOGS/trainer.log\nending server"),
    ("server", KILL, 1, "error: signal 9 (Killed) ended server; its log is LOGS/server.log\nending trainer"),
    ("guard", KILL, 137, "error: signal 9 ended the guard process: ending what it ran"),
    ("caller", KILL, -9, "the launcher is gone\nending server and trainer"),
    (
        "caller",
        INT,
        130,
        "got SIGINT\nending server and trainer (their last words are in",
    ),
    ("caller", TERM, 143, "got SIGTERM\nending server and trainer"),
    ("caller", HUP, 129, "got SIGHUP\nending server and trainer"),
    ("guard", TERM, 143, "got SIGTERM\nending server and trainer"),
]


@pytest.mark.parametrize(("who", "number", "status", "said"), KILLS, ids=[f"{who}-{n.name}" for who, n, *_ in KILLS])
def test_kill(run, who, number, status, said):
    run.start(*run.server_and_trainer()).until_listening(6)
    WHO[who](run).send_signal(number)
    if (who, number) == ("caller", KILL):
        until(lambda: not run.alive())
    assert run.wait() == status
    assert said.replace("LOGS", str(run.logs)) in run.err
    assert run.err.startswith("server is ready after ")


def test_a_second_interrupt_kills_at_once(run):
    run.grace = 10 * PATIENCE
    run.start(run.script_process("trainer", "trainer", 0, "stubborn")).until_listening(2)
    run.caller.send_signal(INT)
    until(lambda: len(run.alive()) == 3)  # caller, guard and the one that ignores SIGTERM
    run.caller.send_signal(INT)
    assert run.wait() == 130


@pytest.mark.parametrize("worker", ["stubborn", "respawning"])
def test_who_ignores_sigterm_is_killed(run, worker):
    run.grace = 0.5
    run.start(run.script_process("trainer", "trainer", 0, worker)).until_listening(2)
    run.caller.send_signal(TERM)
    assert run.wait() == 143


def test_who_ignores_sigterm_is_killed_without_the_guard(run):
    run.grace = 0.5
    run.start(run.script_process("trainer", "trainer", 0, "stubborn", "respawning")).until_listening(3)
    WHO["guard"](run).kill()
    assert run.wait() == 137


SHARED_MEMORY = """
import os, signal, time
from multiprocessing.shared_memory import SharedMemory
signal.signal(signal.SIGTERM, signal.SIG_IGN)
memory = SharedMemory(create=True, size=1000)
os.write(1, f"holds {memory.name}\\n".encode())
time.sleep(1000)
"""


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="looks where Linux keeps shared memory")
def test_shared_memory_of_the_killed_is_freed(run):
    run.grace = 0.5
    run.start(run.python("trainer", SHARED_MEMORY))
    memory = Path("/dev/shm", run.caller.stdout.readline().decode().split()[-1])
    assert memory.exists()
    run.caller.send_signal(TERM)
    assert run.wait() == 143
    assert not memory.exists()


def test_under_nohup_a_hangup_does_not_end_it(run):
    run.start(run.script_process("trainer", "trainer", 0), ignored=[HUP]).until_listening(3)
    run.caller.send_signal(HUP)
    WHO["guard"](run).send_signal(HUP)
    run.caller.send_signal(TERM)
    assert run.wait() == 143


@pytest.mark.parametrize(
    ("server", "trainer", "status", "said"),
    [
        (None, "sys.exit(0)", 0, "ending server (their last words are in their logs; Ctrl-C kills at once)\n"),
        (None, "sys.exit(3)", 3, "trainer ended with status 3; its log is LOGS/trainer.log\nending server"),
        (None, "os.abort()", 134, "signal 6 (Aborted) ended trainer; its log is LOGS/trainer.log\nending server"),
        ("sys.exit(0)", None, 1, "error: server ended with status 0; its log is LOGS/server.log\nending trainer"),
        ("sys.exit(3)", None, 1, "error: server ended with status 3; its log is LOGS/server.log\nending trainer"),
    ],
)
def test_one_ends_by_itself(run, server, trainer, status, said):
    words = {"server": server, "trainer": trainer}
    processes = [
        run.python(name, f"import os, sys; {code}") if code else run.script_process(name, name, 0)
        for name, code in words.items()
    ]
    assert run.start(*processes).wait() == status
    assert run.err.startswith(said.replace("LOGS", str(run.logs)))


def test_a_server_that_is_slow(run):
    port = free_port()
    server = run.script_process("server", "slow", port, ready_url=f"http://127.0.0.1:{port}/health")
    assert run.start(server, run.python("trainer", "print('on it')")).wait() == 0
    assert run.out.startswith(f"[server]  listens on {port}\n[trainer] on it\n")


def test_a_server_that_never_answers(run):
    url = f"http://127.0.0.1:{free_port()}/health"
    server = run.script_process("server", "server", 0, ready_url=url, ready_seconds=0.1)
    assert run.start(server, run.python("trainer", "pass")).wait() == 1
    error = run.err.splitlines()[0]
    assert error.startswith("error: server was not ready after ")
    assert error.endswith(f" s ({url} does not answer with 200); the end of {run.logs}/server.log:")
    assert run.log("trainer") == ""


def test_a_server_that_ends_before_it_is_ready(run):
    code = "import sys; print(*range(100), sep='\\n'); sys.exit('error: no GPU')"
    server = run.python("server", code, ready_url=f"http://127.0.0.1:{free_port()}/health")
    assert run.start(server, run.python("trainer", "pass")).wait() == 1
    error, *tail = run.err.splitlines()
    assert error == f"error: server ended with status 1 before it was ready; the end of {run.logs}/server.log:"
    assert tail == [f"    {line}" for line in [*range(86, 100), "error: no GPU"]]


def test_a_command_that_does_not_exist(run):
    server = {"name": "server", "argv": ["/nowhere/vllm", "serve"]}
    assert run.start(server, run.python("trainer", "pass")).wait() == 1
    assert run.err == "error: server cannot be started: [Errno 2] No such file or directory: '/nowhere/vllm'\n"


# the guard, where a process has always ended by the time that it has been started
SLOW_GUARD = """
import os, sys
from mini_r1.launch import guard_process
def output(*arguments, make=guard_process.Output):
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    return make(*arguments)
guard_process.Output = output
sys.exit(guard_process.main())
"""


def test_a_process_that_ends_while_it_is_started(tmp_path):
    process = {"name": "trainer", "argv": [sys.executable, "-S", "-c", "raise SystemExit(3)"]}
    request = {"processes": [process], "log_folder": str(tmp_path), "grace_seconds": 1.0}
    words = [sys.executable, "-c", SLOW_GUARD]
    result = subprocess.run(words, input=json.dumps(request) + "\n", text=True, timeout=PATIENCE, check=False)
    assert result.returncode == 3
