"""How the rows of a generation stand in a server: one value each, or many in one hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Invalid, Unsupported
from tiffin.online.dense import BUCKET_LIMIT, ENTRY_LIMIT, bucket_name, bucket_names, bucket_of
from tiffin.online.editions import Edition
from tiffin.online.guarded_load import Batch
from tiffin.online.key_hash import hash_keys
from tiffin.online.keyed_rows import KeyedRows
from tiffin.online.places import Shard
from tiffin.online.redis import Client
from tiffin.online.requests import bulks, command, fields, header, pairs, sets_until, word
from tiffin.online.row_index import NO_ROWS, all_buckets, indexed
from tiffin.online.scripts import APPLY, APPLY_DENSE
from tiffin.wire.packed import Packed, join_rows

__all__ = ["Delta", "RowLayout", "layout_of", "probe"]

Stamps = npt.NDArray[np.int64] | None


@dataclass(frozen=True, slots=True)
class Delta:
    """A script over a batch of a delta, after the fence's words.

    Args:
        names, arguments: their words: a name for each row, and `count` arguments.
    """

    script: str
    names: bytes
    arguments: bytes
    count: int


class RowLayout(Protocol):
    """Turns rows of one shard into commands."""

    buckets: bool

    def shard_of(self, keys: Packed, shards: int) -> npt.NDArray[np.int64]:
        """Which shard each row stands in."""
        ...

    def check(self, rows: KeyedRows) -> None:
        """Raises Invalid when the layout has no room for such rows."""
        ...

    def listing(self, number: int, shards: int) -> tuple[bytes, bytes] | None:
        """An entry of the index that lists the names of all rows that a shard may ever hold."""
        ...

    def load(self, shard: Shard, rows: KeyedRows, *, field: bytes, stamps: Stamps) -> Batch:
        """The commands that write a batch and its entry in the index."""
        ...

    def delta(self, shard: Shard, rows: KeyedRows, *, stamps: Stamps) -> Delta:
        """The script that writes a batch of a delta."""
        ...

    def read(self, client: Client, shard: Shard, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows by key."""
        ...


def layout_of(edition: Edition) -> RowLayout:
    """The layout that an edition names."""
    return DenseRows(edition.ref, edition.buckets) if edition.buckets else PlainRows()


class PlainRows:
    """One value per row."""

    buckets = False

    def shard_of(self, keys: Packed, shards: int) -> npt.NDArray[np.int64]:
        return (hash_keys(keys) % np.uint32(shards)).astype(np.int64)

    def check(self, rows: KeyedRows) -> None:
        """Any row will do."""

    def listing(self, number: int, shards: int) -> tuple[bytes, bytes] | None:
        return None

    def load(self, shard: Shard, rows: KeyedRows, *, field: bytes, stamps: Stamps) -> Batch:
        entry = command(b"HSET", shard.index, field, indexed(shard.prefix, rows))
        if stamps is None:
            return Batch(shard, header(1 + 2 * len(rows)) + word(b"MSET") + pairs(shard.prefix, rows) + entry, 2)
        return Batch(shard, sets_until(shard.prefix, rows, stamps) + entry, len(rows) + 1)

    def delta(self, shard: Shard, rows: KeyedRows, *, stamps: Stamps) -> Delta:
        words = [word(b"0" if stamps is None else b"1"), bulks(b"", rows.rows)]
        if stamps is not None:
            words += [word(b"%d" % stamp) for stamp in stamps.tolist()]
        count = 1 + len(rows) * (1 if stamps is None else 2)
        return Delta(APPLY, bulks(shard.prefix, rows.keys), b"".join(words), count)

    def read(self, client: Client, shard: Shard, keys: Sequence[bytes]) -> list[bytes | None]:
        found: Any = client.mget([shard.prefix + key for key in keys])
        return list(found)


class DenseRows:
    """Many rows in one hash, see `tiffin.online.dense`. The server drops none of them by itself.

    Args:
        view: what errors call it.
    """

    buckets = True

    def __init__(self, view: str, count: int) -> None:
        self.view = view
        self.count = count
        self.filled = np.zeros(count, dtype=np.int32)

    def shard_of(self, keys: Packed, shards: int) -> npt.NDArray[np.int64]:
        return bucket_of(keys, self.count) % shards

    def check(self, rows: KeyedRows) -> None:
        longest = max((int(np.diff(packed.offsets).max(initial=0)) for packed in (rows.keys, rows.rows)), default=0)
        if longest > ENTRY_LIMIT:
            raise Invalid(
                f"view {self.view}: a key or a row has {longest} bytes: layout 'dense' holds at most {ENTRY_LIMIT}",
                fix="use layout='plain' for it, narrower types, or split the view",
                context={"view": self.view},
            )

    def listing(self, number: int, shards: int) -> tuple[bytes, bytes] | None:
        return b"buckets+0", all_buckets(number, self.count, max(shards, 1))

    def load(self, shard: Shard, rows: KeyedRows, *, field: bytes, stamps: Stamps) -> Batch:
        buckets = bucket_of(rows.keys, self.count)
        self.filled += np.bincount(buckets, minlength=self.count).astype(np.int32)
        if int(self.filled.max()) > BUCKET_LIMIT:
            raise Invalid(
                f"view {self.view}: a bucket would hold {int(self.filled.max())} rows", fix="publish the view again; are keys repeated?"
            )
        entry = command(b"HSET", shard.index, field, NO_ROWS)
        return Batch(shard, fields(shard.prefix, bucket_names(buckets), rows) + entry, len(rows) + 1)

    def delta(self, shard: Shard, rows: KeyedRows, *, stamps: Stamps) -> Delta:
        names = b"".join(word(bucket_name(shard.prefix, bucket)) for bucket in bucket_of(rows.keys, self.count).tolist())
        words = word(b"%d" % BUCKET_LIMIT) + bulks(b"", rows.keys) + bulks(b"", rows.rows)
        return Delta(APPLY_DENSE, names, words, 1 + 2 * len(rows))

    def read(self, client: Client, shard: Shard, keys: Sequence[bytes]) -> list[bytes | None]:
        pipe = client.pipeline(transaction=False)
        for bucket, key in zip(bucket_of(join_rows(keys), self.count).tolist(), keys, strict=True):
            pipe.hget(bucket_name(shard.prefix, bucket), key)
        found: list[bytes | None] = pipe.execute()
        return found


PROBE = 8


def probe(client: Client, name: bytes, *, view: str) -> None:
    """Fill a hash as full as a bucket may get, and see whether the server still keeps it as one block.

    Tried rather than asked: a publisher's user may not read the server's configuration.

    Raises:
        Unsupported: it unpacks such hashes.
    """
    value = b"\xff" * ENTRY_LIMIT
    pipe = client.pipeline(transaction=False)
    pipe.unlink(name)
    pipe.hset(name, mapping={b"%d" % number + value[: ENTRY_LIMIT - PROBE]: value for number in range(BUCKET_LIMIT)})
    pipe.object("encoding", name)
    pipe.unlink(name)
    encoding: Any = pipe.execute()[2]
    if encoding not in (b"listpack", b"ziplist"):
        found = encoding.decode(errors="replace") if isinstance(encoding, bytes) else encoding
        raise Unsupported(
            f"view {view} cannot use layout 'dense': the server keeps a hash of {BUCKET_LIMIT} rows of {ENTRY_LIMIT} bytes as {found}",
            fix=f"set hash-max-listpack-entries to {BUCKET_LIMIT} and -value to {ENTRY_LIMIT} or more, or use layout='plain'",
            context={"view": view},
        )
