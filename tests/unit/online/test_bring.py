"""Bringing a store to a generation, on the smallest store that keeps the contract."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.object_store_fake import MemoryStore
from tests.online_case import T0, edition, view_record
from tests.online_memory_store import MemoryOnlineStore
from tiffin.core.errors import Corrupt, Invalid, NotFound
from tiffin.online.keyed_rows import KeyedRows
from tiffin.online.merge import MergedRows
from tiffin.online.publisher import Deletes, publish_delta, publish_generation, roll_back
from tiffin.online.refill import refill
from tiffin.storage.objects import get_blob, put_blob
from tiffin.wire.rows import pack, split_rows
from tiffin.wire.schema import RowSchema
from tiffin.wire.segments import build_segment
from tiffin.wire.tombstones import pack_tombstones

SECOND = 1_000_000
VIEW = view_record()
SCHEMA = RowSchema.from_json(VIEW.row_schema)


class Dies(BaseException):
    """The process ended here."""


class World:
    """A bucket, a store, and what was promoted."""

    def __init__(self, *, batch: int = 1000) -> None:
        self.dev, self.promoted = MemoryStore(), []
        self.store = MemoryOnlineStore(batch=batch)

    def options(self, rows, *, at=None, watermark_us: int = T0, **more) -> dict:
        return {
            **more,
            "keys": rows.keys,
            "columns": rows.columns,
            "event_time_us": rows.event_time_us,
            "watermark_us": watermark_us,
            "as_of_us": None,
            "dev": self.dev,
            "promote": self.promoted.append,
            "store": self.store,
            "at": at or (lambda step: None),
        }

    def publish(self, rows, **options):
        return publish_generation(VIEW, **self.options(rows, **options))

    def delta(self, rows, current, **options):
        return publish_delta(VIEW, **self.options(rows, **options), current=current)

    def live(self) -> dict[bytes, bytes]:
        """The rows that readers see."""
        state = self.store.state(VIEW.team, VIEW.name)
        return (
            {} if state is None else {key: row for (ref, token, key), row in self.store.held.items() if token == state.current.generation}
        )


def packed(rows) -> dict[bytes, bytes]:
    return dict(zip(rows.keys, split_rows(pack(SCHEMA, rows.columns, rows.event_time_us)), strict=True))


@pytest.mark.parametrize(
    "step",
    [
        "before-promote",
        "after-promote",
        "before-validate",
        "after-validate",
        "before-flip",
        "after-flip",
        "before-watermark",
        "after-watermark",
        "before-collect",
        "after-collect",
    ],
)
@pytest.mark.parametrize("is_delta", [False, True], ids=["generation", "delta"])
def test_a_publication_that_dies_at_a_step_is_completed_by_its_retry(step, is_delta):
    world, new = World(), edition(2, range(5, 25), event_time_us=T0 + SECOND)
    first = world.publish(edition(1, range(20))).record
    before = world.live()

    def at(name: str) -> None:
        if name == step:
            raise Dies

    def act(**options):
        return world.delta(new, first, watermark_us=T0 + 9, **options) if is_delta else world.publish(new, watermark_us=T0 + 9, **options)

    with pytest.raises(Dies):
        act(at=at)
    during = world.live()
    after = act()

    expected = {**before, **packed(new)} if is_delta else packed(new)
    assert during in (before, expected)
    assert world.live() == expected
    state = world.store.state(VIEW.team, VIEW.name)
    assert (state.current.watermark_us, state.current.manifest) == (T0 + 9, after.manifest)
    assert state.current.applying == ""
    assert world.promoted[-1] == after.manifest
    assert set(world.store.claimed["network/congestion"]) == world.store.kept(state)


def test_the_manifest_is_durable_and_promoted_before_a_row_reaches_the_server():
    world, seen = World(), []
    world.publish(
        edition(1, range(3)),
        at=lambda step: seen.append((step, len(world.store.held), len(world.promoted), len(list(world.dev.list("manifests/"))))),
    )

    assert seen[:3] == [("before-promote", 0, 0, 2), ("after-promote", 0, 1, 2), ("before-validate", 3, 1, 2)]


def test_a_flip_happens_only_after_validation():
    world = World()
    world.publish(edition(1, range(5)))

    def alter(step: str) -> None:
        if step == "before-validate":
            place = list(world.store.held)[-1]
            world.store.held[place] = world.store.held[place][:-1] + b"!"

    with pytest.raises(Corrupt, match="does not hold key"):
        world.publish(edition(2, range(5)), at=alter)

    assert world.live() == packed(edition(1, range(5)))


def test_the_watermark_is_moved_after_the_flip():
    world, seen = World(), {}
    world.publish(edition(1, range(5)))
    world.publish(
        edition(2, range(5)),
        watermark_us=T0 + 5,
        at=lambda step: seen.update({step: world.store.state(VIEW.team, VIEW.name).current.watermark_us}),
    )

    assert (seen["after-flip"], seen["before-watermark"], seen["after-watermark"]) == (T0, T0, T0 + 5)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 8), st.lists(st.integers(0, 3), min_size=8, max_size=8)), max_size=6),
    st.integers(0, 6),
)
def test_live_deltas_a_refill_and_a_slow_oracle_agree(steps, kept):
    world = World()
    rows = edition(0, range(10))
    record, oracle = world.publish(rows).record, packed(rows)
    for number, (start, count, times) in enumerate(steps, start=1):
        rows = edition(number, range(start, start + count), event_time_us=T0 + np.array(times[:count], dtype=np.int64) * SECOND)
        for key, row in packed(rows).items():
            if key not in oracle or int.from_bytes(oracle[key][2:6], "little") <= int.from_bytes(row[2:6], "little"):
                oracle[key] = row
        record = world.delta(rows, record).record
    live = world.live()
    world.store = MemoryOnlineStore()

    refill(record, fetch=lambda digest, name: get_blob(world.dev, digest, name=name), store=world.store)

    assert live == oracle
    assert world.live() == oracle


def test_a_segment_of_another_view_or_length_is_refused_by_name():
    world = World()
    record = world.publish(edition(1, range(4))).record
    rows = edition(2, range(4))
    foreign = build_segment(
        SCHEMA, rows.keys, pack(SCHEMA, rows.columns, rows.event_time_us), team="other", view="congestion", start_us=0, end_us=0
    )
    changed = record.model_copy(update={"base": record.base.model_copy(update={"digest": put_blob(world.dev, foreign)})})

    with pytest.raises(Corrupt, match="segment 1 of 1 of network/congestion"):
        refill(changed, fetch=lambda digest, name: get_blob(world.dev, digest, name=name), store=MemoryOnlineStore())


def test_a_key_twice_is_refused_before_anything_is_stored():
    world, rows = World(), edition(1, range(4))
    twice = type(rows)(["A0"] * 4, np.zeros(4, dtype=np.int64), rows.columns, rows.event_time_us)

    with pytest.raises(Invalid, match="occurs twice"):
        world.publish(twice)

    assert world.dev.objects == {}


def test_rolling_back_exchanges_the_two_generations():
    world = World()
    world.publish(edition(1, range(4)))
    with pytest.raises(NotFound):
        roll_back(world.store, VIEW.team, VIEW.name)
    world.publish(edition(2, range(4)))

    roll_back(world.store, VIEW.team, VIEW.name)

    assert world.live() == packed(edition(1, range(4)))


def test_a_deletion_is_a_row_and_an_older_row_does_not_bring_the_entity_back():
    world, rows = World(), edition(1, range(6))
    first = world.publish(rows).record
    gone = Deletes(rows.keys[:2], np.full(2, T0 + 2 * SECOND))
    second = world.delta(edition(2, range(2, 4), event_time_us=T0 + SECOND), first, deletes=gone).record

    third = world.delta(edition(3, range(1), event_time_us=T0 + SECOND), second).record
    fourth = world.delta(edition(4, range(1, 2), event_time_us=T0 + 3 * SECOND), third).record

    live, late = world.live(), packed(edition(4, range(1, 2), event_time_us=T0 + 3 * SECOND))
    assert live[rows.keys[0]] == split_rows(pack_tombstones(SCHEMA, gone.event_time_us))[0]
    assert live[rows.keys[1]] == late[rows.keys[1]]
    assert live[rows.keys[5]] == packed(rows)[rows.keys[5]]
    world.store = MemoryOnlineStore()
    refill(fourth, fetch=lambda digest, name: get_blob(world.dev, digest, name=name), store=world.store)
    assert world.live() == live


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.binary(min_size=1, max_size=4).map(lambda key: b"s" + key.replace(b"\0", b"")), st.integers(0, 4), max_size=30),
        max_size=4,
    ),
    st.integers(1, 7),
)
def test_merging_span_by_span_agrees_with_a_slow_merge(segments, span):
    given_rows = [
        {key: bytes([1, number]) + time.to_bytes(4, "little") + b"x" * (time + number) for key, time in sorted(segment.items())}
        for number, segment in enumerate(segments)
    ]
    oracle: dict[bytes, bytes] = {}
    for segment in given_rows:
        for key, row in segment.items():
            if key not in oracle or oracle[key][2] <= row[2]:
                oracle[key] = row

    merged = MergedRows([KeyedRows.of(list(segment), list(segment.values())) for segment in given_rows], span=span)

    found = [(key, row) for block in merged for key, row in zip(block.key_list(), block.row_list(), strict=True)]
    assert found == sorted(oracle.items())
    assert merged.rows == len(oracle)
    assert [key for block in merged.sample() for key in block.key_list()] == sorted(oracle)


def test_a_large_publication_is_sampled_evenly_to_its_end():
    keys = [b"q%08d" % number for number in range(10_001)]
    rows = MergedRows([KeyedRows.of(keys, [b"\1\0\0\0\0\0"] * len(keys))], span=999)

    sampled = [int(key[1:]) for block in rows.sample() for key in block.key_list()]

    assert len(sampled) == 1667
    assert sampled == list(range(0, 10_001, 6))
