"""Kubernetes quantities as whole thousandths: `"500m"`, `"2"`, `"4Gi"`, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal

from tiffin.core.errors import Invalid

__all__ = ["Requests", "milli", "quantity_text", "requests_of", "total"]

Requests = Mapping[str, int]
"""Resource name to thousandths of its unit: cores, bytes, devices."""

BINARY = {f"{letter}i": 1024 ** (power + 1) for power, letter in enumerate("KMGTPE")}
DECIMAL = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
SMALL = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
FACTORS = {"": Decimal(1), **SMALL, **{suffix: Decimal(size) for suffix, size in {**BINARY, **DECIMAL}.items()}}
SHAPE = re.compile(r"([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:(n|u|m|k|Ki|[MGTPE]i?)|[eE]([+-]?[0-9]{1,2}))?")
LARGEST = (2**63 - 1) * 1000  # what Kubernetes can count, in thousandths


def milli(quantity: str | int | float) -> int:
    """Thousandths of the unit. What is finer is rounded up, as Kubernetes does.

    Raises:
        Invalid: not a quantity, negative, or more than Kubernetes can count.

    Example:
        >>> milli("2"), milli("500m"), milli("4Gi") == 4 * 2**30 * 1000, milli(0.1)
        (2000, 500, True, 100)
    """
    text = str(quantity).strip() if not isinstance(quantity, bool) else "a truth value"
    match = SHAPE.fullmatch(text.removeprefix("+"))
    if match is None:
        raise Invalid(f"quantity {quantity!r} is not readable", fix="write it like '2', '500m' or '4Gi'; it is never negative")
    factor = Decimal(10) ** int(match[3]) if match[3] else FACTORS[match[2] or ""]
    found = int((Decimal(match[1]) * factor * 1000).to_integral_value(rounding=ROUND_CEILING))
    if found > LARGEST:
        raise Invalid(f"quantity {quantity!r} is more than Kubernetes can count", fix="is the suffix right? 'Gi' is 2**30")
    return found


def quantity_text(amount: int) -> str:
    """The shortest exact text of an amount in thousandths; plain digits win a tie.

    Example:
        >>> quantity_text(500), quantity_text(2000), quantity_text(4 * 2**30 * 1000), quantity_text(10**6)
        ('500m', '2', '4Gi', '1k')
    """
    if amount < 0:
        raise Invalid(f"amount {amount} is negative", fix="a quantity counts what is there")
    whole, rest = divmod(amount, 1000)
    if rest:
        return f"{amount}m"
    fits = [(size, suffix) for suffix, size in {**DECIMAL, **BINARY}.items() if whole and whole % size == 0]
    return min([str(whole), *(f"{whole // size}{suffix}" for size, suffix in fits)], key=len)


def requests_of(quantities: Mapping[str, str | int | float]) -> dict[str, int]:
    """A resource list as Kubernetes writes it, in thousandths."""
    return {name: milli(quantity) for name, quantity in quantities.items()}


def total(requests: Requests, times: int = 1) -> dict[str, int]:
    """What `times` pods of equal requests ask for together."""
    return {name: amount * times for name, amount in requests.items()}
