"""A client's values as tensors: exact, or refused by field and row."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.core.errors import Invalid
from tiffin.serving.config_text import Tensor
from tiffin.serving.request import encode_column, encode_request
from tiffin.serving.steps.tensors import RequestColumn, decode_request
from tiffin.wire.batch import from_wire

TENSORS = [Tensor("carrier", "TYPE_STRING"), Tensor("distance", "TYPE_INT16"), Tensor("wind", "TYPE_FP32")]
ROWS = {"carrier": ["UA", None], "distance": [100, 200], "wind": [1.5, None]}


def encode(rows: dict[str, Any], max_rows: int = 10) -> dict[str, np.ndarray]:
    return encode_request(TENSORS, rows, of="endpoint 'eta'", max_rows=max_rows)


def test_columns_become_tensors_of_one_value_per_row() -> None:
    encoded = encode(ROWS)

    assert encoded["carrier"].tolist() == [[b"UA"], [b"\x00"]]
    assert (encoded["distance"].dtype, encoded["distance"].shape) == (np.int16, (2, 1))
    assert encoded["wind"].dtype == np.float32
    assert np.isnan(encoded["wind"][1, 0])


@pytest.mark.parametrize(
    ("changes", "message", "fix"),
    [
        pytest.param({"distnce": [1, 2]}, "no request field 'distnce'", "did you mean 'distance'?", id="unknown field"),
        pytest.param({"wind": None}, "request field 'wind' is None", "send a list", id="no list"),
        pytest.param({"carrier": "UA"}, "request field 'carrier' is 'UA'", "send a list: ['UA']", id="a bare text"),
        pytest.param({"wind": [1.0]}, "'wind' has 1 rows, 'carrier' has 2", "one value per row", id="another length"),
        pytest.param({"distance": [1, 2.5]}, "'distance', row 1: value 2.5", "correct the value", id="a fraction"),
        pytest.param({"distance": [1, True]}, "'distance', row 1: value True", "correct the value", id="a boolean as number"),
        pytest.param({"wind": [1.0, "2"]}, "'wind', row 1: value '2'", "correct the value", id="text as number"),
        pytest.param({"wind": [1.0, 1e39]}, "'wind', row 1: value 1e+39", "correct the value", id="beyond float32"),
        pytest.param({"wind": [1.0, float("inf")]}, "'wind', row 1: value inf", "correct the value", id="infinity"),
        pytest.param({"carrier": ["UA", "\x00"]}, "a lone NUL", "correct the value", id="the text that means null"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes: dict[str, Any], message: str, fix: str) -> None:
    with pytest.raises(Invalid) as refused:
        encode({**ROWS, **changes})

    assert message in refused.value.message
    assert fix in refused.value.fix


def test_a_missing_field_is_named() -> None:
    with pytest.raises(Invalid, match="needs the request field 'wind'"):
        encode({"carrier": ["UA"], "distance": [1]})


@pytest.mark.parametrize("count", [0, 11])
def test_rows_outside_the_limits_are_refused(count: int) -> None:
    with pytest.raises(Invalid, match=f"has {count} rows, endpoint 'eta' takes 1 to 10"):
        encode({"carrier": ["UA"] * count, "distance": [1] * count, "wind": [0.0] * count})


def test_an_instant_may_be_text_or_a_datetime_or_microseconds() -> None:
    column = Tensor("at", "TYPE_INT64")
    noon = datetime(2013, 7, 1, 12, tzinfo=UTC)

    encoded = encode_column(column, ["2013-07-01T12:00:00Z", noon, 1_372_680_000_000_000])

    assert encoded.tolist() == [[1_372_680_000_000_000]] * 3


def test_a_vector_is_a_list_of_its_size_or_null() -> None:
    column = Tensor("taste", "TYPE_FP32", 2)

    encoded = encode_column(column, [[1.0, 2.0], None])

    assert encoded[0].tolist() == [1.0, 2.0]
    assert np.isnan(encoded[1]).all()
    with pytest.raises(Invalid, match="'taste', row 0"):
        encode_column(column, [[1.0]])


texts = st.lists(st.one_of(st.none(), st.text(max_size=8).filter(lambda text: text != "\x00")), min_size=1, max_size=8)


@given(texts)
def test_text_and_null_arrive_in_the_batch_as_they_were_sent(items: list[str | None]) -> None:
    import unicodedata

    sent = encode_column(
        Tensor("note", "TYPE_STRING"), [None if item is None else item.encode("utf-8", "replace").decode() for item in items]
    )
    decoded = from_wire(decode_request([RequestColumn("note", "field", "str:64", True)], {"note": sent}))

    expected = [None if item is None else unicodedata.normalize("NFC", item.encode("utf-8", "replace").decode()) for item in items]
    assert decoded["note"].tolist() == expected


@given(st.lists(st.one_of(st.none(), st.floats(-1000, 1000, width=32)), min_size=1, max_size=8))
def test_numbers_arrive_in_their_declared_encoding(items: list[float | None]) -> None:
    sent = encode_column(Tensor("wind", "TYPE_FP32"), items)
    once = from_wire(decode_request([RequestColumn("wind", "field", "step:0.5:i16", True)], {"wind": sent}))["wind"]
    again = from_wire(decode_request([RequestColumn("wind", "field", "step:0.5:i16", True)], {"wind": once.astype(np.float32)[:, None]}))[
        "wind"
    ]

    assert np.array_equal(once, again, equal_nan=True)
    assert [value is None for value in items] == np.isnan(once).tolist()


def test_a_null_in_a_field_that_allows_none_is_refused_by_name() -> None:
    column = RequestColumn("wind", "field", "f32", False)

    with pytest.raises(Invalid, match=r"request field 'wind': .*row 1.*null") as refused:
        decode_request([column], {"wind": np.array([[1.0], [np.nan]], dtype=np.float32)})

    assert "without nulls" in refused.value.fix
