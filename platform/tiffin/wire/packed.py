"""Packed rows or keys in memory: one after the other, or side by side as a matrix when all have one width."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from tiffin.wire.columns import ends, spans

__all__ = ["Packed", "even", "from_matrix", "join_rows", "rank", "split_rows", "take_matrix", "take_rows"]

# Longer keys are rare: they are sorted one by one rather than padded.
LONGEST_RANKED = 256
# Offsets of so many even rows are kept for the next ones.
USUAL = 1 << 14
Bytes = npt.NDArray[np.uint8]
Longs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Rows or keys, one after the other: row `i` is `data[offsets[i]:offsets[i + 1]]`.

    Args:
        data: uint8.
        offsets: `(rows + 1,)` int64, from 0 to `len(data)`.
        width: bytes of every row, where that is known beforehand; 0: the offsets tell.
    """

    data: Bytes
    offsets: Longs
    width: int = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def matrix(self) -> Bytes | None:
        """`(rows, width)`, the same memory; None when rows differ in length, are empty, or there is none."""
        rows = len(self)
        if rows == 0 or len(self.data) == 0 or len(self.data) % rows:
            return None
        if self.width:
            return self.data.reshape(rows, self.width)
        width = len(self.data) // rows
        if (np.diff(self.offsets) != width).any():
            return None
        return self.data.reshape(rows, width)


def even(data: Bytes, rows: int, width: int) -> Packed:
    """Rows of one width, one after the other."""
    return Packed(data, usual_offsets(rows, width) if rows <= USUAL else np.arange(rows + 1, dtype=np.int64) * width, width)


@lru_cache(maxsize=64)
def usual_offsets(rows: int, width: int) -> Longs:
    """Requests of one size follow each other; nobody may write into what they share."""
    offsets = np.arange(rows + 1, dtype=np.int64) * width
    offsets.flags.writeable = False
    return offsets


def from_matrix(matrix: Bytes) -> Packed:
    """Rows of one width; their memory is shared when they lie one after the other."""
    rows, width = matrix.shape
    return even(np.ascontiguousarray(matrix).reshape(-1), rows, width)


def join_rows(rows: Sequence[bytes]) -> Packed:
    """Rows as a server or a file gave them."""
    lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
    return Packed(np.frombuffer(b"".join(rows), dtype=np.uint8), ends(lengths))


def split_rows(packed: Packed) -> list[bytes]:
    """Each row as bytes."""
    matrix = packed.matrix
    if matrix is not None:
        whole: list[bytes] = np.ascontiguousarray(matrix).view(f"V{matrix.shape[1]}").reshape(-1).tolist()
        return whole
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
    return whole.take(index).view(np.uint8).reshape(len(index), width)


def rank(packed: Packed) -> tuple[Longs, int | None]:
    """The order in which rows rise as `bytes` do, and the place in it of the first that equals the one after it.

    Returns:
        `(rows,)` positions (of equal rows in any order), and that place, or None when all rows differ.
    """
    lengths = np.diff(packed.offsets)
    width = int(lengths.max(initial=0))
    if width > LONGEST_RANKED:
        rows = split_rows(packed)
        order = np.array(sorted(range(len(rows)), key=rows.__getitem__), dtype=np.int64)
        equal = (place for place, (one, other) in enumerate(itertools.pairwise(order.tolist())) if rows[one] == rows[other])
        return order, next(equal, None)
    words = [lengths, *eighths(packed, lengths, width)] if len(lengths) and int(lengths.min()) != width else eighths(packed, lengths, width)
    if not words:
        return np.arange(len(packed), dtype=np.int64), 0 if len(packed) > 1 else None
    if len(words) == 1:
        return rank_numbers(words[0].astype(np.uint64, copy=False))
    order = np.lexsort(words)
    same = np.ones(max(0, len(order) - 1), dtype=np.bool_)
    for word in words:
        ranked = word[order]
        same &= ranked[1:] == ranked[:-1]
    return order, int(np.argmax(same)) if same.any() else None


def rank_numbers(numbers: npt.NDArray[np.uint64]) -> tuple[Longs, int | None]:
    """`rank` of whole numbers.

    numpy sorts numbers several times as fast as it ranks them, and the more so the more there are: where a number
    and its place fit into 64 bits together, they are sorted as one.
    """
    places = max(0, len(numbers) - 1).bit_length()
    if int(numbers.max(initial=0)).bit_length() + places <= 64:
        mixed = numbers << np.uint64(places)
        mixed |= np.arange(len(numbers), dtype=np.uint64)
        mixed.sort()
        order = (mixed & np.uint64((1 << places) - 1)).astype(np.int64)
        mixed >>= np.uint64(places)
    else:
        order = np.argsort(numbers)
        mixed = numbers.take(order)
    same = mixed[1:] == mixed[:-1]
    return order, int(np.argmax(same)) if same.any() else None


def eighths(packed: Packed, lengths: Longs, width: int) -> list[npt.NDArray[np.uint64]]:
    """The rows, padded with zeros, as big-endian numbers of 8 bytes, the last ones first, without leading bytes that all share."""
    rows = len(lengths)
    cells = packed.matrix
    if cells is None:
        cells = np.zeros((rows, width), dtype=np.uint8)
        cells.reshape(-1)[spans(np.arange(rows, dtype=np.int64) * width, lengths)] = packed.data
    shared = (cells == cells[:1]).all(axis=0)
    lead = width if shared.all() else int(np.argmin(shared))
    size = -(-(width - lead) // 8)
    wide = np.zeros((rows, 8 * size), dtype=np.uint8)
    wide[:, : width - lead] = cells[:, lead:]
    numbers = wide.view(">u8").astype(np.uint64)
    if size == 1:
        numbers >>= np.uint64(8 * (8 - width + lead))  # small numbers are ranked faster
    return [numbers[:, place] for place in range(size - 1, -1, -1)]
