"""Rows with their keys, both in contiguous buffers: how rows travel from a segment to a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid
from tiffin.wire.columns import ends
from tiffin.wire.packed import Packed, join_rows, split_rows, take_rows

__all__ = ["KeyedRows", "batches", "event_units"]

EVENT_TIME = slice(2, 6)


@dataclass(frozen=True, slots=True, eq=False)
class KeyedRows:
    """Row `i` belongs to key `i`.

    Args:
        keys: entity keys, as from `pack_keys`.
        rows: packed rows, as from `pack`.
    """

    keys: Packed
    rows: Packed

    def __post_init__(self) -> None:
        if len(self.keys) != len(self.rows):
            raise Invalid(f"{len(self.keys)} keys for {len(self.rows)} rows", fix="give every row its key")

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, keys: Sequence[bytes], rows: Sequence[bytes]) -> KeyedRows:
        """From one `bytes` each."""
        return cls(join_rows(keys), join_rows(rows))

    def part(self, start: int, end: int) -> KeyedRows:
        """Some consecutive rows; nothing is copied."""
        return KeyedRows(part_of(self.keys, start, end), part_of(self.rows, start, end))

    def take(self, index: npt.NDArray[np.int64]) -> KeyedRows:
        """Rows by position, copied."""
        return KeyedRows(take_rows(self.keys, index), take_rows(self.rows, index))

    def key_list(self) -> list[bytes]:
        """Each key as bytes."""
        return split_rows(self.keys)

    def row_list(self) -> list[bytes]:
        """Each row as bytes."""
        return split_rows(self.rows)


def part_of(packed: Packed, start: int, end: int) -> Packed:
    """Consecutive rows of `packed`, as views."""
    if packed.width:
        return Packed(packed.data[start * packed.width : end * packed.width], packed.offsets[: end - start + 1], packed.width)
    offsets = packed.offsets[start : end + 1]
    return Packed(packed.data[offsets[0] : offsets[-1]], offsets - offsets[0])


def joined(parts: Sequence[KeyedRows]) -> KeyedRows:
    """Parts, one after the other."""
    if len(parts) == 1:
        return parts[0]
    made = []
    for packs in ([part.keys for part in parts], [part.rows for part in parts]):
        lengths = np.concatenate([np.diff(pack.offsets) for pack in packs])
        made.append(Packed(np.concatenate([pack.data for pack in packs]), ends(lengths)))
    return KeyedRows(*made)


def batches(blocks: Iterable[KeyedRows], size: int) -> Iterator[KeyedRows]:
    """The same rows in the same order, `size` at a time, whatever the blocks were; memory holds one block and one batch."""
    held: list[KeyedRows] = []
    count = 0
    for block in blocks:
        start = 0
        while count + len(block) - start >= size:
            end = start + size - count
            yield joined([*held, block.part(start, end)])
            held, count, start = [], 0, end
        if start < len(block):
            held.append(block.part(start, len(block)))
            count += len(block) - start
    if held:
        yield joined(held)


def event_units(rows: Packed) -> npt.NDArray[np.int64]:
    """`(rows,)` int64: event times as they are stored, in the schema's unit since its epoch."""
    matrix = rows.matrix
    if matrix is not None:
        return matrix[:, EVENT_TIME].view("<u4").reshape(len(rows)).astype(np.int64)
    at = rows.offsets[:-1, None] + np.arange(EVENT_TIME.start, EVENT_TIME.stop)
    return np.ascontiguousarray(rows.data[at]).view("<u4").reshape(len(rows)).astype(np.int64)
