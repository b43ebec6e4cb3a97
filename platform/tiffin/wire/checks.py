"""The check byte of a row: a fold over its other bytes that tells alien and altered bytes from ours.

`check = (seed + sum(weight[i] * byte[i]) mod 2**16) >> 8`, over every byte but the check itself.
The seed comes from the schema, so that a row of another view does not pass for one of this. A weight is
one of the 16-bit numbers for which no change of a single byte can leave the top 8 bits as they were.

What it catches: every change of one byte; of any other alteration, 255 of 256. What it cannot: the 256th;
a swap of two bytes that stand a whole period of the weights (some 8,000 bytes) apart; an alteration by
somebody who computes the fold too. It is no signature: segments and manifests have digests for that.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tiffin.wire.schema import RowSchema

__all__ = ["CHECK_AT", "fold_matrix", "fold_rows", "seed_of", "weights"]

CHECK_AT = 1


@lru_cache(maxsize=1)
def safe_weights() -> npt.NDArray[np.uint16]:
    """The weights, in the order of their positions; part of the stored format."""
    every = np.arange(1, 2**16, dtype=np.uint32)
    safe = np.ones(len(every), dtype=np.bool_)
    for change in range(1, 256):
        product = (every * np.uint32(change)) & np.uint32(0xFFFF)
        safe &= (product >= 0x100) & (product <= 0xFF00)
    found = every[safe]
    mixed = found * np.uint32(0x9E3779B1)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x85EBCA77)
    order = np.argsort(mixed ^ (mixed >> np.uint32(13)), kind="stable")
    return found[order].astype(np.uint16)


@lru_cache(maxsize=64)
def weights(length: int) -> npt.NDArray[np.uint16]:
    """One weight per byte of a row of this length; 0 for the check byte itself."""
    found = np.resize(safe_weights(), length)
    found[CHECK_AT] = 0
    found.setflags(write=False)
    return found


@lru_cache(maxsize=1024)
def seed_of(schema: RowSchema) -> int:
    """16 bits of the schema: number, unit, epoch, and every column's name, encoding and nullability."""
    columns = "".join(f"\n{c.name} {c.encoding} {int(c.nullable)}" for c in schema.columns)
    text = f"tiffin row v1\n{schema.number} {schema.unit_us} {schema.epoch_us}{columns}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:2], "little")


def fold_matrix(rows: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.uint8]:
    """Check bytes of rows of one length: `(rows, length)` → `(rows,)`."""
    products = np.multiply(rows, weights(rows.shape[1]), dtype=np.uint16)
    return finish(np.add.reduce(products, axis=1, dtype=np.uint16), seed)


def fold_rows(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.uint8]:
    """Check bytes of rows of differing, positive length, one after the other in `data`."""
    lengths = np.diff(offsets)
    if not len(lengths):
        return np.zeros(0, dtype=np.uint8)
    place = np.arange(len(data), dtype=np.int64) - np.repeat(offsets[:-1], lengths)
    longest = 1 << int(lengths.max() - 1).bit_length()
    products = np.multiply(data, weights(max(longest, 2))[place], dtype=np.uint16)
    return finish(np.add.reduceat(products, offsets[:-1], dtype=np.uint16), seed)


def finish(sums: npt.NDArray[np.uint16], seed: int) -> npt.NDArray[np.uint8]:
    """The top 8 bits, after the seed."""
    return ((sums + np.uint16(seed)) >> np.uint16(8)).astype(np.uint8)
