"""Countdown: make the target from the given numbers, each used exactly once, with + - * / and parentheses.

One real row (https://huggingface.co/datasets/Jiayi-Pan/Countdown-Tasks-3to4, split train):
    {"target": 98, "nums": [44, 19, 35]}          a solution: 44 + 19 + 35
"""

import functools
import itertools
import operator
import random
from collections.abc import Iterator, Sequence
from math import gcd, isqrt

from mini_r1.rewards.equation import equation_vote
from mini_r1.tasks.traces import attempts, closing, in_two_languages

HUB_ID = "Jiayi-Pan/Countdown-Tasks-3to4"
REWARD = "equation_reward"
ANSWER_EXAMPLE = "(1 + 2) / 3"
_APPLY = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv}
OPERATORS = "".join(_APPLY)
# The Chinese words of a trace that mixes languages; mini_r1/evaluation/signals.py counts none of them as a behaviour.
_CHINESE = {"Next": "下一个", "want": "要得到", "no": "不是", "yes": "对了", "fails": "失败"}
_CHINESE |= {"I give up and guess": "我不找了就猜一个"}


def parse_row(raw: dict) -> dict:
    """A raw row -> {"nums": list of int, "target": int, "difficulty": how many numbers}.

    Raises:
        ValueError: naming the column, where it is missing or of the wrong type.
    """
    for column in ("nums", "target"):
        if column not in raw:
            raise ValueError(f"column {column!r} is missing")
    nums, target = raw["nums"], raw["target"]
    if not isinstance(nums, list) or not nums or any(type(n) is not int or n < 0 for n in nums):
        raise ValueError(f"column 'nums' must be a non-empty list of integers from 0 up, not {nums!r}")
    if type(target) is not int:
        raise ValueError(f"column 'target' must be an integer, not {target!r}")
    return {"nums": nums, "target": target, "difficulty": len(nums)}


def key(row: dict) -> str:
    """Sorted numbers and target, since another order of the numbers is not another problem."""
    return f"{sorted(row['nums'])}={row['target']}"


def question(row: dict) -> str:
    return (
        f"Combine the numbers {row['nums']} into an expression that equals {row['target']}. Use every number "
        "exactly once; you may use + - * / and parentheses."
    )


def gold_answer(row: dict) -> str | None:
    """An expression that solves the row, or None where there is none."""
    return solve(row["nums"], row["target"])


def vote(text: str, row: dict) -> str | None:
    return equation_vote(text, row["nums"], row["target"])


def generate(
    n: int,
    seed: int,
    *,
    count: Sequence[int] = (3, 4),
    numbers: Sequence[int] = (1, 99),
    operators: str = OPERATORS,
    target: Sequence[int] = (1, 100),
    in_order: bool = False,
) -> list[dict]:
    """`n` different problems, each made from its solution and so solvable; the same for the same arguments.

    The solution applies one operator after the other, from left to right; intermediate values stay whole and between
    0 and the largest target.

    How many numbers a problem has and the first of them are drawn uniformly. Each step then draws its operator
    uniformly from those that work with some number, and its number uniformly from those that work. So no operator is
    rare because it fails more often (four numbers, defaults: + 31%, - 27%, / 26%, * 15% of the steps), but numbers
    after * and / are smaller than others. Steps that keep the value, such as * 1, are drawn only after a try that gave
    no new problem: often where there are few problems, else rarely.

    Args:
        count: a list of how many numbers a problem may have.
        numbers: smallest and largest number.
        operators: the operators of + - * / that the solution may use.
        target: smallest and largest target.
        in_order: list the numbers in the order of the solution, so that only the operators are missing (`trace`
            searches for these); otherwise the numbers are shuffled.

    Raises:
        ValueError: where a setting is out of its range, or they allow fewer than `n` different problems.
    """
    if not operators or not set(operators) <= set(OPERATORS):
        raise ValueError(f"operators must be some of {OPERATORS}, not {operators!r}")
    if not count or min(count) < 1:
        raise ValueError(f"count must list how many numbers a problem may have, such as [3, 4], not {count!r}")
    (low, high), (least, most) = numbers, target
    if not 0 <= low <= high:
        raise ValueError(f"numbers must be the smallest, from 0 up, and the largest, not {numbers!r}")
    if not least <= most:
        raise ValueError(f"target must be the smallest and the largest, not {target!r}")

    @functools.cache
    def moves(value: int, last: bool, idle: bool) -> list[tuple[str, Sequence[int]]]:
        return _moves(value, operators, (low, high), (max(least, 0) if last else 0, most), idle)

    draw = random.Random(seed).random  # one call a draw: randint and choice take most of the time otherwise
    rows: list[dict] = []
    seen, misses = set(), 0
    while len(rows) < n:
        if misses > 20_000:
            raise ValueError(f"these settings allow only about {len(rows)} different problems, {n} were asked for")
        size = count[int(draw() * len(count))]
        value = low + int(draw() * (high - low + 1))
        nums, idle = [value], misses > 0
        misses += 1
        while len(nums) < size and (options := moves(value, len(nums) == size - 1, idle)):
            op, works = options[int(draw() * len(options))]
            number = works[int(draw() * len(works))]
            nums.append(number)
            value = _APPLY[op](value, number)
        identity = (*sorted(nums), value)  # what `key` writes out
        if len(nums) < size or not least <= value <= most or identity in seen:
            continue
        seen.add(identity)
        misses = 0
        if not in_order:
            nums.sort(key=lambda _: draw())
        rows.append({"nums": nums, "target": value, "difficulty": size})
    return rows


def _moves(
    value: int, operators: str, numbers: tuple[int, int], results: tuple[int, int], idle: bool
) -> list[tuple[str, Sequence[int]]]:
    """The operators that lead from `value` to a whole number within `results`, each with all of the `numbers` that do.

    Both ranges include their ends. Without `idle` it leaves out steps that keep the value, and * 0.
    """
    (low, high), (least, most) = numbers, results
    options: list[tuple[str, Sequence[int]]] = []
    works: Sequence[int]
    for op in operators:
        first = low if idle else max(low, 1 if op in "+-" else 2)
        if op == "+":
            works = range(max(first, least - value), min(high, most - value) + 1)
        elif op == "-":
            works = range(max(first, value - most), min(high, value - least) + 1)
        elif not value:  # 0 * n and 0 / n stay 0
            works = range(first if op == "*" else max(first, 1), high + 1) if idle and least == 0 else ()
        elif op == "*":
            works = range(max(first, -(-least // value)), min(high, most // value) + 1)
        else:
            works = [n for n in _divisors(value) if first <= n <= high and least <= value // n <= most]
        if works:
            options.append((op, works))
    return options


def _divisors(value: int) -> list[int]:
    small = [n for n in range(1, isqrt(value) + 1) if value % n == 0]
    return sorted({*small, *(value // n for n in small)})


def trace(
    row: dict,
    rng: random.Random,
    *,
    operators: str = OPERATORS,
    limit: int = 100,
    give_up: float = 0.0,
    pushed: bool = False,
    break_format: float = 0.0,
    mixed: float = 0.0,
    summary: bool = False,
) -> list[tuple[str, bool]]:
    """A worked completion, from after `<think>`: tries operators in a fixed order, checks each result, then answers.

    It needs rows made with `in_order`. A try fails early where its value is not a whole number from 0 to `limit`; the
    trace then skips all tries that begin the same way.

    Args:
        give_up: probability, after each wrong try, to stop and answer an untried guess.
        pushed, break_format, mixed, summary: see `tasks/traces.py`.

    Returns:
        Pieces of text and whether each is to be learned; joined, they are the completion.

    Raises:
        ValueError: where there is nothing to search, or the search fails, since the row was made with other settings.
    """
    nums, target = row["nums"], row["target"]
    if not set(operators) <= set(OPERATORS):
        raise ValueError(f"operators must be some of {OPERATORS}, not {operators!r}")
    if len(nums) < 2:
        raise ValueError(f"{nums} leaves nothing to search; a trace needs two numbers or more")
    tries = list(_search(nums, target, operators, limit))
    lines = [line + "\n" for line, _, _ in tries]
    if not lines[-1].endswith("yes\n"):
        raise ValueError(f"no order of {operators} makes {target} of {nums} from left to right")
    stop = "I give up and guess.\n"
    pieces, ended = attempts(lines, rng, go_on="Next: ", stop=stop, give_up=give_up, pushed=pushed)
    _, answer, untried = tries[ended]
    words = f"Going through the signs in order, I find {target} with {{}}."
    if ended + 1 < len(tries):
        answer = rng.choice(untried)
        words = f"I have not found how to make {target}, and guess that it is {{}}."
    pieces = in_two_languages(pieces, rng, mixed, _CHINESE)
    return [*pieces, closing(_chain_text(nums, answer), rng, break_format, words if summary else "")]


def _search(nums: list[int], target: int, operators: str, limit: int) -> Iterator[tuple[str, tuple, list[tuple]]]:
    """Yields each try until one makes the target: its line, its operators, and all operators not tried yet."""
    untried = list(itertools.product(operators, repeat=len(nums) - 1))
    while untried:
        ops = untried.pop(0)
        values = _chain(nums, ops, limit)
        steps = [f" {op} {number} = {value}" for op, number, value in zip(ops, nums[1:], values, strict=False)]
        if values[-1] is None:
            failed = len(values)
            steps[-1] = f" {ops[failed - 1]} {nums[failed]} fails"
            untried = [other for other in untried if other[:failed] != ops[:failed]]
        else:
            steps[-1] += f", want {target}: {'yes' if values[-1] == target else 'no'}"
        yield f"{nums[0]}" + ",".join(steps), ops, list(untried)
        if values[-1] == target:
            return


def _chain(nums: list[int], ops: tuple[str, ...] | list[str], limit: int) -> list[int | None]:
    """The value after each operator, from left to right; ends with None for the first that is not whole in 0..limit."""
    values: list[int | None] = []
    value = nums[0]
    for op, number in zip(ops, nums[1:], strict=True):
        if op == "/" and (not number or value % number):
            return [*values, None]
        value = _APPLY[op](value, number)
        if not 0 <= value <= limit:
            return [*values, None]
        values.append(value)
    return values


def _chain_text(nums: list[int], ops: tuple[str, ...]) -> str:
    """The same chain as an expression with the parentheses that it needs."""
    text, sum_so_far = str(nums[0]), False
    for op, number in zip(ops, nums[1:], strict=True):
        if op in "*/" and sum_so_far:
            text = f"({text})"
        sum_so_far = op in "+-"
        text += f" {op} {number}"
    return text


# The exact solver. Subsets of the numbers are bit masks. It lists all values that each small subset can reach. It
# splits a larger subset in two, takes each value of the smaller part, and looks up the value that the other part must
# then have (meet in the middle). Values are exact: pairs (numerator, denominator) in lowest terms, much faster than
# `Fraction`. They are never negative: |x + y| and |x - y| are the sum and the difference of |x| and |y|, in some order,
# so that no minus sign inside an expression reaches anything that its absolute values do not.

Value = tuple[int, int]  # numerator from 0 up, denominator from 1 up, no common factor
Tree = int | tuple  # a number, or (operator, Tree, Tree)


def solve(nums: list[int], target: int) -> str | None:
    """An expression over + - * / that uses each of `nums`, integers from 0 up, once and equals `target` exactly.

    None where there is no such expression. A minus stands in front of the whole where the target is negative, and
    nowhere else.

    Example: `solve([3, 3, 8, 8], 24)` is `"8 / (3 - 8 / 3)"`; `solve([1, 1, 1, 1], 24)` is None.
    """
    whole = (1 << len(nums)) - 1
    reach: dict[int, dict[Value, Tree]] = {1 << i: {(number, 1): number} for i, number in enumerate(nums)}
    for mask in sorted(range(1, whole), key=int.bit_count):
        if 1 < mask.bit_count() <= len(nums) // 2 + 1:
            reach[mask] = _all_values(reach, mask)
    tree = _find(reach, nums, whole, (abs(target), 1))
    if tree is None:
        return None
    text, _ = _write(tree)
    return text if target >= 0 else f"-({text})"


def _splits(mask: int) -> Iterator[tuple[int, int]]:
    """Yields all ways to split a subset in two, each once, as (smaller part, larger part)."""
    part = (mask - 1) & mask
    while part:
        rest = mask ^ part
        if (part.bit_count(), part) < (rest.bit_count(), rest):
            yield part, rest
        part = (part - 1) & mask


def _all_values(reach: dict[int, dict[Value, Tree]], mask: int) -> dict[Value, Tree]:
    """Every value that the numbers in `mask` can make together, with one way to make it."""
    values: dict[Value, Tree] = {}
    for left, right in _splits(mask):
        for (a, b), x in reach[left].items():
            for (c, d), y in reach[right].items():
                ad, bc, bd, ac = a * d, b * c, b * d, a * c
                results = [(ad + bc, bd, "+", x, y), (ac, bd, "*", x, y)]
                results.append((ad - bc, bd, "-", x, y) if ad >= bc else (bc - ad, bd, "-", y, x))
                if bc:
                    results.append((ad, bc, "/", x, y))
                if ad:
                    results.append((bc, ad, "/", y, x))
                for over, under, *how in results:
                    common = gcd(over, under)
                    value = (over // common, under // common)
                    if value not in values:
                        values[value] = tuple(how)
    return values


def _find(reach: dict[int, dict[Value, Tree]], nums: list[int], mask: int, goal: Value) -> Tree | None:
    """A way to make `goal` of the numbers in `mask`, or None."""
    if mask in reach:
        return reach[mask].get(goal)
    for left, right in _splits(mask):
        anything = (sum(number for i, number in enumerate(nums) if right >> i & 1), 1)
        for value, x in reach[left].items():
            for op, y_first, wanted in _wanted(value, goal, anything):
                y = _find(reach, nums, right, wanted)
                if y is not None:
                    return (op, y, x) if y_first else (op, x, y)
    return None


def _wanted(value: Value, goal: Value, anything: Value) -> Iterator[tuple[str, bool, Value]]:
    """Yields each (operator, whether y comes first, y) such that x, of this value, and y make the goal.

    `anything` is the y to use where every y makes the goal.
    """
    (a, b), (c, d) = value, goal
    ad, bc, bd = a * d, b * c, b * d
    if bc >= ad:
        yield "+", False, _reduced(bc - ad, bd)
    else:
        yield "-", False, _reduced(ad - bc, bd)
    yield "-", True, _reduced(ad + bc, bd)
    if a:
        yield "*", False, _reduced(bc, ad)
        yield "/", True, _reduced(a * c, bd)
        if c:
            yield "/", False, _reduced(ad, bc)
    elif not c:
        yield "*", False, anything


def _reduced(over: int, under: int) -> Value:
    common = gcd(over, under)
    return over // common, under // common


def _write(tree: Tree) -> tuple[str, int]:
    """Expression text and its binding strength: 1 for a sum, 2 for a product, 3 for a number."""
    if isinstance(tree, int):
        return str(tree), 3
    op, left, right = tree
    (a, strength_a), (b, strength_b) = _write(left), _write(right)
    strength = 1 if op in "+-" else 2
    a = f"({a})" if strength_a < strength else a
    b = f"({b})" if strength_b < strength or (op in "-/" and strength_b == strength) else b
    return f"{a} {op} {b}", strength
