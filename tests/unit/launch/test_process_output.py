"""Logs and the screen: whole lines, progress bars, bytes of any kind, and screens or disks that take nothing more."""

import os
import re
import sys

import pytest
from supervised import PATIENCE, Run

from mini_r1.launch.supervisor import Output, Screen, last_state


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
for percent in range(1000):
    sys.stderr.write(f"\\r {percent / 10}%|####")
if len(sys.argv) > 2:
    time.sleep(1000)
sys.stderr.write("\\nloaded\\r\\n\\rsaving 1\\rsaving 2\\nsaved")
"""


def test_progress_bars(run):
    assert run.start(run.python("trainer", BAR)).wait() == 0
    assert run.log("trainer").endswith(f"{run.token}\n 99.9%|####\nloaded\nsaving 2\nsaved\n")
    assert run.out.endswith(" 99.9%|####\nloaded\nsaving 2\nsaved\n")
    assert run.out.count("%") < 50 and run.out.count("99.9%") == 1


def test_a_progress_bar_that_stands_still_is_shown(run):
    run.start(run.python("trainer", BAR, "wait"))
    while b"99.9%" not in run.caller.stdout.readline():
        pass
    run.caller.terminate()
    assert run.wait() == 143
    assert run.log("trainer").endswith(f"{run.token}\n 99.9%|####\n")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"text", b"text"),
        (b"text\r", b"text"),
        (b"\r10%\r20%", b"20%"),
        (b"10%\r20%\r", b"20%"),
        (b"\r10%\r   \rtext", b"text"),
        (b"\r", b""),
        (b"", b""),
    ],
)
def test_last_state(line, shown):
    assert last_state(line) == shown


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
        output.join(PATIENCE)
    screen.close()
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
