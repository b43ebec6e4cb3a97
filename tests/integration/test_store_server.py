"""What a publisher meets on a real server: races, lost lines, full memory, time to live, hashes that must stay packed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.online_case import Online, started
from tests.reader_proxy import proxied
from tiffin.core.errors import Conflict, Invalid, NotReady, Unsupported
from tiffin.online.dense import BUCKET_LIMIT
from tiffin.online.editions import Edition, LiveState
from tiffin.online.keyed_rows import KeyedRows
from tiffin.online.places import rows_prefix
from tiffin.online.redis import connect
from tiffin.online.redis_store import RedisStore
from tiffin.online.retries import Retries
from tiffin.wire.encodings import Values
from tiffin.wire.rows import pack, split_rows
from tiffin.wire.schema import Column, RowSchema

SCHEMA = RowSchema(1, (Column("number", "f32"),))
NOW_US = 1_800_000_000_000_000
DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def online(tmp_path_factory) -> Iterator[Online]:
    with started(tmp_path_factory.mktemp("online")) as found:
        yield found


def silent(done: int, total: int) -> None:
    """Nobody watches."""


def rows_of(count: int, *, first: int = 0, value: float = 1.0, time_us: int = NOW_US, schema: RowSchema = SCHEMA) -> KeyedRows:
    columns = {column.name: Values(np.full(count, value, dtype=np.float32)) for column in schema.columns}
    packed = pack(schema, columns, np.full(count, time_us, dtype=np.int64))
    return KeyedRows.of([b"i%04d" % (first + number) for number in range(count)], split_rows(packed))


def an_edition(view: str, base: str, **fields) -> Edition:
    given = {"ttl_us": None, "as_of_us": None, "schema": SCHEMA, **fields}
    return Edition(team="races", view=view, generation="", manifest="m", base=base, deltas=(), watermark_us=1, **given)


def publish(store: RedisStore, edition: Edition, rows: KeyedRows) -> LiveState:
    live = store.state(edition.team, edition.view)
    claimed = store.claim(edition)
    store.load(claimed, [rows], total=len(rows), progress=silent)
    return store.flip(claimed, expected=live)


def names(online: Online, edition: Edition) -> list[bytes]:
    prefix = rows_prefix(edition.team, edition.view, edition.generation)
    return [name for name in online.names() if name.startswith(prefix)]


def test_no_row_is_written_once_another_publisher_collected_the_token(online: Online) -> None:
    first, other = online.store(batch=100), online.store()
    publish(other, an_edition("collected", "old"), rows_of(10))
    slow = first.claim(an_edition("collected", "new"))

    def blocks() -> Iterator[KeyedRows]:
        yield rows_of(300)
        other.collect("races", "collected", progress=silent)
        yield rows_of(300, first=300)

    with pytest.raises(Conflict, match="were removed"):
        first.load(slow, blocks(), total=600, progress=silent)

    assert names(online, slow) == []


def test_a_collection_that_slept_removes_nothing_of_what_was_published_since(online: Online) -> None:
    sleeper, other = online.store(), online.store()
    rows, dead = rows_of(900), an_edition("slept", "first")
    for base in ("first", "second", "third"):
        publish(other, an_edition("slept", base), rows)
    woken = []

    def wake(done: int, total: int) -> None:
        if not woken:
            woken.append(done)
            other.collect("races", "slept", progress=silent)
            publish(other, dead, rows)

    sleeper.collect("races", "slept", progress=wake)

    live = other.state("races", "slept").current
    assert live.base == "first"
    assert other.rows(live, rows.key_list()) == rows.row_list()
    assert other.count(live) == 900


def test_rows_that_a_delta_added_are_collected_as_well(online: Online) -> None:
    store = online.store()
    live = publish(store, an_edition("added", "first"), rows_of(20))
    store.apply(live.current, [rows_of(30, first=10)], expected=live, total=30, progress=silent)
    for base in ("second", "third"):
        publish(store, an_edition("added", base), rows_of(5))

    removed = store.collect("races", "added", progress=silent)

    assert removed == 40
    assert names(online, live.current) == []


def test_a_load_goes_on_after_its_line_was_cut(online: Online) -> None:
    rows, seen = rows_of(3000), []
    with proxied(online.server.port, cut_after=600) as proxy:
        url = online.server.publisher.replace(str(online.server.port), str(proxy.port))
        store = RedisStore(connect(url), batch=100, retries=Retries(attempts=5, first_s=0.001))
        claimed = online.store().claim(an_edition("cut", "base"))
        store.load(claimed, [rows], total=3000, progress=lambda done, total: seen.append(done))

    assert proxy.connections > 3
    assert seen == list(range(100, 3001, 100))
    assert online.store().rows(claimed, rows.key_list()) == rows.row_list()
    assert online.store().count(claimed) == 3000


def test_an_interrupted_load_sends_only_what_is_missing(online: Online) -> None:
    store, rows = online.store(batch=100), rows_of(1000)
    claimed = store.claim(an_edition("resumed", "base"))

    def broken() -> Iterator[KeyedRows]:
        yield rows.part(0, 700)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.load(claimed, broken(), total=1000, progress=silent)
    standing = store.count(claimed)
    before = online.admin.info("commandstats")["cmdstat_mset"]["calls"]
    store.load(claimed, [rows], total=1000, progress=silent)
    sent = online.admin.info("commandstats")["cmdstat_mset"]["calls"] - before

    assert 600 <= standing <= 700
    assert sent == (1000 - standing) // 100
    assert store.rows(claimed, rows.key_list()) == rows.row_list()


def test_a_full_server_is_not_ready_and_the_load_goes_on_when_it_has_room(online: Online) -> None:
    store, rows = online.store(batch=100), rows_of(5000)
    claimed = store.claim(an_edition("full", "base"))
    used = online.admin.info("memory")["used_memory"]
    online.admin.config_set("maxmemory", used + 200_000)
    try:
        with pytest.raises(NotReady, match="full"):
            store.load(claimed, [rows], total=5000, progress=silent)
    finally:
        online.admin.config_set("maxmemory", 0)
    half = store.count(claimed)
    store.load(claimed, [rows], total=5000, progress=silent)

    assert half < 5000
    assert store.rows(claimed, rows.key_list()) == rows.row_list()


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        pytest.param({"ttl_us": DAY_US}, 86_400 + 3_600, id="from the event time"),
        pytest.param({"ttl_us": DAY_US, "as_of_us": NOW_US}, -0.001, id="never in a replay"),
        pytest.param({}, -0.001, id="never without a time to live"),
        pytest.param({"ttl_us": DAY_US, "buckets": 1}, -0.001, id="never in a bucket"),
    ],
)
def test_the_server_drops_rows_an_hour_after_their_time(fields: dict, seconds: float, online: Online) -> None:
    store = RedisStore(connect(online.server.publisher), now_us=lambda: NOW_US)
    live = publish(store, an_edition("ttl", str(fields), **fields), rows_of(3))
    store.apply(live.current, [rows_of(3, first=3)], expected=live, total=3, progress=silent)

    found = [name for name in names(online, live.current) if not name.endswith(b".index")]
    clock = online.admin.time()[0]
    expected = -0.001 if seconds < 0 else NOW_US / 1e6 + seconds - clock

    assert found
    assert all(abs(online.admin.pttl(name) / 1000 - expected) < 2 for name in found)


def test_a_row_past_its_time_stands_for_an_hour_so_that_its_publisher_finds_it(online: Online) -> None:
    store = online.store()
    live = publish(store, an_edition("past", "base", ttl_us=DAY_US), rows_of(3, time_us=10**15))

    assert store.rows(live.current, [b"i0000"]) == rows_of(1, time_us=10**15).row_list()
    assert 3500 < online.admin.ttl(names(online, live.current)[-1]) <= 3600


def encodings(online: Online, edition: Edition) -> set[bytes]:
    return {online.admin.object("encoding", name) for name in names(online, edition) if not name.endswith(b".index")}


def test_buckets_stay_packed_through_a_load_and_deltas(online: Online) -> None:
    store, rows = online.store(), rows_of(1280)
    live = publish(store, an_edition("packed", "base", buckets=10), rows)
    newer = rows_of(1400, value=2.0, time_us=NOW_US + 1_000_000)
    store.apply(live.current, [newer], expected=live, total=1400, progress=silent)

    assert len(names(online, live.current)) == 10 + 1
    assert encodings(online, live.current) == {b"listpack"}
    assert store.rows(live.current, newer.key_list()) == newer.row_list()
    assert store.count(live.current) == 1400


def test_a_bucket_takes_no_more_rows_than_stay_packed(online: Online) -> None:
    store = online.store()
    live = publish(store, an_edition("crowded", "base", buckets=1), rows_of(BUCKET_LIMIT))

    with pytest.raises(Invalid, match="whole generation"):
        store.apply(live.current, [rows_of(1, first=BUCKET_LIMIT)], expected=live, total=1, progress=silent)
    with pytest.raises(Invalid, match="a bucket would hold"):
        publish(store, an_edition("crowded", "more", buckets=1), rows_of(BUCKET_LIMIT + 1))

    assert encodings(online, live.current) == {b"listpack"}


def test_a_row_that_would_unpack_a_bucket_is_refused(online: Online) -> None:
    wide = RowSchema(2, tuple(Column(f"c{number}", "f32") for number in range(20)))
    store = online.store()
    claimed = store.claim(an_edition("wide", "base", buckets=2, schema=wide))

    with pytest.raises(Invalid, match="at most 64"):
        store.load(claimed, [rows_of(5, schema=wide)], total=5, progress=silent)

    assert store.count(claimed) == 0


@pytest.mark.parametrize(("option", "value"), [("hash-max-listpack-entries", 128), ("hash-max-listpack-value", 32)])
def test_a_server_that_would_unpack_buckets_is_found_out_before_the_first_row(option: str, value: int, online: Online) -> None:
    before = online.admin.config_get(option)[option]
    online.admin.config_set(option, value)
    try:
        with pytest.raises(Unsupported, match="hash-max-listpack"):
            online.store().claim(an_edition("limits", "base", buckets=2))
    finally:
        online.admin.config_set(option, before)


def test_a_name_that_hashes_like_anothers_is_refused_by_name(online: Online) -> None:
    store = online.store()
    claimed = store.claim(an_edition("mine", "base"))
    online.admin.set(store.places("races", "mine").owner, "races/yours")

    with pytest.raises(Invalid, match="races/yours"):
        store.claim(an_edition("mine", "other"))

    assert claimed.generation


def test_two_views_that_draw_one_token_get_two(online: Online, monkeypatch) -> None:
    tokens = {0: "Aaaa", 1: "Bbbb", 2: "Cccc"}
    monkeypatch.setattr("tiffin.online.redis_store.generation_token", lambda view, content, salt: tokens[salt])
    store = online.store()

    found = [store.claim(an_edition(view, base)).generation for view, base in (("one", "a"), ("two", "a"), ("one", "b"), ("one", "a"))]

    assert found == ["Aaaa", "Bbbb", "Cccc", "Aaaa"]


def test_a_line_that_says_nothing_ends_in_time(online: Online, tmp_path: Path) -> None:
    with proxied(online.server.port, silent=True) as proxy:
        url = online.server.publisher.replace(str(online.server.port), str(proxy.port))
        store = RedisStore(connect(url, timeout_s=0.05), retries=Retries(attempts=2, first_s=0.001))

        with pytest.raises(NotReady, match="does not answer"):
            store.state("races", "mine")
