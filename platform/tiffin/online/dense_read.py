"""Reading layout "dense": one HMGET a bucket, the pointer before the first and after the last. Pure.

Many commands are not one step, so the pointer is asked for twice: what stood before promises the watermark, and when the
same bytes stand after, no other generation went live in between, so none of the rows had been collected.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.online.dense import bucket_name, bucket_names, bucket_of
from tiffin.online.resp import Unreadable, answer_of, command
from tiffin.online.source import Answer, Ask, Bytes, KeyRows
from tiffin.wire.packed import take_matrix, take_rows

__all__ = ["DenseRequest", "dense_request"]

Longs = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class DenseRequest:
    """A view's part of a request, and how to read what comes back.

    Args:
        data: the commands.
        counts: keys of each HMGET.
        order: `(keys,)` which of the keys asked for each value belongs to.
    """

    data: bytes
    counts: Sequence[int]
    order: Longs

    @property
    def replies(self) -> int:
        """How many replies come back."""
        return len(self.counts) + 2

    def answer(self, replies: Sequence[Any]) -> Answer:
        """The rows in the order asked.

        Raises:
            Unreadable: another number of values than was asked for.
        """
        before, *found, after = replies
        for reply, count in zip(found, self.counts, strict=True):
            if not isinstance(reply, list) or len(reply) != count:
                raise Unreadable(f"expected {count} values, found {str(reply)[:40]!r}")
        ordered = answer_of([before, *chain.from_iterable(found)], len(self.order))
        return Answer(before, *self.spread(ordered), steady=before == after, reply_bytes=ordered.reply_bytes)

    def spread(self, ordered: Answer) -> tuple[Any, npt.NDArray[np.bool_] | None]:
        """Rows as the buckets gave them, brought to the order asked."""
        present = np.ones(len(self.order), dtype=np.bool_)
        place = np.empty(len(self.order), dtype=np.int64)
        if ordered.present is None:
            place[self.order] = np.arange(len(self.order))
        else:
            present[self.order] = ordered.present
            place[self.order] = np.cumsum(ordered.present) - 1
            place = place[present]
        take = take_matrix(ordered.rows, place) if isinstance(ordered.rows, np.ndarray) else take_rows(ordered.rows, place)
        return take, None if ordered.present is None else present


def dense_request(ask: Ask) -> DenseRequest:
    """`GET pointer`, `HMGET bucket key ...` for every bucket that holds one of the keys, `GET pointer`."""
    pointer = command([b"GET", ask.pointer_key])
    buckets = bucket_of(ask.keys, ask.pointer.buckets) if len(ask.keys) else np.zeros(0, dtype=np.int64)
    ranked = np.argsort(buckets, kind="stable")
    starts = np.flatnonzero(np.diff(buckets[ranked], prepend=-1))
    sizes = np.diff(np.append(starts, len(ranked)))
    data, counts, order = [], [], []
    # buckets of which as many keys are wanted make commands of one shape
    for size in np.unique(sizes).tolist():
        first = starts[sizes == size]
        places = ranked[first[:, None] + np.arange(size)]
        data.append(commands(ask.prefix, buckets[ranked[first]], ask.keys, places))
        counts += [size] * len(first)
        order.append(places.reshape(-1))
    return DenseRequest(b"".join([pointer, *data, pointer]), counts, np.concatenate(order) if order else np.zeros(0, dtype=np.int64))


def commands(prefix: bytes, buckets: Longs, keys: KeyRows, places: Longs) -> bytes:
    """HMGETs of some buckets, as many keys of each.

    Args:
        buckets: `(commands,)`.
        places: `(commands, size)` which keys.
    """
    count, size = places.shape
    begin = b"*%d\r\n$5\r\nHMGET\r\n$%d\r\n%b" % (size + 2, len(prefix) + 4, prefix)
    if not isinstance(keys, np.ndarray):
        return b"".join(
            command([b"HMGET", bucket_name(prefix, bucket), *(keys[place] for place in row)])
            for bucket, row in zip(buckets.tolist(), places.tolist(), strict=True)
        )
    width = keys.shape[1]
    head, field = len(begin) + 6, b"$%d\r\n" % width
    cell = len(field) + width + 2
    made: Bytes = np.empty((count, head + size * cell), dtype=np.uint8)
    made[:, : len(begin)] = np.frombuffer(begin, dtype=np.uint8)
    made[:, len(begin) : head - 2] = bucket_names(buckets)
    made[:, head - 2 : head] = np.frombuffer(b"\r\n", dtype=np.uint8)
    cells = made[:, head:].reshape(count, size, cell)  # the same memory
    cells[:, :, : len(field)] = np.frombuffer(field, dtype=np.uint8)
    cells[:, :, len(field) : -2] = keys[places]
    cells[:, :, -2:] = np.frombuffer(b"\r\n", dtype=np.uint8)
    return made.tobytes()
