"""What varies in length, behind the fixed part of a row: strings and lists of whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid
from tiffin.wire.codecs import shrink, unshrink
from tiffin.wire.columns import Mask, Ragged, ends, spans
from tiffin.wire.flaws import refuse
from tiffin.wire.layouts import Layout, Slot
from tiffin.wire.packed import Packed, even
from tiffin.wire.varints import LONGEST, decode_varints, encode_varints

__all__ = ["assemble", "load_tail", "read_ends", "store_tail"]

Bytes = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]
MAX_TAIL = 0xFFFF


def store_tail(slot: Slot, found: Ragged) -> tuple[Bytes, Longs]:
    """A varying column's bytes, and `(rows,)` how many each row has."""
    if slot.form.kind == "str":
        data, lengths = found.data.astype(np.uint8, copy=False), np.diff(found.offsets)
    else:
        data, widths = encode_varints(found.data.astype(np.int64, copy=False))
        lengths = np.diff(ends(widths)[found.offsets])
    return shrink(data, lengths) if slot.form.codec else (data, lengths)


def assemble(layout: Layout, head: Bytes, tails: list[tuple[Bytes, Longs]]) -> Packed:
    """Fixed parts and tails, interleaved row by row.

    Raises:
        Invalid: a row's tail is too long for its u16 ends.
    """
    rows = len(head)
    if not tails:
        return even(head.reshape(-1), rows, layout.fixed)
    stops = np.cumsum([lengths for _, lengths in tails], axis=0)
    too_long = stops[-1] > MAX_TAIL
    if too_long.any():
        row = int(np.argmax(too_long))
        raise Invalid(
            f"row {row}: its strings and lists take {stops[-1][row]} bytes together: expected at most {MAX_TAIL}",
            fix="shorten them, or split the view in two",
            context={"row": row},
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


def read_ends(layout: Layout, head: Bytes, lengths: Longs, rows: Longs | None) -> Longs:
    """`(rows, varying + 1)` where each varying column begins and ends in the tail."""
    stops = np.zeros((len(head), len(layout.tail) + 1), dtype=np.int64)
    stops[:, 1:] = head[:, layout.ends_at :].view("<u2")
    bad = np.diff(stops, axis=1).min(axis=1) < 0
    bad |= stops[:, -1] != lengths - layout.fixed
    refuse(bad, "tail", lambda row: f"{lengths[row] - layout.fixed} bytes, its columns end at {stops[row, 1:].tolist()}", rows=rows)
    return stops


def load_tail(slot: Slot, packed: Packed, layout: Layout, stops: Longs, valid: Mask | None, rows: Longs | None) -> Ragged:
    """A varying column out of the tails.

    Raises:
        Corrupt: the bytes are no values of the column; names row and column.
    """
    name, form = slot.column.name, slot.form
    lengths = stops[:, slot.at + 1] - stops[:, slot.at]
    data = packed.data[spans(packed.offsets[:-1] + layout.fixed + stops[:, slot.at], lengths)]
    if form.codec:
        limit = form.size if form.kind == "str" else form.size * LONGEST
        data, lengths = unshrink(data, lengths, limit=limit, column=name, rows=rows)
    offsets = ends(lengths)
    if form.kind == "str":
        check_text(data, offsets, column=name, rows=rows)
        items: npt.NDArray[Any] = data
    else:
        items, lengths = decode_varints(data, offsets, column=name, rows=rows)
        offsets = ends(lengths)
    refuse(lengths > form.size, "limit", lambda row: f"{lengths[row]}, expected at most {form.size}", column=name, rows=rows)
    if valid is not None:
        refuse((lengths > 0) & ~valid, "tail", lambda row: f"{lengths[row]} long, expected nothing of a null", column=name, rows=rows)
    return Ragged(offsets, items, valid)


def check_text(data: Bytes, offsets: Longs, *, column: str, rows: Longs | None) -> None:
    """Refuse rows that are not UTF-8, each by itself."""
    if data.max(initial=0) < 0x80:
        return
    filled = np.flatnonzero(np.diff(offsets))
    # all rows together are UTF-8, and no row begins within a character: then each row is
    cut = (data[offsets[:-1][filled]] & 0xC0) == 0x80
    if not cut.any() and is_text(data):
        return
    bad = np.zeros(len(offsets) - 1, dtype=np.bool_)
    for row in filled.tolist():
        if not is_text(data[offsets[row] : offsets[row + 1]]):
            bad[row] = True
            break
    refuse(bad, "UTF-8", lambda row: f"{data[offsets[row] : offsets[row + 1]][:24].tobytes()!r}", column=column, rows=rows)


def is_text(data: Bytes) -> bool:
    """Whether these bytes are UTF-8."""
    try:
        data.tobytes().decode()
    except UnicodeDecodeError:
        return False
    return True
