"""Packed rows: one value per (entity, view), packed and unpacked a whole batch at a time.

Row v1, little-endian:
`schema number u8 | check u8 | event time u32 | null bitmap | bool bits | fixed columns | u16 ends | tail`.
A set null bit means null; a null's number is 0 and its string is empty. Bits count from the lowest.
The ends count from the start of the tail. Number 0 is kept for tombstones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid, nearest
from tiffin.wire.checks import CHECK_AT, fold_matrix, fold_rows, seed_of
from tiffin.wire.columns import Ragged, Values, windows
from tiffin.wire.encodings import to_stored
from tiffin.wire.flaws import refuse
from tiffin.wire.layouts import HEADER, layout_of
from tiffin.wire.packed import Packed, join_rows, split_rows, take_rows
from tiffin.wire.reading import plan_of, read_fixed, read_times, verify
from tiffin.wire.schema import RowSchema
from tiffin.wire.tails import assemble, load_tail, read_ends, store_tail
from tiffin.wire.times import store_times

__all__ = ["Packed", "join_rows", "pack", "split_rows", "take_rows", "unpack"]

Bytes = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]


def pack(schema: RowSchema, columns: Mapping[str, Values | Ragged], event_time_us: npt.NDArray[Any]) -> Packed:
    """Pack columns into rows; every value is brought to its declared encoding on the way.

    Args:
        columns: by name, exactly the schema's; each of `rows` rows.
        event_time_us: `(rows,)` whole µs since 1970, a multiple of the schema's unit.

    Raises:
        Invalid: names the column, row, value and what is allowed.
    """
    layout = layout_of(schema)
    rows = len(event_time_us)
    check_columns(schema, columns, rows)
    record = record_of(schema)
    head = np.zeros(rows, dtype=record)
    head["number"] = schema.number
    head["time"] = store_times(schema, np.asarray(event_time_us))
    bits = np.zeros((record.itemsize, rows), dtype=np.uint8)
    tails: list[tuple[Bytes, Longs]] = []
    for place, slot in enumerate(layout.slots):
        given = columns[slot.column.name]
        stored, valid = to_stored(slot.column, slot.form, given)
        if isinstance(stored, Ragged):
            tails.append(store_tail(slot, stored))
        elif slot.form.kind == "bool":
            bits[layout.bools_at + slot.at // 8] |= stored.view(np.uint8) << np.uint8(slot.at % 8)
        else:
            head[str(place)] = stored
        if valid is not None:
            bits[HEADER + slot.null_bit // 8] |= (~valid).view(np.uint8) << np.uint8(slot.null_bit % 8)
    raw = head.view(np.uint8).reshape(rows, layout.fixed)
    for at in range(HEADER, layout.bools_at + (layout.bools + 7) // 8):
        raw[:, at] = bits[at]
    packed = assemble(layout, raw, tails)
    seed = seed_of(schema)
    if layout.tail:
        packed.data[packed.offsets[:-1] + CHECK_AT] = fold_rows(packed.data, packed.offsets, seed)
    else:
        raw[:, CHECK_AT] = fold_matrix(raw, seed)
    return packed


@lru_cache(maxsize=1024)
def record_of(schema: RowSchema) -> np.dtype[Any]:
    """The fixed part as a numpy record: `number`, `time`, and each number column under its place in the schema."""
    layout = layout_of(schema)
    fields: dict[str, tuple[np.dtype[Any], int]] = {"number": (np.dtype("u1"), 0), "time": (np.dtype("<u4"), 2)}
    for place, slot in enumerate(layout.slots):
        if slot.form.stored is not None:
            fields[str(place)] = (slot.form.stored, slot.at)
    formats, offsets = [kind for kind, _ in fields.values()], [at for _, at in fields.values()]
    return np.dtype({"names": list(fields), "formats": formats, "offsets": offsets, "itemsize": layout.fixed})


def check_columns(schema: RowSchema, columns: Mapping[str, Values | Ragged], rows: int) -> None:
    """Exactly the schema's columns, all of one length."""
    names = [column.name for column in schema.columns]
    for name in names:
        if name not in columns:
            raise Invalid(f"column {name!r} is missing from the rows", fix=nearest(name, columns))
        if len(columns[name]) != rows:
            raise Invalid(
                f"column {name!r} has {len(columns[name])} rows, the event times {rows}", fix="give every column one value per row"
            )
    extra = sorted(set(columns) - set(names))
    if extra:
        raise Invalid(f"column {extra[0]!r} is not in schema {schema.number}", fix=nearest(extra[0], names))


def unpack(
    schema: RowSchema, packed: Packed, names: Sequence[str] | None = None, *, rows: Longs | None = None
) -> tuple[dict[str, Values | Ragged], Longs]:
    """Columns and event times of rows of one schema: bit for bit what `canonical` gives.

    Args:
        names: the columns to read; None: all.
        rows: `(rows,)` what an error calls the rows; None: their places.

    Returns:
        Columns by name in the order of `names` or the schema, and `(rows,)` event times in µs.

    Raises:
        Corrupt: wrong length, schema number, check byte or inner structure; `context` has `row` and `what`, see `tiffin.wire.flaws`.
        Invalid: the schema has no column of this name.
    """
    layout = layout_of(schema)
    plan = plan_of(schema, None if names is None else tuple(names))
    lengths = np.diff(packed.offsets)
    short = lengths < layout.fixed if layout.tail else lengths != layout.fixed
    refuse(short, "length", lambda row: f"{lengths[row]} bytes, expected {'at least ' if layout.tail else ''}{layout.fixed}", rows=rows)
    if layout.tail:
        head = windows(packed.data, packed.offsets[:-1], layout.fixed)
        folded = fold_rows(packed.data, packed.offsets, seed_of(schema))
    else:
        head = packed.data.reshape(len(packed), layout.fixed)
        folded = fold_matrix(head, seed_of(schema))
    verify(schema, head, folded, rows)
    found, valid = read_fixed(plan, head, rows=rows)
    columns: dict[str, Values | Ragged] = {}
    stops = read_ends(layout, head, lengths, rows) if layout.tail else lengths
    for slot, column, mask in zip(plan.slots, found, valid, strict=True):
        columns[slot.column.name] = load_tail(slot, packed, layout, stops, mask, rows) if column is None else column
    return columns, read_times(schema, head)
