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
from tiffin.wire.columns import Ragged, Values, ends, windows
from tiffin.wire.encodings import check_mask, check_offsets, to_stored
from tiffin.wire.flaws import refuse
from tiffin.wire.layouts import HEADER, layout_of
from tiffin.wire.packed import Packed, even, join_rows, split_rows, take_rows
from tiffin.wire.reading import plan_of, read_fixed, read_times, verify
from tiffin.wire.schema import Column, RowSchema
from tiffin.wire.tails import assemble, load_tail, read_ends, store_tail
from tiffin.wire.times import store_times

__all__ = ["Packed", "join_rows", "pack", "split_rows", "take_rows", "unpack"]

Bytes = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]
# so many rows are packed at once: with all that is made of them on the way they stay in the second-level cache
CHUNK = 1 << 15


def pack(schema: RowSchema, columns: Mapping[str, Values | Ragged], event_time_us: npt.NDArray[Any]) -> Packed:
    """Pack columns into rows; every value is brought to its declared encoding on the way.

    Args:
        columns: by name, exactly the schema's; each of `rows` rows.
        event_time_us: `(rows,)` whole µs since 1970, a multiple of the schema's unit.

    Raises:
        Invalid: names the column, row, value and what is allowed.
    """
    rows = len(event_time_us)
    check_columns(schema, columns, rows)
    times = store_times(schema, np.asarray(event_time_us))
    if rows <= CHUNK:
        return pack_chunk(schema, columns, times)
    try:
        return in_chunks(schema, columns, times)
    except Invalid:
        pack_chunk(schema, columns, times)  # raises again, and counts the rows from the first
        raise


def in_chunks(schema: RowSchema, columns: Mapping[str, Values | Ragged], times: npt.NDArray[np.uint32], *, size: int = CHUNK) -> Packed:
    """Rows some at a time: all that is made on the way stays in the cache, so that a row costs the same however many there are."""
    rows, layout = len(times), layout_of(schema)
    for column in schema.columns:
        check_shape(column, columns[column.name], rows)
    made = []
    data = np.empty(0 if layout.tail else rows * layout.fixed, dtype=np.uint8)
    for start in range(0, rows, size):
        some = {column.name: part_of(columns[column.name], start, start + size) for column in schema.columns}
        chunk = pack_chunk(schema, some, times[start : start + size])
        if layout.tail:
            made.append(chunk)
        else:
            data[start * layout.fixed : (start + size) * layout.fixed] = chunk.data
    if layout.tail:
        return Packed(np.concatenate([one.data for one in made]), ends(np.concatenate([np.diff(one.offsets) for one in made])))
    return even(data, rows, layout.fixed)


def check_shape(column: Column, given: Values | Ragged, rows: int) -> None:
    """A column that can be cut: its mask is as long as it, and its offsets lie within its data."""
    if given.valid is not None:
        check_mask(column, given.valid, rows)
    if isinstance(given, Ragged):
        check_offsets(column, given)


def part_of(column: Values | Ragged, start: int, stop: int) -> Values | Ragged:
    """Some consecutive rows; nothing is copied."""
    valid = None if column.valid is None else column.valid[start:stop]
    if isinstance(column, Values):
        return Values(column.data[start:stop], valid)
    offsets = np.asarray(column.offsets[start : stop + 1])
    return Ragged(offsets - offsets[0], column.data[offsets[0] : offsets[-1]], valid)


def pack_chunk(schema: RowSchema, columns: Mapping[str, Values | Ragged], times: npt.NDArray[np.uint32]) -> Packed:
    """`pack` of columns and times that have been looked at."""
    layout, rows = layout_of(schema), len(times)
    record = record_of(schema)
    head = np.zeros(rows, dtype=record)
    head["number"] = schema.number
    head["time"] = times
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
