"""Countdown: make the target from the given numbers, each used exactly once, with + - * / and parentheses.

One real row (hub id Jiayi-Pan/Countdown-Tasks-3to4, split train):
    {"target": 98, "nums": [44, 19, 35]}          a solution: 44 + 19 + 35
"""

import itertools
import random
from collections.abc import Iterator
from fractions import Fraction

HUB_ID = "Jiayi-Pan/Countdown-Tasks-3to4"
REWARD = "equation_reward"
ANSWER_EXAMPLE = "(1 + 2) / 3"
OPERATORS = "+-*/"


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
    """Sorted numbers and target: the order in which numbers are listed does not make another problem."""
    return f"{sorted(row['nums'])}={row['target']}"


def question(row: dict) -> str:
    return (
        f"Combine the numbers {row['nums']} into an expression that equals {row['target']}. Use every number "
        "exactly once; you may use + - * / and parentheses."
    )


def gold_answer(row: dict) -> str | None:
    """An expression that solves the row, or None where there is none."""
    return solve(row["nums"], row["target"])


def solve(nums: list[int], target: int) -> str | None:
    """An exact solution using every number once, or None: then the problem has no solution.

    All values that each subset of the numbers can reach, smaller subsets first, in rational arithmetic; for the whole
    set only the values that complete the target are looked up. Up to 5 numbers in well under a second.
    """
    if target < 0:  # a minus in front makes every value negative, also where there is nothing to subtract: -(2 + 3)
        positive = solve(nums, -target)
        return positive and f"-({positive})"
    whole = (1 << len(nums)) - 1
    reach: dict[int, dict[Fraction, tuple | int]] = {1 << i: {Fraction(n): n} for i, n in enumerate(nums)}
    if len(nums) == 1:
        return str(nums[0]) if nums[0] == target else None
    for mask in sorted(range(1, whole), key=int.bit_count):
        if mask in reach:
            continue
        values = reach[mask] = {}
        for left, right in _splits(mask):
            for x, y in itertools.product(reach[left], reach[right]):
                for value, how in _combine(x, y):
                    if value not in values:
                        values[value] = (how, left, x, right, y)
    goal = Fraction(target)
    for left, right in _splits(whole):
        for x in reach[left]:
            wanted = [("+", goal - x), ("-", x - goal), ("r-", goal + x)]
            if x:
                wanted += [("*", goal / x), ("r/", goal * x)]
                if goal:
                    wanted.append(("/", x / goal))
                else:
                    wanted += [("*", Fraction(0))]
            elif not goal:  # 0 * y and 0 / y: any y does
                wanted += [("*", y) for y in reach[right]]
            for how, y in wanted:
                if y in reach[right]:
                    return _write(reach, (how, left, x, right, y))[0]
    return None


def _splits(mask: int) -> Iterator[tuple[int, int]]:
    """All ways to part a subset in two, each once."""
    left = (mask - 1) & mask
    while left:
        right = mask ^ left
        if left >= right:
            yield left, right
        left = (left - 1) & mask


def _combine(x: Fraction, y: Fraction) -> Iterator[tuple[Fraction, str]]:
    yield x + y, "+"
    yield x * y, "*"
    yield x - y, "-"
    yield y - x, "r-"  # r: operands reversed
    if y:
        yield x / y, "/"
    if x:
        yield y / x, "r/"


def _write(reach: dict, node: tuple | int) -> tuple[str, int]:
    """Expression text and its binding strength: 1 for a sum, 2 for a product, 3 for a number."""
    if not isinstance(node, tuple):
        return (str(node), 3) if node >= 0 else (f"({node})", 3)
    how, left, x, right, y = node
    operands = [_write(reach, reach[left][x]), _write(reach, reach[right][y])]
    if how[0] == "r":
        operands.reverse()
    (a, strength_a), (b, strength_b) = operands
    op = how[-1]
    strength = 1 if op in "+-" else 2
    a = f"({a})" if strength_a < strength else a
    b = f"({b})" if strength_b < strength or (op in "-/" and strength_b == strength) else b
    return f"{a} {op} {b}", strength


def generate(
    n: int,
    seed: int,
    *,
    count: tuple[int, ...] = (3, 4),
    numbers: tuple[int, int] = (1, 99),
    operators: str = OPERATORS,
    target: tuple[int, int] = (1, 100),
    in_order: bool = False,
) -> list[dict]:
    """`n` different problems, each solvable because it is made from its solution; the same for the same arguments.

    The solution applies one operator after the other, from left to right; intermediate values stay whole and between
    0 and the largest target.

    Args:
        count: how many numbers a problem may have.
        numbers: smallest and largest number.
        operators: which of + - * / the solution may use.
        target: smallest and largest target.
        in_order: list the numbers as the solution uses them, so that only operators are to be found (what `trace`
            searches); otherwise they are shuffled.

    Raises:
        ValueError: where the settings allow fewer than `n` different problems.
    """
    if not operators or not set(operators) <= set(OPERATORS):
        raise ValueError(f"operators must be some of {OPERATORS}, not {operators!r}")
    if not count or min(count) < 1:
        raise ValueError(f"count must list how many numbers a problem may have, such as [3, 4], not {count!r}")
    if numbers[0] < 0:
        raise ValueError(f"numbers must lie from 0 up, not {numbers!r}")
    rng = random.Random(seed)
    rows, seen, misses = [], set(), 0
    while len(rows) < n:
        nums = [rng.randint(*numbers) for _ in range(rng.choice(count))]
        steps = _chain(nums, [rng.choice(operators) for _ in nums[1:]], target[1])
        value = steps[-1] if steps else nums[0]
        if value is not None and value >= target[0]:
            if not in_order:
                rng.shuffle(nums)
            row = {"nums": nums, "target": value, "difficulty": len(nums)}
            if key(row) not in seen:
                seen.add(key(row))
                rows.append(row)
                misses = 0
                continue
        misses += 1
        if misses > 20_000:
            raise ValueError(f"these settings allow only about {len(rows)} different problems, {n} were asked for")
    return rows


def trace(
    row: dict,
    rng: random.Random,
    *,
    operators: str = OPERATORS,
    limit: int = 100,
    give_up: float = 0.0,
    pushed: bool = False,
    break_format: float = 0.0,
) -> list[tuple[str, bool]]:
    """A worked completion, from after `<think>`: tries operators in a fixed order, checks each result, then answers.

    For rows made with `in_order`. A try that leaves the whole numbers from 0 to `limit` fails early, and everything
    that begins like it is passed over.

    Args:
        give_up: probability, after each try that was wrong, to stop and answer an untried guess.
        pushed: the first tries, a random number of them, go on whatever `give_up` says, and the tokens that decide
            so are not learned: so that late tries are practised without learning patience.
        break_format: probability to leave out one of the tags.

    Returns:
        Pieces of text and whether each is to be learned; joined, they are the completion.

    Raises:
        ValueError: where there is nothing to search, or nothing is found, as the row was not made with these settings.
    """
    nums, target = row["nums"], row["target"]
    if not set(operators) <= set(OPERATORS):
        raise ValueError(f"operators must be some of {OPERATORS}, not {operators!r}")
    if len(nums) < 2:
        raise ValueError(f"{nums} leaves nothing to search; a trace needs two numbers or more")
    tries = list(_search(nums, target, operators, limit))
    line, answer, untried = tries[-1]
    if not line.endswith("yes"):
        raise ValueError(f"no order of {operators} makes {target} of {nums} from left to right")
    push = rng.randrange(len(tries)) if pushed else 0
    pieces = [("\n", True)]
    for number, (line, _, untried) in enumerate(tries):
        if number:
            pieces.append(("Next: ", number > push))
        pieces.append((line + "\n", True))
        if number + 1 < len(tries) and number >= push and rng.random() < give_up:
            pieces.append(("I give up and guess.\n", True))
            answer = rng.choice(untried)
            break
    end = f"</think>\n<answer>{_chain_text(nums, answer)}</answer>"
    if rng.random() < break_format:
        end = end.replace(rng.choice(["</think>", "<answer>", "</answer>"]), "")
    return [*pieces, (end, True)]


def _search(nums: list[int], target: int, operators: str, limit: int) -> Iterator[tuple[str, tuple, list[tuple]]]:
    """Each try until the target is met: its line, its operators, and what is still untried."""
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
    """The values after each operator, from left to right; ends with None at the first that is not whole in 0..limit."""
    values, value = [], nums[0]
    for op, number in zip(ops, nums[1:], strict=True):
        if op == "+":
            value += number
        elif op == "-":
            value -= number
        elif op == "*":
            value *= number
        elif number and value % number == 0:
            value //= number
        else:
            value = -1
        if not 0 <= value <= limit:
            return [*values, None]
        values.append(value)
    return values


def _chain_text(nums: list[int], ops: tuple[str, ...]) -> str:
    """The same chain as an expression, with the parentheses it needs."""
    text, sum_so_far = str(nums[0]), False
    for op, number in zip(ops, nums[1:], strict=True):
        if op in "*/" and sum_so_far:
            text = f"({text})"
        sum_so_far = op in "+-"
        text += f" {op} {number}"
    return text
