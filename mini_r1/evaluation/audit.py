"""Audits a reward: runs it over honest and hostile completions whose verdicts are known, and counts what it gets wrong.

    python -m mini_r1.evaluation.audit --task gsm8k --reward number_reward --reward my_package.rewards.f

A reward is one of ours, by name; `math_verify` or `reasoning_gym`, where that library is installed; or the dotted path
of a function in one of these forms, told apart by the names of its arguments:
    f(completions, **columns) -> list of numbers        TRL's; completions are texts or, where it wants them so, chats
    f(solution_str, ground_truth, ...) -> number        verl's
    f(text, <columns>) -> number, bool or Verdict       a verifier's

The completions are those of `mini_r1/rewards/corpus`, on which our own verifiers were made: their counts say what a
reward wrongly pays and refuses there, not how often a policy writes such things. The corpus is strict: an answer in a
notation that the prompt does not allow is not right, and is of a kind of its own.
"""

import inspect
import json
import multiprocessing
import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from types import ModuleType
from typing import Any

from mini_r1 import rewards, tasks
from mini_r1.data.reward_loader import load_rewards
from mini_r1.errors import Parser, RecipeError, exit_on_recipe_error
from mini_r1.rewards import Verdict, answer_block, explain

SECONDS = 5.0  # for one completion; a reward that evaluates 9**9**9 takes for ever
NOT_COLUMNS = ("text", "verdict", "reason")
SHOWN = 100  # characters of an example


@dataclass
class Audit:
    """What a reward gave.

    Attributes:
        right, other: how many completions the corpus calls correct, and wrong or unparseable.
        paid: how many of the right ones were paid.
        wrongly_paid, wrongly_refused: kind of completion -> completions, the shortest first.
        failed: "raises ValueError", "takes over 5 s" or "ends the process" -> completions.
        seconds: for all completions together.
    """

    reward: str
    right: int = 0
    other: int = 0
    paid: int = 0
    wrongly_paid: dict[str, list[str]] = field(default_factory=dict)
    wrongly_refused: dict[str, list[str]] = field(default_factory=dict)
    failed: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def wrong(self) -> int:
        """How many completions it got wrong or failed on."""
        kinds = (self.wrongly_paid, self.wrongly_refused, self.failed)
        return sum(len(texts) for kind in kinds for texts in kind.values())


def load_corpus(task: ModuleType) -> list[dict]:
    """The completions for a task's reward: {"text", "verdict", "reason", <columns>}, without those whose gold is
    unusable.

    Raises:
        RecipeError: where there are none for this task.
    """
    folder = files(rewards.__name__).joinpath("corpus")
    file = folder.joinpath(f"{task.REWARD.removesuffix('_reward')}.jsonl")
    if not file.is_file():
        there = [name for name in tasks.names() if _has_corpus(tasks.get(name))]
        name = task.__name__.rpartition(".")[2]
        raise RecipeError(f"{name} has no corpus; those that have one: {', '.join(there)}", key="--task")
    cases = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [case for case in cases if case["verdict"] is not None]


def _has_corpus(task: ModuleType) -> bool:
    folder = files(rewards.__name__).joinpath("corpus")
    return folder.joinpath(f"{task.REWARD.removesuffix('_reward')}.jsonl").is_file()


# What `explain` says of a completion, and the kind that it is one of; the first that matches holds.
KINDS = (
    (r"is not allowed", "characters that the form does not allow"),
    (r"not one of the numbers|is used|is not used|begins with a zero", "other numbers than those given"),
    (r"is not an expression", "no expression"),
    (r"divides by zero", "division by zero"),
    (r"different numbers", "several numbers"),
    (r"not plainly one number", "more or less than one number, or one with a hedge"),
    (r"there is no number|cannot be read as a number", "no number"),
    (r"makes |it says ", "another value"),
    (r"cannot be read as a list of roles", "no plain list of roles"),
    (r"two roles|named twice", "two claims about one person"),
    (r"nothing said about|nobody is called", "a person left out"),
    (r" is a (knight|knave), not ", "a wrong role"),
    (r"characters, more than", "too long"),
    (r"answer block is blank", "a blank answer"),
)


def kind_of(case: dict) -> str:
    """What is right or wrong with a completion, in words that others of its kind share."""
    if case["verdict"] == "correct":
        said = explain(case["text"], case)
        return said.removeprefix("right, but ") if said.startswith("right, but ") else "in the form asked for"
    if answer_block(case["text"]) is None:
        return "no single answer block after the thinking"
    said = explain(case["text"], case).partition(": ")[2]
    return next((kind for pattern, kind in KINDS if re.search(pattern, said)), said)


def adapt(name: str, task: ModuleType, renamed: dict[str, str]) -> Callable[[str, dict], float | None]:
    """A reward, in any of the forms above, as a function of a text and a row.

    Args:
        renamed: the reward's name of a column -> ours.

    Raises:
        RecipeError: where there is no such reward, or it is in none of the forms.
    """
    if name == "math_verify":
        return _math_verify(task)
    if name == "reasoning_gym":
        return _reasoning_gym(task)
    if "." not in name:
        (ours,) = load_rewards([name], task_module=task)
        return lambda text, row: ours(completions=[text], prefill=[""], **{key: [row[key]] for key in row})[0]
    module, _, function_name = name.rpartition(".")
    function = getattr(tasks.import_dotted(module, "--reward"), function_name, None)
    if not callable(function):
        raise RecipeError(f"{module} has no function {function_name!r}", key="--reward")
    takes = inspect.signature(function).parameters

    def columns(row: dict) -> dict:
        return {**row, **{theirs: row[ours] for theirs, ours in renamed.items() if ours in row}}

    if "completions" in takes:
        return _as_trl_calls(function, columns)
    if {"solution_str", "ground_truth"} <= set(takes):
        return lambda text, row: function(solution_str=text, ground_truth=_ground_truth(task, row))
    if next(iter(takes), None) == "text":
        known = list(takes)[1:]
        return lambda text, row: function(text, **{key: value for key, value in columns(row).items() if key in known})
    raise RecipeError(f"{name}({', '.join(takes)}) has none of the forms that an audit can call", key="--reward")


def _as_trl_calls(function: Callable, columns: Callable[[dict], dict]) -> Callable[[str, dict], float | None]:
    """Gives texts, or conversations where the reward's very first call shows that it wants these."""
    chats: bool | None = None

    def call(text: str, row: dict) -> float | None:
        nonlocal chats
        first = chats is None
        lists = {key: [value] for key, value in columns(row).items()} | {"prompts": [""]}
        try:
            completion = [{"role": "assistant", "content": text}] if chats else text
            chats = bool(chats)
            return next(iter(function(completions=[completion], **lists)))
        except (TypeError, AttributeError, KeyError, IndexError):
            if not first:
                raise
            chats = True  # such a reward takes completion[0]["content"]
            return call(text, row)

    return call


def _ground_truth(task: ModuleType, row: dict) -> Any:
    """The gold in the form that verl's rewards for these tasks take."""
    return {"numbers": row["nums"], "target": row["target"]} if "nums" in row else task.gold_answer(row)


def _math_verify(task: ModuleType) -> Callable[[str, dict], float]:
    from math_verify import parse, verify  # an extra

    return lambda text, row: float(verify(parse(str(task.gold_answer(row))), parse(text)))


def _reasoning_gym(task: ModuleType) -> Callable[[str, dict], float]:
    """reasoning-gym's scoring of the text between its answer tags, for the tasks that it has, too."""
    import reasoning_gym  # no extra of ours: it brings thirty packages
    from reasoning_gym.utils import extract_answer

    named = {"countdown": "countdown", "knights_knaves": "knights_knaves", "gsm8k": "gsm_symbolic"}
    own = task.__name__.rpartition(".")[2]
    if own not in named:
        raise RecipeError(f"reasoning_gym has no {own}; it has {', '.join(named)}", key="--reward")
    data = reasoning_gym.create_dataset(named[own], size=1, seed=0)

    def score(text: str, row: dict) -> float:
        metadata = {"numbers": row["nums"], "target": row["target"]} if "nums" in row else {}
        entry = {"answer": str(task.gold_answer(row)), "metadata": metadata}
        return data.score_answer(extract_answer(text), entry)

    return score


def _number(value: Any) -> float:
    """A reward's value as a number; one that is not due pays nothing."""
    if isinstance(value, Verdict):
        return float(value is Verdict.CORRECT)
    value = value.get("score") if isinstance(value, dict) else value  # verl's rewards may add to it
    return 0.0 if value is None else float(value)


def _work(connection, task_name: str, name: str, renamed: dict[str, str]) -> None:
    """In a process of its own: answers each (text, row) with ("value", number) or ("raises", name of the exception)."""
    try:
        reward = adapt(name, tasks.get(task_name), renamed)
    except (RecipeError, ImportError) as error:
        problem = str(error) if isinstance(error, RecipeError) else f"{name} cannot be imported: {error}"
        connection.send(("refused", problem))
        return
    connection.send(("ready", None))
    while (asked := connection.recv()) is not None:
        try:
            connection.send(("value", _number(reward(*asked))))
        except Exception as error:  # of a stranger's reward: what it raises is what the audit reports
            connection.send(("raises", type(error).__name__))


class _Worker:
    """The process in which a reward runs, started anew where it hangs or dies."""

    def __init__(self, *what):
        self.what = what
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, *self.what), daemon=True)
        self.process.start()
        theirs.close()
        said, why = self.connection.recv()  # importing a library takes as long as it takes
        if said == "refused":
            raise RecipeError(why)

    def ask(self, text: str, row: dict) -> tuple[str, Any]:
        """("value", number), or ("failed", what happened)."""
        self.connection.send((text, row))
        try:
            if self.connection.poll(SECONDS):
                said, what = self.connection.recv()
                return (said, what) if said == "value" else ("failed", f"raises {what}")
            happened = f"takes over {SECONDS:g} s"
        except EOFError:
            happened = "ends the process"
        self.process.kill()
        self.process.join()
        self.start()
        return "failed", happened

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def audit(task_name: str, name: str, renamed: dict[str, str] | None = None) -> Audit:
    """Runs a reward over the corpus of a task.

    A completion is paid where it gets more than half way from what an empty one gets to the most that a right one gets.

    Args:
        name, renamed: as of `adapt`.

    Raises:
        RecipeError: as `adapt` and `load_corpus`; and where no right completion gets more than an empty one.
    """
    task = tasks.get(task_name)
    cases, found, worker = load_corpus(task), Audit(name), _Worker(task_name, name, renamed or {})
    started = time.monotonic()
    try:
        first = {key: value for key, value in cases[0].items() if key not in NOT_COLUMNS}
        nothing = worker.ask("", first)
        given = []
        for case in cases:
            row = {key: value for key, value in case.items() if key not in NOT_COLUMNS}
            given.append(worker.ask(case["text"], row))
    finally:
        worker.end()
    found.seconds = time.monotonic() - started
    least = nothing[1] if nothing[0] == "value" else 0.0
    most = max((what for case, (said, what) in zip(cases, given, strict=True)
                if said == "value" and case["verdict"] == "correct"), default=least)  # fmt: skip
    if most <= least:
        happened = next((what for said, what in given if said == "failed"), f"all get {least:g}")
        raise RecipeError(f"{name} gives right answers no more than an empty one ({happened})", key="--reward")
    kinds: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for case, (said, what) in sorted(zip(cases, given, strict=True), key=lambda pair: len(pair[0]["text"])):
        right = case["verdict"] == "correct"
        found.right, found.other = found.right + right, found.other + (not right)
        if said == "failed":
            kinds["failed"][what].append(case["text"])
        elif (paid := what > (least + most) / 2) and right:
            found.paid += 1
        elif paid != right:
            kinds["wrongly_paid" if paid else "wrongly_refused"][kind_of(case)].append(case["text"])
    for where, by_kind in kinds.items():
        setattr(found, where, dict(sorted(by_kind.items(), key=lambda item: -len(item[1]))))
    return found


def describe(found: Audit) -> str:
    """An audit for people: the counts, then each kind of fault with its shortest example."""
    wrongly = sum(map(len, found.wrongly_paid.values()))
    lines = [
        f"{found.reward}: pays {found.paid} of {found.right} right completions and {wrongly} of {found.other} others; "
        f"fails on {sum(map(len, found.failed.values()))} ({found.seconds:.1f} s)"
    ]
    for title, kinds in (
        ("wrongly paid", found.wrongly_paid), ("wrongly refused", found.wrongly_refused), ("fails", found.failed),
    ):  # fmt: skip
        lines += [f"  {title}:"] if kinds else []
        for kind, texts in kinds.items():
            example = repr(texts[0].rpartition("</think>")[2] or texts[0])
            shown = example if len(example) <= SHOWN else f"{example[:SHOWN]} ..."
            lines.append(f"  {len(texts):5d}  {kind}: {shown}")
    return "\n".join(lines)


def main() -> None:
    parser = Parser(
        prog="python -m mini_r1.evaluation.audit",
        description="Runs rewards over honest and hostile completions of a task, and prints what they wrongly pay, "
        "wrongly refuse and fail on, with the shortest example of each kind.",
    )
    parser.add_argument("--task", required=True, help="countdown, gsm8k, knights_knaves, or another that has a corpus")
    parser.add_argument(
        "--reward", required=True, action="append", metavar="NAME",
        help="one of ours, a dotted path to a function, math_verify or reasoning_gym; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--column", action="append", default=[], metavar="THEIRS=OURS",
        help="the reward's name of a column, such as solution=answer",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write what was found there, too")
    args = parser.parse_args()
    renamed = dict(pair.split("=", 1) for pair in args.column if "=" in pair)
    if len(renamed) < len(args.column):
        raise RecipeError("each is THEIRS=OURS, such as solution=answer", key="--column", file="command line")
    cases = load_corpus(tasks.get(args.task))
    right = sum(case["verdict"] == "correct" for case in cases)
    print(f"{args.task}: {len(cases)} completions, {right} of them right\n")
    audits = []
    for name in args.reward:
        audits.append(audit(args.task, name, renamed))
        print(describe(audits[-1]) + "\n", flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump([asdict(one) for one in audits], file, ensure_ascii=False, indent=1)


if __name__ == "__main__":
    exit_on_recipe_error(main)
