"""The published attacks in tests/attacks/*.yaml, ready to be run.

An attack is {name, program, ends: `Outcome.ended`, null where it varies; says: what must stand in its output; begins:
which of `HELPERS` stands before the program}. It prints HARM where it worked. @HOME@ is a home with a token in it,
@FILE@ a file outside, @REPO@ this repository, @PORT@ that of a server on loopback.
"""

import yaml
from repository import ROOT

from mini_r1.rewards.seccomp import DENIED

FOLDER = ROOT / "tests" / "attacks"
HELPERS = {
    # what the operating system refuses
    "attempt": """
def attempt(what, *args):
    try:
        what(*args)
    except OSError as error:
        print(error.strerror)
    else:
        print("HARM", what, args)
""",
    # a system call by its numbers on x86_64 and aarch64
    "call": """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
PC = os.uname().machine == "x86_64"
def call(numbers, *args):
    number = numbers[not PC]
    if number is not None:
        result = libc.syscall(number, *args)
        print(number, "HARM" if result >= 0 else errno.errorcode[ctypes.get_errno()])
""",
}
# those that no YAML file can hold
MADE = [
    {"name": "no program: a null byte", "ends": "compile", "says": "null byte", "program": "print(1)\0"},
    {"name": "no program: half a character", "ends": "compile", "says": "", "program": "print('\ud800')"},
    {"name": "no program: deep nesting", "ends": "compile", "says": "Error", "program": "(" * 30_000 + ")" * 30_000},
    {"name": "no program: a crash of the parser", "ends": "compile", "says": "", "program": "-" * 60_000 + "1"},
    {"name": "no program: a huge constant", "ends": "compile", "says": "", "program": "x = (" + "1 if 1 else " * 5_000},
]  # fmt: skip


def attacks() -> list[dict]:
    """All of them, with their helpers, and with what stands for other things still in them."""
    groups = [(path.stem, yaml.safe_load(path.read_text(encoding="utf-8"))) for path in sorted(FOLDER.glob("*.yaml"))]
    found = [case | {"group": group} for group, cases in [*groups, ("reward", MADE)] for case in cases]
    for case in found:
        program = HELPERS.get(case.get("begins"), "") + case["program"]
        case["program"] = program.replace("@DENIED@", str(list(DENIED.values()))).replace("@REPO@", str(ROOT))
    return found
