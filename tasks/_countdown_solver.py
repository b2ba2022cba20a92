"""Exact solver for Countdown: an expression that makes the target, or the proof by exhaustion that there is none.

Subsets of the numbers are bit masks. For each small subset all values that it can reach are listed; larger subsets are
parted in two, the smaller part listed and the value wanted of the other part worked out and looked up (meet in the
middle). Values are exact: pairs (numerator, denominator) in lowest terms, much faster than `Fraction`. They are never
negative: |x + y| and |x - y| are the sum and the difference of |x| and |y|, in some order, so that no minus sign inside
an expression reaches anything that its absolute values do not.
"""

from collections.abc import Iterator
from math import gcd

Value = tuple[int, int]  # numerator from 0 up, denominator from 1 up, no common factor
Tree = int | tuple  # a number, or (operator, Tree, Tree)


def solve(nums: list[int], target: int) -> str | None:
    """An expression over + - * / that uses each of `nums`, integers from 0 up, once and equals `target` exactly.

    None means that there is none. A minus stands in front of the whole where the target is negative, nowhere else.

    Example: `solve([3, 3, 8, 8], 24)` is `"8 / (3 - 8 / 3)"`; `solve([1, 1, 1, 1], 24)` is None.
    """
    whole = (1 << len(nums)) - 1
    reach = {1 << i: {(number, 1): number} for i, number in enumerate(nums)}
    for mask in sorted(range(1, whole), key=int.bit_count):
        if 1 < mask.bit_count() <= len(nums) // 2 + 1:
            reach[mask] = _all_values(reach, mask)
    tree = _find(reach, nums, whole, (abs(target), 1))
    if tree is None:
        return None
    text, _ = _write(tree)
    return text if target >= 0 else f"-({text})"


def _splits(mask: int) -> Iterator[tuple[int, int]]:
    """All ways to part a subset in two, each once, as (smaller part, larger part)."""
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
    """Each (operator, whether y comes first, y) such that x, of this value, and y make the goal.

    `anything` stands for y where every y does.
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
