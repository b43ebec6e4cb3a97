"""Every way of reading, over every layout, while generations flip, deltas land and entities are deleted."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.online_case import DAY_US, SCHEMA, T0, Online, Rows, fingerprint, online_view, started, view_record
from tests.online_case import edition as whole_edition
from tiffin.core.errors import NotReady
from tiffin.manifests.records import ViewRecord
from tiffin.online.async_reader import AsyncFeatureReader
from tiffin.online.async_source import open_async_source
from tiffin.online.cache import CachedSource, RowCache
from tiffin.online.decode import ViewRows
from tiffin.online.fast_source import open_source
from tiffin.online.publisher import Deletes, publish_delta, roll_back
from tiffin.online.reader import FeatureReader
from tiffin.wire.schema import RowSchema

COUNT = 700
# what fits into a dense bucket
NARROW = RowSchema(1, tuple(column for column in SCHEMA.columns if column.name != "name"))
Read = Callable[[Rows], ViewRows]


@pytest.fixture
def online(tmp_path: Path) -> Iterator[Online]:
    with started(tmp_path) as online:
        yield online


def edition(number: int, ids: range, **more) -> Rows:
    rows = whole_edition(number, ids, **more)
    return replace(rows, columns={column.name: rows.columns[column.name] for column in NARROW.columns})


def view_of(layout: str, *, ttl_us: int | None = None) -> ViewRecord:
    return view_record(ttl_us=ttl_us, schema=NARROW).model_copy(update={"layout": layout})


def reading(online: Online, view: ViewRecord, how: str, *, now_us: int = T0) -> Read:
    url, views, ref = online.server.reader, [online_view(view)], f"{view.team}/{view.name}"
    if how == "async":
        return lambda rows: asyncio.run(
            AsyncFeatureReader(open_async_source(url), views, now_us=lambda: now_us).read(rows.raw_keys)  # type: ignore[arg-type]
        )[ref]
    source = open_source(url) if how == "blocking" else CachedSource(open_source(url), RowCache(max_bytes=100_000))
    reader = FeatureReader(source, views, now_us=lambda: now_us)
    return lambda rows: reader.read(rows.raw_keys)[ref]  # type: ignore[arg-type]


def right(found: ViewRows, rows: Rows) -> bool:
    return fingerprint(found.columns, found.found) == fingerprint(rows.columns, np.ones(len(rows.airports), dtype=bool))


layouts = pytest.mark.parametrize("layout", ["plain", "dense"])
ways = pytest.mark.parametrize("how", ["blocking", "cached", "async"])


@layouts
@ways
def test_generations_deltas_and_rollbacks_are_read_bit_for_bit(online: Online, layout: str, how: str) -> None:
    view = view_of(layout)
    read, first, second = reading(online, view, how), edition(1, range(COUNT)), edition(2, range(COUNT))
    online.publish(view, first)
    assert right(read(first), first)
    published = online.publish(view, second, watermark_us=T0 + 1)
    assert right(read(second), second)
    later = edition(3, range(200), event_time_us=T0 + 60_000_000)

    delta(online, view, later, published.record)

    found = read(second)
    assert set(found.columns["edition"].data[:200].tolist()) == {3}
    assert set(found.columns["edition"].data[200:].tolist()) == {2}
    roll_back(online.store(), view.team, view.name)
    assert right(read(first), first)


def delta(online: Online, view: ViewRecord, rows: Rows, current, **more):
    return publish_delta(
        view,
        keys=rows.keys,
        columns=rows.columns,
        event_time_us=rows.event_time_us,
        watermark_us=T0 + 60_000_000,
        as_of_us=None,
        dev=online.dev,
        promote=online.promoted.append,
        store=online.store(),
        current=current,
        **more,
    )


@layouts
@ways
def test_a_deleted_entity_is_not_found(online: Online, layout: str, how: str) -> None:
    view = view_of(layout)
    rows = edition(1, range(COUNT))
    read = reading(online, view, how)
    current = online.publish(view, rows).record
    assert read(rows).found.all()
    gone = Deletes(rows.keys[10:20], np.full(10, T0 + 60_000_000, dtype=np.int64))

    delta(online, view, edition(1, range(0)), current, deletes=gone)

    found = read(rows)
    assert np.flatnonzero(~found.found).tolist() == list(range(10, 20))
    assert (found.missing, found.expired) == (10, 0)


@layouts
@ways
def test_an_expired_row_is_not_found_and_counted_as_such(online: Online, layout: str, how: str) -> None:
    view = view_of(layout, ttl_us=DAY_US)
    rows = edition(1, range(COUNT), event_time_us=np.where(np.arange(COUNT) % 3 == 0, T0, T0 + DAY_US))
    online.publish(view, rows, as_of_us=T0 + DAY_US + 1)

    found = reading(online, view, how)(rows)

    assert (~found.found).tolist() == (np.arange(COUNT) % 3 == 0).tolist()
    assert found.expired == int((~found.found).sum())


def read_between_flips(read: Read, rows: Rows) -> ViewRows:
    """Eight flips during one read are an error, and the next one may fare better."""
    for _ in range(100):
        with contextlib.suppress(NotReady):
            return read(rows)
    return read(rows)


@layouts
@pytest.mark.parametrize("how", ["blocking", "cached"])
def test_no_read_mixes_two_generations_while_they_flip(online: Online, layout: str, how: str) -> None:
    view = view_of(layout)
    rows = edition(1, range(COUNT))
    online.publish(view, rows)
    online.publish(view, edition(2, range(COUNT)))
    read, done, seen = reading(online, view, how), threading.Event(), set()

    def flip() -> None:
        store = online.store()
        for _ in range(60):
            roll_back(store, view.team, view.name)
            time.sleep(0.002)  # a reader gives up after eight flips during one read
        done.set()

    other = threading.Thread(target=flip)
    other.start()
    while not done.is_set():
        found = read_between_flips(read, rows)
        editions = set(found.columns["edition"].data.tolist())
        assert found.found.all()
        assert len(editions) == 1
        seen |= editions
    other.join()
    assert seen == {1, 2}
