"""What can be wrong with stored bytes, and the one error that says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Corrupt
from tiffin.wire.columns import Mask

__all__ = ["BadRows", "Flaw", "refuse"]

Flaw = Literal["length", "schema number", "check byte", "padding", "number", "code", "tail", "codec", "UTF-8", "varint", "limit"]


class BadRows(Corrupt):
    """Some rows of a batch are not what was published.

    Args:
        rows: all that share the flaw, by the number that the caller knows them by; the first is the one that the message names.
    """

    def __init__(self, message: str, *, context: Mapping[str, object], rows: npt.NDArray[np.int64]) -> None:
        fix = "these are not the bytes that were published: publish the view again, or look who else writes there"
        super().__init__(message, fix=fix, context=context)
        self.rows = rows


def refuse(
    bad: Mask, what: Flaw, found: Callable[[int], str], *, column: str | None = None, rows: npt.NDArray[np.int64] | None = None
) -> None:
    """Raise for bad rows, if there are any; the message shows the first.

    Args:
        bad: `(rows,)`.
        found: says what stands there, given the place in `bad`.
        column: whose value it is; None: the row's own structure.
        rows: what an error calls the rows; None: their places in `bad`.

    Raises:
        BadRows: `context` has `row`, `what` and, for a column's value, `column`; who knows view and key adds them.
    """
    if bad.any():
        places = np.flatnonzero(bad)
        numbers = places if rows is None else rows[places]
        row = int(numbers[0])
        named, context = ("", {}) if column is None else (f" of column {column!r}", {"column": column})
        message = f"packed row {row}: its {what}{named} is {found(int(places[0]))}"
        raise BadRows(message, context={"row": row, "what": what, **context}, rows=numbers)
