"""Values of differing length, compressed where that makes them shorter.

A value that is not empty begins with its codec: 0, its bytes as they are, or 1, a raw deflate stream (RFC 1951). An empty value and
a null have no bytes at all. Which values are compressed is the writer's choice and may change; how they are read may not.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from tiffin.wire.columns import ends, spans
from tiffin.wire.flaws import refuse

__all__ = ["shrink", "unshrink"]

Bytes = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]
PLAIN, DEFLATED = 0, 1
# A shorter value could win a byte or two at most: not worth a call of zlib.
SHORTEST = 12


def shrink(data: Bytes, lengths: Longs) -> tuple[Bytes, Longs]:
    """Values, one after the other, each with its codec; and `(rows,)` their new lengths.

    Args:
        data: of all values.
        lengths: `(rows,)` of each.
    """
    offsets, smaller = ends(lengths), {}
    for row in np.flatnonzero(lengths >= SHORTEST).tolist():
        piece = deflate(data[offsets[row] : offsets[row + 1]].tobytes())
        if len(piece) < lengths[row]:
            smaller[row] = piece
    sizes = lengths.copy()
    for row, piece in smaller.items():
        sizes[row] = len(piece)
    filled = sizes > 0
    sizes[filled] += 1
    starts = ends(sizes)
    made = np.zeros(starts[-1], dtype=np.uint8)
    plain = filled.copy()
    plain[list(smaller)] = False
    made[spans(starts[:-1][plain] + 1, lengths[plain])] = data[spans(offsets[:-1][plain], lengths[plain])]
    for row, piece in smaller.items():
        made[starts[row]] = DEFLATED
        made[starts[row] + 1 : starts[row + 1]] = np.frombuffer(piece, dtype=np.uint8)
    return made, sizes


def unshrink(data: Bytes, lengths: Longs, *, limit: int, column: str, rows: Longs | None) -> tuple[Bytes, Longs]:
    """The values, and `(rows,)` their lengths; none is inflated beyond `limit` bytes.

    Args:
        limit: the most bytes that a value may have.
        column, rows: what an error calls them.

    Raises:
        Corrupt: no such codec, or not one whole deflate stream of at most `limit` bytes.
    """
    offsets = ends(lengths)
    filled = lengths > 0
    codecs = np.zeros(len(lengths), dtype=np.uint8)
    codecs[filled] = data[offsets[:-1][filled]]
    refuse((codecs > DEFLATED) | (lengths == 1), "codec", lambda row: f"{codecs[row]} of {lengths[row]} bytes", column=column, rows=rows)
    sizes = np.where(filled, lengths - 1, 0)
    larger: dict[int, bytes] = {}
    broken = np.zeros(len(lengths), dtype=np.bool_)
    for row in np.flatnonzero(codecs == DEFLATED).tolist():
        piece = inflate(data[offsets[row] + 1 : offsets[row + 1]].tobytes(), limit)
        if piece is None:
            broken[row] = True
        else:
            larger[row], sizes[row] = piece, len(piece)
    refuse(broken, "codec", lambda row: f"not one deflate stream of at most {limit} bytes", column=column, rows=rows)
    plain = filled & (codecs == PLAIN)
    pieces = data[spans(offsets[:-1][plain] + 1, sizes[plain])]
    if not larger:
        return pieces, sizes
    starts = ends(sizes)
    made = np.empty(starts[-1], dtype=np.uint8)
    made[spans(starts[:-1][plain], sizes[plain])] = pieces
    for row, piece in larger.items():
        made[starts[row] : starts[row + 1]] = np.frombuffer(piece, dtype=np.uint8)
    return made, sizes


def deflate(piece: bytes) -> bytes:
    """As small as zlib makes it."""
    press = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    return press.compress(piece) + press.flush()


def inflate(piece: bytes, limit: int) -> bytes | None:
    """What `deflate` was given; None if it is cut, followed by something, empty, or longer than `limit`."""
    press = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        made = press.decompress(piece, limit + 1)
    except zlib.error:
        return None
    whole = press.eof and not press.unused_data and not press.unconsumed_tail
    return made if whole and 0 < len(made) <= limit else None
