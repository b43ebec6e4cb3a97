"""A source's rows by the time at which they became known: sorted once, sliced per window."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pyarrow as pa

from tiffin.core.errors import Invalid, nearest
from tiffin.core.units import to_us

__all__ = ["SourceRows", "window_rows"]


class SourceRows:
    """Rows sorted by their time, ties in the order given; rows without a time are left out.

    Sums of floats depend on the order of rows, so every way to a window's rows goes through here.

    Args:
        rows: the source, in any order.
        time: its timestamp column, with a zone.
        source: what errors call it.

    Raises:
        Invalid: the column is missing or is no instant.
    """

    def __init__(self, rows: pa.Table, time: str, *, source: str = "the source") -> None:
        known = times_us(rows, time, source)
        valid = np.flatnonzero(rows[time].is_valid().to_numpy())
        order = valid[np.argsort(known[valid], kind="stable")]
        in_place = len(order) == rows.num_rows and np.array_equal(order, np.arange(len(order)))
        self.rows = rows.combine_chunks() if in_place else rows.take(order).combine_chunks()
        self.known_us = known[order]
        self.time = time

    def between(self, start: datetime, end: datetime | None) -> pa.Table:
        """Rows with `start <= time < end`, without a copy; None is no end."""
        first = int(np.searchsorted(self.known_us, to_us(start), side="left"))
        last = len(self.known_us) if end is None else int(np.searchsorted(self.known_us, to_us(end), side="left"))
        return self.rows.slice(first, max(0, last - first))


def window_rows(source_rows: pa.Table, time_column: str, start: datetime, end: datetime) -> pa.Table:
    """The rows that became known in `[start, end)`, sorted by that time."""
    return SourceRows(source_rows, time_column).between(start, end)


def times_us(rows: pa.Table, name: str, source: str) -> np.ndarray:
    """(rows,) int64 µs UTC of a timestamp column; 0 where null."""
    if name not in rows.column_names:
        raise Invalid(f"{source} has no column {name!r}, which says when a row became known", fix=nearest(name, rows.column_names))
    column = rows[name]
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        raise Invalid(
            f"{source}: column {name!r} holds {column.type}, expected timestamp[us, tz=UTC]",
            fix="land the source with instants: pc.assume_timezone(column, zone), then cast to UTC",
        )
    try:
        whole = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    except pa.ArrowInvalid as err:
        raise Invalid(f"{source}: column {name!r} has parts of a microsecond", fix="round it to microseconds when it is landed") from err
    found: np.ndarray = whole.fill_null(0).to_numpy()
    return found
