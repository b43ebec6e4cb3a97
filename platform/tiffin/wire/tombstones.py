"""Deleted rows: a tombstone says that an entity has no row any more since an event time, so that an older row never comes back.

A tombstone is a row of schema number 0 and nothing but the header: `0 | check u8 | event time u32`, with the unit, epoch and seed
of the view's schema; see `tiffin.wire.rows`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.wire.checks import CHECK_AT, fold_matrix, seed_of
from tiffin.wire.columns import Mask, windows
from tiffin.wire.flaws import refuse
from tiffin.wire.layouts import HEADER
from tiffin.wire.packed import Packed, from_matrix
from tiffin.wire.reading import read_times
from tiffin.wire.schema import RowSchema
from tiffin.wire.times import store_times

__all__ = ["TOMBSTONE", "pack_tombstones", "tombstone_times", "tombstones"]

TOMBSTONE = 0
Longs = npt.NDArray[np.int64]


def pack_tombstones(schema: RowSchema, event_time_us: npt.NDArray[Any]) -> Packed:
    """One tombstone per event time.

    Args:
        event_time_us: `(rows,)` whole µs since 1970, a multiple of the schema's unit: since when there is no row.

    Raises:
        Invalid: an event time that the schema cannot hold, by row.
    """
    rows = len(event_time_us)
    made = np.zeros((rows, HEADER), dtype=np.uint8)
    made[:, 2:HEADER] = store_times(schema, np.asarray(event_time_us)).view(np.uint8).reshape(rows, 4)
    made[:, CHECK_AT] = fold_matrix(made, seed_of(schema))
    return from_matrix(made)


def tombstones(schema: RowSchema, packed: Packed) -> Mask:
    """`(rows,)` which rows are tombstones; the others are not looked at.

    Raises:
        Corrupt: a row of number 0 that is no tombstone of this schema; `context` has `row` and `what`.
    """
    found, _ = read(schema, packed, None)
    return found


def tombstone_times(schema: RowSchema, packed: Packed, *, rows: Longs | None = None) -> tuple[Mask, Longs]:
    """The same, and `(rows,)` since when in µs, 0 for the other rows.

    Args:
        rows: `(rows,)` what an error calls the rows; None: their places.
    """
    found, places = read(schema, packed, rows)
    times = np.zeros(len(packed), dtype=np.int64)
    times[places] = read_times(schema, windows(packed.data, packed.offsets[:-1][places], HEADER))
    return found, times


def read(schema: RowSchema, packed: Packed, rows: Longs | None) -> tuple[Mask, Longs]:
    """Which rows are tombstones, verified, and where they stand."""
    starts, lengths = packed.offsets[:-1], np.diff(packed.offsets)
    found = np.zeros(len(packed), dtype=np.bool_)
    filled = np.flatnonzero(lengths)
    found[filled] = packed.data[starts[filled]] == TOMBSTONE
    places = np.flatnonzero(found)
    if len(places):
        named = places if rows is None else rows[places]
        wrong = lengths[places] != HEADER
        refuse(wrong, "length", lambda place: f"{lengths[places[place]]} bytes, expected {HEADER} of a tombstone", rows=named)
        raw = windows(packed.data, starts[places], HEADER)
        folded = fold_matrix(raw, seed_of(schema))
        refuse(raw[:, CHECK_AT] != folded, "check byte", lambda place: f"{raw[place, CHECK_AT]}, expected {folded[place]}", rows=named)
    return found, places
