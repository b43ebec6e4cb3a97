"""A cache changes what a read costs, never what it gives."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.online_case import T0
from tiffin.online.async_reader import AsyncFeatureReader
from tiffin.online.cache import AsyncCachedSource, CachedSource, RowCache
from tiffin.online.metrics import ReadMetrics
from tiffin.online.reader import FeatureReader
from tiffin.online.resp import answer_of
from tiffin.online.source import Answer, Ask
from tiffin.online.views import LivePointer, OnlineView
from tiffin.wire.encodings import Values
from tiffin.wire.keys import encode_keys, pointer_key, row_prefix
from tiffin.wire.rows import pack, split_rows
from tiffin.wire.schema import Column, RowSchema

SCHEMA = RowSchema(1, (Column("value", "i32", nullable=False),))
VIEW = OnlineView("network", "delays", (("id", "int32"),), SCHEMA, None)
REF = "network/delays"


class Server:
    """Rows by generation, a pointer, and how many keys it was asked for."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}
        self.pointer = LivePointer("aaaaaa", "m", SCHEMA.digest, 1, T0, None, None, 0)
        self.asked = 0

    def write(self, token: str, rows: dict[int, int]) -> None:
        """Rows of a generation, live or not."""
        ids = np.array(list(rows), dtype=np.int32)
        values = {"value": Values(np.array(list(rows.values()), dtype=np.int32))}
        packed = split_rows(pack(SCHEMA, values, np.full(len(ids), T0, dtype=np.int64)))
        prefix = row_prefix("network", "delays", token.encode())
        for key, row in zip(encode_keys(VIEW.keys, {"id": ids})[0], packed, strict=True):
            self.held[prefix + key] = row

    def words(self, names: Sequence[bytes]) -> list[bytes | None]:
        known = {**self.held, pointer_key("network", "delays"): self.pointer.to_bytes()}
        return [known.get(name) for name in names]

    def fetch(self, asks: Sequence[Ask]) -> list[Answer]:
        self.asked += sum(len(ask.keys) for ask in asks)
        return [answer_of(self.words([ask.pointer_key, *(ask.prefix + bytes(key) for key in ask.keys)]), len(ask.keys)) for ask in asks]


def values(reader: FeatureReader, ids: Sequence[int]) -> list[int | None]:
    found = reader.read({"id": np.array(ids, dtype=np.int32)})[REF]
    return [value if there else None for value, there in zip(found.columns["value"].data.tolist(), found.found.tolist(), strict=True)]


def reader_of(server: Server, *, max_bytes: int = 1 << 20, **options) -> FeatureReader:
    return FeatureReader(CachedSource(server, RowCache(max_bytes=max_bytes)), [VIEW], now_us=lambda: T0, **options)


@pytest.fixture
def server() -> Server:
    server = Server()
    server.write("aaaaaa", {number: number for number in range(100)})
    return server


def test_only_what_is_not_cached_is_asked_for(server: Server) -> None:
    reader = reader_of(server)
    values(reader, range(10))
    server.asked = 0

    assert values(reader, [*range(5, 12), 5]) == [*range(5, 12), 5]
    assert server.asked == 2
    assert values(reader, range(12)) == list(range(12))
    assert server.asked == 2


def test_an_unknown_entity_is_remembered_as_such(server: Server) -> None:
    reader = reader_of(server)
    values(reader, [500])
    server.asked = 0

    assert values(reader, [500, 1]) == [None, 1]
    assert server.asked == 1


def test_a_flip_forgets_what_was_cached(server: Server) -> None:
    reader = reader_of(server)
    values(reader, range(10))
    server.write("bbbbbb", {number: -number for number in range(100)})
    server.pointer = replace(server.pointer, generation="bbbbbb")

    assert values(reader, range(10)) == [-number for number in range(10)]


def test_a_finished_delta_forgets_what_was_cached(server: Server) -> None:
    reader = reader_of(server)
    values(reader, range(10))
    server.write("aaaaaa", {3: 333})
    server.pointer = replace(server.pointer, deltas=1, watermark_us=T0 + 1)

    assert values(reader, range(5)) == [0, 1, 2, 333, 4]
    assert values(reader, range(5)) == [0, 1, 2, 333, 4]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.lists(st.integers(0, 30), max_size=12)),
        st.tuples(st.just("flip"), st.integers(0, 3)),
        st.tuples(st.just("delta"), st.integers(0, 30)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps, st.sampled_from([1, 1200, 1 << 20]))
def test_a_reader_with_a_cache_gives_what_one_without_gives(steps: list[tuple[str, object]], max_bytes: int) -> None:
    server = Server()
    for token in range(4):
        server.write("abcd"[token] * 6, {one: one * 10 + token for one in range(0, 31, 1 + token)})
    cached, bare = reader_of(server, max_bytes=max_bytes), FeatureReader(server, [VIEW], now_us=lambda: T0)
    for number, (step, what) in enumerate(steps, start=1):
        if step == "read":
            assert values(cached, what) == values(bare, what)  # type: ignore[arg-type]
        elif step == "flip":
            server.pointer = replace(server.pointer, generation="abcd"[what] * 6, manifest=f"m{number}")  # type: ignore[index]
        else:
            server.write(server.pointer.generation, {what: number * 1000})  # type: ignore[dict-item]
            server.pointer = replace(server.pointer, deltas=number)


@pytest.mark.parametrize(("max_bytes", "asked_again"), [(1, 1), (1000, 0), (5000, 0)])
def test_a_cache_keeps_to_its_size_and_still_remembers_what_is_asked_for_again(server: Server, max_bytes: int, asked_again: int) -> None:
    source = CachedSource(server, RowCache(max_bytes=max_bytes))
    reader = FeatureReader(source, [VIEW], now_us=lambda: T0)
    for start in range(0, 100, 5):
        values(reader, [0, *range(start, start + 5)])
        kept = source.cache.views[REF]
        assert sum(150 + len(key) + len(row or b"") for half in (kept.young, kept.old) for key, row in half.items()) <= max_bytes + 2 * 200
    server.asked = 0

    values(reader, [0])

    assert server.asked == asked_again


def test_the_hit_rate_is_told(server: Server) -> None:
    told: list[ReadMetrics] = []
    reader = reader_of(server, watch=told.append)
    values(reader, [1, 2, 2])

    values(reader, [1, 2, 3, 4, 1])

    assert [metrics.hit_rate for metrics in told] == [0.0, 0.5]
    assert (told[1].keys, told[1].cached) == (4, 2)


def test_a_reader_of_an_event_loop_has_the_same_cache(server: Server) -> None:
    class Async:
        async def words(self, names: Sequence[bytes]) -> list[bytes | None]:
            return server.words(names)

        async def fetch(self, asks: Sequence[Ask]) -> list[Answer]:
            return server.fetch(asks)

    async def story() -> list[int]:
        reader = AsyncFeatureReader(AsyncCachedSource(Async(), RowCache(max_bytes=1 << 20)), [VIEW], now_us=lambda: T0)
        await reader.read({"id": np.arange(10)})
        server.asked = 0
        return (await reader.read({"id": np.arange(12)}))[REF].columns["value"].data.tolist()

    assert asyncio.run(story()) == list(range(12))
    assert server.asked == 2
