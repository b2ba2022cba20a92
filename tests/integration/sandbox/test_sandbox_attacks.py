"""Every published attack is tried: it gets 0, ends as it must, and harms nothing that can be seen from outside."""

import json
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from attacked import attacks
from repository import ROOT
from tables import needs_sandbox, turn

from mini_r1.rewards import Verdict, code, code_reward, sandbox
from mini_r1.rewards.sandbox import Limits

pytestmark = needs_sandbox()
ATTACKS = attacks()
NAMES = [f"{case['group']}: {case['name']}" for case in ATTACKS]
MARK = 2**28 + secrets.randbelow(2**20)  # a limit on memory, which stands on the command lines of what this test runs
LIMITS = Limits(cpu_seconds=1, wall_seconds=20, memory_bytes=MARK)
# what a program may do that solves the problem: threads, recursion, libraries
HONEST = """
import asyncio, collections, decimal, heapq, itertools, json, math, random, re, sys, threading
sys.setrecursionlimit(10**5)
def product(a, b):
    return a and b + product(a - 1, b)
async def halves(a, b):
    await asyncio.sleep(0)
    return product(a // 2, b) + product(a - a // 2, b)
def main():
    a, b = map(int, open("/dev/stdin").readline().split())
    print(asyncio.run(halves(a, b)))
threading.stack_size(2**25)
thread = threading.Thread(target=main)
thread.start()
thread.join()
"""


def alive(mark: int) -> int:
    """How many processes have this limit on memory on their command line."""
    return sum(str(mark) in _command_line(entry) for entry in Path("/proc").glob("[0-9]*"))


def _command_line(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_text(errors="replace")
    except OSError:  # it has ended
        return ""


def ends_soon(condition) -> bool:
    for _ in range(300):
        if condition():
            return True
        time.sleep(0.1)
    return False


def files_below(folder: Path) -> dict:
    return {path: (path.stat().st_mode, path.is_file() and path.read_bytes()) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """All attacks at once, honest programs among them: what came of each, and the world before and after."""
    home, secret = tmp_path_factory.mktemp("home"), f"hf_{secrets.token_hex(16)}"
    (home / ".cache" / "huggingface").mkdir(parents=True)
    (home / ".cache" / "huggingface" / "token").write_text(secret)
    (home / "file").write_text("outside")
    reached = []

    def serve(server):
        while True:
            try:
                connection, address = server.accept()
            except OSError:  # the test is over
                return
            reached.append(address)
            connection.close()

    before = SimpleNamespace(files=files_below(home))
    before.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    before.stdlib = os.stat(Path(os.__file__).parent).st_mtime_ns
    outcomes, rewards = {}, {}
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as server:
        patch.setenv("HF_TOKEN", secret)
        patch.setenv("HOME", str(home))
        patch.chdir(home)
        patch.setattr(code, "LIMITS", LIMITS)
        known = threading.local()

        def spy(*args):
            known.outcome = sandbox.run_program(*args)
            return known.outcome

        patch.setattr(code, "run_program", spy)
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        words = {"@HOME@": home, "@FILE@": home / "file", "@PORT@": server.getsockname()[1]}

        def run(number: int):
            a, b = secrets.randbelow(900) + 100, secrets.randbelow(10**9) + 10**9
            program = HONEST if number < 0 else ATTACKS[number]["program"]
            for word, stands_for in words.items():
                program = program.replace(word, str(stands_for))
            tests = [{"input": f"{a} {b}\n", "output": f"{a * b}\n"}]
            verdict = code.code_verdict(turn(program), tests)
            rewards[number] = dict(zip(Verdict, code_reward.values, strict=True))[verdict]
            outcomes[number] = known.outcome, f"{a * b}"

        honest = range(-len(ATTACKS) // 4, 0)
        order = sorted([*honest, *range(len(ATTACKS))], key=lambda number: number % 7)
        with ThreadPoolExecutor(8) as pool:
            under_way = [pool.submit(run, number) for number in order]
            seen = ends_soon(lambda: alive(MARK) > 0)
            for one in under_way:
                one.result()
        server.shutdown(socket.SHUT_RDWR)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return SimpleNamespace(
        before=before, outcomes=outcomes, rewards=rewards, honest=honest, home=home, secret=secret, reached=reached,
        memory=memory, seen=seen,
    )  # fmt: skip


def check(case: dict, outcome: dict, secret: str, due: str) -> None:
    said = outcome["stdout"] + outcome["stderr"]
    assert case["ends"] in (outcome["ended"], None), (outcome["ended"], said[-500:])
    assert case["says"] in said, said[-500:]
    assert "HARM" not in outcome["stdout"], said[-500:]
    assert secret not in said
    if "right, " not in case["name"]:
        assert due not in said, "it has found the output that is due"
    if case["name"] == "every denied call":
        assert {line.split()[1] for line in outcome["stdout"].splitlines()} == {"EPERM"}


@pytest.mark.parametrize("number", range(len(ATTACKS)), ids=NAMES)
def test_an_attack_is_held(tried, number):
    outcome, due = tried.outcomes[number]
    assert tried.rewards[number] == 0.0
    check(ATTACKS[number], vars(outcome), tried.secret, due)


def test_there_are_many_and_no_two_are_alike():
    assert len(ATTACKS) >= 100 and len(set(NAMES)) == len({case["program"] for case in ATTACKS}) == len(ATTACKS)


def test_honest_programs_beside_them_are_right(tried):
    assert [tried.rewards[number] for number in tried.honest] == [1.0] * len(tried.honest), tried.outcomes[-1]


def test_nothing_outside_has_changed(tried):
    assert files_below(tried.home) == tried.before.files
    assert os.stat(Path(os.__file__).parent).st_mtime_ns == tried.before.stdlib
    with open("/dev/null", "w") as null:
        null.write("x")


def test_nobody_was_reached(tried):
    assert tried.reached == []


def test_no_process_is_left(tried):
    assert tried.seen, "while they ran, their processes could be told by their mark"
    assert ends_soon(lambda: alive(MARK) == 0)


def test_the_memory_of_the_caller_is_bounded(tried):
    assert tried.memory - tried.before.memory < 200 * 1024, "kB; outputs of 10 GB, eight programs at once"


def test_the_server_can_be_reached_from_outside():
    """So that `test_nobody_was_reached` means something."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
        server.accept()[0].close()


def test_a_killed_caller_leaves_nothing():
    mark = 2**30 + secrets.randbelow(2**20)
    text = f"run_program('while True: pass', '', Limits(cpu_seconds=600, wall_seconds=600, memory_bytes={mark}))"
    words = [sys.executable, "-c", f"from mini_r1.rewards.sandbox import *; {text}"]
    caller = subprocess.Popen(words, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    try:
        assert ends_soon(lambda: alive(mark) == 4), "the caller, both processes of bwrap, and the program"
    finally:
        caller.send_signal(signal.SIGKILL)
        caller.wait()
    assert ends_soon(lambda: alive(mark) == 0)


AS_NOBODY = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from mini_r1.rewards.sandbox import Limits, run_program, unavailable
assert unavailable() is None, unavailable()
limits, programs = json.load(sys.stdin)
with ThreadPoolExecutor(8) as pool:
    outcomes = pool.map(lambda program: run_program(program, "123 1234567891", Limits(**limits)), programs)
    print(json.dumps([vars(outcome) for outcome in outcomes]))
"""


@pytest.mark.sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="the tests above have run as an ordinary user")
def test_all_of_it_as_an_ordinary_user(tmp_path):
    """By way of a user namespace; with the system's Python, as a home of root is not for others to read."""
    python = shutil.which("python3", path="/usr/bin")
    version = python and subprocess.check_output([python, "-c", "import sys; print(sys.version_info >= (3, 11))"])
    if version != b"True\n":
        pytest.skip("there is no /usr/bin/python3 of 3.11 or newer")
    shutil.copytree(ROOT / "rewards", tmp_path / "mini_r1" / "rewards")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    cases = [case for case in ATTACKS if "\ud800" not in case["program"]]
    programs = [case["program"].replace("@PORT@", "9").replace("@FILE@", str(tmp_path / "x")) for case in cases]
    given = json.dumps([vars(LIMITS), [*programs, HONEST]])
    result = subprocess.run(
        [python, "-c", AS_NOBODY], input=given, capture_output=True, text=True, user=65534, group=65534,
        extra_groups=[], cwd=tmp_path, env={"HOME": "/", "HF_TOKEN": "hf_secret"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    *outcomes, honest = json.loads(result.stdout)
    assert honest["stdout"].strip() == str(123 * 1234567891)
    for case, outcome in zip(cases, outcomes, strict=True):
        check(case, outcome, "hf_secret", str(123 * 1234567891))
