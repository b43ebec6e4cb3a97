"""Strings and lists behind the fixed part: compressed only when it helps, bounded when read, refused by row and column."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.core.errors import Corrupt
from tiffin.wire.checks import CHECK_AT, fold_rows, seed_of
from tiffin.wire.codecs import shrink, unshrink
from tiffin.wire.columns import Ragged, Values, ends, int_lists, join, strings, to_int_lists, to_strings
from tiffin.wire.flaws import BadRows
from tiffin.wire.packed import Packed, join_rows, split_rows
from tiffin.wire.rows import pack, unpack
from tiffin.wire.schema import Column, RowSchema
from tiffin.wire.varints import decode_varints, encode_varints

repeats = st.builds(lambda piece, times: piece * times, st.binary(max_size=3), st.integers(0, 60))
pieces = st.lists(st.one_of(st.binary(max_size=40), repeats), max_size=6)


@settings(max_examples=150)
@given(pieces)
def test_values_come_back_from_their_codecs_and_are_never_longer_by_more_than_it(items):
    column = join(items, None)

    data, lengths = shrink(column.data, np.diff(column.offsets))
    found, sizes = unshrink(data, lengths, limit=200, column="x", rows=None)

    assert join_rows(items).data.tobytes() == found.tobytes()
    assert sizes.tolist() == [len(item) for item in items]
    assert all(0 <= small - (len(item) > 0) <= len(item) for small, item in zip(lengths.tolist(), items, strict=True))


def one_row(encoding: str, tail: bytes, *, nullable: bool = False, null: bool = False) -> tuple[RowSchema, Packed]:
    """A good row in front, and one with this tail under a right check byte."""
    schema = RowSchema(5, (Column("n", "i8", nullable=False), Column("x", encoding, nullable)))
    empty: Ragged = int_lists([[]]) if encoding.startswith("ints") else strings([""])
    good = split_rows(pack(schema, {"n": Values(np.array([1])), "x": empty}, np.array([0])))[0]
    bad = bytearray(good + tail)
    at = len(good) - 2
    bad[at : at + 2] = len(tail).to_bytes(2, "little")
    if null:
        bad[6] |= 1
    row = np.frombuffer(bytes(bad), dtype=np.uint8)
    bad[CHECK_AT] = fold_rows(row, np.array([0, len(bad)]), seed_of(schema))[0]
    return schema, join_rows([good, bytes(bad)])


def deflated(piece: bytes) -> bytes:
    """A raw deflate stream."""
    press = zlib.compressobj(9, zlib.DEFLATED, -15)
    return press.compress(piece) + press.flush()


BOMB = b"\1" + deflated(b"a" * 5_000_000)[:60_000]


@pytest.mark.parametrize(
    ("encoding", "tail", "what"),
    [
        pytest.param("str:9", b"\xc3\x28", "UTF-8", id="not UTF-8"),
        pytest.param("str:9", b"\xa9", "UTF-8", id="begins within a character"),
        pytest.param("str:2", b"abc", "limit", id="longer than declared"),
        pytest.param("ints:9", b"\x80", "varint", id="cut number"),
        pytest.param("ints:9", b"\x80\x00", "varint", id="padded number"),
        pytest.param("ints:2", b"\x02\x04\x06", "limit", id="longer list than declared"),
        pytest.param("str:9:zip", b"\x02ab", "codec", id="unknown codec"),
        pytest.param("str:9:zip", b"\x00", "codec", id="codec of nothing"),
        pytest.param("str:9:zip", b"\x01\xff\xff", "codec", id="no deflate stream"),
        pytest.param("str:99:zip", b"\x01" + deflated(b"a" * 99)[:-1], "codec", id="cut stream"),
        pytest.param("str:99:zip", b"\x01" + deflated(b"a" * 99) + b"x", "codec", id="something after the stream"),
        pytest.param("str:99:zip", b"\x01" + deflated(b""), "codec", id="stream of nothing"),
        pytest.param("str:99:zip", b"\x01" + deflated(b"a" * 100), "codec", id="inflates beyond the limit"),
        pytest.param("str:99:zip", BOMB, "codec", id="bomb"),
        pytest.param("ints:9:zip", b"\x01" + deflated(b"\x02" * 90), "limit", id="inflates to a longer list"),
        pytest.param("ints:9:zip", b"\x01" + deflated(b"\x80" * 50), "varint", id="inflates to no numbers"),
        pytest.param("str:9:zip", b"\x01" + deflated(b"\xff" * 9), "UTF-8", id="inflates to no text"),
    ],
)
def test_bytes_that_are_no_value_are_refused_by_row_column_and_reason(encoding, tail, what):
    schema, packed = one_row(encoding, tail)

    with pytest.raises(Corrupt, match=f"packed row 1: its {what} of column 'x' is") as caught:
        unpack(schema, packed)
    assert caught.value.context == {"row": 1, "what": what, "column": "x"}
    with pytest.raises(Corrupt) as caught:
        unpack(schema, packed, rows=np.array([70, 80]))
    assert caught.value.context["row"] == 80
    assert unpack(schema, packed, ["n"])[0]["n"].data.tolist() == [1, 1]


def test_a_null_with_bytes_is_refused():
    schema, packed = one_row("str:9", b"abc", nullable=True, null=True)

    with pytest.raises(Corrupt, match="row 1: its tail of column 'x' is 3 long, expected nothing of a null"):
        unpack(schema, packed)


def test_ends_that_fall_or_miss_the_tail_are_refused():
    schema = RowSchema(5, (Column("a", "str:9", nullable=False), Column("b", "str:9", nullable=False)))
    good = split_rows(pack(schema, {"a": strings(["abc"]), "b": strings(["de"])}, np.array([0])))[0]
    for stops in ((4, 3), (3, 6), (3, 4)):
        bad = bytearray(good)
        bad[6:10] = stops[0].to_bytes(2, "little") + stops[1].to_bytes(2, "little")
        bad[CHECK_AT] = fold_rows(np.frombuffer(bytes(bad), dtype=np.uint8), np.array([0, len(bad)]), seed_of(schema))[0]
        with pytest.raises(Corrupt) as caught:
            unpack(schema, join_rows([good, bytes(bad)]))
        assert caught.value.context == {"row": 1, "what": "tail"}


def test_a_long_text_or_list_that_repeats_takes_less_and_a_short_one_one_byte_more():
    schema = RowSchema(1, (Column("x", "str:4000:zip"), Column("l", "ints:400:zip")))
    columns = {"x": strings(["delayed " * 100, "UA", None, ""]), "l": int_lists([[7] * 300, [1, 2, 3], [], None])}

    packed = pack(schema, columns, np.zeros(4, dtype=np.int64))
    found, _ = unpack(schema, packed)

    assert np.diff(packed.offsets).tolist()[0] < 60
    assert np.diff(packed.offsets).tolist()[1:] == [11 + 3 + 4, 11, 11]
    assert to_strings(found["x"]) == ["delayed " * 100, "UA", None, ""]
    assert to_int_lists(found["l"]) == [[7] * 300, [1, 2, 3], [], None]


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4), min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 40))
def test_a_list_with_one_altered_byte_is_blamed_on_its_row_or_means_other_numbers(rows, which, place):
    column = int_lists(rows)
    data, widths = encode_varints(column.data)
    offsets = ends(widths)[column.offsets]
    if not len(data):
        return
    data = data.copy()
    data[place % len(data)] ^= 0x80
    owner = int(np.searchsorted(offsets, place % len(data), side="right")) - 1
    schema = RowSchema(1, (Column("x", "ints:99", nullable=False),))
    lengths = np.diff(offsets)
    rows_of = [
        b"\1\0\0\0\0\0" + int(n).to_bytes(2, "little") + data[start : start + n].tobytes()
        for n, start in zip(lengths, offsets[:-1], strict=True)
    ]
    packed = join_rows(rows_of)
    raw = packed.data.copy()
    raw[packed.offsets[:-1] + CHECK_AT] = fold_rows(raw, packed.offsets, seed_of(schema))

    try:
        found, _ = unpack(schema, Packed(raw, packed.offsets))
    except Corrupt as err:
        blamed, others = err.context, []
    else:
        blamed, others = None, [row for row in range(len(rows)) if row != owner]
    assert blamed in (None, {"row": owner, "what": "varint", "column": "x"})
    assert all(to_int_lists(found["x"])[row] == rows[row] for row in others)


def test_a_character_cut_between_rows_is_refused():
    schema = RowSchema(5, (Column("x", "str:9", nullable=False),))
    good = split_rows(pack(schema, {"x": strings(["a"])}, np.array([0])))[0]
    rows = join_rows([good[:-1] + b"\xc3", good[:-1] + b"\xa9"])
    raw = rows.data.copy()
    raw[rows.offsets[:-1] + CHECK_AT] = fold_rows(raw, rows.offsets, seed_of(schema))

    with pytest.raises(Corrupt, match="row 0: its UTF-8"):
        unpack(schema, Packed(raw, rows.offsets))


def test_a_number_that_runs_over_the_end_of_its_row_is_not_the_next_rows_fault():
    data = np.array([0x05, 0x80, 0x00, 0x06], dtype=np.uint8)

    with pytest.raises(BadRows, match="row 0: its varint") as caught:
        decode_varints(data, np.array([0, 2, 2, 4]), column="x")
    assert caught.value.rows.tolist() == [0]
