"""Arrow in, Arrow out: keys of any type, columns that keep their types, labels that keep their order."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.asof.join import join, key_codes
from tiffin.core.errors import Invalid

INSTANT = pa.timestamp("us", tz="UTC")


def instants(values: list[int | None]) -> pa.Array:
    return pa.array(values, pa.int64()).cast(INSTANT)


def labels(times: list[int], **columns: Any) -> pa.Table:
    return pa.table({**columns, "at": instants(list(times))})


def rows(times: list[int], **columns: Any) -> pa.Table:
    return pa.table(
        {**columns, "event_time": instants(list(times)), "known_at": instants(list(times)), "written_at": instants([0] * len(times))}
    )


def joined(left: pa.Table, right: pa.Table, keys: list[str], features: list[str], ttl_us: int | None = None) -> pa.Table:
    return join(left, right, keys=keys, label_time="at", features=features, ttl_us=ttl_us, rename=lambda name: f"view__{name}")


def test_labels_keep_their_order_their_columns_and_their_duplicates() -> None:
    left = labels([30, 10, 30, 5], carrier=["UA", "AA", "UA", "AA"], label=[1.5, None, 1.5, 2.0])
    right = rows([20, 7], carrier=["UA", "AA"], flights=pa.array([3, None], pa.int16()))

    table = joined(left, right, ["carrier"], ["flights"])

    assert table.select(left.column_names).equals(left)
    assert table["view__flights"].to_pylist() == [3, None, 3, None]
    assert table.schema.field("view__flights").type == pa.int16()


def test_a_null_feature_of_the_newest_row_is_not_filled_from_an_older_one() -> None:
    right = rows([10, 20], k=[1, 1], a=[7, None], b=[None, 8])

    table = joined(labels([25], k=[1]), right, ["k"], ["a", "b"])

    assert table["view__a"].to_pylist() == [None]
    assert table["view__b"].to_pylist() == [8]


def test_text_keys_are_compared_in_nfc_on_both_sides() -> None:
    composed, decomposed = unicodedata.normalize("NFC", "São Tomé"), unicodedata.normalize("NFD", "São Tomé")

    forth = joined(labels([9], k=[composed]), rows([1], k=[decomposed], x=[1]), ["k"], ["x"])
    back = joined(labels([9], k=[decomposed]), rows([1], k=[composed], x=[1]), ["k"], ["x"])

    assert forth["view__x"].to_pylist() == back["view__x"].to_pylist() == [1]
    assert back["k"].to_pylist() == [decomposed]


def test_parts_of_a_composite_key_do_not_run_into_each_other() -> None:
    right = rows([1, 1, 1], a=["x", "xy", "x"], b=["yz", "z", "z"], x=[1, 2, 3])

    table = joined(labels([9, 9, 9, 9], a=["xy", "x", "x", "y"], b=["z", "yz", "z", "z"]), right, ["a", "b"], ["x"])

    assert table["view__x"].to_pylist() == [2, 1, 3, None]


def test_a_null_part_sees_nothing_even_when_a_row_has_the_same_null() -> None:
    right = rows([1, 1], a=["x", None], b=[None, 2], x=[1, 2])

    table = joined(labels([9, 9], a=["x", None], b=pa.array([None, 2])), right, ["a", "b"], ["x"])

    assert table["view__x"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param(pa.array([5], pa.int8()), pa.array([5], pa.int64()), id="int8 and int64"),
        pytest.param(pa.array([5], pa.uint16()), pa.array([5], pa.int32()), id="uint16 and int32"),
        pytest.param(pa.array(["v"]), pa.array(["v"], pa.large_string()), id="string and large string"),
        pytest.param(pa.array(["v"]).dictionary_encode(), pa.array(["v"], pa.string_view()), id="dictionary and string view"),
    ],
)
def test_widths_and_layouts_of_a_key_do_not_matter(left: pa.Array, right: pa.Array) -> None:
    assert joined(labels([9], k=left), rows([1], k=right, x=[1]), ["k"], ["x"])["view__x"].to_pylist() == [1]


def test_text_never_equals_a_number() -> None:
    with pytest.raises(Invalid, match="key 'k' is int64 beside string"):
        joined(labels([9], k=[1]), rows([1], k=["1"], x=[1]), ["k"], ["x"])


@pytest.mark.parametrize("key", [pa.array([1.5]), pa.array([True]), instants([1]), pa.array([[1]])])
def test_other_types_are_no_keys(key: pa.Array) -> None:
    with pytest.raises(Invalid, match="key 'k'"):
        joined(labels([9], k=key), rows([1], k=key, x=[1]), ["k"], ["x"])


def test_every_feature_type_survives_the_join() -> None:
    values = {
        "f": pa.array([1.5, None], pa.float32()),
        "b": pa.array([True, None]),
        "s": pa.array(["é", None]),
        "t": instants([-1, None]),
        "v": pa.array([[1.0, 2.0], None], pa.list_(pa.float32())),
        "i": pa.array([[], None], pa.list_(pa.int64())),
    }

    table = joined(labels([9, 9, 9], k=[2, 1, 3]), rows([1, 1], k=[1, 2], **values), ["k"], list(values))

    for name, column in values.items():
        assert table[f"view__{name}"].combine_chunks().equals(column.take(pa.array([1, 0, None])))


def test_no_feature_rows_give_null_columns_of_the_right_type() -> None:
    right = rows([1], k=["a"], x=pa.array([1.0], pa.float32()), l=pa.array([[1]], pa.list_(pa.int64()))).slice(0, 0)

    table = joined(labels([9, 9], k=["a", "b"]), right, ["k"], ["x", "l"])

    assert table["view__x"].to_pylist() == table["view__l"].to_pylist() == [None, None]
    assert table.schema.field("view__x").type == pa.float32()


def test_no_labels_give_no_rows() -> None:
    assert len(joined(labels([9], k=["a"]).slice(0, 0), rows([1], k=["a"], x=[1]), ["k"], ["x"])) == 0


def test_tables_in_many_chunks_join_like_whole_ones() -> None:
    left, right = (
        labels(list(range(50)), k=[i % 5 for i in range(50)]),
        rows(list(range(30)), k=[i % 5 for i in range(30)], x=list(range(30))),
    )
    cut = pa.concat_tables([left.slice(i, 7) for i in range(0, 50, 7)]), pa.concat_tables([right.slice(i, 4) for i in range(0, 30, 4)])

    assert joined(*cut, ["k"], ["x"]).equals(joined(left, right, ["k"], ["x"]))


def test_known_at_decides_and_ttl_ends_it() -> None:
    right = rows([10], k=[1], x=[1]).set_column(3, "known_at", instants([15]))

    table = joined(labels([14, 15, 110, 111], k=[1, 1, 1, 1]), right, ["k"], ["x"], ttl_us=100)

    assert table["view__x"].to_pylist() == [None, 1, 1, None]


def test_zones_and_units_are_brought_to_utc_microseconds() -> None:
    right = rows([1_000_000], k=[1], x=[1])
    left = pa.table({"k": [1, 1], "at": pa.array([1, 0], pa.int64()).cast(pa.timestamp("s", tz="America/New_York"))})

    assert joined(left, right, ["k"], ["x"])["view__x"].to_pylist() == [1, None]


@pytest.mark.parametrize(
    ("at", "found"),
    [
        pytest.param(pa.array([9]), "'at' is int64", id="a number"),
        pytest.param(pa.array([9]).cast(pa.timestamp("us")), r"'at' is timestamp\[us\]", id="no zone"),
        pytest.param(instants([None]), "'at' is null in row 0", id="null"),
        pytest.param(pa.array([1]).cast(pa.timestamp("ns", tz="UTC")), "'at' does not fit µs", id="nanoseconds"),
    ],
)
def test_a_label_time_must_be_an_instant(at: pa.Array, found: str) -> None:
    with pytest.raises(Invalid, match=found):
        joined(pa.table({"k": [1], "at": at}), rows([1], k=[1], x=[1]), ["k"], ["x"])


def test_a_missing_column_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Invalid, match="feature rows have no column 'flihgts'") as refusal:
        joined(labels([9], k=[1]), rows([1], k=[1], flights=[1]), ["k"], ["flihgts"])
    assert refusal.value.fix == "did you mean 'flights'?"
    with pytest.raises(Invalid, match="labels have no column 'carrier'"):
        joined(labels([9], k=[1]), rows([1], carrier=["x"], x=[1]), ["carrier"], ["x"])


def test_a_feature_never_overwrites_a_column_of_the_labels() -> None:
    with pytest.raises(Invalid, match="two columns 'view__x'"):
        joined(labels([9], k=[1], view__x=[0]), rows([1], k=[1], x=[1]), ["k"], ["x"])


key_parts = st.tuples(st.none() | st.integers(-2, 2), st.none() | st.sampled_from(["", "a", "b", "é", "e\u0301"]))


@settings(max_examples=100, deadline=None)
@given(st.lists(key_parts, max_size=8), st.lists(key_parts, max_size=8))
def test_codes_are_equal_exactly_when_keys_are(left: list[tuple[Any, Any]], right: list[tuple[Any, Any]]) -> None:
    def table(parts: list[tuple[Any, Any]]) -> pa.Table:
        return pa.table({"n": pa.array([n for n, _ in parts], pa.int32()), "s": pa.array([s for _, s in parts], pa.string())})

    codes = np.concatenate(key_codes(table(left), table(right), ["n", "s"])).tolist()

    wanted = [None if n is None or s is None else (n, unicodedata.normalize("NFC", s)) for n, s in [*left, *right]]
    for one, first in zip(codes, wanted, strict=True):
        assert (one == -1) == (first is None)
        for other, second in zip(codes, wanted, strict=True):
            assert first is None or second is None or (one == other) == (first == second)
