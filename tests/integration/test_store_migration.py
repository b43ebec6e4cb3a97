"""A view leaves the published layout while somebody still writes there: every row is compared, bit for bit."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.online_case import SCHEMA, Online, Rows, bits, edition, started, view_record
from tiffin.core.errors import Conflict, Corrupt, Invalid, Unsupported
from tiffin.features import Entity, Feature, Float32, Source, daily, feature_view
from tiffin.features import Online as OnlineSpec
from tiffin.manifests.records import ViewRecord
from tiffin.online.compat import PublishedLayout, read_published, write_published
from tiffin.online.migration import Migrated, Migration
from tiffin.wire.columns import to_strings
from tiffin.wire.encodings import Ragged, Values, canonical, strings
from tiffin.wire.schema import Column, RowSchema

SCALARS = RowSchema(1, (*SCHEMA.columns[:5], Column("exact", "i64")))
FIELDS = (("airport", "string"), ("slot", "int16"))
LAYOUT = PublishedLayout(SCALARS, FIELDS, "stand:{airport}:{slot}")
NOW_US = 1_800_000_000_000_000


@pytest.fixture(scope="module")
def online(tmp_path_factory) -> Iterator[Online]:
    with started(tmp_path_factory.mktemp("online")) as found:
        yield found


def a_view(name: str) -> ViewRecord:
    return view_record(name=name, schema=SCALARS)


def scalars(number: int, ids: range) -> Rows:
    rows = edition(number, ids)
    columns = {column.name: rows.columns[column.name] for column in SCALARS.columns[:5]}
    columns["exact"] = Values(np.arange(ids.start, ids.stop, dtype=np.int64) * 2**40 + number)
    return Rows(rows.airports, rows.slots, columns, rows.event_time_us)


def source_keys(rows: Rows) -> list[bytes]:
    return LAYOUT.entity_keys({"airport": rows.airports, "slot": rows.slots.tolist()})


def put(online: Online, rows: Rows) -> None:
    online.admin.flushdb()
    write_published(online.admin, LAYOUT, source_keys(rows), rows.columns)


def migration(online: Online, view: ViewRecord, work: Path, **options) -> Migration:
    options = {"promote": online.promoted.append, "event_time_us": NOW_US, **options}
    return Migration(view, LAYOUT, source=online.admin, work=work / "migration", dev=online.dev, store=online.store(), page=50, **options)


def move(online: Online, view: ViewRecord, work: Path, *, at=lambda done, total: None, **options) -> Migrated:
    return migration(online, view, work, **options).run(progress=at)


def live(online: Online, view: ViewRecord, rows: Rows) -> dict[str, Values | Ragged]:
    found = online.reader(view, now_us=NOW_US).read(rows.raw_keys)[f"{view.team}/{view.name}"]
    assert found.found.all()
    return found.columns


def test_every_value_comes_over_bit_for_bit(online: Online, tmp_path: Path) -> None:
    view, rows = a_view("moved"), scalars(1, range(730))
    put(online, rows)
    online.admin.hset("stand:other", "f", 1)
    online.admin.hset("stand:A1:x", "f", 1)
    online.admin.set("stand:A1:7x", "no hash")

    done = move(online, view, tmp_path)

    assert (done.rows, done.changed, done.rounds, done.resumed) == (730, 0, 1, False)
    found = live(online, view, rows)
    assert {name: bits(found[name]) for name in found} == {name: bits(rows.columns[name]) for name in rows.columns}


def test_what_the_source_changes_and_removes_meanwhile_is_followed(online: Online, tmp_path: Path) -> None:
    view, rows, newer = a_view("followed"), scalars(1, range(200)), scalars(2, range(200))
    put(online, rows)
    turns = itertools.count()

    def write(done: int, total: int) -> None:
        turn = next(turns)
        if total and turn < 14:
            some = slice(turn * 3, turn * 3 + 3)
            columns = {name: cut(column, some) for name, column in newer.columns.items()}
            part = Rows(newer.airports[some], newer.slots[some], columns, newer.event_time_us[some])
            write_published(online.admin, LAYOUT, source_keys(part), part.columns)
            online.admin.unlink(source_keys(newer)[199 - turn])

    done = move(online, view, tmp_path, at=write)
    held = read_published(online.admin, LAYOUT, source_keys(rows))
    there = np.array([row[0] is not None for row in held])
    now = LAYOUT.decode([row for row in held if row[0] is not None])
    found = online.reader(view, now_us=NOW_US).read(rows.raw_keys)[f"{view.team}/{view.name}"]

    assert done.rounds > 1
    assert done.changed > 3
    assert done.rows == there.sum() < 200
    assert found.found.tolist() == there.tolist()
    for name, column in found.columns.items():
        assert bits(cut(column, there)) == bits(now[name])


def cut(column: Values | Ragged, some) -> Values | Ragged:
    """Some rows of a column."""
    index = np.arange(len(column))[some]
    if isinstance(column, Values):
        return canonical_of(Values(column.data[index], None if column.valid is None else column.valid[index]))
    texts = to_strings(column)
    return strings([texts[place] for place in index])


def canonical_of(values: Values) -> Values:
    return Values(values.data, None if values.valid is None or values.valid.all() else values.valid)


def test_a_migration_that_was_killed_goes_on_at_its_page(online: Online, tmp_path: Path) -> None:
    view, rows = a_view("killed"), scalars(1, range(500))
    put(online, rows)
    pages = []

    def die(done: int, total: int) -> None:
        pages.append(done)
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(online, view, tmp_path, at=die)
    after = []
    done = move(online, view, tmp_path, at=lambda done, total: after.append(done), event_time_us=NOW_US + 5_000_000)

    assert done.resumed
    assert done.rows == 500
    assert after[0] > 4
    assert list((tmp_path / "migration").iterdir()) == []
    assert online.store().state(view.team, view.name).current.watermark_us == NOW_US
    assert not move(online, view, tmp_path).resumed


def test_a_source_that_never_rests_is_a_conflict(online: Online, tmp_path: Path) -> None:
    view, rows = a_view("restless"), scalars(1, range(10))
    put(online, rows)
    turns = itertools.count(2)

    def change(digest: str) -> None:
        write_published(online.admin, LAYOUT, source_keys(rows), scalars(next(turns), range(10)).columns)

    with pytest.raises(Conflict, match="10 rows still differ"):
        move(online, view, tmp_path, promote=change)


def test_a_value_that_is_no_number_stops_it_by_name(online: Online, tmp_path: Path) -> None:
    view, rows = a_view("broken"), scalars(1, range(10))
    put(online, rows)
    online.admin.hset(source_keys(rows)[3], LAYOUT.hashes[1], "many")

    with pytest.raises(Corrupt, match=r"feature 'delay', row \d+: b'many' is no step"):
        move(online, view, tmp_path)

    assert online.store().state(view.team, view.name) is None


def test_a_row_written_again_loses_the_fields_that_became_null(online: Online) -> None:
    key = b"stand:once:1"
    write_published(online.admin, LAYOUT, [key], scalars(1, range(1)).columns)

    write_published(online.admin, LAYOUT, [key], LAYOUT.decode([[b"7", *[None] * 5]]))

    assert online.admin.hgetall(key) == {LAYOUT.hashes[0]: b"7"}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    st.data(),
)
def test_decimal_text_reads_back_as_the_same_bits(numbers, data):
    schema = RowSchema(1, (Column("f", "f32"), Column("i", "i64"), Column("b", "bool"), Column("s", "str:40")))
    rows = len(numbers)
    layout = PublishedLayout(schema, (("id", "int64"),), "x{id}")
    valid = np.array([number is not None for number in numbers])
    columns = {
        "f": Values(np.array([number or 0.0 for number in numbers], dtype=np.float32), valid),
        "i": Values(np.array(data.draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=rows, max_size=rows)), dtype=np.int64)),
        "b": Values(np.array(data.draw(st.lists(st.booleans(), min_size=rows, max_size=rows)))),
        "s": strings(data.draw(st.lists(st.none() | st.text(max_size=10), min_size=rows, max_size=rows))),
    }
    settled = {column.name: canonical(column, columns[column.name]) for column in schema.columns}

    found = layout.decode([[row.get(short) for short in layout.hashes] for row in layout.encode(columns)])

    assert {name: bits(found[name]) for name in found} == {name: bits(settled[name]) for name in settled}


def test_zero_is_one_byte_and_a_null_none() -> None:
    layout = PublishedLayout(RowSchema(1, (Column("f", "f32"), Column("g", "f32"))), (("id", "int64"),), "x{id}")

    assert layout.encode({"f": Values(np.zeros(1)), "g": Values(np.zeros(1), np.zeros(1, bool))}) == [{layout.hashes[0]: b"0"}]


@pytest.fixture(scope="module")
def twins() -> tuple[str, str]:
    """Two names of one 32-bit hash, found by looking."""
    seen: dict[bytes, str] = {}
    for number in itertools.count():
        name = f"feature_{number}"
        if (other := seen.setdefault(xxhash.xxh32(name.encode()).digest(), name)) != name:
            return other, name
    raise AssertionError("unreachable")


def test_two_names_that_hash_alike_are_refused_when_the_view_is_declared(twins: tuple[str, str]) -> None:
    def declare(**online):
        return feature_view(
            entity=Entity("carrier", key="carrier: string"),
            source=Source("raw/flights", time="landed_at"),
            partitions=daily("2013-01-01"),
            features=[Feature(name, Float32()) for name in twins],
            name="colliding",
            sql="select 1",
            online=OnlineSpec(**online),
        )

    assert declare(ttl="1d").name == "colliding"
    with pytest.raises(Invalid, match=f"{twins[0]!r} and {twins[1]!r} have the same name hash"):
        declare(compat="xxhash32")


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{airport}{slot}", "nothing between"),
        ("{airport}", "once each"),
        ("{airport}:{slot}:{slot}", "once each"),
        ("{airprt}:{slot}", "once each"),
        ("{airport", "not readable"),
        ("fixed", "once each"),
    ],
)
def test_a_key_template_that_does_not_tell_entities_apart_is_refused(template: str, complaint: str) -> None:
    with pytest.raises(Invalid, match=complaint):
        PublishedLayout(SCALARS, FIELDS, template)


def test_a_vector_is_not_supported_and_named() -> None:
    with pytest.raises(Unsupported, match="'near'"):
        PublishedLayout(SCHEMA, FIELDS, "{airport}:{slot}")


def test_a_pattern_means_what_the_template_says() -> None:
    layout = PublishedLayout(SCALARS, FIELDS, "a*[b]?{airport}:{slot}")

    assert layout.pattern == r"a\*\[b\]\?*:*"
    assert layout.parts(b"a*[b]?JFK:-3") == {"airport": "JFK", "slot": -3}
    assert layout.parts(b"a*[b]?JFK:x") is None
    assert layout.parts(b"\xff") is None
