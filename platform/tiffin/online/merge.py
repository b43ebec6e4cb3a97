"""Rows of segments, merged by key as they stream by: per key the newest event time, at a tie the later segment.

Segments are sorted by key, so the merge goes from one span of keys to the next and needs, beside the segments
themselves, memory for one span. All of it works on whole buffers; no row is looked at by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiffin.online.keyed_rows import KeyedRows, event_units
from tiffin.online.plan_steps import Difference
from tiffin.wire.columns import ends
from tiffin.wire.rows import Packed, split_rows

__all__ = ["Block", "MergedRows", "find"]

Longs = npt.NDArray[np.int64]

SPAN = 50_000
WHOLE = 2_000
"""Publications of up to so many rows are read back whole, of larger ones as many, evenly spread."""
LONG_KEY = 64
"""Keys longer than this are compared one by one: padded to one width they would take too much memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Block(KeyedRows):
    """Some rows, as a plan looks at them."""

    def describe(self, difference: Difference) -> tuple[str, str]:
        """The key, and what was expected there."""
        one = self.part(difference.place, difference.place + 1)
        return repr(one.keys.data.tobytes()), repr(one.rows.data[:16].tobytes())


class MergedRows:
    """The rows of one segment, or of several, the later over the earlier.

    Args:
        segments: keys distinct and sorted in each.
        span: rows of the largest segment that are merged at a time.
    """

    def __init__(self, segments: Sequence[KeyedRows], *, span: int = SPAN) -> None:
        self.segments = [segment for segment in segments if len(segment)]
        self.span = span
        self.rows = sum(map(len, self.segments)) if len(self.segments) < 2 else sum(len(block) for block in self)

    def __iter__(self) -> Iterator[Block]:
        if not self.segments:
            return
        largest = max(self.segments, key=len)
        places = [0] * len(self.segments)
        for start in range(0, len(largest), self.span):
            end = min(start + self.span, len(largest))
            last = end == len(largest)
            bound = b"" if last else key_at(largest, end)
            parts: list[KeyedRows] = []
            for number, segment in enumerate(self.segments):
                stop = len(segment) if last else end if segment is largest else first_not_below(segment, bound, places[number])
                if stop > places[number]:
                    parts.append(segment.part(places[number], stop))
                places[number] = stop
            merged = parts[0] if len(parts) == 1 else newest(parts)
            yield Block(merged.keys, merged.rows)

    def sample(self) -> Iterator[Block]:
        """All rows of a small publication; of a large one `WHOLE`, evenly spread over its keys."""
        step = -(-self.rows // WHOLE) if self.rows else 1
        skip = 0
        for block in self:
            index = np.arange(skip, len(block), step, dtype=np.int64)
            skip = (skip - len(block)) % step
            if step == 1:
                yield block
            elif len(index):
                some = block.take(index)
                yield Block(some.keys, some.rows)


def key_at(segment: KeyedRows, place: int) -> bytes:
    """One key."""
    found: bytes = segment.keys.data[segment.keys.offsets[place] : segment.keys.offsets[place + 1]].tobytes()
    return found


def first_not_below(segment: KeyedRows, bound: bytes, low: int) -> int:
    """The first place, from `low` on, whose key is not smaller than `bound`."""
    high = len(segment)
    while low < high:
        middle = (low + high) // 2
        if key_at(segment, middle) < bound:
            low = middle + 1
        else:
            high = middle
    return low


def find(rows: KeyedRows, key: bytes) -> int | None:
    """Where a key stands among sorted ones; None when it does not."""
    place = first_not_below(rows, key, 0)
    return place if place < len(rows) and key_at(rows, place) == key else None


def newest(parts: Sequence[KeyedRows]) -> KeyedRows:
    """One row per key, sorted by key: the newest event time, at a tie that of the latest part."""
    keys = concatenated([part.keys for part in parts])
    rows = concatenated([part.rows for part in parts])
    group = groups(keys)
    # the last of each group wins: sorted by group, then event time; a stable sort keeps the order of the parts
    order = np.lexsort((event_units(rows), group))
    wins = np.append(np.diff(group[order]) != 0, True)
    return KeyedRows(keys, rows).take(order[wins])


def groups(keys: Packed) -> Longs:
    """`(keys,)` the rank of each among the distinct ones, in byte order."""
    lengths = np.diff(keys.offsets)
    width = int(lengths.max())
    if width > LONG_KEY and not (lengths == width).all():
        names = split_rows(keys)
        ranks = {name: rank for rank, name in enumerate(sorted(set(names)))}
        return np.fromiter((ranks[name] for name in names), dtype=np.int64, count=len(names))
    padded = np.zeros((len(keys), width), dtype=np.uint8)
    if (lengths == width).all():
        padded[:] = keys.data.reshape(len(keys), width)
    else:
        # no key of an entity begins another one, so that zeros at its end make no two alike
        padded[np.arange(width) < lengths[:, None]] = keys.data
    _, rank = np.unique(padded.view(f"S{width}").reshape(-1), return_inverse=True)
    return np.asarray(rank, dtype=np.int64).reshape(-1)


def concatenated(packs: Sequence[Packed]) -> Packed:
    """One after the other."""
    lengths = np.concatenate([np.diff(pack.offsets) for pack in packs])
    return Packed(np.concatenate([pack.data for pack in packs]), ends(lengths))
