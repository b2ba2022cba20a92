"""Logs and the screen: whole lines, progress bars, bytes of any kind, and screens or disks that take nothing more."""

import os
import re
import sys

import pytest
from supervised import PATIENCE, Run

from mini_r1.launch.guard_process import Output, Screen


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path)
    yield run
    for process in run.alive():  # after a failure
        process.kill()


@pytest.mark.parametrize(("code", "status"), [("pass", 0), ("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", 137)])
def test_one_process_alone_has_no_prefix(run, code, status):
    assert run.start(run.python("trainer", f"import os, sys; print('step 1'); {code}")).wait() == status
    assert run.out == "step 1\n"


def test_logs_and_screen(run):
    code = "import os, sys; print(os.environ['COLOUR']); sys.stderr.write('a warning\\nthe end')"
    processes = [run.python("eval", code, env={"COLOUR": "red"}), run.script_process("trainer", "trainer", 0)]
    for _ in range(2):
        assert run.start(*processes).wait() == 1
        for line in ("red", "a warning", "the end"):
            assert f"[eval]    {line}\n" in run.out
        assert all(re.match(r"\[(eval\]   |trainer\]) ", line) for line in run.out.splitlines())
    command = re.escape(f"{sys.executable} -S -c ")
    attempt = rf"=== \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d {command}.* {run.token}\nred\na warning\nthe end\n"
    assert re.fullmatch(f"{attempt}\n{attempt}", run.log("eval"))


def test_lines_are_there_at_once_although_python_buffers(run):
    run.start(run.python("trainer", "import time; print('step 1'); time.sleep(1000)"))
    assert run.caller.stdout.readline() == b"step 1\n"
    assert "\nstep 1\n" in run.log("trainer")
    run.caller.terminate()
    assert run.wait() == 143


BAR = """
import sys, time
for percent in range(0, 100, 20):
    sys.stderr.write(f"\\r {percent}%|####")
if len(sys.argv) > 2:
    time.sleep(1000)
sys.stderr.write("\\nloaded\\r\\n\\rsaving 1\\rsaving 2\\n\\nsaved")
"""
STATES = "".join(f" {percent}%|####\n" for percent in range(0, 100, 20))


def test_each_state_of_a_progress_bar_is_a_line(run):
    assert run.start(run.python("trainer", BAR)).wait() == 0
    assert run.log("trainer").endswith(f"{run.token}\n{STATES}loaded\nsaving 1\nsaving 2\n\nsaved\n")
    assert run.out.endswith(f"{STATES}loaded\nsaving 1\nsaving 2\n\nsaved\n")


def test_the_states_of_a_bar_are_shown_while_it_runs(run):
    run.start(run.python("trainer", BAR, "wait"))
    while b"60%" not in run.caller.stdout.readline():
        pass
    run.caller.terminate()
    assert run.wait() == 143
    assert run.log("trainer").endswith(f"{run.token}\n{STATES}")


def test_progress_bars_are_slow_unless_the_user_says_otherwise(run, monkeypatch):
    code = "import os; print(os.environ['TQDM_MININTERVAL'])"
    assert run.start(run.python("trainer", code)).wait() == 0
    assert run.out == "5\n"
    monkeypatch.setenv("TQDM_MININTERVAL", "0.1")
    assert run.start(run.python("trainer", code)).wait() == 0
    assert run.out == "0.1\n"


def test_bytes_that_are_not_text(run):
    code = "import os; os.write(1, bytes(b for b in range(256) if b not in b'\\r\\n') + b'\\n' + b'x' * 3_000_000)"
    run.start(run.python("trainer", code))
    out, _ = run.caller.communicate(timeout=PATIENCE)
    line = bytes(b for b in range(256) if b not in b"\r\n")
    assert run.caller.returncode == 0
    assert out.startswith(line) and out.count(b"x") == 3_000_001
    assert line in (run.logs / "trainer.log").read_bytes()


FLOOD = "import sys; [print('x' * 99) for _ in range(100_000)]; sys.exit(5)"


def test_a_screen_that_is_closed(run):
    run.start(run.python("trainer", FLOOD))
    run.caller.stdout.readline()
    run.caller.stdout.close()
    assert run.caller.wait(PATIENCE) == 5
    assert run.log("trainer").count("\n") == 100_001


def test_a_screen_that_takes_nothing(run):
    run.start(run.python("trainer", FLOOD))
    assert run.caller.wait(PATIENCE) == 5
    assert run.log("trainer").count("\n") == 100_001
    run.assert_nothing_is_left()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_a_disk_that_fills_up(tmp_path, capfd):
    log = tmp_path / "trainer.log"
    log.symlink_to("/dev/full")
    reading, writing = os.pipe()
    screen = Screen()
    with open(reading, "rb") as pipe:
        output = Output(pipe, log, screen, b"")
        os.write(writing, b"step 1\nstep 2")
        os.close(writing)
        output.catch_up()
    assert capfd.readouterr() == ("step 1\nstep 2\n", f"{log} cannot be written: [Errno 28] No space left on device\n")


def test_last_words_go_to_the_log_only(run):
    """The line that says why all is ended stays the last one on the screen."""
    code = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: 1 / 0); print('up'); time.sleep(1000)"
    run.start(run.python("trainer", code))
    run.caller.stdout.readline()
    run.caller.terminate()
    assert run.wait() == 143
    assert run.out == ""
    assert "ZeroDivisionError" in run.log("trainer")
