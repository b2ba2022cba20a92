"""Runs an untrusted Python program with bubblewrap (`bwrap`), in namespaces, under a seccomp filter and rlimits.

What the sandbox protects: the program sees the interpreter and system libraries, read-only, /dev/null and its input,
but no home, no repository, no /proc, no environment variable of ours, and no place to write to. It is alone in its
process, network, IPC, host name and mount namespaces, has no capabilities, and cannot start a process or open a socket.
The sandbox ends it at the limits on CPU, time, memory, threads, open files and output (`Limits`). When the program or
the calling process ends, everything inside ends, too; nothing is left to clean up.

What it does not protect from: a bug in the kernel behind a system call that `rewards/seccomp.py` lets through; timing
and other side channels; the use of CPU and memory up to the limits, by each program that runs at the same time. It is
not a virtual machine: to train on programs of a hostile author, put the whole trainer into one.

An ordinary user needs user namespaces; the program runs as that user, inside a namespace of its own. Where root calls,
to whom the kernel applies no limit on threads, each program runs as an unprivileged user of its own.
"""

import functools
import itertools
import os
import platform
import selectors
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import astuple, dataclass

from mini_r1.rewards.seccomp import ARCHITECTURES, filter_program

INSTALL = "bubblewrap, which runs programs safely, is not installed; run: apt install bubblewrap"
START_SECONDS = 60  # to make the sandbox and start Python, which takes 50 ms; the program's time begins after that
FIRST_UID, UIDS = 61184, 4000  # for a caller that is root; systemd's range for users that exist only while in use

# Runs inside the sandbox, before the program. It first gives up rights for good, then marks stderr: \0 for "the sandbox
# is ready", another for "the program compiles". The marks come before anything that the program could write.
_PRELUDE = """
def start():
    import os, resource, sys
    uid, cpu, memory, threads, files = map(int, sys.argv[1:])
    if uid:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    limits = {"CORE": (0, 0), "FSIZE": (0, 0), "MSGQUEUE": (0, 0), "CPU": (cpu, cpu + 1), "AS": (memory, memory),
              "NPROC": (threads, threads), "NOFILE": (files, files)}
    for name, values in limits.items():
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), values)
    sys.argv[:] = ["/program.py"]
    os.write(2, b"\\0")
    with open("/program.py", "rb") as file:
        code = compile(file.read(), "/program.py", "exec", dont_inherit=True)
    os.write(2, b"\\0")
    return code
code = start()
del start
exec(code)
"""


class SandboxError(RuntimeError):
    """No sandbox can be made here; the program was not run. One line, with the remedy."""


@dataclass(frozen=True)
class Limits:
    """What one run may use.

    Attributes:
        cpu_seconds: whole seconds, all threads together.
        wall_seconds: from the moment the sandbox is ready.
        memory_bytes: of address space (RLIMIT_AS); Python itself takes about 20 MB.
        output_bytes: of stdout, and again of stderr.
        threads: the main one included.
        files: open at once.
    """

    cpu_seconds: int = 4
    wall_seconds: float = 10.0
    memory_bytes: int = 2**30
    output_bytes: int = 2**20
    threads: int = 32
    files: int = 64


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        ended: "ok" (status 0); "exit" (another status); "signal"; "cpu", "wall" or "output" where that limit was hit;
            "compile" where the text is no Python program, or compiling it took too much.
        stdout, stderr: decoded as UTF-8, with replacements for other bytes; at most `output_bytes` each.
        code: exit status, or number of the signal.
    """

    ended: str
    stdout: str
    stderr: str
    code: int = 0


def run_program(program: str, stdin: str = "", limits: Limits = Limits()) -> Outcome:
    """Runs a Python program on one input, alone. Several threads may call this at the same time.

    Raises:
        SandboxError: where the sandbox cannot be made, whatever the program.

    Example: `run_program("print(int(input()) + 1)", "41").stdout` is `"42\\n"`.
    """
    if shutil.which("bwrap") is None:
        raise SandboxError(INSTALL)
    source, given = program.encode("utf-8", "surrogatepass"), stdin.encode("utf-8", "surrogatepass")
    with ExitStack() as stack:
        program_file, stdin_file, seccomp = (_memory_file(data, stack) for data in (source, given, filter_program()))
        argv = bwrap_argv(program_file, stdin_file, seccomp, limits)
        # an empty environment for bwrap as well; vfork, as nothing is to be done between fork and exec
        process = subprocess.Popen(
            argv,
            stdin=_memory_file(given, stack),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(program_file, stdin_file, seccomp),
            env={},
            cwd="/",
        )
        with process:
            try:
                hit, stdout, stderr = _read(process, limits)
            finally:
                process.kill()  # and by --die-with-parent everything inside
    if not stderr.startswith(b"\0"):
        said = stderr.decode("utf-8", "replace").strip().splitlines()
        raise SandboxError(f"bubblewrap cannot make a sandbox here: {said[-1] if said else 'it said nothing'}")
    compiled = stderr.startswith(b"\0\0")
    ended, code = _ending(hit, process.returncode)
    return Outcome(
        ended if compiled else "compile",
        stdout[: limits.output_bytes].decode("utf-8", "replace"),
        stderr[2 if compiled else 1 :][: limits.output_bytes].decode("utf-8", "replace"),
        code,
    )


@functools.cache
def unavailable() -> str | None:
    """Why this machine can run no program, in one line with the remedy; None where it can. Tries once."""
    if sys.platform != "linux" or platform.machine() not in ARCHITECTURES:
        return f"programs are run on Linux on {' or '.join(ARCHITECTURES)} only; leave code_reward out here"
    try:
        outcome = run_program("print(input())", "ready")
    except SandboxError as error:
        if str(error) == INSTALL:
            return INSTALL
        how = "run: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 user.max_user_namespaces=10000"
        return f"{error}; allow user namespaces ({how}), in a container with --security-opt seccomp=unconfined"
    if outcome.stdout != "ready\n":
        return f"the sandbox of bubblewrap runs no Python here: {(outcome.stderr.splitlines() or [outcome.ended])[-1]}"
    return None


def _memory_file(data: bytes, stack: ExitStack) -> int:
    """The descriptor of a file without a name, at its beginning."""
    descriptor = os.memfd_create("sandbox")
    stack.callback(os.close, descriptor)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


_runs = itertools.count()


def bwrap_argv(source: int, given: int, seccomp: int, limits: Limits) -> list[str]:
    """The argv of bubblewrap, with the descriptors of the files that it copies."""
    uid, argv = 0, ["bwrap", *_surroundings()]
    if os.geteuid() == 0:
        # The prelude gives up these two with the uid. Each run has its own uid, since the kernel counts threads by uid.
        uid = FIRST_UID + (os.getpid() * 61 + next(_runs)) % UIDS
        argv += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        argv += ["--unshare-user", "--uid", str(FIRST_UID), "--gid", str(FIRST_UID)]
    for descriptor, name in ((source, "/program.py"), (given, "/dev/stdin")):
        argv += ["--perms", "0444", "--file", str(descriptor), name]
    argv += ["--remount-ro", "/", "--seccomp", str(seccomp), "--"]
    # -S: no site-packages, and half the start-up time; the fixed hash seed makes a program's output reproducible
    python = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    argv += [python, "-P", "-s", "-S", "-B", "-X", "utf8", "-c", _PRELUDE]
    cpu, _, memory, _, threads, files = astuple(limits)
    return [*argv, *map(str, (uid, cpu, memory, threads, files))]


@functools.cache
def _surroundings() -> tuple[str, ...]:
    """The options that all runs share: namespaces, and the files of this machine that the program sees."""
    prefix = os.path.realpath(sys.base_prefix)
    shown = ["/usr/lib", "/usr/lib64", *(f"{prefix}/{folder}" for folder in ("bin", "lib", "lib64"))]
    shown = [folder for folder in dict.fromkeys(shown) if os.path.isdir(folder)]
    argv = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-cgroup-try"]
    argv += ["--unshare-uts", "--hostname", "sandbox"]
    argv += ["--new-session", "--die-with-parent", "--clearenv", "--setenv", "PYTHONHASHSEED", "0", "--chdir", "/"]
    parents = {parent for folder in shown for parent in _parents(folder)}
    for parent in sorted({*parents, "/dev"}):  # bwrap would make them for its own user alone
        argv += ["--perms", "0755", "--dir", parent]
    for folder in shown:
        argv += ["--ro-bind", folder, folder]
    for name in ("/lib", "/lib64"):  # where the loader is looked for: mostly links into /usr
        if os.path.islink(name):
            argv += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            argv += ["--ro-bind", name, name]
    argv += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--dev-bind", "/dev/null", "/dev/null"]
    return tuple(argv)


def _parents(folder: str) -> list[str]:
    parts = folder.split("/")[1:-1]
    return ["/" + "/".join(parts[: i + 1]) for i in range(len(parts))]


def _read(process: subprocess.Popen, limits: Limits) -> tuple[str | None, bytes, bytes]:
    """(the limit that was hit: "wall", "output" or None; stdout; stderr), up to the process's end or that limit."""
    assert process.stdout and process.stderr  # both are pipes
    stdout, stderr = bytearray(), bytearray()
    outputs = {process.stdout.fileno(): stdout, process.stderr.fileno(): stderr}
    deadline, started = time.monotonic() + START_SECONDS, False
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        ended = os.pidfd_open(process.pid)  # a process may close its outputs and go on
        stack.callback(os.close, ended)
        for source in (*outputs, ended):
            selector.register(source, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            for key, _ in ready:
                if key.fd == ended:
                    selector.unregister(ended)
                    continue
                chunk = os.read(key.fd, 2**16)
                if not chunk:
                    selector.unregister(key.fd)
                outputs[key.fd] += chunk
                if len(outputs[key.fd]) > limits.output_bytes + 2:
                    return "output", bytes(stdout), bytes(stderr)
            if not started and stderr:
                deadline, started = time.monotonic() + limits.wall_seconds, True
            if time.monotonic() >= deadline:
                return "wall", bytes(stdout), bytes(stderr)
    return None, bytes(stdout), bytes(stderr)


def _ending(hit: str | None, status: int) -> tuple[str, int]:
    """`Outcome.ended` and `code`, from the limit that was hit and the status of bwrap: 128 + the number of a signal."""
    if hit:
        return hit, 0
    if 128 < status <= 128 + 64:
        number = status - 128
        return ("cpu" if number == signal.SIGXCPU else "signal"), number
    return ("exit" if status else "ok"), status
