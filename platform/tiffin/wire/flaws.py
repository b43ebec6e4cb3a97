"""What can be wrong with stored bytes, and the one error that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Corrupt
from tiffin.wire.columns import Mask

__all__ = ["Flaw", "refuse"]

Flaw = Literal["length", "schema number", "check byte", "padding", "tail", "code", "codec", "UTF-8", "varint", "limit"]


def refuse(
    bad: Mask, what: Flaw, found: Callable[[int], str], *, column: str | None = None, rows: npt.NDArray[np.int64] | None = None
) -> None:
    """Raise for the first bad row, if there is one.

    Args:
        bad: `(rows,)`.
        found: says what stands there, given the place in `bad`.
        column: whose value it is; None: the row's own structure.
        rows: what an error calls the rows; None: their places in `bad`.

    Raises:
        Corrupt: `context` has `row`, `what` and, for a column's value, `column`; who knows view and key adds them.
    """
    if bad.any():
        place = int(np.argmax(bad))
        row = place if rows is None else int(rows[place])
        named, context = ("", {}) if column is None else (f" of column {column!r}", {"column": column})
        raise Corrupt(
            f"packed row {row}: its {what}{named} is {found(place)}",
            fix="these are not the bytes that were published: publish the view again, or look who else writes there",
            context={"row": row, "what": what, **context},
        )
