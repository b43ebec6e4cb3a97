"""From a server's answer to columns in the request's order. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Corrupt
from tiffin.online.asked import Asked
from tiffin.online.plan_read import Known
from tiffin.online.source import Answer
from tiffin.online.views import OnlineView
from tiffin.wire import kernel
from tiffin.wire.encodings import Ragged, Values, take
from tiffin.wire.layouts import HEADER
from tiffin.wire.matrix import columns_of, event_times, row_width
from tiffin.wire.packed import Packed, even, take_rows
from tiffin.wire.rows import unpack
from tiffin.wire.schema import RowSchema
from tiffin.wire.tombstones import tombstones

__all__ = ["ViewRows", "decode"]

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ViewRows:
    """Rows of one view, in the order they were asked for.

    Args:
        columns: by name, in the order asked; an unknown or expired entity is all null.
        found: `(rows,)` bool: the entity is known and its row alive.
        event_time_us: `(rows,)` int64; 0 where not found.
        generation: which edition all these rows are of.
        watermark_us: up to which event time it is complete.
        now_us: the instant at which rows were judged alive: the wall, or the edition's own when it replays history.
        missing, expired: how many rows are not found because the entity is unknown or deleted, or its row too old.
    """

    columns: dict[str, Values | Ragged]
    found: npt.NDArray[np.bool_]
    event_time_us: Longs
    generation: str
    watermark_us: int
    now_us: int
    missing: int = 0
    expired: int = 0

    @property
    def age_us(self) -> Longs:
        """`(rows,)` int64: how old each row's facts are; -1 where not found."""
        return np.where(self.found, self.now_us - self.event_time_us, -1)


def decode(
    view: OnlineView, known: Known, asked: Asked, answer: Answer, *, now_us: Callable[[], int], names: Sequence[str] | None = None
) -> ViewRows:
    """Rows of one generation, spread over the request's order.

    Args:
        names: the columns to decode; None: all of the view.

    Raises:
        Corrupt: wrong bytes; names view and key.
    """
    if names is None and known.schema is not view.schema:
        names = [column.name for column in view.schema.columns]
    now = known.pointer.as_of_us if known.pointer.as_of_us is not None else now_us()
    try:
        answer = without_deleted(known.schema, answer)
        columns, event_time_us = None, None
        if isinstance(answer.rows, np.ndarray) and row_width(known.schema) is not None:
            # numpy wants rows side by side: copied once for both, and not at all for the compiled loops
            matrix = answer.rows if kernel.LIBRARY is not None else np.ascontiguousarray(answer.rows)
            event_time_us = event_times(known.schema, matrix)
        else:
            columns, event_time_us = unpack(known.schema, packed_of(answer.rows), names)
        index, expired = place_rows(view, asked, answer, event_time_us, now)
        if columns is None:
            columns = columns_of(known.schema, matrix, index, names)
        else:
            columns = {name: column if index is None else take(column, index) for name, column in columns.items()}
    except Corrupt as err:
        raise blamed(view, asked, answer, err) from err
    live = known.pointer.generation, known.pointer.watermark_us, now
    if index is None:
        return ViewRows(columns, np.ones(asked.rows, dtype=np.bool_), event_time_us, *live)
    found = index >= 0
    times = np.concatenate([event_time_us, np.zeros(1, dtype=np.int64)])[index]
    return ViewRows(columns, found, times, *live, asked.rows - int(np.count_nonzero(found)) - expired, expired)


def without_deleted(schema: RowSchema, answer: Answer) -> Answer:
    """The answer as if deleted entities were unknown. Tombstones are shorter than any row, so that rows of one width hold none."""
    if isinstance(answer.rows, np.ndarray) and answer.rows.shape[1] != HEADER:
        return answer
    packed = packed_of(answer.rows)
    deleted = tombstones(schema, packed)
    if not deleted.any():
        return answer
    present = np.ones(len(deleted), dtype=np.bool_) if answer.present is None else answer.present.copy()
    present[np.flatnonzero(present)[deleted]] = False
    left = take_rows(packed, np.flatnonzero(~deleted))
    matrix = left.matrix
    return replace(answer, rows=left if matrix is None else matrix, present=present)


def packed_of(rows: npt.NDArray[np.uint8] | Packed) -> Packed:
    """Rows of one width as rows of any."""
    if isinstance(rows, Packed):
        return rows
    count, width = rows.shape
    return even(np.ascontiguousarray(rows).reshape(-1), count, width)


def place_rows(view: OnlineView, asked: Asked, answer: Answer, event_time_us: Longs, now: int) -> tuple[Longs | None, int]:
    """Where in the answer each row of the request stands, -1 for nowhere (None: each at its own place), and how many of
    them are nowhere because they expired."""
    alive = None
    if view.ttl_us is not None:
        mask = now - event_time_us <= view.ttl_us
        alive = None if mask.all() else mask
    if answer.present is None and alive is None:
        return asked.index, 0
    present = answer.present if answer.present is not None else np.ones(len(event_time_us), dtype=np.bool_)
    # one place more, always -1: the rows without a key point there
    rank = np.full(len(present) + 1, -1, dtype=np.int64)
    rank[:-1][present] = np.arange(len(event_time_us)) if alive is None else np.where(alive, np.arange(len(event_time_us)), -2)
    index = rank[:-1] if asked.index is None else rank[asked.index]
    expired = int(np.count_nonzero(index == -2))
    return np.maximum(index, -1), expired


def blamed(view: OnlineView, asked: Asked, answer: Answer, error: Corrupt) -> Corrupt:
    """The error with the view and the key of the row it is about."""
    row, key = error.context.get("row"), b"?"
    if isinstance(row, int):
        place = row if answer.present is None else int(np.flatnonzero(answer.present)[row])
        key = bytes(asked.unique[place])
    return Corrupt(
        f"view {view.ref}, key {key!r}: {error.message}", fix=error.fix, context={**error.context, "view": view.ref, "key": repr(key)}
    )
