"""A content digest knows every cell and nothing but the cells."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.core.errors import Invalid
from tiffin.storage.content import content_digest, content_digests

INSTANT = pa.timestamp("us", tz="UTC")
CELLS: dict[str, tuple[pa.DataType, st.SearchStrategy[object]]] = {
    "text": (pa.string(), st.sampled_from(["", "a", "b", "ab", "é"])),
    "small": (pa.int8(), st.integers(-2, 2)),
    "long": (pa.int64(), st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)])),
    "real": (pa.float32(), st.sampled_from([0.0, -0.0, math.nan, 1.5, math.inf])),
    "double": (pa.float64(), st.sampled_from([0.0, -0.0, math.nan, 0.1])),
    "flag": (pa.bool_(), st.booleans()),
    "instant": (INSTANT, st.integers(0, 3)),
    "vector": (pa.list_(pa.float32()), st.lists(st.sampled_from([None, 0.0, -0.0, math.nan, 1.0]), max_size=2)),
    "numbers": (pa.list_(pa.int64()), st.lists(st.sampled_from([0, 1, 256]), max_size=2)),
}
ROWS = st.lists(st.fixed_dictionaries({name: st.none() | cells for name, (_, cells) in CELLS.items()}), max_size=6)


def table_of(rows: list[dict[str, object]]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, (kind, _) in CELLS.items()})


def told_apart(cell: object) -> object:
    """A Python value that is equal exactly where the digest must be."""
    return [told_apart(item) for item in cell] if isinstance(cell, list) else repr(cell)


@settings(deadline=None, max_examples=40)
@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_rows_columns_and_chunks_does_not_matter(rows: list[dict[str, object]], chance: object) -> None:
    table = table_of(rows)
    chance.shuffle(rows)
    names = list(table.column_names)
    chance.shuffle(names)
    half = len(rows) // 2

    other = pa.concat_tables([table_of(rows[:half]), table_of(rows[half:])]).select(names)

    assert content_digest(other) == content_digest(table)


@settings(deadline=None, max_examples=40)
@given(ROWS.filter(bool), st.data())
def test_any_changed_cell_changes_the_digest(rows: list[dict[str, object]], data: st.DataObject) -> None:
    before = content_digest(table_of(rows))
    row = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(sorted(CELLS)))
    old = told_apart(rows[row][name])
    rows[row][name] = data.draw((st.none() | CELLS[name][1]).filter(lambda cell: told_apart(cell) != old))

    assert content_digest(table_of(rows)) != before


@settings(deadline=None, max_examples=40)
@given(ROWS, st.lists(st.sampled_from("xyz"), min_size=6, max_size=6))
def test_a_groups_digest_is_that_of_its_rows_alone(rows: list[dict[str, object]], groups: list[str]) -> None:
    groups = groups[: len(rows)]
    table = table_of(rows).append_column("partition", pa.array(groups, pa.string()))

    found = content_digests(table, by="partition", groups=["w", "x", "y", "z"])

    assert found == {
        name: content_digest(table_of([row for row, group in zip(rows, groups, strict=True) if group == name])) for name in "wxyz"
    }


@settings(deadline=None, max_examples=40)
@given(ROWS)
def test_a_repeated_row_counts(rows: list[dict[str, object]]) -> None:
    assert content_digest(table_of([*rows, *rows[:1]])) == content_digest(table_of([*rows[:1], *rows]))
    assert (content_digest(table_of([*rows, *rows[:1]])) != content_digest(table_of(rows))) == bool(rows)


def test_null_zero_minus_zero_and_nan_are_four_values() -> None:
    values = [None, 0.0, -0.0, math.nan]

    assert len({content_digest(pa.table({"x": pa.array([value], pa.float32())})) for value in values}) == 4
    assert len({content_digest(pa.table({"x": pa.array([[value]], pa.list_(pa.float32()))})) for value in values}) == 4


def test_an_empty_list_a_null_list_and_an_empty_text_differ_from_null() -> None:
    lists = [content_digest(pa.table({"x": pa.array([value], pa.list_(pa.int64()))})) for value in (None, [], [None])]
    texts = [content_digest(pa.table({"x": pa.array([value], pa.string())})) for value in (None, "")]

    assert len(set(lists)) == 3
    assert len(set(texts)) == 2


def test_names_and_types_are_content() -> None:
    one = pa.table({"x": pa.array([1], pa.int32())})

    assert content_digest(one.rename_columns(["y"])) != content_digest(one)
    assert content_digest(one.cast(pa.schema([("x", pa.int64())]))) != content_digest(one)
    assert content_digest(one.slice(0, 0)) != content_digest(one.rename_columns(["y"]).slice(0, 0))


def test_when_and_where_it_was_written_is_not_content() -> None:
    one = pa.table({"x": [1]})
    times = [datetime(2030, 1, day, tzinfo=UTC) for day in (1, 2)]

    found = {
        content_digest(one.append_column("written_at", pa.array([time], INSTANT)).append_column("partition", [["p"]])) for time in times
    }

    assert found == {content_digest(one)}


@pytest.mark.parametrize(
    "kind",
    [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.large_string())],
    ids=str,
)
def test_variants_of_text_are_the_same_content(kind: pa.DataType) -> None:
    plain = pa.table({"x": pa.array(["b", None, "a", "b"])})

    assert content_digest(pa.table({"x": plain["x"].cast(kind)})) == content_digest(plain)


def test_slices_of_a_larger_table_are_the_same_content() -> None:
    table = pa.table({"x": pa.array(["b", None, "a", "b"]), "v": pa.array([[1.0], None, [2.0, None], []], pa.list_(pa.float32()))})

    assert content_digest(table.slice(1, 2)) == content_digest(pa.Table.from_pylist(table.to_pylist()[1:3], schema=table.schema))


@pytest.mark.parametrize(
    ("kind", "fix"),
    [
        pytest.param(pa.timestamp("us"), "assume_timezone", id="a time without a zone"),
        pytest.param(pa.uint32(), "int64", id="unsigned"),
        pytest.param(pa.float16(), "float32", id="half"),
        pytest.param(pa.decimal128(10, 2), "float64", id="decimal"),
        pytest.param(pa.list_(pa.string()), "lists of numbers", id="list of text"),
        pytest.param(pa.struct([("a", pa.int8())]), "integers", id="struct"),
        pytest.param(pa.null(), "the type it has with values", id="null"),
    ],
)
def test_a_type_that_is_not_stored_is_refused_with_a_cast(kind: pa.DataType, fix: str) -> None:
    with pytest.raises(Invalid, match="column 'odd'") as caught:
        content_digest(pa.table({"odd": pa.array([], kind)}))

    assert fix in caught.value.fix


def test_a_time_that_is_no_whole_microsecond_is_refused() -> None:
    with pytest.raises(Invalid, match="does not fit"):
        content_digest(pa.table({"t": pa.array([1], pa.timestamp("ns", tz="UTC"))}))


def test_the_digest_of_stored_tables_never_changes() -> None:
    table = pa.table({"key": ["a", None], "x": pa.array([0.5, None], pa.float32()), "v": pa.array([[1, 2], None], pa.list_(pa.int64()))})

    assert content_digest(table) == "cc5a58d1678108f41473e521c1f6c8046ba3320df90e1878b2567b3a348c1271"
