"""Packed rows: one value per (entity, view), packed and unpacked a whole batch at a time.

Row v1, little-endian:
`schema number u8 | check u8 | event time u32 | null bitmap | bool bits | fixed columns | u16 ends | tail`.
A set null bit means null; a null's number is 0 and its string is empty. Bits count from the lowest.
The ends count from the start of the tail. Number 0 is kept for tombstones.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Corrupt, Invalid, nearest
from tiffin.wire.checks import CHECK_AT, fold_matrix, fold_rows, seed_of
from tiffin.wire.columns import Mask, Ragged, Values, ends, spans
from tiffin.wire.encodings import canonical, quantise, restore
from tiffin.wire.layouts import HEADER, Layout, Slot, layout_of
from tiffin.wire.schema import RowSchema
from tiffin.wire.varints import decode_varints, encode_varints

__all__ = ["Packed", "join_rows", "pack", "split_rows", "take_rows", "unpack"]

Bytes = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]
TIME_AT = slice(2, HEADER)
MAX_TAIL = 0xFFFF


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Rows, one after the other: row `i` is `data[offsets[i]:offsets[i + 1]]`.

    Args:
        data: uint8.
        offsets: `(rows + 1,)` int64, from 0 to `len(data)`.
    """

    data: Bytes
    offsets: Longs

    def __len__(self) -> int:
        return len(self.offsets) - 1


def join_rows(rows: Sequence[bytes]) -> Packed:
    """Rows as a server or a file gave them."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    return Packed(np.frombuffer(b"".join(rows), dtype=np.uint8), ends(lengths))


def split_rows(packed: Packed) -> list[bytes]:
    """Each row as bytes."""
    raw = packed.data.tobytes()
    return [raw[start:end] for start, end in itertools.pairwise(packed.offsets.tolist())]


def take_rows(packed: Packed, index: Longs) -> Packed:
    """Rows by position."""
    starts = packed.offsets[index]
    lengths = packed.offsets[index + 1] - starts
    return Packed(packed.data[spans(starts, lengths)], ends(lengths))


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
    head = np.zeros((rows, layout.fixed), dtype=np.uint8)
    head[:, 0] = schema.number
    head[:, TIME_AT] = store_times(schema, np.asarray(event_time_us)).view(np.uint8).reshape(rows, 4)
    nulls = np.zeros((rows, layout.nulls), dtype=np.bool_)
    bools = np.zeros((rows, layout.bools), dtype=np.bool_)
    tails: list[tuple[Bytes, Longs]] = []
    for slot in layout.slots:
        given = columns[slot.column.name]
        if slot.form.ragged:
            found = canonical(slot.column, given)
            valid = found.valid
            tails.append(store_tail(slot, found))
        else:
            if not isinstance(given, Values):
                canonical(slot.column, given)  # raises: the wrong shape of column
            assert isinstance(given, Values)
            stored, valid = quantise(slot.column, given)
            if slot.form.kind == "bool":
                bools[:, slot.at] = stored
            else:
                put(head, slot, stored)
        if valid is not None:
            nulls[:, slot.null_bit] = ~valid
    head[:, HEADER : layout.bools_at] = np.packbits(nulls, axis=1, bitorder="little")
    bits = (layout.bools + 7) // 8
    head[:, layout.bools_at : layout.bools_at + bits] = np.packbits(bools, axis=1, bitorder="little")
    packed = assemble(schema, layout, head, tails)
    seed = seed_of(schema)
    if layout.ragged:
        packed.data[packed.offsets[:-1] + CHECK_AT] = fold_rows(packed.data, packed.offsets, seed)
    else:
        packed.data.reshape(rows, layout.fixed)[:, CHECK_AT] = fold_matrix(head, seed)
    return packed


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


def store_times(schema: RowSchema, event_time_us: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Event times as u32 counts of the unit; nothing is rounded, so that a TTL means the same on both sides."""
    if event_time_us.ndim != 1 or (event_time_us.size and event_time_us.dtype.kind not in "iu"):
        raise Invalid(f"event times are {event_time_us.dtype.name} {event_time_us.shape}", fix="give (rows,) int64 µs since 1970")
    since = event_time_us.astype(np.int64) - schema.epoch_us
    counts, rest = np.divmod(since, schema.unit_us)
    bad = (rest != 0) | (counts < 0) | (counts > 0xFFFF_FFFF)
    if bad.any():
        row = int(np.argmax(bad))
        last = schema.epoch_us + 0xFFFF_FFFF * schema.unit_us
        raise Invalid(
            f"event time, row {row}: value {int(event_time_us[row])} µs is not allowed: "
            f"expected a multiple of {schema.unit_us} µs in {schema.epoch_us}..{last}",
            fix="bring event_time to whole seconds in the transform (downwards only if its facts are then complete)",
            context={"row": row},
        )
    return counts.astype("<u4")


def put(head: Bytes, slot: Slot, stored: npt.NDArray[Any]) -> None:
    """Write a fixed-width column into its bytes."""
    assert slot.form.stored is not None
    width = slot.form.stored.itemsize
    head[:, slot.at : slot.at + width] = np.ascontiguousarray(stored).view(np.uint8).reshape(len(head), width)


def store_tail(slot: Slot, found: Values | Ragged) -> tuple[Bytes, Longs]:
    """A varying column's bytes, and `(rows,)` how many each row has."""
    assert isinstance(found, Ragged)
    if slot.form.kind == "str":
        return found.data.astype(np.uint8, copy=False), np.diff(found.offsets)
    data, widths = encode_varints(found.data.astype(np.int64, copy=False))
    return data, np.diff(ends(widths)[found.offsets])


def assemble(schema: RowSchema, layout: Layout, head: Bytes, tails: list[tuple[Bytes, Longs]]) -> Packed:
    """Fixed parts and tails, interleaved row by row."""
    rows = len(head)
    if not tails:
        return Packed(head.reshape(-1), np.arange(rows + 1, dtype=np.int64) * layout.fixed)
    stops = np.cumsum([lengths for _, lengths in tails], axis=0)
    too_long = stops[-1] > MAX_TAIL
    if too_long.any():
        row = int(np.argmax(too_long))
        raise Invalid(
            f"row {row}: its strings and lists take {stops[-1][row]} bytes together: expected at most {MAX_TAIL}",
            fix="shorten them, or split the view in two",
            context={"row": row, "schema": schema.number},
        )
    head[:, layout.ends_at :] = np.ascontiguousarray(stops.T.astype("<u2")).view(np.uint8).reshape(rows, 2 * len(tails))
    offsets = ends(layout.fixed + stops[-1])
    data = np.empty(offsets[-1], dtype=np.uint8)
    data[offsets[:-1, None] + np.arange(layout.fixed)] = head
    start = offsets[:-1] + layout.fixed
    for piece, lengths in tails:
        data[spans(start, lengths)] = piece
        start = start + lengths
    return Packed(data, offsets)


def unpack(schema: RowSchema, packed: Packed) -> tuple[dict[str, Values | Ragged], Longs]:
    """Columns and event times of rows of one schema: bit for bit what `canonical` gives.

    Returns:
        Columns by name in the schema's order, and `(rows,)` event times in µs.

    Raises:
        Corrupt: wrong length, schema number, check byte or inner structure; `context["row"]` says which row.
    """
    layout = layout_of(schema)
    rows = len(packed)
    lengths = np.diff(packed.offsets)
    short = lengths < layout.fixed if layout.ragged else lengths != layout.fixed
    refuse(short, "length", lambda row: f"{lengths[row]} bytes, expected {'at least ' if layout.ragged else ''}{layout.fixed}")
    head = packed.data[packed.offsets[:-1, None] + np.arange(layout.fixed)] if layout.ragged else packed.data.reshape(rows, layout.fixed)
    refuse(head[:, 0] != schema.number, "schema number", lambda row: f"{head[row, 0]}, expected {schema.number}")
    seed = seed_of(schema)
    found = fold_rows(packed.data, packed.offsets, seed) if layout.ragged else fold_matrix(head, seed)
    refuse(head[:, CHECK_AT] != found, "check byte", lambda row: f"{head[row, CHECK_AT]}, expected {found[row]}")
    nulls = bits_of(head[:, HEADER : layout.bools_at], layout.nulls)
    width = (layout.bools + 7) // 8
    bools = bits_of(head[:, layout.bools_at : layout.bools_at + width], layout.bools)
    stops = read_ends(layout, head, lengths)
    counts = np.ascontiguousarray(head[:, TIME_AT]).view("<u4").reshape(rows)
    columns: dict[str, Values | Ragged] = {}
    for slot in layout.slots:
        mask = None if slot.null_bit < 0 else ~nulls[:, slot.null_bit]
        valid = None if mask is None or mask.all() else mask
        if slot.form.ragged:
            columns[slot.column.name] = load_tail(slot, packed, layout, stops, valid)
        elif slot.form.kind == "bool":
            columns[slot.column.name] = Values(bools[:, slot.at].copy(), valid)
        else:
            assert slot.form.stored is not None
            raw = np.ascontiguousarray(head[:, slot.at : slot.at + slot.form.stored.itemsize])
            columns[slot.column.name] = Values(restore(slot.form, view_as(raw, slot.form.stored)), valid)
    return columns, counts.astype(np.int64) * schema.unit_us + schema.epoch_us


def refuse(bad: Mask, what: str, found: Any) -> None:
    """Raise Corrupt for the first bad row."""
    if bad.any():
        row = int(np.argmax(bad))
        raise Corrupt(
            f"packed row {row}: its {what} is {found(row)}",
            fix="these are not the bytes that were published: publish the view again, or look who else writes there",
            context={"row": row, "what": what},
        )


def bits_of(raw: Bytes, count: int) -> Mask:
    """`(rows, count)` bools; the bits beyond must be 0."""
    bits = np.unpackbits(raw, axis=1, bitorder="little").view(np.bool_)
    refuse(bits[:, count:].max(axis=1, initial=False), "padding", lambda row: "not zero")
    return bits[:, :count]


def view_as(raw: Bytes, stored: np.dtype[Any]) -> npt.NDArray[Any]:
    """Bytes `(rows, width)` as one stored value per row."""
    if stored.subdtype is not None:
        base, shape = stored.subdtype
        return raw.view(base).reshape(len(raw), *shape)
    return raw.view(stored).reshape(len(raw))


def read_ends(layout: Layout, head: Bytes, lengths: Longs) -> Longs:
    """`(rows, varying + 1)` where each varying column begins and ends in the tail."""
    stops = np.zeros((len(head), len(layout.ragged) + 1), dtype=np.int64)
    if layout.ragged:
        stops[:, 1:] = np.ascontiguousarray(head[:, layout.ends_at :]).view("<u2").reshape(len(head), len(layout.ragged))
        bad = np.diff(stops, axis=1).min(axis=1) < 0
        bad |= stops[:, -1] != lengths - layout.fixed
        refuse(bad, "tail", lambda row: f"{lengths[row] - layout.fixed} bytes, its columns end at {stops[row, 1:].tolist()}")
    return stops


def load_tail(slot: Slot, packed: Packed, layout: Layout, stops: Longs, valid: Mask | None) -> Ragged:
    """A varying column out of the tails."""
    lengths = stops[:, slot.at + 1] - stops[:, slot.at]
    data = packed.data[spans(packed.offsets[:-1] + layout.fixed + stops[:, slot.at], lengths)]
    offsets = ends(lengths)
    if slot.form.kind == "str":
        return Ragged(offsets, data, valid)
    numbers, counts = decode_varints(data, offsets, name=f"column {slot.column.name!r}")
    return Ragged(ends(counts), numbers, valid)
