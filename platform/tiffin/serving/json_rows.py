"""Rows as people and JSON write them, as the columns that a request is made of. Light: commands import it at once."""

from __future__ import annotations

from typing import Any

from tiffin.core.errors import Invalid

__all__ = ["columns_of"]


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows to columns; all rows must have the fields of the first one.

    Example:
        >>> columns_of([{"a": 1}, {"a": 2}])
        {'a': [1, 2]}
    """
    fields = list(rows[0])
    for number, one in enumerate(rows, start=1):
        if set(one) != set(fields):
            odd = sorted(set(one) ^ set(fields))[0]
            raise Invalid(f"row {number} and row 1 differ in field {odd!r}", fix="give every row the same fields; null stands for no value")
    return {field: [one[field] for one in rows] for field in fields}
