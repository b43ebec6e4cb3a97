"""Layout "dense": many small rows share one hash, which a server keeps as one block of memory. Runs inside Triton.

A bucket is a hash called `prefix | bucket u32, big-endian`; its fields are entity keys, its values packed rows. As long as
it holds few and small entries the server packs them without a pointer each: half the memory of one value per row, for
twice the server's time per read. One entry too many or too long, and the server unpacks it for good; so both are
refused, and the limits of the server itself are tried out before the first row (docs/adr/0014).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tiffin.online.key_hash import hash_keys
from tiffin.wire.packed import Packed

__all__ = ["BUCKET_LIMIT", "BUCKET_ROWS", "CROWDED_ROWS", "ENTRY_LIMIT", "bucket_name", "bucket_names", "bucket_of", "buckets_for"]

BUCKET_ROWS = 128
"""Rows of a bucket, on average, when its generation is made."""
CROWDED_ROWS = 192
"""Above this average a delta that adds keys is refused: of a million buckets the fullest would hold some 270."""
BUCKET_LIMIT = 400
"""No bucket gets more rows; servers unpack a hash of more than 512 entries."""
ENTRY_LIMIT = 64
"""Longest key and longest row, in bytes; servers unpack a hash with a longer one."""


def buckets_for(rows: int) -> int:
    """How many buckets a generation of so many rows has."""
    return max(1, -(-rows // BUCKET_ROWS))


def bucket_of(keys: npt.NDArray[np.uint8] | Packed | Sequence[bytes], buckets: int) -> npt.NDArray[np.int64]:
    """`(keys,)` int64: the bucket of each key.

    Example:
        >>> bucket_of([b"sUA", b"sAA"], 100).tolist()
        [63, 78]
    """
    return (hash_keys(keys) % np.uint32(buckets)).astype(np.int64)


def bucket_name(prefix: bytes, bucket: int) -> bytes:
    """What a bucket is called in the server."""
    return prefix + bucket.to_bytes(4, "big")


def bucket_names(buckets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """`(rows, 4)`: what stands behind the prefix in a bucket's name."""
    return np.ascontiguousarray(buckets.astype(">u4")).view(np.uint8).reshape(len(buckets), 4)
