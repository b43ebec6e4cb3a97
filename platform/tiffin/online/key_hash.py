"""A 32-bit hash of entity keys, a whole batch at a time: which bucket or shard a row stands in. Runs inside Triton.

Part of the stored format: FNV-1a over the key's bytes, then MurmurHash3's finaliser, because the low bits of FNV-1a
alone follow the last byte.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tiffin.wire.packed import Packed, join_rows

__all__ = ["hash_keys"]

Hashes = npt.NDArray[np.uint32]
START, PRIME = np.uint32(0x811C9DC5), np.uint32(0x01000193)


def hash_keys(keys: npt.NDArray[np.uint8] | Packed | Sequence[bytes]) -> Hashes:
    """`(keys,)` uint32.

    Args:
        keys: `(keys, width)` uint8 when all are of one length, else `Packed` or one `bytes` each.

    Example:
        >>> hash_keys([b"sUA", b"sAA", b""]).tolist()
        [627108063, 1971496978, 2872998923]
    """
    if isinstance(keys, np.ndarray):
        return finished(folded(keys))
    packed = keys if isinstance(keys, Packed) else join_rows(keys)
    matrix = packed.matrix
    if matrix is not None:
        return finished(folded(matrix))
    lengths = np.diff(packed.offsets)
    found = np.empty(len(packed), dtype=np.uint32)
    for width in np.unique(lengths).tolist():
        some = np.flatnonzero(lengths == width)
        found[some] = folded(packed.data[packed.offsets[some, None] + np.arange(width)])
    return finished(found)


def folded(matrix: npt.NDArray[np.uint8]) -> Hashes:
    """FNV-1a of each line."""
    value = np.full(len(matrix), START, dtype=np.uint32)
    for column in range(matrix.shape[1]):
        value ^= matrix[:, column]
        value *= PRIME
    return value


def finished(value: Hashes) -> Hashes:
    """Every bit of the result depends on every bit of the value."""
    value ^= value >> np.uint32(16)
    value *= np.uint32(0x85EBCA6B)
    value ^= value >> np.uint32(13)
    value *= np.uint32(0xC2B2AE35)
    value ^= value >> np.uint32(16)
    return value
