"""Segments: sorted, deterministic, and any damage is found."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire_cases import batches
from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Corrupt, Invalid
from tiffin.wire.encodings import Values
from tiffin.wire.keys import pack_keys
from tiffin.wire.packed import join_rows, rank, split_rows, take_rows
from tiffin.wire.rows import pack
from tiffin.wire.schema import Column, RowSchema
from tiffin.wire.segments import build_segment, read_segment

GOLDEN = Path(__file__).parents[2] / "golden" / "wire" / "segment_v1.segment"
SCHEMA = RowSchema(2, (Column("a", "f32"), Column("n", "i8")))


def small() -> bytes:
    packed = pack(SCHEMA, {"a": Values(np.array([1.5, 2.5, np.nan])), "n": Values(np.array([1, 2, 3]))}, np.array([1, 2, 3]) * 1_000_000)
    return build_segment(SCHEMA, [b"sb", b"sa", b"sc"], packed, team="network", view="congestion", start_us=1_000_000, end_us=3_000_000)


@settings(max_examples=40)
@given(batches(), st.randoms(use_true_random=False))
def test_a_segment_gives_back_its_rows_in_key_order_whatever_the_order_they_came_in(batch, random):
    schema, columns, times = batch
    packed = pack(schema, columns, times)
    keys = [bytes([random.randrange(256) for _ in range(random.randrange(1, 9))]) + bytes([place]) for place in range(len(times))]
    order = list(range(len(keys)))
    random.shuffle(order)

    data = build_segment(schema, keys, packed, team="t", view="v", start_us=5, end_us=7)
    shuffled = build_segment(
        schema,
        [keys[place] for place in order],
        take_rows(packed, np.array(order, dtype=np.int64)),
        team="t",
        view="v",
        start_us=5,
        end_us=7,
    )

    found = read_segment(data, name="x")
    rows = dict(zip(keys, split_rows(packed), strict=True))
    assert shuffled == data
    assert found.keys == sorted(keys)
    assert split_rows(found.packed) == [rows[key] for key in sorted(keys)]
    assert (found.schema, found.meta.rows, found.meta.start_us, found.meta.end_us) == (schema, len(keys), 5, 7)


def test_a_key_twice_is_refused():
    packed = join_rows([b"one", b"two"])
    with pytest.raises(Invalid, match="key b'sa' occurs twice"):
        build_segment(SCHEMA, [b"sa", b"sa"], packed, team="t", view="v", start_us=0, end_us=0)
    with pytest.raises(Invalid, match="1 keys for 2 rows"):
        build_segment(SCHEMA, [b"sa"], packed, team="t", view="v", start_us=0, end_us=0)
    with pytest.raises(Invalid, match="bytes"):
        build_segment(SCHEMA, [b"", b"a"], packed, team="t", view="v", start_us=0, end_us=0)


def test_every_changed_byte_and_every_cut_is_found_by_name():
    data = small()
    for place in range(len(data)):
        with pytest.raises(Corrupt, match="segment of the test"):
            read_segment(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :], name="of the test")
        with pytest.raises(Corrupt, match="segment of the test"):
            read_segment(data[:place], name="of the test")
    with pytest.raises(Corrupt):
        read_segment(data + b"\0", name="x")


@given(st.binary(max_size=80))
def test_alien_bytes_are_corrupt(data):
    with pytest.raises(Corrupt):
        read_segment(data, name="x")


@given(st.binary(max_size=60))
def test_alien_bytes_with_a_right_digest_are_corrupt(body):
    whole = b"tifseg1\n" + body
    with pytest.raises(Corrupt):
        read_segment(whole + hashlib.sha256(whole).digest(), name="x")


def test_the_golden_segment_is_read_and_written_for_ever():
    data = GOLDEN.read_bytes()

    assert small() == data
    assert digest_bytes(data) == "2f5a8075eda672e84dc5d4848467059f394a2c2876d01cd5268e0a0188293b87"
    assert read_segment(data, name="golden").keys == [b"sa", b"sb", b"sc"]


@settings(max_examples=150)
@given(st.lists(st.one_of(st.binary(max_size=20), st.binary(max_size=3), st.binary(min_size=9, max_size=9)), max_size=12))
def test_rows_are_ranked_as_python_sorts_bytes(rows):
    order, twice = rank(join_rows(rows))

    ranked = [rows[place] for place in order]
    assert ranked == sorted(rows)
    doubles = [place for place in range(len(ranked) - 1) if ranked[place] == ranked[place + 1]]
    assert twice == (doubles[0] if doubles else None)


@settings(max_examples=80)
@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), min_size=1, max_size=40))
def test_numbers_small_and_large_are_ranked_by_value(numbers):
    """Small ones are sorted together with their places; large ones leave no room for that."""
    packed = pack_keys([("id", "int64")], {"id": np.array(numbers, dtype=np.int64)})[0]

    order, twice = rank(packed)

    ranked = [numbers[place] for place in order]
    assert ranked == sorted(numbers)
    assert sorted(order.tolist()) == list(range(len(numbers)))
    doubles = [place for place in range(len(ranked) - 1) if ranked[place] == ranked[place + 1]]
    assert twice == (doubles[0] if doubles else None)


@pytest.mark.parametrize("long", [b"x", b"x" * 254, b"x" * 257, b"x" * 3000])
def test_long_and_alike_keys_are_ranked_too(long):
    rows = [long + b"b", long + b"\0", long, long + b"a", b"", b"a" + long[1:]]

    assert [rows[place] for place in rank(join_rows(rows))[0]] == sorted(rows)
    assert rank(join_rows([*rows, long]))[1] == 2


@settings(max_examples=40)
@given(batches(), st.integers(0, 2**63))
def test_keys_in_one_buffer_make_the_same_file(batch, seed):
    schema, columns, times = batch
    packed = pack(schema, columns, times)
    numbers = np.random.default_rng(seed).permutation(len(times))
    keys, _ = pack_keys([("n", "int64")], {"n": numbers})

    data = build_segment(schema, keys, packed, team="t", view="v", start_us=5, end_us=7)

    assert data == build_segment(schema, split_rows(keys), packed, team="t", view="v", start_us=5, end_us=7)
    assert split_rows(read_segment(data, name="x").key_bytes) == sorted(split_rows(keys))
