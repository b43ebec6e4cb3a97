"""Encodings: canonical values are idempotent, nulls are nulls, and refusals name the cell."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire_cases import ENCODINGS, batches, same_bits
from tiffin.core.errors import Corrupt, Invalid
from tiffin.wire.encodings import Ragged, Values, canonical, int_lists, parse_encoding, strings, take, to_int_lists, to_strings
from tiffin.wire.schema import Column


def one(encoding: str, *numbers: object, nullable: bool = True) -> Values:
    """A canonical column of these numbers."""
    return canonical(Column("x", encoding, nullable), Values(np.array(numbers)))


@given(batches())
def test_canonical_is_idempotent_bit_for_bit(batch):
    schema, columns, _ = batch
    for column in schema.columns:
        first = canonical(column, columns[column.name])

        assert same_bits(canonical(column, first), first), column


@given(st.sampled_from(ENCODINGS[9:12]), st.integers(-(2**23) + 1, 2**23 - 1))
def test_a_step_value_is_float32_of_count_times_step_and_finds_its_count_again(encoding, count):
    form = parse_encoding(encoding)
    reach = min(np.iinfo(form.stored).max, 2**23 - 1)
    count = max(-reach, min(reach, count))

    found = one(encoding, count * form.step).data[0]

    assert found == np.float32(count * form.step)
    assert round(float(found) / form.step) == count


def test_a_step_rounds_half_to_even():
    assert one("step:0.5:i8", 0.25, 0.75, 1.25, -0.25).data.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_steps_that_a_float32_cannot_tell_apart_are_refused():
    assert one("step:0.01:i32", 83_886.07).data[0] == np.float32(83_886.07)
    with pytest.raises(Invalid, match="at most 8388607 steps"):
        one("step:0.01:i32", 83_886.09)


@pytest.mark.parametrize("encoding", ["f32", "f16", "step:0.01:i16"])
def test_nan_is_null_and_minus_zero_is_zero(encoding):
    found = one(encoding, math.nan, -0.0, -1e-60, 1.0)

    assert found.valid.tolist() == [False, True, True, True]
    assert np.signbit(found.data).tolist() == [False] * 4
    assert found.data[0] == 0.0


@pytest.mark.parametrize(
    ("encoding", "value"),
    [("f32", 1e39), ("f32", math.inf), ("f16", 65_520.0), ("f16", -math.inf), ("step:1.0:i8", 128.0), ("step:1.0:i8", math.inf)],
)
def test_infinity_and_overflow_are_refused_by_column_row_and_value(encoding, value):
    with pytest.raises(Invalid, match=r"column 'x', row 1: value") as caught:
        one(encoding, 1.0, value)

    assert caught.value.context == {"column": "x", "row": 1}
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(("encoding", "low", "high"), [("i8", -128, 127), ("i16", -(2**15), 2**15 - 1), ("i32", -(2**31), 2**31 - 1)])
def test_whole_numbers_are_taken_up_to_their_width_and_never_wrapped(encoding, low, high):
    assert one(encoding, low, high).data.tolist() == [low, high]
    with pytest.raises(Invalid, match=rf"row 1: value {high + 1} is not allowed: expected {low}\.\.{high}"):
        one(encoding, 0, high + 1)
    with pytest.raises(Invalid, match=rf"value {low - 1}"):
        one(encoding, low - 1)


def test_an_unsigned_number_beyond_int64_is_refused():
    with pytest.raises(Invalid, match="18446744073709551615"):
        canonical(Column("x", "i64"), Values(np.array([1, 2**64 - 1], dtype=np.uint64)))


@pytest.mark.parametrize(
    ("encoding", "data"), [("i8", [1.0]), ("i64", [True]), ("bool", [1]), ("f32", ["1"]), ("f32", [None]), ("ts", [1.5])]
)
def test_a_column_of_another_type_is_refused_and_not_cast(encoding, data):
    with pytest.raises(Invalid, match="column 'x' holds"):
        canonical(Column("x", encoding), Values(np.array(data)))


def test_a_null_in_a_column_without_nulls_is_refused_whatever_its_spelling():
    for values in (Values(np.array([1.0, math.nan])), Values(np.array([1.0, 2.0]), np.array([True, False]))):
        with pytest.raises(Invalid, match="column 'x', row 1: value null"):
            canonical(Column("x", "f32", nullable=False), values)


def test_what_stands_under_a_null_does_not_matter():
    mask = np.array([True, False])
    odd = canonical(Column("x", "i8"), Values(np.array([5, 999]), mask))
    inf = canonical(Column("x", "f32"), Values(np.array([5, math.inf]), mask))

    assert odd.data.tolist() == [5, 0]
    assert inf.data.tolist() == [5, 0]
    assert to_strings(canonical(Column("x", "str:1"), Ragged(np.array([0, 1, 9]), np.frombuffer(b"abbbbbbbb", dtype=np.uint8), mask))) == [
        "a",
        None,
    ]


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=3, max_size=3), min_size=1, max_size=5))
def test_int8_vectors_keep_the_largest_number_to_half_a_step_and_every_product_exact(rows):
    data = np.array(rows, dtype=np.float64)
    found = canonical(Column("x", "vec:3:i8"), Values(data)).data.astype(np.float64)

    largest = np.abs(data).max(axis=1, keepdims=True)
    assert (np.abs(found - data) <= largest * (0.5 / 127 + 2.0**-15) + 2.0**-92).all()
    assert same_bits(canonical(Column("x", "vec:3:i8"), Values(found)), Values(found.astype(np.float32)))


def test_of_many_int8_vectors_none_changes_when_it_is_stored_again():
    numbers = np.random.default_rng(7)
    rows = numbers.normal(size=(20_000, 4)) * 10.0 ** numbers.uniform(-6, 6, size=(20_000, 1))
    found = canonical(Column("x", "vec:4:i8"), Values(rows))

    assert same_bits(canonical(Column("x", "vec:4:i8"), found), found)


@pytest.mark.parametrize("size", ["f32", "f16", "i8"])
def test_a_vector_element_that_is_nan_is_refused_by_place(size):
    with pytest.raises(Invalid, match="column 'x', row 1, element 0: value nan"):
        canonical(Column("x", f"vec:2:{size}"), Values(np.array([[1.0, 2.0], [math.nan, 1.0]])))


def test_a_vector_of_another_size_is_refused():
    with pytest.raises(Invalid, match=r"shape \(1, 2\): expected \(1, 3\)"):
        canonical(Column("x", "vec:3:f32"), Values(np.ones((1, 2))))


def test_text_is_brought_to_nfc_and_counted_in_bytes_after_it():
    column = Column("x", "str:3")

    assert to_strings(canonical(column, strings(["e\u0301a", "ab", None, ""]))) == ["éa", "ab", None, ""]
    with pytest.raises(Invalid, match="row 1: value starting 'ééé' has 6 bytes"):
        canonical(column, strings(["a", "ééé"]))


def test_bytes_that_are_not_utf8_are_refused():
    with pytest.raises(Invalid, match=r"column 'x', row 1: .*expected UTF-8"):
        canonical(Column("x", "str:9"), Ragged(np.array([0, 1, 3]), np.array([65, 0xC3, 0x28], dtype=np.uint8), None))
    with pytest.raises(Invalid, match="surrogates"):
        strings(["\ud800"])
    with pytest.raises(Corrupt, match="not UTF-8"):
        to_strings(Ragged(np.array([0, 1]), np.array([0xFF], dtype=np.uint8), None))


def test_a_character_cut_between_two_rows_is_refused():
    with pytest.raises(Invalid, match="expected UTF-8"):
        canonical(Column("x", "str:9"), Ragged(np.array([0, 1, 2]), np.frombuffer("é".encode(), dtype=np.uint8), None))


def test_slices_of_larger_columns_are_compacted():
    whole = strings(["skip", "take", "this", "not"])
    part = Ragged(whole.offsets[1:4], whole.data, None)

    found = canonical(Column("x", "str:9"), part)

    assert to_strings(found) == ["take", "this"]
    assert (found.offsets[0], found.offsets[-1]) == (0, len(found.data))


def test_lists_keep_the_difference_between_empty_and_null_and_their_limit():
    found = canonical(Column("x", "ints:2"), int_lists([[1, 2], [], None]))

    assert to_int_lists(found) == [[1, 2], [], None]
    with pytest.raises(Invalid, match="row 0: value starting \\[1, 2, 3\\] has 3 numbers: expected at most 2"):
        canonical(Column("x", "ints:2"), int_lists([[1, 2, 3]]))


@pytest.mark.parametrize("offsets", [[0, 2, 1], [-1, 1, 2], [0, 1, 99], []])
def test_offsets_that_do_not_fit_are_refused(offsets):
    with pytest.raises(Invalid, match="offsets"):
        canonical(Column("x", "str:9"), Ragged(np.array(offsets, dtype=np.int64), np.zeros(3, dtype=np.uint8), None))


def test_the_wrong_kind_of_column_is_refused():
    with pytest.raises(Invalid, match="expected Ragged"):
        canonical(Column("x", "str:9"), Values(np.array([1])))
    with pytest.raises(Invalid, match="expected Values"):
        canonical(Column("x", "i8"), strings(["a"]))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "i7",
        "f64",
        "str",
        "str:0",
        "str:x",
        "step:0:i8",
        "step:nan:i8",
        "step:1e-300:i8",
        "step:1:i64",
        "vec:0:f32",
        "vec:3:f64",
        "ints:-1",
        "I8",
        "f32 ",
    ],
)
def test_an_unknown_encoding_is_refused(text):
    with pytest.raises(Invalid, match="encoding"):
        parse_encoding(text)


@given(batches(), st.lists(st.integers(-1, 5), max_size=8))
def test_take_agrees_with_python_lists_row_by_row(batch, wanted):
    schema, columns, times = batch
    index = np.array([place if place < len(times) else -1 for place in wanted], dtype=np.int64)
    for column in schema.columns:
        whole = canonical(column, columns[column.name])

        found = take(whole, index)

        nullable = Column(column.name, column.encoding, True)
        assert same_bits(canonical(nullable, found), found)
        for row, place in enumerate(index.tolist()):
            null = place < 0 or (whole.valid is not None and not whole.valid[place])
            assert (found.valid is not None and not found.valid[row]) == null
            if isinstance(whole, Ragged):
                expected = [] if null else whole.data[whole.offsets[place] : whole.offsets[place + 1]].tolist()
                assert found.data[found.offsets[row] : found.offsets[row + 1]].tolist() == expected
            elif not null:
                assert found.data[row].tobytes() == whole.data[place].tobytes()
