"""Columns in memory: numbers, and rows of differing length, with their nulls."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Corrupt, Invalid
from tiffin.wire.quantise import Array

__all__ = [
    "Mask",
    "Ragged",
    "Values",
    "ends",
    "gather",
    "int_lists",
    "join",
    "spans",
    "strings",
    "take",
    "to_int_lists",
    "to_strings",
    "windows",
]

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """A column of numbers.

    Args:
        data: `(rows,)`, or `(rows, size)` for vectors. Canonical dtypes: int8..int64, float32, bool,
            int64 µs for instants, float32 for vectors; a null's number is 0.
        valid: `(rows,)` bool, or None when no row is null.
    """

    data: Array
    valid: Mask | None = None

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """A column of strings or lists: row `i` is `data[offsets[i]:offsets[i + 1]]`.

    Args:
        offsets: `(rows + 1,)` int64.
        data: uint8 UTF-8 bytes (strings) or int64 (lists of whole numbers).
        valid: `(rows,)` bool, or None when no row is null; canonical nulls have length 0.
    """

    offsets: npt.NDArray[np.int64]
    data: Array
    valid: Mask | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1


def join(pieces: Sequence[bytes], valid: Mask | None) -> Ragged:
    """One column of byte strings."""
    lengths = np.fromiter((len(piece) for piece in pieces), dtype=np.int64, count=len(pieces))
    return Ragged(ends(lengths), np.frombuffer(b"".join(pieces), dtype=np.uint8), valid)


def ends(lengths: npt.NDArray[np.int64] | Mask) -> npt.NDArray[np.int64]:
    """Offsets of consecutive pieces: 0, then the running sum."""
    offsets = np.empty(len(lengths) + 1, dtype=np.int64)
    offsets[0] = 0
    np.add.accumulate(lengths, dtype=np.int64, out=offsets[1:])
    return offsets


def spans(starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Indices of the pieces `[start, start + length)`, one after the other."""
    offsets = ends(lengths)
    return np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1], dtype=np.int64)


def windows(data: Array, starts: npt.NDArray[np.int64], width: int) -> Array:
    """Equally long pieces of `data`: `(pieces, width)` uint8, a copy.

    Args:
        data: contiguous uint8.
        starts: `(pieces,)`; each with at least `width` bytes after it.
    """
    if not len(starts) or not width:
        return np.zeros((len(starts), width), dtype=np.uint8)
    if int(starts.min()) < 0 or int(starts.max()) + width > len(data):
        raise IndexError(f"a piece of {width} bytes does not lie within {len(data)} bytes")
    # one item per possible start: a piece is copied whole, not byte by byte
    every: Array = np.ndarray((len(data) - width + 1,), f"V{width}", data, 0, (1,))
    return every[starts].view(np.uint8).reshape(len(starts), width)


def gather(data: Array, starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> Array:
    """The pieces of `data` that `spans` names."""
    if len(starts) and starts[0] == 0 and int(lengths.sum()) == len(data) and np.array_equal(ends(lengths)[:-1], starts):
        return data
    return data[spans(starts, lengths)]


def strings(items: Sequence[str | None]) -> Ragged:
    """A string column from Python text; None is null."""
    try:
        pieces = [b"" if item is None else item.encode() for item in items]
    except UnicodeEncodeError as err:
        raise Invalid(f"text {err.object[:24]!r} cannot be UTF-8: {err.reason}", fix="replace lone surrogates in the transform") from err
    valid = np.fromiter((item is not None for item in items), dtype=np.bool_, count=len(items))
    return join(pieces, None if valid.all() else valid)


def to_strings(ragged: Ragged) -> list[str | None]:
    """Python text of a string column; null is None."""
    raw = ragged.data.tobytes()
    offsets = ragged.offsets.tolist()
    try:
        texts: list[str | None] = [raw[start:end].decode() for start, end in itertools.pairwise(offsets)]
    except UnicodeDecodeError as err:
        raise Corrupt(f"a stored string is not UTF-8: {err.reason}", fix="publish the view again") from err
    if ragged.valid is not None:
        for row in np.flatnonzero(~ragged.valid).tolist():
            texts[row] = None
    return texts


def int_lists(items: Sequence[Sequence[int] | None]) -> Ragged:
    """A column of lists of whole numbers from Python; None is null."""
    lengths = np.fromiter((0 if item is None else len(item) for item in items), dtype=np.int64, count=len(items))
    data = np.array([number for item in items if item is not None for number in item], dtype=np.int64)
    valid = np.fromiter((item is not None for item in items), dtype=np.bool_, count=len(items))
    return Ragged(ends(lengths), data, None if valid.all() else valid)


def to_int_lists(ragged: Ragged) -> list[list[int] | None]:
    """Python lists of a column of lists; null is None."""
    numbers, offsets = ragged.data.tolist(), ragged.offsets.tolist()
    lists: list[list[int] | None] = [numbers[start:end] for start, end in itertools.pairwise(offsets)]
    if ragged.valid is not None:
        for row in np.flatnonzero(~ragged.valid).tolist():
            lists[row] = None
    return lists


def concat(pieces: Sequence[Values | Ragged]) -> Values | Ragged:
    """Canonical columns of one kind, one after the other; at least one."""
    valid = None
    if any(piece.valid is not None for piece in pieces):
        valid = np.concatenate([np.ones(len(piece), dtype=np.bool_) if piece.valid is None else piece.valid for piece in pieces])
    data = np.concatenate([piece.data for piece in pieces])
    ragged = [piece for piece in pieces if isinstance(piece, Ragged)]
    if not ragged:
        return Values(data, valid)
    return Ragged(ends(np.concatenate([np.diff(piece.offsets) for piece in ragged])), data, valid)


@overload
def take(values: Values, index: npt.NDArray[np.int64]) -> Values: ...
@overload
def take(values: Ragged, index: npt.NDArray[np.int64]) -> Ragged: ...
@overload
def take(values: Values | Ragged, index: npt.NDArray[np.int64]) -> Values | Ragged: ...
def take(values: Values | Ragged, index: npt.NDArray[np.int64]) -> Values | Ragged:
    """Rows of a canonical column by position; a null where `index` is -1.

    Args:
        index: `(n,)` positions, -1 for "no such row".
    """
    present = index >= 0
    safe = np.where(present, index, 0)
    if values.valid is not None and len(values):
        present = present & values.valid[safe]
    valid = None if present.all() else present
    if isinstance(values, Ragged):
        if not len(values):
            return Ragged(np.zeros(len(index) + 1, dtype=np.int64), values.data[:0], valid)
        starts = values.offsets[safe]
        lengths = np.where(present, values.offsets[safe + 1] - starts, 0)
        return Ragged(ends(lengths), values.data[spans(starts, lengths)], valid)
    data = values.data[safe] if len(values) else np.zeros((len(index), *values.data.shape[1:]), values.data.dtype)
    if valid is not None:
        data[~present] = 0
    return Values(data, valid)
