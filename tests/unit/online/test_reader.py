"""The reader's decisions and decoding, over a source that it is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.online_case import DAY_US, FIELDS, SCHEMA, T0, edition, fingerprint, online_view, view_record
from tiffin.core.errors import Corrupt, Invalid, NotReady
from tiffin.online.asked import Asked
from tiffin.online.decode import decode
from tiffin.online.metrics import ReadMetrics
from tiffin.online.plan_read import Known
from tiffin.online.reader import FeatureReader
from tiffin.online.resp import answer_of
from tiffin.online.source import Answer, Ask
from tiffin.online.views import LivePointer, OnlineView
from tiffin.wire.encodings import Values, take, to_strings
from tiffin.wire.keys import encode_keys, pointer_key, row_prefix
from tiffin.wire.rows import pack, split_rows
from tiffin.wire.schema import Column, RowSchema
from tiffin.wire.tombstones import pack_tombstones

REF = "network/congestion"
EVEN = RowSchema(1, (Column("number", "i32", nullable=False), Column("share", "f16"), Column("busy", "bool")))


def pointer(token: str = "abc234", *, as_of_us: int | None = None, schema: RowSchema = SCHEMA) -> LivePointer:
    return LivePointer(token, "m" * 64, schema.digest, 1, T0, as_of_us, None, 0)


def known(*, as_of_us: int | None = None, schema: RowSchema = SCHEMA) -> Known:
    live = pointer(as_of_us=as_of_us, schema=schema)
    return Known(live.to_bytes(), live, schema, row_prefix("network", "congestion", b"abc234"))


def even_columns(count: int) -> dict[str, Values]:
    return {
        "number": Values(np.arange(count, dtype=np.int32)),
        "share": Values(np.arange(count, dtype=np.float32), np.arange(count) % 4 != 3),
        "busy": Values(np.arange(count) % 2 == 0),
    }


def packed(rows) -> list[bytes | None]:
    return list(split_rows(pack(SCHEMA, rows.columns, rows.event_time_us)))


def answer(raw: Sequence[bytes | None]) -> Answer:
    return answer_of([b"pointer", *raw], len(raw))


def decoded(rows, raw, *, ttl_us: int | None = None, now_us: int = T0, as_of_us: int | None = None, keys=None, names=None):
    view = online_view(view_record(ttl_us=ttl_us))
    asked = Asked.of(view.keys, keys or rows.raw_keys)
    return decode(view, known(as_of_us=as_of_us), asked, answer(raw), now_us=lambda: now_us, names=names)


def test_rows_keep_every_bit():
    rows = edition(3, range(30))

    found = decoded(rows, packed(rows))

    assert fingerprint(found.columns, found.found) == fingerprint(rows.columns, np.ones(30, dtype=bool))
    assert (found.generation, found.watermark_us) == ("abc234", T0)


@pytest.mark.parametrize(("age_us", "alive"), [(DAY_US - 1, True), (DAY_US, True), (DAY_US + 1, False)])
@pytest.mark.parametrize("replayed", [False, True])
def test_a_row_is_alive_up_to_and_including_its_ttl(age_us, alive, replayed):
    rows = edition(3, range(3))
    clock = {"as_of_us": T0 + age_us, "now_us": T0 + 999 * DAY_US} if replayed else {"now_us": T0 + age_us}

    found = decoded(rows, packed(rows), ttl_us=DAY_US, **clock)

    assert found.found.tolist() == [alive] * 3
    assert found.event_time_us.tolist() == [T0 if alive else 0] * 3
    assert found.age_us.tolist() == [age_us if alive else -1] * 3
    assert (found.missing, found.expired) == (0, 0 if alive else 3)
    assert to_strings(found.columns["name"])[:3] == (to_strings(rows.columns["name"]) if alive else [None] * 3)


def test_an_unknown_entity_is_null_and_not_found_and_the_others_are_not_moved():
    rows = edition(3, range(4))
    raw = packed(rows)
    raw[1] = None

    found = decoded(rows, raw)

    assert found.found.tolist() == [True, False, True, True]
    assert (found.missing, found.expired) == (1, 0)
    assert all(column.valid is not None and not column.valid[1] for column in found.columns.values())
    assert found.columns["near"].data[[0, 2, 3]].tobytes() == rows.columns["near"].data[[0, 2, 3]].tobytes()
    assert found.columns["edition"].data.tolist() == [3, 0, 3, 3]


def test_equal_keys_are_asked_for_once():
    rows = edition(3, range(2))
    keys = {"airport": ["A0", "A0", None, "A0"], "slot": [1, 0, 1, 1]}
    asked = Asked.of(FIELDS, keys)

    found = decoded(rows, packed(rows)[::-1], keys=keys)

    assert len(asked.unique) == 2
    assert asked.index is not None
    assert asked.index.tolist() == [0, 1, -1, 0]
    assert found.found.tolist() == [True, True, False, True]
    assert to_strings(found.columns["name"]) == [*to_strings(rows.columns["name"])[::-1], None, to_strings(rows.columns["name"])[1]]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "bc", "d\0", "é", None]), st.integers(-3, 3)), max_size=30))
def test_every_row_finds_its_own_key_among_the_unique_ones(rows: list[tuple[str | None, int]]):
    keys = {"airport": [name for name, _ in rows], "slot": [slot for _, slot in rows]}
    encoded, valid = encode_keys(FIELDS, keys)

    asked = Asked.of(FIELDS, keys)

    index = np.arange(len(rows)) if asked.index is None else asked.index
    unique = [bytes(key) for key in asked.unique]
    assert [unique[place] if place >= 0 else None for place in index.tolist()] == [
        key if there else None for key, there in zip(encoded, valid.tolist(), strict=True)
    ]
    assert len(set(unique)) == len(unique) == len({key for key, there in zip(encoded, valid, strict=True) if there})


@pytest.mark.parametrize("numbers", [[5, 3, 5, 1, 3], [1, 2, 3], [7, 7, 7], [], [2**40, -1, 2**40]])
def test_numbers_of_one_width_are_each_asked_for_once(numbers):
    asked = Asked.of([("id", "int64")], {"id": np.array(numbers, dtype=np.int64)})

    assert len(asked.unique) == len(set(numbers))
    index = np.arange(len(numbers)) if asked.index is None else asked.index
    assert [bytes(asked.unique[place]) for place in index.tolist()] == encode_keys([("id", "int64")], {"id": numbers})[0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 8), max_size=20), st.sets(st.integers(0, 8)), st.booleans())
def test_a_matrix_of_rows_and_rows_one_by_one_give_the_same_columns(wanted: list[int], gone: set[int], mortal: bool):
    view = OnlineView("network", "congestion", (("id", "int64"),), EVEN, DAY_US if mortal else None)
    count = 9
    columns = even_columns(count)
    times = np.where(np.arange(count) % 3 == 2, T0 - 2 * DAY_US, T0)
    rows = split_rows(pack(EVEN, columns, times))
    asked = Asked.of(view.keys, {"id": np.array(wanted, dtype=np.int64)})
    numbers = [int(np.frombuffer(bytes(key)[1:], dtype=">u8")[0] ^ np.uint64(1 << 63)) for key in asked.unique]

    found = decode(
        view, known(schema=EVEN), asked, answer([None if n in gone else rows[n] for n in numbers]), now_us=lambda: T0, names=None
    )

    alive = [n not in gone and not (mortal and n % 3 == 2) for n in wanted]
    index = np.array([n if there else -1 for n, there in zip(wanted, alive, strict=True)], dtype=np.int64)
    assert found.found.tolist() == alive
    assert found.expired == sum(n not in gone and mortal and n % 3 == 2 for n in wanted)
    assert found.missing == sum(n in gone for n in wanted)
    for name, column in columns.items():
        expected, given_ = take(column, index), found.columns[name]
        mask = np.ones(len(wanted), dtype=bool)
        assert (mask if given_.valid is None else given_.valid).tolist() == (mask if expected.valid is None else expected.valid).tolist()
        assert given_.data.tolist() == expected.data.tolist()


@pytest.mark.parametrize("alien", [b"", b"not a row of ours, but long enough to be one, if nobody looks at it closely", b"\x01\x00"])
def test_alien_bytes_are_corrupt_by_view_and_key(alien):
    rows = edition(3, range(4))
    raw = packed(rows)
    raw[0], raw[2] = None, alien

    with pytest.raises(Corrupt, match="view network/congestion, key") as caught:
        decoded(rows, raw)

    assert repr(rows.keys[2]) in str(caught.value)


@pytest.mark.parametrize("deleted", [[1], [0, 3], [0, 1, 2, 3]])
@pytest.mark.parametrize("schema", [SCHEMA, EVEN])
def test_a_deleted_entity_is_not_found_and_the_others_are_not_moved(deleted, schema):
    view = OnlineView("network", "congestion", (("id", "int64"),), schema, None)
    asked = Asked.of(view.keys, {"id": np.array([2, 3, 1, 0, 9, 3])})
    columns = edition(1, range(4)).columns if schema is SCHEMA else even_columns(4)
    rows: list[bytes | None] = list(split_rows(pack(schema, columns, np.full(4, T0))))
    for place in deleted:
        rows[place] = split_rows(pack_tombstones(schema, np.array([T0])))[0]

    found = decode(view, known(schema=schema), asked, answer([rows[2], rows[3], rows[1], rows[0], None]), now_us=lambda: T0)

    index = np.array([-1 if n in deleted or n == 9 else n for n in [2, 3, 1, 0, 9, 3]])
    assert found.found.tolist() == (index >= 0).tolist()
    assert (found.missing, found.expired) == (int((index < 0).sum()), 0)
    first = next(iter(columns))
    assert found.columns[first].data.tolist() == take(columns[first], index).data.tolist()


def test_an_altered_tombstone_is_corrupt_and_no_deletion():
    rows = edition(3, range(4))
    raw = packed(rows)
    tomb = bytearray(split_rows(pack_tombstones(SCHEMA, np.array([T0])))[0])
    tomb[3] ^= 1
    raw[2] = bytes(tomb)

    with pytest.raises(Corrupt, match="check byte") as caught:
        decoded(rows, raw)
    assert repr(rows.keys[2]) in str(caught.value)


class FlippingServer:
    """A source that makes another generation live, and removes the old rows, before each of its first answers."""

    def __init__(self, flips: int) -> None:
        self.flips, self.number, self.asks = flips, 0, []
        self.held: dict[bytes, bytes] = {}
        self.flip()

    def flip(self) -> None:
        self.number += 1
        token = f"aaaaa{'abcdefghijklmnopqrstuvwxyz'[self.number]}"
        rows = edition(self.number, range(10))
        prefix = row_prefix("network", "congestion", token.encode())
        self.held = {prefix + key: row for key, row in zip(rows.keys, packed(rows), strict=True) if row is not None}
        self.held[pointer_key("network", "congestion")] = pointer(token).to_bytes()

    def words(self, names: Sequence[bytes]) -> list[bytes | None]:
        if self.flips > 0:
            self.flips -= 1
            self.flip()
        return [self.held.get(name) for name in names]

    def fetch(self, asks: Sequence[Ask]) -> list[Answer]:
        self.asks.append(asks)
        return [answer_of(self.words([ask.pointer_key, *(ask.prefix + bytes(key) for key in ask.keys)]), len(ask.keys)) for ask in asks]


def reader_of(server: FlippingServer, **options) -> FeatureReader:
    return FeatureReader(server, [online_view(view_record())], now_us=lambda: T0, **options)


@pytest.mark.parametrize("flips", range(8))
def test_a_read_is_of_one_generation_however_often_another_goes_live(flips):
    server, rows = FlippingServer(flips), edition(0, range(10))

    found = reader_of(server).read(rows.raw_keys)[REF]

    assert found.found.all()
    assert len(set(found.columns["edition"].data.tolist())) == 1


def test_a_view_that_moves_for_ever_is_not_ready():
    with pytest.raises(NotReady, match="went live 8 times during one read"):
        reader_of(FlippingServer(20)).read(edition(0, range(3)).raw_keys)


def test_a_known_view_is_read_in_one_round_trip():
    server, rows = FlippingServer(0), edition(0, range(3))
    reader = reader_of(server)
    reader.read(rows.raw_keys)
    server.asks.clear()

    reader.read(rows.raw_keys)

    ((ask,),) = server.asks
    assert (ask.pointer_key, len(ask.keys)) == (pointer_key("network", "congestion"), 3)


def test_only_the_features_asked_for_are_decoded():
    rows = edition(1, range(5))

    found = reader_of(FlippingServer(0)).read(rows.raw_keys, {REF: ["name", "edition"]})[REF]

    assert list(found.columns) == ["name", "edition"]
    assert to_strings(found.columns["name"]) == to_strings(rows.columns["name"])


def test_a_view_without_a_feature_asked_for_is_not_read():
    server = FlippingServer(0)

    assert reader_of(server).read(edition(1, range(5)).raw_keys, {}) == {}
    assert [asks for asks in server.asks if asks] == []


@pytest.mark.parametrize(
    ("features", "said"),
    [({"network/congestoin": ["name"]}, "did you mean 'network/congestion'"), ({REF: ["nane"]}, "did you mean 'name'")],
)
def test_an_unknown_feature_is_refused_with_the_nearest(features, said):
    with pytest.raises(Invalid, match=said):
        reader_of(FlippingServer(0)).read(edition(1, range(5)).raw_keys, features)


def test_a_read_says_what_it_cost_and_gave():
    told: list[ReadMetrics] = []
    server = FlippingServer(0)
    keys = {"airport": ["A0", "A0", "nowhere", None, "A0"], "slot": [1, 1, 1, 1, 5]}
    reader = reader_of(server, watch=told.append)
    reader.read(keys)
    server.flip()

    found = reader.read(keys, {REF: ["edition", "busy", "load"]})[REF]

    metrics = told[-1]
    (view,) = metrics.views.values()
    assert len(told) == 2
    assert (metrics.round_trips, metrics.keys, metrics.cached, metrics.hit_rate) == (2, 6, 0, 0.0)
    assert (view.rows, view.missing, view.expired, view.defaults) == (5, 2, 0, 6)
    assert view.nulls == sum(int((~column.valid[[0, 1, 4]]).sum()) for column in found.columns.values() if column.valid is not None)
    assert (view.oldest_us, view.lag_us) == (0, 0)
