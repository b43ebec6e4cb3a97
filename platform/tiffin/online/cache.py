"""A client-side cache of rows, bounded in bytes, that is never staler than a read without it.

Every request still asks the server for the pointer, in the same round trip as the rows that the cache lacks. Rows are
kept under the exact pointer they were read with: when another one comes back (a flip, a roll back, a finished delta), what
was cached is dropped and the reader asks again. So a cache saves the server's work and the bytes, not the round trip.

While a delta is being written, before its watermark moves, a cached row may still be the one before the delta: its
watermark has not promised more.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tiffin.online.resp import answer_of
from tiffin.online.source import Answer, Ask, AsyncRowSource, KeyRows, RowSource
from tiffin.online.views import LivePointer
from tiffin.wire.packed import Packed, split_rows

__all__ = ["AsyncCachedSource", "CachedSource", "RowCache"]

OVERHEAD = 150
"""Bytes that Python needs for an entry beside its key and row, about."""
NO_KEYS: KeyRows = ()


@dataclass(slots=True, eq=False)
class Kept:
    """Rows of one view under one pointer, young and old: what is asked for again moves to the young half, and when that
    is full the old half is forgotten. None: the server has no such row."""

    pointer: LivePointer
    raw: bytes
    young: dict[bytes, bytes | None] = field(default_factory=dict)
    old: dict[bytes, bytes | None] = field(default_factory=dict)
    size_bytes: int = 0


class RowCache:
    """The rows, for any number of threads.

    Args:
        max_bytes: about how much memory it may take for each view.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.half_bytes = max(1, max_bytes // 2)
        self.views: dict[str, Kept] = {}
        self.lock = threading.Lock()

    def look(self, ask: Ask) -> Looked:
        """What is there of the keys asked for."""
        keys = [bytes(key) for key in ask.keys]
        with self.lock:
            kept = self.views.get(ask.ref)
            if kept is None or kept.pointer != ask.pointer:
                return Looked(ask, None, keys, {})
            found: dict[bytes, bytes | None] = {}
            for key in keys:
                if key in kept.young:
                    found[key] = kept.young[key]
                elif key in kept.old:
                    found[key] = row = kept.old[key]
                    self.add(kept, key, row)
        return Looked(ask, kept.raw, keys, found)

    def add(self, kept: Kept, key: bytes, row: bytes | None) -> None:
        """Into the young half; the old one makes room."""
        kept.young[key] = row
        kept.size_bytes += OVERHEAD + len(key) + len(row or b"")
        if kept.size_bytes > self.half_bytes:
            kept.old, kept.young, kept.size_bytes = kept.young, {}, 0

    def keep(self, ask: Ask, raw: bytes, rows: dict[bytes, bytes | None]) -> None:
        """Remember rows that were read under the pointer that was asked under."""
        with self.lock:
            kept = self.views.get(ask.ref)
            if kept is None or kept.raw != raw:
                kept = self.views[ask.ref] = Kept(ask.pointer, raw)
            for key, row in rows.items():
                self.add(kept, key, row)


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """One view's look-up: what was found, and what must be asked for."""

    ask: Ask
    raw: bytes | None
    keys: list[bytes]
    found: dict[bytes, bytes | None]

    @property
    def missing(self) -> Ask:
        """The rest of the question: it may be without a key, for the pointer alone."""
        if not self.found:
            return self.ask
        return replace(self.ask, keys=[key for key in self.keys if key not in self.found])

    def whole(self, answer: Answer, cache: RowCache) -> Answer:
        """The answer to the whole question, or one that says: it moved, ask again."""
        if answer.pointer is None or not answer.steady:
            return answer
        live = LivePointer.from_bytes(answer.pointer, name=self.ask.ref) if self.raw is None else None
        if (answer.pointer != self.raw) if live is None else (live != self.ask.pointer):
            # not the pointer that was asked under: these rows may be of it or not, the reader decides; nothing is kept
            return answer if not self.found else Answer(answer.pointer, np.zeros((0, 0), dtype=np.uint8), steady=False)
        fresh = rows_of(answer, [key for key in self.keys if key not in self.found])
        cache.keep(self.ask, answer.pointer, fresh)
        if not self.found:
            return answer
        rows = self.found | fresh
        made = answer_of([answer.pointer, *(rows[key] for key in self.keys)], len(self.keys))
        return replace(made, reply_bytes=answer.reply_bytes, cached=len(self.found))


def rows_of(answer: Answer, keys: Sequence[bytes]) -> dict[bytes, bytes | None]:
    """The rows of an answer by key."""
    rows = split_rows(answer.rows) if isinstance(answer.rows, Packed) else [row.tobytes() for row in answer.rows]
    left = iter(rows)
    there = [True] * len(keys) if answer.present is None else answer.present.tolist()
    return {key: next(left) if present else None for key, present in zip(keys, there, strict=True)}


class CachedSource:
    """A `RowSource` that asks another one only for what its cache lacks."""

    def __init__(self, source: RowSource, cache: RowCache) -> None:
        self.source = source
        self.cache = cache

    def words(self, names: Sequence[bytes]) -> list[bytes | None]:
        """See `RowSource.words`; never cached."""
        return self.source.words(names)

    def fetch(self, asks: Sequence[Ask]) -> list[Answer]:
        """See `RowSource.fetch`."""
        looked = [self.cache.look(ask) for ask in asks]
        answers = self.source.fetch([one.missing for one in looked])
        return [one.whole(answer, self.cache) for one, answer in zip(looked, answers, strict=True)]


class AsyncCachedSource:
    """The same for an event loop."""

    def __init__(self, source: AsyncRowSource, cache: RowCache) -> None:
        self.source = source
        self.cache = cache

    async def words(self, names: Sequence[bytes]) -> list[bytes | None]:
        """See `RowSource.words`; never cached."""
        return await self.source.words(names)

    async def fetch(self, asks: Sequence[Ask]) -> list[Answer]:
        """See `RowSource.fetch`."""
        looked = [self.cache.look(ask) for ask in asks]
        answers = await self.source.fetch([one.missing for one in looked])
        return [one.whole(answer, self.cache) for one, answer in zip(looked, answers, strict=True)]
