"""A reader's side of a cluster: one request per shard, all nodes at once, and the pointer verified after the rows.

A slot on the move answers some keys and not others: what a shard cannot answer as a whole is asked for key by key, each at
the node that has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiffin.core.errors import Corrupt, NotReady
from tiffin.online.cluster import Cluster
from tiffin.online.dense import bucket_name, bucket_of
from tiffin.online.key_hash import hash_keys
from tiffin.online.places import Shard, home_name, shard_tags
from tiffin.online.redis import translated
from tiffin.online.requests import command
from tiffin.online.source import Answer, Ask
from tiffin.online.views import LivePointer
from tiffin.wire.packed import join_rows

__all__ = ["ClusterRows"]


@dataclass(frozen=True, slots=True)
class Part:
    """What one shard is asked for one view.

    Args:
        ask, places: whose rows these are: the ask's number, and places among its keys.
        names, fields: a row's name, or its bucket's and its key.
    """

    ask: int
    shard: Shard
    places: list[int]
    names: list[bytes]
    fields: list[bytes] | None

    @property
    def requests(self) -> list[bytes]:
        """Commands whose answers are the rows in order, then the shard's word that all its rows stand."""
        if self.fields is None:
            return [command(b"MGET", *self.names, self.shard.whole)]
        return [*map(self.single, range(len(self.names))), command(b"GET", self.shard.whole)]

    def single(self, place: int) -> bytes:
        """The command for one row."""
        return command(b"GET", self.names[place]) if self.fields is None else command(b"HGET", self.names[place], self.fields[place])


class ClusterRows:
    """`RowSource` of a cluster.

    Args:
        cluster: its patience is how long a read may wait for a failover.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.seen: dict[bytes, bytes] = {}

    def words(self, names: Sequence[bytes]) -> list[bytes | None]:
        with translated("reading words of the online store"):
            return self.cluster.ask([(home, command(b"GET", home)) for home in map(home_name, names)])

    def fetch(self, asks: Sequence[Ask]) -> list[Answer]:
        with translated(f"reading {', '.join(ask.ref for ask in asks)}"):
            return self.cluster.patiently(lambda: self.once(asks))

    def once(self, asks: Sequence[Ask]) -> list[Answer]:
        """Rows first; then the pointers, which say whether they still were the live ones."""
        parts = [part for number, ask in enumerate(asks) for part in parts_of(number, ask)]
        found: list[list[bytes | None]] = [[None] * len(ask.keys) for ask in asks]
        lost: set[int] = set()
        for part, rows in zip(parts, self.ask_all(parts), strict=True):
            if rows[-1] is None:
                lost.add(part.ask)
            for place, row in zip(part.places, rows, strict=False):
                found[part.ask][place] = row
        after = self.words([ask.pointer_key for ask in asks])
        return [
            self.judged(ask, rows, pointer, whole=number not in lost)
            for number, (ask, rows, pointer) in enumerate(zip(asks, found, after, strict=True))
        ]

    def judged(self, ask: Ask, rows: list[bytes | None], pointer: bytes | None, *, whole: bool) -> Answer:
        """The answer goes with the pointer as it was before the rows: its watermark promises no more than they hold."""
        before, nothing = self.seen.get(ask.pointer_key), join_rows([])
        if pointer is None:
            self.seen.pop(ask.pointer_key, None)
            return Answer(None, nothing, np.zeros(len(rows), dtype=np.bool_), steady=False)
        self.seen[ask.pointer_key] = pointer
        if LivePointer.from_bytes(pointer, name=ask.ref).generation != ask.pointer.generation:
            return Answer(pointer, nothing, np.zeros(len(rows), dtype=np.bool_), steady=False)
        if not whole:
            raise NotReady(
                f"view {ask.ref}: a shard of its live generation is gone",
                fix="wait until it is refilled from its segments",
                context={"view": ask.ref},
            )
        if before is None or LivePointer.from_bytes(before, name=ask.ref).generation != ask.pointer.generation:
            before = ask.pointer.to_bytes()
        present = np.fromiter((row is not None for row in rows), dtype=np.bool_, count=len(rows))
        return Answer(before, join_rows([row for row in rows if row is not None]), None if present.all() else present)

    def ask_all(self, parts: Sequence[Part]) -> list[list[bytes | None]]:
        """The rows and the mark of every part."""
        answers = self.cluster.ask_nodes([(part.shard.prefix, part.requests) for part in parts])
        return [self.completed(part, answer) for part, answer in zip(parts, answers, strict=True)]

    def completed(self, part: Part, answer: list[Any]) -> list[bytes | None]:
        """A part's rows; what was refused because its slot is on the move is asked for again, key by key."""
        if part.fields is None and not isinstance(answer[0], Exception):
            return list(answer[0])
        if part.fields is None:
            answer = [answer[0]] * (len(part.names) + 1)
        singles = [*map(part.single, range(len(part.names))), command(b"GET", part.shard.whole)]
        names = [*part.names, part.shard.whole]
        return [self.cluster.settled(name, request, found) for name, request, found in zip(names, singles, answer, strict=True)]


def parts_of(number: int, ask: Ask) -> list[Part]:
    """What each shard is asked for."""
    pointer, team_view = ask.pointer, ask.ref.split("/", 1)
    if not pointer.shards:
        raise Corrupt(f"view {ask.ref}: its pointer names no shards: it is one of a single server", fix="publish the view again")
    keys = [key.tobytes() for key in ask.keys] if isinstance(ask.keys, np.ndarray) else list(ask.keys)
    buckets = bucket_of(ask.keys, pointer.buckets) if pointer.buckets else None
    shard_of = (hash_keys(ask.keys) if buckets is None else buckets) % pointer.shards
    tags = shard_tags(team_view[0], team_view[1], pointer.shards)
    parts = []
    for shard_number in np.unique(shard_of).tolist():
        places = np.flatnonzero(shard_of == shard_number).tolist()
        shard = Shard(ask.prefix + tags[shard_number], b"")
        if buckets is None:
            parts.append(Part(number, shard, places, [shard.prefix + keys[place] for place in places], None))
        else:
            names = [bucket_name(shard.prefix, int(buckets[place])) for place in places]
            parts.append(Part(number, shard, places, names, [keys[place] for place in places]))
    return parts
