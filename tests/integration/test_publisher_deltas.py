"""Deltas on a real server: guarded by event time, repeatable, the watermark last."""

from __future__ import annotations

import numpy as np
import pytest

from tests.online_case import DAY_US, T0, Online, edition, fingerprint, read_all, started, view_record
from tiffin.core.errors import Conflict, Invalid
from tiffin.manifests.records import GenerationRecord
from tiffin.online.publisher import Published, publish_delta, roll_back
from tiffin.online.refill import refill
from tiffin.storage.objects import get_blob
from tiffin.wire.schema import Column, RowSchema

SECOND = 1_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with started(tmp_path_factory.mktemp("online")) as online:
        yield online


@pytest.fixture
def online(server):
    server.admin.flushall()
    return server


def delta(
    online: Online, number: int, ids: range, current: GenerationRecord, *, event_time_us, watermark_us=T0, view=None, **options
) -> Published:
    rows = edition(number, ids, event_time_us=event_time_us)
    return publish_delta(
        view or view_record(),
        keys=rows.keys,
        columns=rows.columns,
        event_time_us=rows.event_time_us,
        watermark_us=watermark_us,
        as_of_us=None,
        dev=online.dev,
        promote=online.promoted.append,
        store=options.pop("store", None) or online.store(),
        current=current,
        **options,
    )


def editions(online: Online, ids: range) -> list[int]:
    """Which edition each row is of."""
    view = view_record()
    found = read_all(online.reader(view), view, edition(0, ids).raw_keys)
    assert found.found.all()
    return found.columns["edition"].data.tolist()


def watermark(online: Online) -> int:
    view = view_record()
    return read_all(online.reader(view), view, {"airport": ["A0"], "slot": [0]}).watermark_us


def test_a_newer_row_replaces_an_older_and_new_keys_appear(online):
    base = online.publish(view_record(), edition(1, range(10)))

    published = delta(online, 2, range(5, 15), base.record, event_time_us=T0 + SECOND, watermark_us=T0 + DAY_US)

    assert editions(online, range(15)) == [1] * 5 + [2] * 10
    assert (published.written, published.generation) == (10, base.generation)
    assert watermark(online) == T0 + DAY_US


def test_an_older_row_never_replaces_a_newer(online):
    base = online.publish(view_record(), edition(1, range(10), event_time_us=T0))

    published = delta(online, 2, range(10), base.record, event_time_us=T0 - SECOND)

    assert editions(online, range(10)) == [1] * 10
    assert published.written == 0


def test_at_an_equal_event_time_the_later_manifest_wins(online):
    base = online.publish(view_record(), edition(1, range(10)))

    repaired = delta(online, 2, range(10), base.record, event_time_us=T0)
    delta(online, 3, range(4), repaired.record, event_time_us=T0)

    assert editions(online, range(10)) == [3] * 4 + [2] * 6


def test_the_guard_is_unsigned_and_looks_at_all_four_bytes(online):
    base = online.publish(view_record(), edition(1, range(4), event_time_us=np.array([1, 255, 256, 2**31], dtype=np.int64) * SECOND))

    delta(online, 2, range(4), base.record, event_time_us=np.array([256, 256, 255, 2**31 - 1], dtype=np.int64) * SECOND)

    assert editions(online, range(4)) == [2, 2, 1, 1]


def test_doing_a_delta_again_changes_nothing(online):
    base = online.publish(view_record(), edition(1, range(10)))
    first = delta(online, 2, range(10), base.record, event_time_us=T0, watermark_us=T0 + 1)
    held = {name: online.admin.get(name) for name in online.row_names()}

    from_base = delta(online, 2, range(10), base.record, event_time_us=T0, watermark_us=T0 + 1)
    from_itself = delta(online, 2, range(10), first.record, event_time_us=T0, watermark_us=T0 + 1)

    assert (from_base.changed, from_base.manifest) == (False, first.manifest)
    assert (from_itself.changed, from_itself.manifest) == (False, first.manifest)
    assert {name: online.admin.get(name) for name in online.row_names()} == held


def test_an_empty_delta_moves_only_the_watermark_and_never_back(online):
    base = online.publish(view_record(), edition(1, range(10)), watermark_us=T0)

    later = delta(online, 2, range(0), base.record, event_time_us=T0, watermark_us=T0 + DAY_US)
    earlier = delta(online, 2, range(0), later.record, event_time_us=T0, watermark_us=T0 - DAY_US)

    assert (later.changed, later.record.deltas) == (False, ())
    assert earlier.record.watermark_us == watermark(online) == T0 + DAY_US


def test_the_watermark_moves_after_the_rows(online):
    base = online.publish(view_record(), edition(1, range(10)), watermark_us=T0)
    seen = {}

    def at(step: str) -> None:
        seen[step] = (set(editions(online, range(10))), watermark(online))

    delta(online, 2, range(10), base.record, event_time_us=T0 + SECOND, watermark_us=T0 + DAY_US, at=at)

    assert seen["after-promote"] == ({1}, T0)
    assert seen["before-validate"] == seen["before-watermark"] == ({2}, T0)
    assert seen["after-watermark"] == ({2}, T0 + DAY_US)


def test_a_late_attempt_of_an_earlier_delta_is_refused_in_the_middle(online):
    base = online.publish(view_record(), edition(1, range(10)))

    def rival(done: int, total: int) -> None:
        if done == 2:
            second = delta(online, 2, range(10), base.record, event_time_us=T0)
            delta(online, 3, range(10), second.record, event_time_us=T0)

    with pytest.raises(Conflict, match="another generation went live"):
        delta(online, 2, range(10), base.record, event_time_us=T0, store=online.store(batch=2), progress=rival)

    assert editions(online, range(10)) == [3] * 10


def test_a_delta_on_a_record_the_server_never_had_brings_it_whole(online):
    base = online.publish(view_record(), edition(1, range(10)))
    first = delta(online, 2, range(6), base.record, event_time_us=T0)
    online.admin.flushall()
    online.publish(view_record(), edition(9, range(3)))

    delta(online, 3, range(4, 8), first.record, event_time_us=T0)

    assert editions(online, range(10)) == [2] * 4 + [3] * 4 + [1] * 2


def test_deltas_that_the_server_missed_are_brought_along_in_order(online):
    base = online.publish(view_record(), edition(1, range(10)))
    first = delta(online, 2, range(6), base.record, event_time_us=T0)
    second = delta(online, 3, range(4, 8), first.record, event_time_us=T0)
    online.admin.flushall()
    again = online.publish(view_record(), edition(1, range(10)))

    published = delta(online, 4, range(9, 10), second.record, event_time_us=T0)

    assert editions(online, range(10)) == [2] * 4 + [3] * 4 + [1, 4]
    assert published.generation == again.generation


def test_another_delta_after_a_half_written_one_does_not_keep_its_rows(online):
    base = online.publish(view_record(), edition(1, range(10)))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        delta(online, 2, range(8), base.record, event_time_us=T0, store=online.store(batch=4), progress=stop)
    assert editions(online, range(10)) == [2] * 4 + [1] * 6
    delta(online, 3, range(9, 10), base.record, event_time_us=T0)

    assert editions(online, range(10)) == [1] * 9 + [3]


def test_a_generation_after_a_half_written_delta_does_not_reuse_its_rows(online):
    view = view_record()
    base = online.publish(view, edition(1, range(10)))

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        delta(online, 2, range(8), base.record, event_time_us=T0, store=online.store(batch=4), progress=stop)
    again = online.publish(view, edition(1, range(10)))

    assert editions(online, range(10)) == [1] * 10
    assert again.generation != base.generation
    with pytest.raises(Conflict, match="never finished"):
        roll_back(online.store(), view.team, view.name)


def test_a_generation_equal_to_the_base_of_a_live_delta_does_not_touch_the_live_rows(online):
    view = view_record()
    base = online.publish(view, edition(1, range(10)))
    delta(online, 2, range(10), base.record, event_time_us=T0)
    seen = []

    again = online.publish(view, edition(1, range(10)), at=lambda step: seen.append((step, set(editions(online, range(10))))))

    assert dict(seen)["before-flip"] == {2}
    assert dict(seen)["after-flip"] == {1}
    assert again.generation != base.generation
    roll_back(online.store(), view.team, view.name)
    assert editions(online, range(10)) == [2] * 10


def test_a_delta_of_another_schema_is_refused(online):
    base = online.publish(view_record(), edition(1, range(10)))
    other = view_record(schema=RowSchema(2, (Column("edition", "i32"),)))
    rows = edition(2, range(3))

    with pytest.raises(Invalid, match="another schema"):
        publish_delta(
            other,
            keys=rows.keys,
            columns={"edition": rows.columns["edition"]},
            event_time_us=rows.event_time_us,
            watermark_us=T0,
            as_of_us=None,
            dev=online.dev,
            promote=online.promoted.append,
            store=online.store(),
            current=base.record,
        )


def test_guarded_deltas_in_any_order_agree_with_a_refill_and_with_a_slow_oracle(online):
    view, random = view_record(), np.random.default_rng(11)
    base = edition(0, range(60), event_time_us=T0 + random.integers(0, 6, 60) * SECOND)
    record = online.publish(view, base).record
    oracle = {key: (int(time), 0) for key, time in zip(base.keys, base.event_time_us, strict=True)}
    for number in range(1, 13):
        start = int(random.integers(0, 50))
        ids = range(start, start + int(random.integers(1, 30)))
        times = T0 + random.integers(0, 6, len(ids)) * SECOND
        record = delta(online, number, ids, record, event_time_us=times).record
        for key, time in zip(edition(0, ids).keys, times, strict=True):
            if key not in oracle or oracle[key][0] <= time:
                oracle[key] = (int(time), number)
    everyone = edition(0, range(80))
    live = read_all(online.reader(view), view, everyone.raw_keys)
    online.admin.flushall()

    refill(record, fetch=lambda digest, name: get_blob(online.dev, digest, name=name), store=online.store())

    filled = read_all(online.reader(view), view, everyone.raw_keys)
    expected = [oracle.get(key, (0, 0)) for key in everyone.keys]
    assert list(zip(live.event_time_us.tolist(), live.columns["edition"].data.tolist(), strict=True)) == expected
    assert fingerprint(filled.columns, filled.found) == fingerprint(live.columns, live.found)
    assert filled.event_time_us.tolist() == live.event_time_us.tolist()
