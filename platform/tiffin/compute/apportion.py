"""Sharing a whole number out without losing a unit: the largest remainders get what rounding down leaves."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

__all__ = ["apportion", "evenly"]


def apportion(weights: Sequence[int] | Sequence[Fraction], total: int) -> list[int]:
    """Whole parts in the proportion of `weights`, each within one unit of its exact part, that add up to `total`.

    Without any weight nothing can be shared out: every part is 0. Ties go to the earlier one.

    Example:
        >>> apportion([1, 1, 1], 100)
        [34, 33, 33]
        >>> apportion([0, 3, 1], 2)
        [0, 2, 0]
    """
    whole = sum(weights)
    if not whole:
        return [0] * len(weights)
    exact = [Fraction(weight) * total / whole for weight in weights]
    parts = [part.numerator // part.denominator for part in exact]
    rest = total - sum(parts)
    first = sorted(range(len(exact)), key=lambda place: (parts[place] - exact[place], place))
    for place in first[:rest]:
        parts[place] += 1
    return parts


def evenly(total: int, count: int) -> list[int]:
    """`count` equal parts; the first ones are one unit larger when it does not come out even.

    Example:
        >>> evenly(7, 3)
        [3, 2, 2]
    """
    each, rest = divmod(total, count)
    return [each + 1] * rest + [each] * (count - rest)
