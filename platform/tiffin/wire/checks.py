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

from tiffin.wire.schema import RowSchema

__all__ = ["CHECK_AT", "fold_matrix", "fold_rows", "seed_of"]

Bytes = npt.NDArray[np.uint8]

CHECK_AT = 1


@lru_cache(maxsize=64)
def tables(length: int) -> tuple[Bytes, Bytes, Bytes]:
    """`A`, `B` and `C` of positions below `length`; part of the stored format."""
    place = np.arange(length, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(0x7F4A7C15)
    place = (place ^ (place >> np.uint32(15))) * np.uint32(0x85EBCA77)
    place = (place ^ (place >> np.uint32(13))) * np.uint32(0xC2B2AE3D)
    place ^= place >> np.uint32(16)
    parts = place.astype("<u4").view(np.uint8).reshape(length, 4)
    return (parts[:, 0] | np.uint8(1), parts[:, 1] | np.uint8(1), parts[:, 2].copy())


def mix(data: Bytes, first: Bytes, second: Bytes, turn: Bytes) -> Bytes:
    """Permute every byte in the way of its position."""
    mixed = data ^ turn
    mixed *= first
    mixed ^= mixed >> np.uint8(4)
    mixed *= second
    mixed ^= mixed >> np.uint8(3)
    mixed *= first
    mixed ^= mixed >> np.uint8(4)
    return mixed


@lru_cache(maxsize=1024)
def seed_of(schema: RowSchema) -> int:
    """8 bits of the schema: number, unit, epoch, and every column's name, encoding and nullability."""
    columns = "".join(f"\n{c.name} {c.encoding} {int(c.nullable)}" for c in schema.columns)
    text = f"tiffin row v1\n{schema.number} {schema.unit_us} {schema.epoch_us}{columns}"
    return hashlib.sha256(text.encode()).digest()[0]


def fold_matrix(rows: Bytes, seed: int) -> Bytes:
    """Check bytes of rows of one length: `(rows, length)` → `(rows,)`."""
    mixed = mix(rows, *tables(rows.shape[1]))
    mixed[:, CHECK_AT] = seed
    found: Bytes = np.add.reduce(mixed, axis=1, dtype=np.uint8)
    return found


def fold_rows(data: Bytes, offsets: npt.NDArray[np.int64], seed: int) -> Bytes:
    """Check bytes of rows of differing length, at least a header each, one after the other in `data`."""
    lengths = np.diff(offsets)
    if not len(lengths):
        return np.zeros(0, dtype=np.uint8)
    place = np.arange(len(data), dtype=np.int64) - np.repeat(offsets[:-1], lengths)
    # a power of two, so that few tables are kept
    first, second, turn = tables(1 << int(lengths.max()).bit_length())
    mixed = mix(data, first[place], second[place], turn[place])
    mixed[offsets[:-1] + CHECK_AT] = seed
    return np.add.reduceat(mixed, offsets[:-1], dtype=np.uint8)
