"""The reader of an event loop answers what the blocking one answers, and survives what that one survives."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from tests.online_case import T0, Rows, edition, fingerprint, online_view, view_record
from tests.reader_case import COUNT, VIEWS, put, right, through
from tests.reader_proxy import proxied
from tiffin.core.errors import Denied, NotReady
from tiffin.embedded.valkey import Valkey, start_valkey
from tiffin.online.async_reader import AsyncFeatureReader
from tiffin.online.async_source import open_async_source
from tiffin.online.decode import ViewRows
from tiffin.online.fast_source import open_source
from tiffin.online.metrics import ReadMetrics
from tiffin.online.reader import FeatureReader


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    started = start_valkey(tmp_path_factory.mktemp("async"))
    try:
        put(started, 1)
        put(started, 2, view=VIEWS[1])
        yield started
    finally:
        started.stop()


def reader_at(url: str, *, watch=None, **options) -> AsyncFeatureReader:
    views = [online_view(view_record(name=view)) for view in VIEWS]
    return AsyncFeatureReader(open_async_source(url, **options), views, now_us=lambda: T0, watch=watch)


async def ask(reader: AsyncFeatureReader, rows: Rows) -> ViewRows:
    return (await reader.read(rows.raw_keys))["network/congestion"]


def test_both_readers_give_the_same_bits_and_metrics(server: Valkey) -> None:
    told: list[ReadMetrics] = []
    blocking = FeatureReader(
        open_source(server.reader), [online_view(view_record(name=view)) for view in VIEWS], now_us=lambda: T0, watch=told.append
    )
    keys = {"airport": ["A0", "nowhere", "A7", "A0", None], "slot": np.array([3, 1, 2, 3, 4])}

    expected = blocking.read(keys, {"network/weather": ["name", "near"]})
    found = asyncio.run(reader_at(server.reader, watch=told.append).read(keys, {"network/weather": ["name", "near"]}))

    assert list(found) == ["network/weather"]
    one, other = found["network/weather"], expected["network/weather"]
    assert fingerprint(one.columns, one.found) == fingerprint(other.columns, other.found)
    assert told[0].views == told[1].views


def test_many_tasks_share_a_few_lines(server: Valkey) -> None:
    rows = edition(1, range(COUNT))

    async def story(url: str) -> list[ViewRows]:
        reader = reader_at(url, connections=3)
        return await asyncio.gather(*(ask(reader, rows) for _ in range(12)))

    with proxied(server.port) as proxy:
        assert all(right(found, rows) for found in asyncio.run(story(through(server, proxy.port))))
        assert 1 <= proxy.connections <= 3


@pytest.mark.parametrize("bytes_back", [5, 400, 20_000])
def test_a_reply_that_is_cut_is_not_ready_and_the_next_read_works(server: Valkey, bytes_back: int) -> None:
    rows = edition(1, range(COUNT))

    async def story() -> ViewRows:
        reader = reader_at(through(server, proxy.port))
        with pytest.raises(NotReady, match="does not answer"):
            await ask(reader, rows)
        proxy.cut_after = None
        return await ask(reader, rows)

    with proxied(server.port, cut_after=bytes_back) as proxy:
        assert right(asyncio.run(story()), rows)


def test_a_half_open_line_and_a_trickle_end_at_the_timeout(server: Valkey) -> None:
    rows = edition(1, range(COUNT))

    async def story() -> ViewRows:
        reader = reader_at(through(server, proxy.port), timeout_s=0.3)
        await ask(reader, rows)
        proxy.silent = True
        with pytest.raises(NotReady, match=r"within 0\.3 s"):
            await ask(reader, rows)
        proxy.silent, proxy.drop, proxy.pause_s = False, 1000, 0.02
        with pytest.raises(NotReady, match=r"within 0\.3 s"):
            await ask(reader, rows)
        proxy.drop, proxy.pause_s = 65536, 0.0
        return await ask(reader, rows)

    with proxied(server.port) as proxy:
        assert right(asyncio.run(story()), rows)


def test_an_answer_to_a_cancelled_read_is_never_taken_for_the_next(server: Valkey) -> None:
    rows, others = edition(1, range(COUNT)), edition(1, range(10))

    async def story() -> ViewRows:
        reader = reader_at(through(server, proxy.port))
        await ask(reader, others)
        proxy.drop, proxy.pause_s = 1000, 0.005
        task = asyncio.create_task(ask(reader, rows))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        proxy.drop, proxy.pause_s = 65536, 0.0
        return await ask(reader, others)

    with proxied(server.port) as proxy:
        assert right(asyncio.run(story()), others)
        assert proxy.connections == 2


def test_a_restarted_server_is_asked_again_without_an_error(server: Valkey, tmp_path) -> None:
    first = start_valkey(tmp_path / "valkey")
    rows = put(first, 3, count=50)
    put(first, 3, view=VIEWS[1], count=50)

    async def story() -> ViewRows:
        reader = reader_at(first.reader)
        await ask(reader, rows)
        await asyncio.to_thread(first.stop)
        second = await asyncio.to_thread(start_valkey, tmp_path / "valkey", port=first.port)
        try:
            return await ask(reader, rows)
        finally:
            await asyncio.to_thread(second.stop)

    assert right(asyncio.run(story()), rows)


def test_a_wrong_password_is_denied(server: Valkey) -> None:
    with pytest.raises(Denied):
        asyncio.run(ask(reader_at(f"redis://reader:wrong@127.0.0.1:{server.port}/0"), edition(1, range(3))))
