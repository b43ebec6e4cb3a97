"""Packed rows or keys in memory: one after the other, or side by side as a matrix when all have one width."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiffin.wire.columns import ends, spans

__all__ = ["Packed", "from_matrix", "join_rows", "split_rows", "take_matrix", "take_rows"]

Bytes = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]


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

    @property
    def matrix(self) -> Bytes | None:
        """`(rows, width)`, the same memory; None when rows differ in length, are empty, or there is none."""
        rows = len(self)
        if rows == 0 or len(self.data) == 0 or len(self.data) % rows:
            return None
        width = len(self.data) // rows
        if (np.diff(self.offsets) != width).any():
            return None
        return self.data.reshape(rows, width)


def from_matrix(matrix: Bytes) -> Packed:
    """Rows of one width; their memory is shared when they lie one after the other."""
    rows, width = matrix.shape
    return Packed(np.ascontiguousarray(matrix).reshape(-1), np.arange(rows + 1, dtype=np.int64) * width)


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
    matrix = packed.matrix
    if matrix is not None:
        return from_matrix(take_matrix(matrix, index))
    starts = packed.offsets[index]
    lengths = packed.offsets[index + 1] - starts
    return Packed(packed.data[spans(starts, lengths)], ends(lengths))


def take_matrix(matrix: Bytes, index: Longs) -> Bytes:
    """`(n, width)` rows by position; a row is copied whole, not byte by byte."""
    width = matrix.shape[1]
    if width == 0 or not len(index):
        return np.zeros((len(index), width), dtype=np.uint8)
    whole = np.ascontiguousarray(matrix).view(f"V{width}").reshape(-1)
    return whole[index].view(np.uint8).reshape(len(index), width)
