"""The rewards beside math-verify, called as peers' reward functions do, and beside a Countdown checker by eval.

`eval` stands here to be measured, and nowhere else in the repository.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks._texts import LENGTHS, PREFILL, ordinary
from benchmarks._timing import best_seconds, number, table
from mini_r1.rewards import Verdict, equation_reward, equation_verdict, number_reward, number_verdict

COUNT = 24  # different completions of each length: more than the 20 that math-verify's caches hold


def eval_checker(text: str, nums: list[int], target: int) -> bool:
    """The usual Countdown reward, in our words: tag, digits, allowed characters, `eval`, a tolerance."""
    found = re.search(r"<answer>(.*?)</answer>", text)
    if found is None:
        return False
    expression = found[1].strip()
    if sorted(int(digits) for digits in re.findall(r"\d+", expression)) != sorted(nums):
        return False
    if not re.fullmatch(r"[\d+\-*/().\s]+", expression):
        return False
    try:
        with warnings.catch_warnings(action="ignore"):
            value = eval(expression, {"__builtins__": {}}, {})
        return abs(float(value) - target) < 1e-5
    except Exception:  # as the usual ones do
        return False


def math_verify_says(text: str, gold: str) -> bool:
    """Without options, as most do. Imported here, as only `make bench` installs it."""
    from math_verify import parse, verify

    return bool(verify(parse(gold), parse(text)))


def turn(answer: str, reasoning: str = "hm") -> str:
    return f"<think>{reasoning}</think>\n<answer>{answer}</answer>"


# (text, numbers, target, what it is)
COUNTDOWN_CASES = [
    (turn("44 + 19 + 35"), [44, 19, 35], 98, "44 + 19 + 35"),
    (turn("\n44 + 19 + 35\n"), [44, 19, 35], 98, "the same on a line of its own"),
    (turn("44 + 19"), [44, 19, 35], 98, "44 + 19, without the 35"),
    (turn("3.5*2"), [2, 3, 5], 7, "3.5*2, made of 2, 3, 5"),
    (turn("2**3"), [2, 3], 8, "2**3"),
    (turn("7//2"), [2, 7], 3, "7//2, asked for 3"),
    (turn("2. * 4."), [2, 4], 8, "2. * 4."),
    (turn("+8 - 5"), [5, 8], 3, "+8 - 5"),
    (turn("5 + 1/300/400"), [1, 5, 300, 400], 5, "5 + 1/300/400, asked for 5"),
    ("<answer>44 + 19 + 35</answer>", [44, 19, 35], 98, "44 + 19 + 35 without any reasoning"),
    (turn("44", "<answer>44 + 19 + 35</answer>"), [44, 19, 35], 98, "that in the reasoning, then answers 44"),
    (turn("44 + 19 + 35") + turn("44"), [44, 19, 35], 98, "that, then another answer: 44"),
]
# (text, answer block, what it is); the gold is 72
NUMBER_CASES = [
    (turn(answer, "48 + 24, that is 5 and 67"), answer, answer)
    for answer in (
        *("72", "$72", "\\boxed{72}", "The answer is 72.", "**72**", "(72)", "72 or 71", "71 or 72", "not 72"),
        *("72 72", "1 72", "73-1", "8*9", "72k", "72 thousand", "7200%", "72!"),
    )
]
NUMBER_CASES.append((turn("71", "So the answer is 72."), "71", "71, but the reasoning says: the answer is 72"))


def says(correct: bool) -> str:
    return "right" if correct else "-"


def on_each(check: Callable[..., bool], cases: Sequence[tuple]) -> Callable[[], list[bool]]:
    return lambda: [check(*case) for case in cases]


def beside_eval(spend: float) -> None:
    rows = []
    for tokens in LENGTHS:
        texts, columns = ordinary("countdown", tokens, COUNT)
        full = [PREFILL + text for text in texts]
        check = on_each(eval_checker, list(zip(full, columns["nums"], columns["target"], strict=True)))
        seconds = [best_seconds(call, spend) for call in (partial(equation_reward, full, **columns), check)]
        each = [number(x / COUNT * 1e6) for x in seconds]
        rows.append([f"{tokens:,} tokens, right", *each, f"{sum(check())}/{COUNT}"])
    for size in (4_000, 8_000, 16_000):
        gold, text = {"nums": [44, 19, 35], "target": 98}, "<answer>" * (size // 8)
        ours = partial(equation_reward, [text], **{column: [value] for column, value in gold.items()})
        seconds = [best_seconds(call, spend) for call in (ours, partial(eval_checker, text, **gold))]
        rows.append([f"{size // 1000} kB of <answer>", *(number(x * 1e6) for x in seconds), "0/1"])
    notes = "Microseconds per completion. The checker is the usual one, of regular expressions and eval, written here."
    columns = ["text", "equation_reward", "eval checker", "which says right"]
    table("Countdown beside an eval checker: time", notes, columns, rows)
    rows = [
        [what, says(equation_verdict(text, *gold) is Verdict.CORRECT), says(eval_checker(text, *gold))]
        for text, *gold, what in COUNTDOWN_CASES
    ]
    notes = "9**9**9 is left out, as eval would not come back from it; equation_reward says wrong at once."
    table("Countdown beside an eval checker: verdicts", notes, ["answer", "equation_reward", "eval checker"], rows)


def beside_math_verify(spend: float) -> None:
    rows = []
    for tokens in LENGTHS:
        texts, columns = ordinary("gsm8k", tokens, COUNT)
        golds, full = columns["answer"], [PREFILL + text for text in texts]
        in_box = [
            text.replace(f"<answer>{gold}<", f"<answer>\\boxed{{{gold}}}<")
            for text, gold in zip(full, golds, strict=True)
        ]
        row = [f"{tokens:,} tokens", number(best_seconds(partial(number_reward, full, **columns), spend) / COUNT * 1e6)]
        for given in (golds, full, in_box):
            check = on_each(math_verify_says, list(zip(given, golds, strict=True)))
            right = sum(check())  # before the clock runs: the first calls import much and fill caches
            row.append(f"{number(best_seconds(check, spend) / COUNT * 1e6)} ({right}/{COUNT})")
        rows.append(row)
    for size in (1_000, 2_000, 4_000):
        text = "\\(" * (size // 2)
        calls = partial(number_reward, [text], answer=["72"]), partial(math_verify_says, text, "72")
        ours, theirs = (number(best_seconds(call, spend) * 1e6) for call in calls)
        rows.append([f"{size // 1000} kB of \\(", ours, "", theirs, ""])
    notes = (
        "Microseconds per completion, and how many of the right completions math-verify says are right. It is called "
        "as verify(parse(gold), parse(text)): on the answer block alone, on the whole text, and on the whole text "
        "where the answer stands in \\boxed{}."
    )
    columns = ["text", "number_reward", "math-verify: block", "whole", "whole, boxed"]
    table("GSM8K beside math-verify: time", notes, columns, rows)
    rows = []
    for text, answer, what in NUMBER_CASES:
        verdicts = number_verdict(text, "72") is Verdict.CORRECT, math_verify_says(answer, "72")
        rows.append([what, *map(says, (*verdicts, math_verify_says(text, "72")))])
    notes = "The gold is 72, and the reasoning before has other numbers."
    columns = ["answer", "number_reward", "math-verify: block", "whole"]
    table("GSM8K beside math-verify: verdicts", notes, columns, rows)
