"""Tombstones: told apart from rows, verified like rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire_cases import batches
from tiffin.core.errors import Corrupt, Invalid
from tiffin.wire.columns import Values
from tiffin.wire.packed import join_rows, split_rows
from tiffin.wire.rows import pack, unpack
from tiffin.wire.schema import Column, RowSchema
from tiffin.wire.tombstones import pack_tombstones, tombstone_times, tombstones

SCHEMA = RowSchema(3, (Column("a", "f32"),))


@settings(max_examples=60)
@given(batches(), st.data())
def test_tombstones_among_rows_are_found_with_their_event_times(batch, data):
    schema, columns, times = batch
    rows, dead = split_rows(pack(schema, columns, times)), split_rows(pack_tombstones(schema, times))
    chosen = data.draw(st.lists(st.booleans(), min_size=len(times), max_size=len(times)))
    mixed = join_rows([tomb if gone else row for row, tomb, gone in zip(rows, dead, chosen, strict=True)])

    found, since = tombstone_times(schema, mixed)

    assert found.tolist() == tombstones(schema, mixed).tolist() == chosen
    assert since.tolist() == [time if gone else 0 for time, gone in zip(times.tolist(), chosen, strict=True)]


def test_the_bytes_of_a_tombstone_are_fixed_for_ever():
    assert split_rows(pack_tombstones(SCHEMA, np.array([0, 5_000_000]))) == [bytes.fromhex("005c00000000"), bytes.fromhex("008805000000")]


def test_an_altered_tombstone_is_refused_and_one_is_never_a_row():
    good = split_rows(pack_tombstones(SCHEMA, np.array([7_000_000])))[0]
    row = split_rows(pack(SCHEMA, {"a": Values(np.array([1.0]))}, np.array([0])))[0]
    for place in range(1, 6):
        for change in (1, 0x80, 0xFF):
            altered = good[:place] + bytes([good[place] ^ change]) + good[place + 1 :]
            with pytest.raises(Corrupt, match="row 1: its check byte"):
                tombstones(SCHEMA, join_rows([row, altered]))
    for length in (1, 5, 7, 60):
        with pytest.raises(Corrupt, match="row 1: its length is"):
            tombstones(SCHEMA, join_rows([row, (good * 12)[:length]]))
    with pytest.raises(Corrupt, match="row 0"):
        unpack(SCHEMA, join_rows([good]))
    assert tombstones(SCHEMA, join_rows([b"", row, b"\x03"])).tolist() == [False] * 3


def test_an_event_time_that_would_be_rounded_is_refused():
    with pytest.raises(Invalid, match="event time, row 1"):
        pack_tombstones(SCHEMA, np.array([0, 1]))
