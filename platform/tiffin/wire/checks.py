"""The check byte of a row: a fold over its other bytes that tells alien and altered bytes from ours.

`check = seed + sum(mixed(i, byte[i]))` modulo 256, over every byte but the check itself, where
`mixed` is `x = (b ^ C[i]) * A[i]; x ^= x >> 4; x *= B[i]; x ^= x >> 3; x *= A[i]; x ^= x >> 4`, all in 8 bits. `A` and `B` are
odd, so that each position permutes the 256 bytes in its own, not linear, way. The seed comes from the schema: a row of
another view does not pass.

What it catches: every change of one byte; of random alterations, 255 of 256 (of two flipped sign bits, 252 at the worst
pair of places). What it cannot: the rest, and an alteration by somebody who computes the fold too. It is no signature:
segments and manifests have digests for that.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tiffin.wire.columns import windows
from tiffin.wire.schema import RowSchema

__all__ = ["CHECK_AT", "fold_matrix", "fold_rows", "seed_of"]

Bytes = npt.NDArray[np.uint8]

CHECK_AT = 1

# Eight bytes are shifted at once: their neighbours' bits are masked away.
FOUR, THREE = np.uint64(4), np.uint64(3)
LOW_FOUR, LOW_FIVE = np.uint64(0x0F0F_0F0F_0F0F_0F0F), np.uint64(0x1F1F_1F1F_1F1F_1F1F)
# So many bytes are mixed at once; with their tables they stay in the second-level cache.
BLOCK = 1 << 16
# Rows are folded at the length of the longest as long as that makes at most so many times their bytes.
PADDING = 4
# So many bytes of rows of differing length are copied at once.
MOST = 1 << 20


@lru_cache(maxsize=64)
def tables(length: int) -> tuple[Bytes, Bytes, Bytes]:
    """`A`, `B` and `C` of positions below `length`; part of the stored format."""
    place = np.arange(length, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(0x7F4A7C15)
    place = (place ^ (place >> np.uint32(15))) * np.uint32(0x85EBCA77)
    place = (place ^ (place >> np.uint32(13))) * np.uint32(0xC2B2AE3D)
    place ^= place >> np.uint32(16)
    parts = place.astype("<u4").view(np.uint8).reshape(length, 4)
    return (parts[:, 0] | np.uint8(1), parts[:, 1] | np.uint8(1), parts[:, 2].copy())


@lru_cache(maxsize=32)
def tiled_tables(length: int) -> tuple[Bytes, Bytes, Bytes]:
    """The tables over and over, for a block of rows that lie one after the other; a multiple of 8 bytes.

    A whole block is mixed in ten calls of numpy: row by row, each call would begin anew for every row.
    """
    rows = -(-max(1, BLOCK // length) // 8) * 8
    first, second, turn = (np.tile(table, rows) for table in tables(length))
    return first, second, turn


def mix(data: Bytes, first: Bytes, second: Bytes, turn: Bytes) -> Bytes:
    """Permute every byte in the way of its position; all four of one length, a multiple of 8."""
    mixed = data ^ turn
    eights = mixed.view(np.uint64)
    mixed *= first
    moved = eights >> FOUR
    moved &= LOW_FOUR
    eights ^= moved
    mixed *= second
    np.right_shift(eights, THREE, out=moved)
    moved &= LOW_FIVE
    eights ^= moved
    mixed *= first
    np.right_shift(eights, FOUR, out=moved)
    moved &= LOW_FOUR
    eights ^= moved
    return mixed


@lru_cache(maxsize=1024)
def seed_of(schema: RowSchema) -> int:
    """8 bits of the schema: number, unit, epoch, and every column's name, encoding and nullability."""
    columns = "".join(f"\n{c.name} {c.encoding} {int(c.nullable)}" for c in schema.columns)
    text = f"tiffin row v1\n{schema.number} {schema.unit_us} {schema.epoch_us}{columns}"
    return hashlib.sha256(text.encode()).digest()[0]


def fold_matrix(rows: Bytes, seed: int, lengths: npt.NDArray[np.int64] | None = None) -> Bytes:
    """Check bytes of rows of one length, at least a header: `(rows, length)` → `(rows,)`.

    Args:
        lengths: `(rows,)` how many bytes of each row count; None: all.
    """
    count, length = rows.shape
    flat = np.ascontiguousarray(rows).reshape(-1)
    first, second, turn = tiled_tables(length)
    narrow = np.int16 if length < 2**15 else np.int32
    place = np.arange(length, dtype=narrow)
    block = len(turn) // length
    found = np.empty(count, dtype=np.uint8)
    for start in range(0, count, block):
        piece = flat[start * length : (start + block) * length]
        size = len(piece)
        whole = -(-size // 8) * 8
        if whole != size:
            piece = np.concatenate([piece, np.zeros(whole - size, dtype=np.uint8)])
        mixed = mix(piece, first[:whole], second[:whole], turn[:whole])[:size].reshape(-1, length)
        mixed[:, CHECK_AT] = seed
        if lengths is not None:
            mixed *= place < lengths[start : start + block, None].astype(narrow)
        # wraps at 256, as it should; three times as fast as np.add.reduce over short rows
        np.einsum("ij->i", mixed, out=found[start : start + block])
    return found


def fold_rows(data: Bytes, offsets: npt.NDArray[np.int64], seed: int) -> Bytes:
    """Check bytes of rows of differing length, at least a header each, one after the other in `data`.

    Rows of about one length are cut out of `data` at the longest one's length and folded as a matrix.
    """
    lengths = np.diff(offsets)
    found = np.empty(len(lengths), dtype=np.uint8)
    waiting = np.arange(len(lengths), dtype=np.int64)
    if not len(waiting):
        return found
    padded = np.concatenate([data, np.zeros(width_for(int(lengths.max())), dtype=np.uint8)])
    while len(waiting):
        mine = lengths[waiting]
        longest = int(mine.max())
        # a few long rows among many short ones go first, by themselves
        now = mine > longest // 2 if longest * len(mine) > PADDING * int(mine.sum()) else np.ones(len(mine), dtype=np.bool_)
        chosen, waiting = waiting[now], waiting[~now]
        width = width_for(longest)
        step = max(1, MOST // width)
        for start in range(0, len(chosen), step):
            some = chosen[start : start + step]
            found[some] = fold_matrix(windows(padded, offsets[some], width), seed, lengths[some])
    return found


def width_for(length: int) -> int:
    """A multiple of 16, of a power of two beyond 256: few tables are kept."""
    return max(16, -(-length // 16) * 16) if length <= 256 else 1 << (length - 1).bit_length()
