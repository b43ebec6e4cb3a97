"""Rows of one width as a matrix: the same values as row by row, in any order, and the same refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire_cases import batches, same_bits
from tiffin.core.errors import Corrupt, Invalid
from tiffin.wire.checks import fold_matrix, fold_rows, seed_of
from tiffin.wire.columns import Values, strings, take, to_strings
from tiffin.wire.matrix import columns_of, event_times, row_width, unpack_matrix
from tiffin.wire.packed import Packed, from_matrix, join_rows, split_rows, take_rows
from tiffin.wire.rows import pack, unpack
from tiffin.wire.schema import Column, RowSchema

SCHEMA = RowSchema(7, (Column("a", "f16"), Column("word", 'cat:["UA","AA"]', nullable=False), Column("ok", "bool"), Column("b", "f16")))


WORD = {"what": "code", "column": "word"}


def sample(rows: int = 30) -> Packed:
    """Rows with some nulls."""
    random = np.random.default_rng(5)
    columns = {
        "a": Values(random.normal(size=rows), random.random(rows) < 0.8),
        "word": strings(["UA" if odd else "AA" for odd in random.random(rows) < 0.5]),
        "ok": Values(random.random(rows) < 0.5, random.random(rows) < 0.8),
        "b": Values(random.normal(size=rows)),
    }
    return pack(SCHEMA, columns, random.integers(0, 2**32, rows) * 1_000_000)


def matrix_of(packed: Packed, width: int) -> np.ndarray:
    """The rows side by side, inside something larger: what a reply of a server looks like."""
    wide = np.full((len(packed), width + 9), 0xA5, dtype=np.uint8)
    wide[:, 5 : 5 + width] = packed.data.reshape(len(packed), width)
    return wide[:, 5 : 5 + width]


@settings(max_examples=80)
@given(batches().filter(lambda batch: row_width(batch[0]) is not None), st.data())
def test_a_matrix_gives_what_unpack_and_take_give_bit_for_bit(batch, data):
    schema, columns, times = batch
    packed = pack(schema, columns, times)
    wanted = data.draw(st.lists(st.integers(-1, len(times) - 1), max_size=9))
    names = data.draw(st.lists(st.sampled_from([column.name for column in schema.columns]), unique=True))
    index = np.array(wanted, dtype=np.int64)
    rows = matrix_of(packed, row_width(schema))

    found, found_times = unpack_matrix(schema, rows, index, names)

    expected, expected_times = unpack(schema, packed)
    assert list(found) == names
    assert found_times.tolist() == [0 if place < 0 else expected_times[place] for place in wanted]
    for name in names:
        assert same_bits(found[name], take(expected[name], index)), name
    for name, column in columns_of(schema, rows).items():
        assert same_bits(column, expected[name])


def test_the_rows_handed_in_are_not_what_comes_out():
    packed = sample()
    matrix = packed.data.copy().reshape(len(packed), -1)

    found, times = unpack_matrix(SCHEMA, matrix)
    before = {name: column.data.tobytes() for name, column in found.items()}
    first = times.tolist()
    matrix[:] = 0

    assert {name: column.data.tobytes() for name, column in found.items()} == before
    assert times.tolist() == first


@pytest.mark.parametrize(("place", "what"), [(0, "schema number"), (1, "check byte"), (12, "check byte")])
def test_an_altered_row_is_refused_by_its_own_number(place, what):
    matrix = sample().data.reshape(30, -1).copy()
    matrix[17, place] ^= 1

    with pytest.raises(Corrupt, match=rf"row 17: its {what}") as caught:
        event_times(SCHEMA, matrix)
    assert caught.value.context == {"row": 17, "what": what}


def test_a_bit_that_no_column_has_and_a_code_of_no_word_are_refused():
    matrix = sample().data.reshape(30, -1).copy()
    for place, value, what in ((6, 0x80, {"what": "padding"}), (10, 3, WORD), (10, 0, WORD)):
        altered = matrix.copy()
        altered[4, place] = value if place != 6 else altered[4, place] | value
        altered[:, 1] = fold_matrix(altered, seed_of(SCHEMA))
        index = np.array([9, -1, 4])

        with pytest.raises(Corrupt, match=f"row 4: its {what['what']} ") as caught:
            unpack_matrix(SCHEMA, altered, index)
        assert caught.value.context == {"row": 4, **what}


def test_rows_of_another_width_and_of_varying_width_are_refused():
    with pytest.raises(Corrupt, match="row 0: its length is 9 bytes, expected 13"):
        event_times(SCHEMA, np.zeros((2, 9), dtype=np.uint8))
    assert event_times(SCHEMA, np.zeros((0, 9), dtype=np.uint8)).tolist() == []
    with pytest.raises(Invalid, match="int64"):
        event_times(SCHEMA, np.zeros((2, 13), dtype=np.int64))
    varying = RowSchema(1, (Column("n", "i8"), Column("name", "str:9")))
    assert row_width(varying) is None
    with pytest.raises(Invalid, match="because of column 'name'"):
        unpack_matrix(varying, np.zeros((1, 9), dtype=np.uint8))


def test_a_column_that_is_not_there_is_refused_with_the_nearest_one():
    with pytest.raises(Invalid, match="column 'wrod' is not in schema 7") as caught:
        columns_of(SCHEMA, sample().data.reshape(30, -1), names=["wrod"])
    assert "did you mean 'word'" in caught.value.fix


def test_a_row_that_is_not_there_is_null_in_every_column_also_without_null_bits():
    found, times = unpack_matrix(SCHEMA, np.zeros((0, 13), dtype=np.uint8), np.array([-1, -1]))

    assert times.tolist() == [0, 0]
    assert to_strings(found["word"]) == [None, None]
    assert all(column.valid.tolist() == [False, False] for column in found.values())


@given(st.lists(st.binary(min_size=2, max_size=400), min_size=1, max_size=8), st.integers(0, 255))
def test_a_check_does_not_depend_on_the_rows_beside_it(rows, seed):
    packed = join_rows(rows)

    together = fold_rows(packed.data, packed.offsets, seed)

    alone = [fold_matrix(np.frombuffer(row, dtype=np.uint8)[None, :], seed)[0] for row in rows]
    assert together.tolist() == alone


def test_a_check_of_very_many_rows_is_the_one_of_each():
    matrix = np.random.default_rng(3).integers(0, 256, size=(20_011, 13), dtype=np.uint8)

    found = fold_matrix(matrix, 9)

    assert all(found[row] == fold_matrix(matrix[row : row + 1], 9)[0] for row in range(0, 20_011, 97))
    assert found[-1] == fold_matrix(matrix[-1:], 9)[0]


@given(st.lists(st.binary(min_size=3, max_size=3), min_size=1, max_size=6), st.data())
def test_rows_of_one_width_are_a_matrix_in_the_same_memory(rows, data):
    packed = join_rows(rows)
    index = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=9)), dtype=np.int64)

    assert np.shares_memory(packed.matrix, packed.data)
    assert [row.tobytes() for row in packed.matrix] == rows
    assert split_rows(from_matrix(packed.matrix)) == rows
    assert split_rows(take_rows(packed, index)) == [rows[place] for place in index]


@pytest.mark.parametrize("rows", [[], [b"", b""], [b"abc", b"a"], [b"ab", b"abcd"], [b"", b"ab"]])
def test_rows_that_differ_in_width_are_no_matrix(rows):
    assert join_rows(rows).matrix is None
