"""An erased entity is nowhere any more, and what is put back is exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.object_store_fake import MemoryStore
from tests.online_case import T0, edition
from tests.unit.online.test_bring import SECOND, VIEW, Dies, World, packed
from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Conflict, NotFound
from tiffin.online.erase import ErasureRecord, erase, generations
from tiffin.online.publisher import Deletes, roll_back
from tiffin.online.restore import restore, restore_entity
from tiffin.storage.layout import blob_key, manifest_key
from tiffin.storage.objects import get_blob

KEY = edition(0, range(7, 8)).keys[0]


class House(World):
    """A world whose promotions copy everything to a prod bucket, as the promoter does."""

    def __init__(self) -> None:
        super().__init__()
        self.prod = MemoryStore()
        self.record = None

    def promote(self, digest: str) -> None:
        for key, stored in list(self.dev.objects.items()):
            self.prod.objects[key] = stored
        self.promoted.append(digest)

    def options(self, rows, **more) -> dict:
        return {**super().options(rows, **more), "promote": self.promote}

    def erase(self, key: bytes = KEY, **more) -> ErasureRecord:
        options = {"dev": self.dev, "prod": self.prod, "promote": self.promote, "store": self.store, "by": "ada", **more}
        return erase(VIEW, key, current=more.pop("current", self.record), **{k: v for k, v in options.items() if k != "current"})

    def fetch(self, digest: str, name: str) -> bytes:
        return get_blob(self.dev, digest, name=name)

    def mentions(self, key: bytes) -> list[str]:
        """Where the bytes of a key still are."""
        found = [f"online {place}" for place in self.store.held if place[2] == key]
        for name, bucket in (("dev", self.dev), ("prod", self.prod)):
            found += [f"{name} {path}" for path in bucket.list("") if key in bucket.get(path).data]
        return found


@pytest.fixture
def house():
    """Two generations; the live one has two deltas; the entity is in all of them."""
    house = House()
    house.publish(edition(1, range(20)))
    base = house.publish(edition(2, range(20))).record
    first = house.delta(edition(3, range(5, 10), event_time_us=T0 + SECOND), base).record
    house.record = house.delta(edition(4, range(7, 9), event_time_us=T0 + 2 * SECOND), first).record
    return house


def test_an_erased_entity_is_in_no_segment_manifest_or_server_and_all_others_are_as_before(house):
    before = house.live()
    assert len(house.mentions(KEY)) > 6

    done = house.erase()

    assert house.mentions(KEY) == []
    assert house.live() == {key: row for key, row in before.items() if key != KEY}
    assert (done.state, done.rewritten, done.online_rows) == ("done", True, 2)
    assert [len(done.segments[name]) for name in ("dev", "prod")] == [4, 4]
    assert house.store.state(VIEW.team, VIEW.name).previous is None
    with pytest.raises(NotFound):
        roll_back(house.store, VIEW.team, VIEW.name)


def test_the_audit_says_who_and_what_and_not_the_key(house):
    done = house.erase()

    entries = [ErasureRecord.from_bytes(house.prod.get(path).data, name=path) for path in house.prod.list("audit/")]
    assert {entry.state for entry in entries} == {"begun", "done"}
    assert done in entries
    assert done.by == "ada"
    assert done.key_digest == digest_bytes(b"network/congestion/" + KEY)
    assert all(KEY not in house.prod.get(path).data for path in house.prod.list("audit/"))


def test_erasing_again_changes_nothing(house):
    house.record = restored(house, house.erase())
    objects, live = dict(house.dev.objects), house.live()

    again = house.erase()

    assert (again.rewritten, again.online_rows, again.segments) == (False, 0, {"dev": (), "prod": ()})
    assert (house.dev.objects, house.live()) == (objects, live)


def test_the_row_before_a_deletion_is_erased_too(house):
    gone = Deletes([KEY], np.array([T0 + 9 * SECOND]))
    house.record = house.delta(edition(5, range(0)), house.record, deletes=gone).record

    house.erase()

    assert house.mentions(KEY) == []


def restored(house: House, done: ErasureRecord):
    """The record that an erasure made current."""
    return type(house.record).from_bytes(house.dev.get(manifest_key("generation", done.manifest)).data, name="now")


class DiesAt:
    """A bucket whose owner dies at the nth deletion."""

    def __init__(self, inner: MemoryStore, deletions: int) -> None:
        self.inner, self.left = inner, deletions

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def delete(self, key: str) -> None:
        if self.left == 0:
            raise Dies
        self.left -= 1
        self.inner.delete(key)


@pytest.mark.parametrize("deletions", range(0, 10, 2))
def test_an_interrupted_erasure_is_completed_by_its_retry(house, deletions):
    with pytest.raises(Dies):
        house.erase(prod=DiesAt(house.prod, deletions))
    promoted = house.promoted[-1]
    house.record = type(house.record).from_bytes(house.dev.get(manifest_key("generation", promoted)).data, name="now")

    house.erase()

    assert house.mentions(KEY) == []
    for bucket in (house.dev, house.prod):
        named = {ref.digest for _, record in generations(bucket, VIEW) for ref in (record.base, *record.deltas)}
        assert all(blob_key(digest) in bucket.objects for digest in named)


def test_a_delta_is_undone_by_restoring_the_record_before_it(house):
    before = house.live()
    wrong = house.delta(edition(9, range(30), event_time_us=T0 + 9 * SECOND), house.record).record
    assert house.live() != before

    restore(house.record, fetch=house.fetch, store=house.store, promote=house.promote)

    assert house.live() == before
    assert house.promoted[-1] == house.record.address != wrong.address


def test_a_damaged_live_generation_is_restored_beside_itself(house):
    before = house.live()
    token = house.store.state(VIEW.team, VIEW.name).current.generation
    for place in [place for place in house.store.held if place[1] == token][:5]:
        house.store.held[place] = b"alien"

    restore(house.record, fetch=house.fetch, store=house.store, promote=house.promote)

    state = house.store.state(VIEW.team, VIEW.name)
    assert house.live() == before
    assert state.current.generation != token
    assert state.current.applying == ""
    with pytest.raises(Conflict, match="never finished"):
        roll_back(house.store, VIEW.team, VIEW.name)


def test_one_entity_is_restored_to_its_newest_row_and_only_when_it_is_not_there(house):
    place = ("network/congestion", house.store.state(VIEW.team, VIEW.name).current.generation, KEY)
    expected = house.store.held.pop(place)

    first = restore_entity(house.record, KEY, fetch=house.fetch, store=house.store)
    again = restore_entity(house.record, KEY, fetch=house.fetch, store=house.store)

    assert (first, again) == (True, False)
    assert house.store.held[place] == expected == packed(edition(4, range(7, 9), event_time_us=T0 + 2 * SECOND))[KEY]


def test_an_entity_is_not_restored_over_what_says_it_is_newer_nor_from_another_record(house):
    place = ("network/congestion", house.store.state(VIEW.team, VIEW.name).current.generation, KEY)
    house.store.held[place] = b"\xff" * 20
    with pytest.raises(Conflict, match="says that it is newer"):
        restore_entity(house.record, KEY, fetch=house.fetch, store=house.store)
    with pytest.raises(Conflict, match="another record is live"):
        restore_entity(house.record.model_copy(update={"deltas": ()}), KEY, fetch=house.fetch, store=house.store)
    with pytest.raises(NotFound, match="no row of entity"):
        restore_entity(house.record, b"nobody", fetch=house.fetch, store=house.store)


def test_a_segment_that_is_gone_everywhere_stops_the_erasure_before_anything_is_deleted(house):
    for bucket in (house.dev, house.prod):
        bucket.delete(blob_key(house.record.base.digest))
    objects = dict(house.dev.objects)

    with pytest.raises(NotFound, match="none of the buckets"):
        house.erase()

    assert house.dev.objects == objects
    assert replace(house.store.state(VIEW.team, VIEW.name)) is not None
