"""Rows of several schemas in one batch: each row means what it meant, in the columns that are wanted now."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire_cases import ENCODINGS, cell, column_of, same_bits
from tiffin.core.errors import Corrupt, Invalid, Unsupported
from tiffin.wire.columns import Ragged, Values, strings, to_int_lists, to_strings
from tiffin.wire.encodings import canonical
from tiffin.wire.mixed import UnknownSchema, unpack_mixed
from tiffin.wire.packed import join_rows, split_rows
from tiffin.wire.projection import widens
from tiffin.wire.rows import pack, unpack
from tiffin.wire.schema import Column, RowSchema
from tiffin.wire.tombstones import pack_tombstones

WIDER = {
    "i8": "i32",
    "i16": "i16",
    "i32": "i64",
    "f16": "f32",
    "str:24": "str:99:zip",
    "step:0.01:i32": "f32",
    "step:0.25:i8": "step:0.25:i16",
    "vec:2:f16": "vec:2:f32",
    "vec:4:i8": "vec:4:f32",
    "ints:6": "ints:9",
    'cat:["UA","AA","","é","a longer word"]': 'cat:["é","a longer word","new","UA","AA",""]',
    "str:64:zip": "str:64",
}
OLD = RowSchema(1, (Column("a", "i8"), Column("gone", "f32"), Column("word", 'cat:["UA","AA"]')), 1000, 86_400_000_000)
NEW = RowSchema(2, (Column("word", 'cat:["AA","UA","DL"]'), Column("fresh", "str:9"), Column("a", "i32")))


def cell_of(column: Values | Ragged, row: int) -> object:
    """A value as Python has it; None is null."""
    if column.valid is not None and not column.valid[row]:
        return None
    if isinstance(column, Ragged):
        return (to_strings(column) if column.data.dtype == np.uint8 else to_int_lists(column))[row]
    return column.data[row].tolist()


@st.composite
def families(draw) -> tuple[RowSchema, dict[int, RowSchema], list[tuple[int, bytes, dict, int]]]:
    """A wanted schema, older ones, and rows: number, bytes, what they mean by name, event time."""
    pool = draw(st.lists(st.sampled_from(ENCODINGS), min_size=1, max_size=5))
    schemas = []
    for number in range(1, draw(st.integers(1, 4)) + 1):
        places = draw(st.permutations(range(len(pool))))[: draw(st.integers(1, len(pool)))]
        unit, epoch = draw(st.sampled_from([(1_000_000, 0), (1000, 86_400_000_000)]))
        schemas.append(RowSchema(number, tuple(Column(f"c{at}", pool[at], draw(st.booleans())) for at in places), unit, epoch))
    wanted_places = draw(st.permutations(range(len(pool))))[: draw(st.integers(1, len(pool)))]
    columns = [Column(f"c{at}", WIDER.get(pool[at], pool[at]) if draw(st.booleans()) else pool[at]) for at in wanted_places]
    wanted = RowSchema(9, (*columns, Column("never before", "i16")))
    rows = []
    for _ in range(draw(st.integers(0, 8))):
        schema = draw(st.sampled_from([*schemas, None]))
        if schema is None:
            time = draw(st.integers(0, 2**32 - 1)) * wanted.unit_us + wanted.epoch_us
            rows.append((0, split_rows(pack_tombstones(wanted, np.array([time])))[0], {}, time))
            continue
        made = {}
        for column in schema.columns:
            values = cell(column.encoding).filter(lambda item: item == item)
            made[column.name] = column_of(column, [draw(st.one_of(values, st.none()) if column.nullable else values)])
        time = draw(st.integers(0, 2**32 - 1)) * schema.unit_us + schema.epoch_us
        meaning = {column.name: cell_of(canonical(column, made[column.name]), 0) for column in schema.columns}
        rows.append((schema.number, split_rows(pack(schema, made, np.array([time])))[0], meaning, time))
    return wanted, {schema.number: schema for schema in schemas}, rows


@settings(max_examples=200)
@given(families())
def test_every_row_means_what_it_meant(family):
    wanted, others, rows = family
    packed = join_rows([data for _, data, _, _ in rows])
    defaults = {"never before": Values(np.array([7]))}

    found = unpack_mixed(wanted, packed, others=others, defaults=defaults)

    assert list(found.columns) == [column.name for column in wanted.columns]
    assert found.event_time_us.tolist() == [time for _, _, _, time in rows]
    assert found.there.tolist() == [number != 0 for number, _, _, _ in rows]
    for column in wanted.columns:
        values = found.columns[column.name]
        missing = 7 if column.name == "never before" else None
        expected = [None if number == 0 else meaning.get(column.name, missing) for number, _, meaning, _ in rows]
        assert [cell_of(values, row) for row in range(len(rows))] == expected
        assert same_bits(values, canonical(Column(column.name, column.encoding), values))


@given(st.sampled_from(ENCODINGS), st.sampled_from([*ENCODINGS, *WIDER.values()]), st.data())
def test_what_widens_never_changes_a_value(old, new, data):
    if not widens(old, new):
        return
    before = canonical(Column("x", old), column_of(Column("x", old), data.draw(st.lists(st.one_of(st.none(), cell(old)), max_size=5))))

    after = canonical(Column("x", new), before)

    assert [cell_of(after, row) for row in range(len(after))] == [cell_of(before, row) for row in range(len(before))]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("i32", "i16"),
        ("i8", "f32"),
        ("f32", "f16"),
        ("bool", "i8"),
        ("str:9", "str:8"),
        ("str:9", 'cat:["a"]'),
        ('cat:["a","b"]', 'cat:["a"]'),
        ("step:0.5:i8", "step:0.25:i16"),
        ("step:0.5:i16", "step:0.5:i8"),
        ("step:0.5:i8", "f16"),
        ("vec:2:f32", "vec:2:f16"),
        ("vec:2:f16", "vec:3:f32"),
        ("ints:6", "ints:5"),
        ("ts", "i64"),
    ],
)
def test_what_may_change_a_value_does_not_widen(old, new):
    assert not widens(old, new)
    rows = pack(RowSchema(1, (Column("x", old),)), {"x": column_of(Column("x", old), [None])}, np.array([0]))

    with pytest.raises(Unsupported, match=r"column .x. is .* in rows of schema 1: it cannot be read as"):
        unpack_mixed(RowSchema(2, (Column("x", new),)), rows, others={1: RowSchema(1, (Column("x", old),))})


def rows_of_both() -> list[bytes]:
    """One old row, two new ones."""
    old = {"a": Values(np.array([5])), "gone": Values(np.array([1.5])), "word": strings(["AA"])}
    new = {"a": Values(np.array([70_000, 2])), "fresh": strings(["x", None]), "word": strings(["DL", "UA"])}
    return split_rows(pack(OLD, old, np.array([86_400_000_000]))) + split_rows(pack(NEW, new, np.array([0, 1_000_000])))


def test_an_unknown_number_is_named_once_for_all_so_that_it_can_be_fetched():
    rows = rows_of_both()
    seven = b"\x07" + rows[0][1:]

    with pytest.raises(UnknownSchema, match="packed row 1: its schema number is 1, known are 2") as caught:
        unpack_mixed(NEW, join_rows([rows[1], rows[0], seven, seven]))
    assert caught.value.numbers == (1, 7)
    assert unpack_mixed(NEW, join_rows([rows[1], rows[0]]), others={1: OLD}).columns["a"].data.tolist() == [70_000, 5]


def test_a_bad_row_is_named_by_its_place_in_the_batch():
    rows = rows_of_both()
    bad = rows[0][:-1] + bytes([rows[0][-1] ^ 1])
    for batch, row, what in (
        ([rows[1], rows[0], rows[2], bad], 3, "check byte"),
        ([rows[1], rows[2], rows[0][:9]], 2, "length"),
        ([rows[0], b""], 1, "length"),
        ([rows[0], rows[1], b"\0\0\0\0\0\0"], 2, "check byte"),
    ):
        with pytest.raises(Corrupt, match=f"packed row {row}: its {what}") as caught:
            unpack_mixed(NEW, join_rows(batch), others={1: OLD})
        assert caught.value.context["row"] == row


def test_defaults_are_checked():
    rows = join_rows(rows_of_both())
    for defaults, message in (
        ({"frehs": strings(["x"])}, "column 'frehs', which is not wanted"),
        ({"fresh": strings(["x", "y"])}, "has 2 rows"),
        ({"fresh": strings(["longer than nine"])}, "expected at most 9"),
        ({"fresh": Values(np.array([1]))}, "expected Ragged"),
    ):
        with pytest.raises(Invalid, match=message):
            unpack_mixed(NEW, rows, others={1: OLD}, defaults=defaults)
    found = unpack_mixed(NEW, rows, others={1: OLD}, defaults={"fresh": strings(["none"])})
    assert to_strings(found.columns["fresh"]) == ["none", "x", None]


def test_rows_of_one_schema_are_what_unpack_gives():
    rows = join_rows(rows_of_both()[1:])

    found = unpack_mixed(NEW, rows)

    columns, times = unpack(NEW, rows)
    assert all(same_bits(found.columns[name], columns[name]) for name in columns)
    assert found.event_time_us.tolist() == times.tolist()
