"""The keys of one request: each once, and which of them each row wants. A thousand candidates often share a dozen carriers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.online.source import Bytes, KeyRows
from tiffin.wire.kernel import repeats
from tiffin.wire.keys import pack_keys
from tiffin.wire.packed import split_rows

__all__ = ["Asked", "Keys"]

Keys = Mapping[str, Sequence[Any] | npt.NDArray[Any]]
Longs = npt.NDArray[np.int64]
MIX = np.uint64(0x9E3779B97F4A7C15)
FOLD = np.uint64(29)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What a request asks of one view.

    Args:
        unique: every key once.
        index: `(rows,)` place of each row's key among them, -1 where it has none; None: row `i` wants key `i`.
        rows: how many rows the request has.
    """

    unique: KeyRows
    index: Longs | None
    rows: int

    @classmethod
    def of(cls, fields: Sequence[tuple[str, str]], keys: Keys) -> Asked:
        """Encode and deduplicate.

        Args:
            fields: `(name, type)` of each part of the entity key.
            keys: at least these names, each `(rows,)`.

        Raises:
            Invalid: a part is missing, of the wrong type or out of range.
        """
        packed, valid = pack_keys(fields, keys)
        rows, whole = len(packed), bool(valid.all())
        matrix = packed.matrix
        if matrix is None:
            return cls.of_list(split_rows(packed), valid)
        if not whole:
            matrix = matrix[valid]
        found = distinct(matrix)
        if found is None:
            unique, index = matrix, None if whole else np.arange(len(matrix), dtype=np.int64)
        else:
            first, index = found
            unique = matrix[first]
        if not whole:
            assert index is not None
            spread = np.full(rows, -1, dtype=np.int64)
            spread[valid] = index
            index = spread
        return cls(unique, index, rows)

    @classmethod
    def of_list(cls, keys: Sequence[bytes], valid: npt.NDArray[np.bool_]) -> Asked:
        """Keys of differing lengths."""
        places: dict[bytes, int] = {}
        alive = valid.tolist()
        index = np.fromiter(
            (places.setdefault(key, len(places)) if there else -1 for key, there in zip(keys, alive, strict=True)),
            dtype=np.int64,
            count=len(keys),
        )
        return cls(list(places), index, len(keys))


def distinct(matrix: Bytes) -> tuple[Longs, Longs] | None:
    """Places of the first of each equal rows, and of every row among those; None when no two are equal.

    Rows are compared by a 64-bit hash first, which sorts ten times as fast; when two hashes are equal, by their bytes.
    """
    rows = len(matrix)
    if rows < 2 or repeats(matrix) is False:
        return None
    ranked = np.sort(hashed(matrix))
    if not (ranked[1:] == ranked[:-1]).any():
        return None
    whole = np.ascontiguousarray(matrix).view(f"V{matrix.shape[1]}").reshape(-1)
    places: dict[bytes, int] = {}
    inverse = np.fromiter((places.setdefault(key, len(places)) for key in whole.tolist()), dtype=np.int64, count=rows)
    if len(places) == rows:
        return None
    first = np.empty(len(places), dtype=np.int64)
    first[inverse[::-1]] = np.arange(rows - 1, -1, -1)  # of equal places the last assignment stays: the first row
    return first, inverse


def hashed(matrix: Bytes) -> npt.NDArray[np.uint64]:
    """`(rows,)` 64 bits of each row; equal rows have equal ones, and rows of up to 8 bytes no others."""
    rows, width = matrix.shape
    padded = np.zeros((rows, -(-width // 8) * 8), dtype=np.uint8)
    padded[:, :width] = matrix
    words = padded.view(np.uint64)
    found = words[:, 0].copy()
    for place in range(1, words.shape[1]):
        found *= MIX
        found ^= found >> FOLD
        found += words[:, place]
    return found
