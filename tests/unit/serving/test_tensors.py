"""Features from step to step: what one encodes the next decodes, bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tiffin.serving.steps.tensors import MATRIX, FeatureColumn, decode_features, encode_features, request_bytes, text_column
from tiffin.wire.columns import to_strings

COLUMNS = [
    FeatureColumn("v__number", "t/v", "number", "f32"),
    FeatureColumn("v__text", "t/v", "text", "str:100"),
    FeatureColumn("v__vector", "t/v", "vector", "vec:2:f32"),
    FeatureColumn("v__whole", "t/v", "whole", "i64"),
    FeatureColumn("v__list", "t/v", "list", "ints:9"),
]
rows = st.lists(
    st.tuples(
        st.floats(width=32, allow_infinity=False),
        st.one_of(st.none(), st.text(max_size=6)),
        st.one_of(st.none(), st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4)),
        st.tuples(st.floats(-9, 9, width=32), st.floats(-9, 9, width=32)),
    ),
    min_size=1,
    max_size=6,
)


def objects(items: list[object]) -> np.ndarray:
    made = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        made[place] = item
    return made


@given(rows)
def test_a_batch_survives_the_way_between_two_steps(data: list[tuple[float, str | None, list[int] | None, tuple[float, float]]]) -> None:
    clean = [None if text is None else text.encode("utf-8", "replace").decode() for _, text, _, _ in data]
    batch = {
        "v__number": np.array([number for number, _, _, _ in data], dtype=np.float64),
        "v__text": objects(list(clean)),
        "v__vector": np.array([vector for _, _, _, vector in data], dtype=np.float32),
        "v__whole": np.arange(len(data), dtype=np.float64),
        "v__list": objects([None if items is None else np.array(items, dtype=np.int64) for _, _, items, _ in data]),
    }

    tensors = encode_features(COLUMNS, batch, len(data))
    back = decode_features(COLUMNS, tensors)

    assert tensors[MATRIX].shape == (len(data), 2)
    assert list(back) == [column.name for column in COLUMNS]
    assert np.array_equal(back["v__number"].view(np.uint64), batch["v__number"].view(np.uint64))
    assert np.array_equal(back["v__vector"], batch["v__vector"])
    assert back["v__text"].tolist() == clean
    for sent, got in zip(batch["v__list"], back["v__list"], strict=True):
        assert (sent is None) == (got is None)
        assert sent is None or sent.tolist() == got.tolist()


def test_without_numbers_there_is_no_matrix() -> None:
    tensors = encode_features(COLUMNS[1:2], {"v__text": objects(["a", None])}, 2)

    assert list(tensors) == ["_v__text"]
    assert tensors["_v__text"].tolist() == [[b"\x01a"], [b"\x00"]]


def test_an_empty_text_is_not_null() -> None:
    assert to_strings(text_column([b"", b"\x00", b"x"])) == ["", None, "x"]


def test_request_bytes_count_text_and_numbers() -> None:
    text = np.array([[b"abc"], [b""]], dtype=object)

    assert request_bytes({"carrier": text, "distance": np.zeros((2, 1), dtype=np.int16)}) == 7
