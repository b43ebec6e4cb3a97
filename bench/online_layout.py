"""The published layout: one hash an entity, 32-bit hashes of the feature names, decimal text.

Read in two ways: with redis-py and hiredis, as people do, and with the fairest client that we could write: request bytes
made ready before the clock starts, replies parsed by hiredis alone. Both end in the same numpy columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import hiredis
import numpy as np
import numpy.typing as npt
import xxhash

from bench.online_data import Rows
from bench.online_floor import RawClient, command
from bench.online_servers import Server

__all__ = ["PublishedLayout"]

BATCH = 1000


@dataclass
class PublishedLayout:
    """The rows as hashes `bench:<entity>`."""

    server: Server
    rows: Rows

    def __post_init__(self) -> None:
        self.client = self.server.client()
        self.raw = RawClient(self.server)
        names = list(self.rows.columns)
        self.fields = [xxhash.xxh32(name.encode()).digest() for name in names]
        self.text_columns = [place for place, name in enumerate(names) if name.startswith("s")]
        self.numbers = len(names) - len(self.text_columns)

    def names(self, ids: npt.NDArray[Any]) -> list[bytes]:
        """The server's keys."""
        return [b"bench:%d" % one for one in ids.tolist()]

    def write(self) -> None:
        """HSET of every entity, pipelined by redis-py; nulls are left out."""
        names, texts = self.names(self.rows.ids), self.rows.texts
        for start in range(0, len(names), BATCH):
            pipe = self.client.pipeline(transaction=False)
            for name, row in zip(names[start : start + BATCH], texts[start : start + BATCH], strict=True):
                pipe.hset(name, mapping={field: text for field, text in zip(self.fields, row, strict=True) if text is not None})
            pipe.execute()

    def read(self, ids: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """HMGET of every entity, pipelined by redis-py."""
        pipe = self.client.pipeline(transaction=False)
        for name in self.names(ids):
            pipe.hmget(name, self.fields)
        return self.columns(pipe.execute())

    def prepare(self, ids: npt.NDArray[Any]) -> bytes:
        """The same request as bytes."""
        return b"".join(command([b"HMGET", name, *self.fields]) for name in self.names(ids))

    def read_prepared(self, request: bytes, count: int) -> list[npt.NDArray[Any]]:
        """Send prepared bytes, let hiredis parse what comes."""
        self.raw.socket.sendall(request)
        reader, found = hiredis.Reader(), []
        view = memoryview(self.raw.buffer)
        while len(found) < count:
            size = self.raw.socket.recv_into(view)
            reader.feed(view[:size])
            while (row := reader.gets()) is not False:
                found.append(row)
        return self.columns(found)

    def columns(self, found: Sequence[Sequence[bytes | None]]) -> list[npt.NDArray[Any]]:
        """`(rows, 17)` float32 with NaN for null, and one array of text for each string."""
        flat = np.array([item or b"nan" for item in chain.from_iterable(row[: self.numbers] for row in found)])
        numbers = flat.astype(np.float32).reshape(len(found), self.numbers)
        return [numbers, *(np.array([row[place] or b"" for row in found]) for place in self.text_columns)]
