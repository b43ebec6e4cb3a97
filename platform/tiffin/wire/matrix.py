"""Rows of one width, side by side in one matrix: read without a copy per row and without joining them first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid
from tiffin.wire.checks import fold_matrix, seed_of
from tiffin.wire.columns import Mask, Ragged, Values
from tiffin.wire.flaws import refuse
from tiffin.wire.kernel import checked_times, read_columns
from tiffin.wire.layouts import HEADER, layout_of
from tiffin.wire.packed import take_matrix
from tiffin.wire.reading import plan_of, read_fixed, read_times, verify
from tiffin.wire.schema import RowSchema

__all__ = ["columns_of", "event_times", "row_width", "unpack_matrix"]

Bytes = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]


def row_width(schema: RowSchema) -> int | None:
    """Bytes of every row of a schema; None when rows differ, because a column's values do."""
    layout = layout_of(schema)
    return None if layout.tail else layout.fixed


def unpack_matrix(
    schema: RowSchema, matrix: Bytes, index: Longs | None = None, names: Sequence[str] | None = None
) -> tuple[dict[str, Values | Ragged], Longs]:
    """Verify rows, then read them in the order in which somebody asked for them.

    Args:
        matrix: `(rows, width)` uint8, also a slice of something larger; `width` is `row_width(schema)`.
        index: `(n,)` int64 positions in `matrix`; -1 is a row that is null in every column. None: all rows in order.
        names: the columns to read; None: all.

    Returns:
        Columns by name, each of `n` rows, as `unpack` and then `take` would give them, and `(n,)` event times in µs, 0 where
        there is no row.

    Raises:
        Corrupt: wrong width, schema number, check byte, padding or code; `context["row"]` says which row of `matrix`.
        Invalid: a column that the schema does not have, or that varies in length.
    """
    times = event_times(schema, matrix)
    columns = columns_of(schema, matrix, index, names)
    if index is None:
        return columns, times
    return columns, np.concatenate([times, np.zeros(1, dtype=np.int64)])[index]


def event_times(schema: RowSchema, matrix: Bytes) -> Longs:
    """Verify rows; `(rows,)` event times in µs, from which a reader tells which rows are still alive.

    Raises:
        Corrupt: as `unpack_matrix`.
    """
    head = fixed_rows(schema, matrix)
    times = checked_times(schema, head)
    if times is None:
        head = np.ascontiguousarray(head)
        verify(schema, head, fold_matrix(head, seed_of(schema)))
        times = read_times(schema, head)
    return times


def columns_of(
    schema: RowSchema, matrix: Bytes, index: Longs | None = None, names: Sequence[str] | None = None
) -> dict[str, Values | Ragged]:
    """Read rows that `event_times` has verified; see `unpack_matrix`."""
    head = fixed_rows(schema, matrix)
    plan = plan_of(schema, None if names is None else tuple(names))
    columns = read_columns(plan, head, index)
    if columns is not None:
        return columns
    head = np.ascontiguousarray(head)
    present: Mask | None = None
    if index is not None:
        head, present = spread(schema, head, index)
    found, _ = read_fixed(plan, head, present, index)
    columns = {}
    for slot, column in zip(plan.slots, found, strict=True):
        assert column is not None
        columns[slot.column.name] = column
    return columns


def fixed_rows(schema: RowSchema, matrix: Bytes) -> Bytes:
    """The rows, of the right width."""
    width = row_width(schema)
    if width is None:
        name = layout_of(schema).tail[0].column.name
        raise Invalid(f"rows of schema {schema.number} differ in width because of column {name!r}", fix="use tiffin.wire.rows.unpack")
    if matrix.ndim != 2 or matrix.dtype != np.uint8:
        raise Invalid(f"rows are {matrix.dtype.name} {matrix.shape}: expected uint8 (rows, {width})", fix="give the rows' bytes")
    if matrix.shape[1] != width:
        refuse(np.ones(len(matrix), dtype=np.bool_), "length", lambda row: f"{matrix.shape[1]} bytes, expected {width}")
        return np.zeros((0, width), dtype=np.uint8)
    return matrix


def spread(schema: RowSchema, head: Bytes, index: Longs) -> tuple[Bytes, Mask | None]:
    """Rows in the order of `index`, and which of them there are; the others are zeros with every null bit set."""
    absent = index < 0
    if not absent.any():
        return take_matrix(head, index), None
    layout = layout_of(schema)
    nothing = np.zeros((1, layout.fixed), dtype=np.uint8)
    nothing[:, HEADER : layout.bools_at] = 0xFF
    return take_matrix(np.concatenate([head, nothing]), index), ~absent
