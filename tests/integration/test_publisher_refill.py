"""An emptied server: not ready, then the same bits again from segments; never a default."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.online_case import edition, fingerprint, read_all, started, view_record
from tiffin.core.errors import Conflict, Corrupt, NotReady
from tiffin.online.refill import refill
from tiffin.storage.layout import blob_key
from tiffin.storage.objects import get_blob


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with started(tmp_path_factory.mktemp("online")) as online:
        yield online


@pytest.fixture
def online(server):
    server.admin.flushall()
    return server


def fetcher(online):
    return lambda digest, name: get_blob(online.dev, digest, name=name)


def test_flushall_under_traffic_is_not_ready_then_bit_equal_and_never_a_default(online):
    view, rows = view_record(), edition(1, range(2000))
    record = online.publish(view, rows).record
    expected = fingerprint(rows.columns, np.ones(2000, dtype=bool))
    seen = {"whole": 0, "not ready": 0, "wrong": 0}
    stopping = threading.Event()

    def traffic() -> None:
        reader = online.reader(view)
        while not stopping.is_set():
            try:
                found = read_all(reader, view, rows.raw_keys)
            except NotReady:
                seen["not ready"] += 1
                continue
            seen["whole" if fingerprint(found.columns, found.found) == expected else "wrong"] += 1

    def wait_for(what: str) -> None:
        goal = seen[what] + 2
        while seen[what] < goal:
            stopping.wait(0.001)

    thread = threading.Thread(target=traffic, daemon=True)
    thread.start()
    for _ in range(4):
        wait_for("whole")
        online.admin.flushall()
        wait_for("not ready")
        refill(record, fetch=fetcher(online), store=online.store(batch=100))
        wait_for("whole")
    stopping.set()
    thread.join(20)

    assert seen["wrong"] == 0


def test_a_refill_restores_every_byte_of_every_row(online):
    view = view_record()
    record = online.publish(view, edition(1, range(1000))).record
    before = {name: online.admin.get(name) for name in online.row_names()}
    online.admin.flushall()

    refill(record, fetch=fetcher(online), store=online.store())

    assert {name: online.admin.get(name) for name in online.row_names()} == before
    assert online.store().state(view.team, view.name).current.manifest == record.address


def test_a_refill_of_what_is_live_writes_nothing(online):
    record = online.publish(view_record(), edition(1, range(100))).record
    writes = []

    refill(record, fetch=fetcher(online), store=online.store(), progress=lambda done, total: writes.append(done))

    assert writes == []


def test_a_refill_with_the_generation_before_serves_it_again(online):
    view = view_record()
    first = online.publish(view, edition(1, range(100))).record
    online.publish(view, edition(2, range(100)))

    refill(first, fetch=fetcher(online), store=online.store())

    assert read_all(online.reader(view), view, {"airport": ["A0"], "slot": [0]}).columns["edition"].data.tolist() == [1]


def test_a_refill_interrupted_by_another_flushall_is_a_conflict_and_not_half(online):
    view = view_record()
    record = online.publish(view, edition(1, range(500))).record
    online.admin.flushall()

    def wipe(done: int, total: int) -> None:
        if done == 200:
            online.admin.flushall()

    with pytest.raises(Conflict):
        refill(record, fetch=fetcher(online), store=online.store(batch=100), progress=wipe)

    with pytest.raises(NotReady):
        read_all(online.reader(view), view, {"airport": ["A0"], "slot": [0]})
    refill(record, fetch=fetcher(online), store=online.store())
    assert read_all(online.reader(view), view, {"airport": ["A0"], "slot": [0]}).found.tolist() == [True]


def test_a_segment_with_one_byte_changed_is_refused_by_name_and_loads_nothing(online):
    record = online.publish(view_record(), edition(1, range(100))).record
    online.admin.flushall()
    data = bytearray(online.dev.get(blob_key(record.base.digest)).data)
    data[len(data) // 2] ^= 1
    online.dev.put(blob_key(record.base.digest), bytes(data))

    with pytest.raises(Corrupt, match="segment 1 of 1 of network/congestion"):
        refill(record, fetch=fetcher(online), store=online.store())

    assert online.row_names() == []


def test_a_segment_of_another_view_is_refused(online):
    record = online.publish(view_record(), edition(1, range(100))).record
    other = online.publish(view_record(name="other"), edition(2, range(100))).record
    online.admin.flushall()

    with pytest.raises(Corrupt, match="is another one"):
        refill(record, fetch=lambda digest, name: get_blob(online.dev, other.base.digest, name=name), store=online.store())
