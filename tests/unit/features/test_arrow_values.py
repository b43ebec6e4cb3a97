"""Arrow to the wire and back: types are checked, and a stored value keeps its bits."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.core.errors import Invalid
from tiffin.features.arrow_values import to_arrow, to_values
from tiffin.features.feature_types import (
    Bool,
    Category,
    FeatureType,
    Float16,
    Float32,
    Int8,
    Int16,
    Int32,
    Int64,
    IntList,
    String,
    Timestamp,
    Vector,
)
from tiffin.storage.content import content_digest
from tiffin.wire.encodings import Ragged, canonical, to_strings
from tiffin.wire.schema import Column

INSTANT = pa.timestamp("us", tz="UTC")
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
REAL = st.floats(-30_000, 30_000) | st.sampled_from([math.nan, -0.0, 0.1, 5e-324])

KINDS: dict[str, tuple[FeatureType, pa.DataType, st.SearchStrategy[object]]] = {
    "int8 from int64": (Int8(), pa.int64(), st.integers(-128, 127)),
    "int16": (Int16(), pa.int16(), st.integers(-(2**15), 2**15 - 1)),
    "int32 from uint16": (Int32(), pa.uint16(), st.integers(0, 2**16 - 1)),
    "int64": (Int64(), pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "int64 from a SQL sum": (Int64(), pa.decimal128(38, 0), st.integers(-(2**63), 2**63 - 1).map(Decimal)),
    "float32 from double": (Float32(), pa.float64(), REAL),
    "float32 from int": (Float32(), pa.int32(), st.integers(-9, 9)),
    "float16": (Float16(), pa.float32(), st.floats(-30_000, 30_000, width=32)),
    "stepped": (Float32(step=0.01), pa.float64(), REAL),
    "stepped in 16 bits": (Float32(step=0.0001, low=0, high=1), pa.float32(), st.floats(0, 1, width=32)),
    "bool": (Bool(), pa.bool_(), st.booleans()),
    "timestamp": (Timestamp(), INSTANT, st.integers(-(2**55), 2**55)),
    "timestamp in another zone": (Timestamp(), pa.timestamp("ms", tz="America/New_York"), st.integers(-(2**40), 2**40)),
    "string": (String(max_bytes=64), pa.string(), st.text("aé\u0301ß\0", max_size=8)),
    "string compressed": (String(max_bytes=64, compress=True), pa.string(), st.text("ab", max_size=40)),
    "list compressed": (IntList(max_length=40, compress=True), pa.list_(pa.int64()), st.lists(st.integers(0, 1), max_size=40)),
    "large string": (String(max_bytes=64), pa.large_string(), st.text("ab", max_size=3)),
    "category": (Category(("UA", "é", "")), pa.string(), st.sampled_from(["UA", "e\u0301", ""])),
    "category of dictionary": (Category(("a", "b")), pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["a", "b"])),
    "vector": (Vector(3), pa.list_(pa.float64()), st.lists(st.floats(-9, 9), min_size=3, max_size=3)),
    "vector of fixed size": (Vector(2, "float16"), pa.list_(pa.float32(), 2), st.lists(st.floats(-9, 9, width=32), min_size=2, max_size=2)),
    "vector in int8": (Vector(2, "int8"), pa.large_list(pa.float32()), st.lists(st.floats(-9, 9, width=32), min_size=2, max_size=2)),
    "list": (IntList(max_length=4), pa.list_(pa.int32()), st.lists(st.integers(-9, 9), max_size=4)),
}


@pytest.mark.parametrize(("kind", "arrow", "items"), KINDS.values(), ids=KINDS.keys())
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_a_canonical_value_keeps_its_bits_through_arrow(
    kind: FeatureType, arrow: pa.DataType, items: st.SearchStrategy[object], data: st.DataObject
) -> None:
    given_values = pa.array(data.draw(st.lists(st.none() | items, max_size=6)), arrow)
    column = Column("x", kind.encoding)

    once = to_arrow(canonical(column, to_values(given_values, column)), kind.arrow)
    twice = to_arrow(canonical(column, to_values(once, column)), kind.arrow)

    once.validate(full=True)
    assert once.type == kind.arrow
    assert content_digest(pa.table({"x": once})) == content_digest(pa.table({"x": twice}))
    nan = np.array([isinstance(value, float) and math.isnan(value) for value in given_values.to_pylist()], bool)
    assert once.is_null().to_pylist() == (given_values.is_null().to_numpy(zero_copy_only=False) | nan).tolist()
    whole = pa.array([None, *given_values.to_pylist(), None], arrow).slice(1, len(given_values))
    assert to_arrow(canonical(column, to_values(whole, column)), kind.arrow).equals(once)


def test_chunks_and_dictionaries_are_read_as_one_column() -> None:
    column = Column("x", "str:8")
    chunks = pa.chunked_array([pa.array(["a", None]).dictionary_encode(), pa.array(["b", "a"]).dictionary_encode()])

    found = to_values(chunks, column)

    assert isinstance(found, Ragged)
    assert to_strings(found) == ["a", None, "b", "a"]


def test_minus_zero_and_nan_are_stored_as_zero_and_null() -> None:
    column = Column("x", "f32")

    found = to_arrow(canonical(column, to_values(pa.array([-0.0, math.nan, 1.0]), column)), pa.float32())

    assert [str(value) for value in found.to_pylist()] == ["0.0", "None", "1.0"]


def test_an_untyped_null_column_fits_every_feature() -> None:
    for kind, _, _ in KINDS.values():
        column = Column("x", kind.encoding)
        assert to_arrow(canonical(column, to_values(pa.nulls(2), column)), kind.arrow).null_count == 2


@pytest.mark.parametrize(
    ("kind", "array", "found", "fix"),
    [
        pytest.param(Int32(), pa.array([1.0]), "holds double: expected whole numbers", "round and cast", id="float as int"),
        pytest.param(Int32(), pa.array([Decimal("1.5")]), "holds decimal", "round and cast", id="decimal with a fraction"),
        pytest.param(Int64(), pa.array([Decimal(2**70)], pa.decimal128(38, 0)), "at most 64 bits", "clip", id="sum too large"),
        pytest.param(Int32(), pa.array(["1"]), "holds string: expected whole numbers", "cast", id="text as int"),
        pytest.param(Float32(), pa.array([True]), "holds bool: expected numbers", "cast it to float32", id="bool as float"),
        pytest.param(Bool(), pa.array([1]), "holds int64: expected bool", "compare or cast", id="int as bool"),
        pytest.param(
            Timestamp(), pa.array([NOON], pa.timestamp("us")), "holds timestamp[us]", "AT TIME ZONE 'UTC'", id="time without a zone"
        ),
        pytest.param(Timestamp(), pa.array([1], pa.timestamp("ns", tz="UTC")), "whole microseconds", "round", id="nanoseconds"),
        pytest.param(Timestamp(), pa.array([1]), "holds int64", "cast", id="int as time"),
        pytest.param(String(), pa.array([1]), "holds int64: expected text", "cast it to string", id="int as text"),
        pytest.param(String(), pa.array([b"a"]), "holds binary: expected text", "cast it to string", id="bytes as text"),
        pytest.param(
            Vector(3), pa.array([[1.0, 2.0, 3.0], [1.0]]), "row 1: vector has 1 numbers: expected 3", "Vector(1)", id="short vector"
        ),
        pytest.param(Vector(1), pa.array([[None]], pa.list_(pa.float32())), "null in it", "fill it", id="null in a vector"),
        pytest.param(Vector(1), pa.array([1.0]), "expected lists of 1 numbers", "return a list per row", id="number as vector"),
        pytest.param(IntList(), pa.array([[1.5]]), "expected whole numbers", "round and cast", id="floats in a list"),
    ],
)
def test_a_wrong_arrow_type_is_refused_with_what_to_do(kind: FeatureType, array: pa.Array, found: str, fix: str) -> None:
    with pytest.raises(Invalid, match="column 'x'") as caught:
        to_values(array, Column("x", kind.encoding))

    assert found in caught.value.message
    assert fix in caught.value.fix


def test_a_category_is_declared_by_its_words_and_refused_otherwise():
    assert Category(("UA", "e\u0301")).encoding == 'cat:["UA","é"]'
    assert Category(vocabulary=["UA"]) == Category(("UA",))
    for wrong, message in (((), "0 words"), (("a", "a"), "stands twice"), (("a\0",), "zero byte"), ("UA", "is one text")):
        with pytest.raises(Invalid, match=message):
            Category(wrong)
    with pytest.raises(Invalid, match="column 'carrier', row 1: value 'UB'"):
        canonical(Column("carrier", Category(("UA",)).encoding), to_values(pa.array(["UA", "UB"]), Column("carrier", 'cat:["UA"]')))
