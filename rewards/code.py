"""Verifies programs: the answer's Python program prints the expected output for the input of each test.

Only this reward does input and output: it starts processes. The answer's program never runs in this process, and the
expected outputs never leave this process; `rewards/sandbox.py` says what the sandbox protects from, and what it does
not.
"""

import hashlib
import json
import threading
from dataclasses import dataclass, replace

from mini_r1.rewards.sandbox import Limits, Outcome, run_program, unavailable
from mini_r1.rewards.text import answer_block
from mini_r1.rewards.verdict import Verdict, reward_from
from mini_r1.rewards.wording import short, too_long

PROGRAM_CAP = 65_536  # characters of the program, never of the reasoning
LIMITS = Limits()  # for each test
REMEMBERED = 4096  # programs
SHOWN = 1000  # characters of an output that are kept to explain a verdict
FENCE = "```"
_LANGUAGES = ("", "python", "python3", "py")


@dataclass(frozen=True)
class Failure:
    """The first test that a program fails: its number, from 1 on, the expected output, and how the run ended.

    Outputs are cut to their first `SHOWN` characters, stderr to its last.
    """

    test: int
    expected: str
    outcome: Outcome


def program_in(block: str) -> str | None:
    """The program in an answer block: its only fenced block, or all of the block where there is no fence.

    None where the program is blank, and where there is more than one fenced block, an unclosed one, or one in another
    language.

    Example: `program_in("It is\\n```python\\nprint(7)\\n```")` is `"print(7)"`.
    """
    lines = block.split("\n")
    fences = [i for i, line in enumerate(lines) if line.lstrip().startswith(FENCE)]
    if fences:
        if len(fences) != 2 or lines[fences[1]].strip() != FENCE:
            return None
        if lines[fences[0]].strip().removeprefix(FENCE).strip().lower() not in _LANGUAGES:
            return None
        lines = lines[fences[0] + 1 : fences[1]]
    program = "\n".join(lines)
    return program if program.strip() else None


def read_tests(tests: object) -> list[tuple[str, str]] | None:
    """(input, output) of each test; None where there is no test, or one is not a pair of texts.

    Args:
        tests: a list of {"input": str, "output": str}, or that list as JSON.
    """
    if isinstance(tests, str):
        try:
            tests = json.loads(tests)
        except json.JSONDecodeError:
            return None
    if not isinstance(tests, list | tuple) or not tests or not all(isinstance(test, dict) for test in tests):
        return None
    pairs = [(test.get("input"), test.get("output")) for test in tests]
    return pairs if all(isinstance(text, str) for pair in pairs for text in pair) else None


def normalised(output: str) -> str:
    """The output without blanks at the end of its lines, and without empty lines at its end.

    Programming contests ignore these, since they are invisible. Everything else counts: spaces within a line, case,
    empty lines between others, 1.0 instead of 1.
    """
    return "\n".join(line.rstrip() for line in output.rstrip().split("\n"))


def first_failure(program: str, tests: list[tuple[str, str]]) -> Failure | None:
    """The first test that the program fails, run on one input after the other; None where it passes all.

    The last `REMEMBERED` results are kept: a completion is graded for the reward, for the log and for its explanation,
    and the programs of a group are often the same. A program close to its limits so keeps its first verdict.
    """
    text = repr((program, tests, LIMITS)).encode("utf-8", "surrogatepass")
    case = hashlib.sha256(text).digest()  # the texts themselves may take megabytes
    with _lock:
        if case in cache:
            return cache[case]
    failure = _run_tests(program, tests)
    with _lock:
        cache[case] = failure
        if len(cache) > REMEMBERED:
            del cache[next(iter(cache))]
    return failure


cache: dict[bytes, Failure | None] = {}
_lock = threading.Lock()


def _run_tests(program: str, tests: list[tuple[str, str]]) -> Failure | None:
    for number, (given, expected) in enumerate(tests, 1):
        outcome = run_program(program, given, LIMITS)
        if outcome.ended != "ok" or normalised(outcome.stdout) != normalised(expected):
            shown = replace(outcome, stdout=outcome.stdout[:SHOWN], stderr=outcome.stderr[-SHOWN:])
            return Failure(number, expected[:SHOWN], shown)
    return None


def code_verdict(text: str, tests: list[dict] | str) -> Verdict | None:
    """Correct where the program in the answer block ends with status 0 and prints the expected output, on every test.

    Each test is a process of its own in a sandbox, with the test's input as its stdin and the limits in `LIMITS`: 4 s
    of CPU, 10 s in all, 1 GiB, 1 MiB of output. Outputs are compared without blanks at the end of lines and of the
    text. A program of more than `PROGRAM_CAP` characters is wrong, too, and does not run.

    The verdict is unparseable where there is no answer block, where the block is not one program (`program_in`), and
    where the program does not compile. It is None where `tests` is unusable: neither a list of
    {"input": str, "output": str} nor JSON of one, or empty.

    Raises:
        SandboxError: where no sandbox can be made on this machine (`sandbox.unavailable` says why).

    Example, on a machine with bubblewrap:
        >>> completions = ["</think><answer>print(int(input()) + 1)</answer>", "</think><answer>print(</answer>"]
        >>> code_reward(completions, prefill=["<think>"] * 2, tests=[[{"input": "4", "output": "5"}]] * 2)
        [1.0, 0.0]
    """
    pairs = read_tests(tests)
    if pairs is None:
        return None
    block = answer_block(text)
    program = None if block is None else program_in(block)
    if program is None:
        return Verdict.UNPARSEABLE
    if len(program) > PROGRAM_CAP:
        return Verdict.WRONG
    failure = first_failure(program, pairs)
    if failure is None:
        return Verdict.CORRECT
    return Verdict.UNPARSEABLE if failure.outcome.ended == "compile" else Verdict.WRONG


code_reward = reward_from("code_reward", code_verdict, in_parallel=True, unavailable=unavailable)


def code_reason(block: str, text: str, tests: list[dict] | str) -> str:
    """Why the program in the answer block is right or wrong; runs the program."""
    program, pairs = program_in(block), read_tests(tests) or []
    if program is None:
        return "it is not one Python program, bare or in one fenced block"
    if fault := too_long(program, PROGRAM_CAP):
        return fault
    failure = first_failure(program, pairs)
    if failure is None:
        return f"it passes all {len(pairs)} tests" if len(pairs) > 1 else "it passes the only test"
    outcome = failure.outcome
    last = short((outcome.stderr.strip().splitlines() or ["nothing on stderr"])[-1])
    if outcome.ended == "compile":
        return f"it is no Python program: {last}"
    how = {
        "ok": f"expected {short(failure.expected)!r}, got {short(outcome.stdout)!r}",
        "exit": f"it ends with status {outcome.code}: {last}",
        "cpu": f"it takes more than {LIMITS.cpu_seconds} s of CPU",
        "wall": f"it takes more than {LIMITS.wall_seconds:g} s",
        "signal": f"it is ended by signal {outcome.code}",
        "output": f"it writes more than {LIMITS.output_bytes:,} bytes",
    }
    return f"test {failure.test}: {how[outcome.ended]}"
