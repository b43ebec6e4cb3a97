"""Read whole rows by entity key. Runs inside Triton: numpy and the Redis client, nothing heavier.

One request is one round trip: per view one MGET whose first key is the view's pointer. The server runs an MGET
as one step, so the pointer says which generation the rows beside it belong to; when it moved since the
last request the rows are thrown away and asked for again. A read never mixes generations.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Corrupt, Invalid, NotReady
from tiffin.online.redis import Client, translated
from tiffin.online.views import LivePointer, OnlineView
from tiffin.wire.encodings import Ragged, Values, take
from tiffin.wire.keys import encode_keys, pointer_key, row_prefix, schema_key
from tiffin.wire.rows import join_rows, unpack
from tiffin.wire.schema import RowSchema

__all__ = ["FeatureReader", "ViewRows"]

MOVES = 8


@dataclass(frozen=True, slots=True, eq=False)
class ViewRows:
    """Rows of one view, in the order they were asked for.

    Args:
        columns: by name, in the view's order; an unknown or expired entity is all null.
        found: `(rows,)` bool: the entity is known and its row alive.
        event_time_us: `(rows,)` int64; 0 where not found.
        generation: which edition all these rows are of.
        watermark_us: up to which event time it is complete.
    """

    columns: dict[str, Values | Ragged]
    found: npt.NDArray[np.bool_]
    event_time_us: npt.NDArray[np.int64]
    generation: str
    watermark_us: int


@dataclass(frozen=True, slots=True)
class Known:
    """What the reader remembers of a view between requests: the pointer and how to decode its rows."""

    raw: bytes
    pointer: LivePointer
    schema: RowSchema
    prefix: bytes


class FeatureReader:
    """Reads rows of some views from one server.

    Args:
        client: from `tiffin.online.redis.connect`, any user that may MGET and GET.
        views: what to read; fixed for the reader's life.
        now_us: the wall in µs; a generation that replays history brings its own instant.
    """

    def __init__(self, client: Client, views: Sequence[OnlineView], *, now_us: Callable[[], int]) -> None:
        self.client = client
        self.views = tuple(views)
        self.now_us = now_us
        self.pointers = {view.ref: pointer_key(view.team, view.name) for view in views}
        self.known: dict[str, Known] = {}

    def read(self, keys: Mapping[str, Sequence[Any] | npt.NDArray[Any]]) -> dict[str, ViewRows]:
        """Rows of every view, by `"team/view"`.

        Args:
            keys: by key column name, each `(rows,)`; a null part means an unknown entity.

        Raises:
            NotReady: a view has no generation in the server, or the server does not answer.
            Corrupt: wrong bytes in the server; names view and key.
            Invalid: a key column is missing or of the wrong type.
        """
        asked = {view.ref: Asked.of(view, keys) for view in self.views}
        waiting = list(self.views)
        rows: dict[str, ViewRows] = {}
        if any(view.ref not in self.known for view in waiting):
            self.look(waiting)
        for _ in range(MOVES):
            answers = self.fetch(waiting, asked)
            moved: list[OnlineView] = []
            for view, answer in zip(waiting, answers, strict=True):
                if self.learn(view, answer[0]):
                    moved.append(view)
                else:
                    rows[view.ref] = decode(view, self.known[view.ref], asked[view.ref], answer[1:], now_us=self.now_us)
            if not moved:
                return {view.ref: rows[view.ref] for view in self.views}
            waiting = moved
        names = ", ".join(view.ref for view in waiting)
        raise NotReady(f"reading {names}: a new generation went live {MOVES} times during one read", fix="ask again")

    def look(self, views: Sequence[OnlineView]) -> None:
        """Learn the pointers of all views without reading rows: the first request's extra round trip."""
        with translated("reading the online store's pointers"):
            found = self.client.mget([self.pointers[view.ref] for view in views])
        for view, raw in zip(views, found, strict=True):
            self.learn(view, raw if isinstance(raw, bytes) else None)

    def fetch(self, views: Sequence[OnlineView], asked: Mapping[str, Asked]) -> list[list[bytes | None]]:
        """Pointer and rows of each view, in one round trip."""
        with translated(f"reading {', '.join(view.ref for view in views)}"):
            pipe = self.client.pipeline(transaction=False)
            for view in views:
                prefix = self.known[view.ref].prefix
                pipe.mget([self.pointers[view.ref], *[prefix + key for key in asked[view.ref].unique]])
            answers: list[list[bytes | None]] = pipe.execute()
        return answers

    def learn(self, view: OnlineView, raw: bytes | None) -> bool:
        """Remember the pointer; True when rows asked for before belong to another generation."""
        before = self.known.get(view.ref)
        if raw is None:
            self.known.pop(view.ref, None)
            raise NotReady(
                f"view {view.ref} has no generation in the online store",
                fix="materialise its online asset; after a restart wait until the agent has refilled it from its segments",
                context={"view": view.ref},
            )
        if before is not None and before.raw == raw:
            return False
        pointer = LivePointer.from_bytes(raw, name=view.ref)
        if before is not None and (before.pointer.generation, before.pointer.schema) == (pointer.generation, pointer.schema):
            self.known[view.ref] = replace(before, raw=raw, pointer=pointer)
            return False
        try:
            prefix = row_prefix(view.team, view.name, pointer.generation.encode())
        except (Invalid, UnicodeError) as err:
            raise Corrupt(f"view {view.ref}: its pointer names no generation: {raw[:60]!r}", fix="publish the view again") from err
        self.known[view.ref] = Known(raw, pointer, self.schema_of(view, pointer), prefix)
        return True

    def schema_of(self, view: OnlineView, pointer: LivePointer) -> RowSchema:
        """The schema of the live rows: ours, or one fetched once, if it still has all our columns."""
        if pointer.schema == view.schema.digest:
            return view.schema
        with translated(f"reading the schema of {view.ref}"):
            raw = self.client.get(schema_key(view.team, view.name, pointer.schema))
        try:
            schema = RowSchema.from_json(json.loads(raw))  # type: ignore[arg-type]  # None and others are Corrupt
        except (ValueError, TypeError, KeyError) as err:
            raise Corrupt(
                f"view {view.ref}: schema {pointer.schema_number} in the online store is not readable", fix="publish it again"
            ) from err
        if schema.digest != pointer.schema:
            raise Corrupt(f"view {view.ref}: schema {pointer.schema_number} is not the one its pointer names", fix="publish it again")
        live = {column.name: column.encoding for column in schema.columns}
        for column in view.schema.columns:
            if live.get(column.name) != column.encoding:
                raise NotReady(
                    f"view {view.ref} is live under schema {schema.number}, where column {column.name!r} is "
                    f"{live.get(column.name, 'missing')}: this reader wants {column.encoding}",
                    fix="deploy a model trained on the new schema, or roll the view back",
                    context={"view": view.ref, "column": column.name},
                )
        return schema


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """The keys of one request for one view: each once, and which of them each row wants (-1: no key)."""

    unique: list[bytes]
    index: npt.NDArray[np.int64]

    @classmethod
    def of(cls, view: OnlineView, keys: Mapping[str, Sequence[Any] | npt.NDArray[Any]]) -> Asked:
        """Encode and deduplicate: a thousand candidates often share a dozen carriers."""
        encoded, valid = encode_keys(view.keys, keys)
        places: dict[bytes, int] = {}
        index = np.fromiter((places.setdefault(key, len(places)) if key else -1 for key in encoded), dtype=np.int64, count=len(encoded))
        return cls(list(places), np.where(valid, index, -1))


def decode(view: OnlineView, known: Known, asked: Asked, raw: Sequence[bytes | None], *, now_us: Callable[[], int]) -> ViewRows:
    """Rows of one generation, spread over the request's order."""
    present = [place for place, row in enumerate(raw) if row is not None]
    try:
        columns, event_time_us = unpack(known.schema, join_rows([row for row in raw if row is not None]))
    except Corrupt as err:
        row = err.context.get("row")
        key = asked.unique[present[row]] if isinstance(row, int) else b"?"
        raise Corrupt(
            f"view {view.ref}, key {key!r}: {err.message}", fix=err.fix, context={**err.context, "view": view.ref, "key": repr(key)}
        ) from err
    ttl_us = view.ttl_us
    alive = np.ones(len(present), dtype=np.bool_)
    if ttl_us is not None:
        now = known.pointer.as_of_us if known.pointer.as_of_us is not None else now_us()
        alive = now - event_time_us <= ttl_us
    # one place more, always -1: the rows without a key point there
    rank = np.full(len(raw) + 1, -1, dtype=np.int64)
    rank[present] = np.where(alive, np.arange(len(present)), -1)
    index = rank[asked.index]
    found = index >= 0
    times = np.zeros(len(index), dtype=np.int64)
    times[found] = event_time_us[index[found]]
    wanted = {column.name: take(columns[column.name], index) for column in view.schema.columns}
    return ViewRows(wanted, found, times, known.pointer.generation, known.pointer.watermark_us)
