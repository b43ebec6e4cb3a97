"""Packed rows: a bit-exact round trip, the layout as described, and nothing alien taken for a row."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire_cases import batches, same_bits, slow_rows
from tiffin.core.errors import Corrupt, Invalid
from tiffin.wire.encodings import Ragged, Values, canonical, strings
from tiffin.wire.rows import CHUNK, in_chunks, join_rows, pack, pack_chunk, split_rows, take_rows, unpack
from tiffin.wire.schema import Column, RowSchema
from tiffin.wire.times import store_times
from tiffin.wire.varints import decode_varints, encode_varints

GOLDEN = Path(__file__).parents[2] / "golden" / "wire"
SCHEMA = RowSchema(3, (Column("a", "f32"), Column("b", "i16"), Column("name", "str:20"), Column("ok", "bool", nullable=False)))
FLAT = RowSchema(3, (Column("a", "f32"), Column("b", "i32"), Column("c", "step:0.01:i32"), Column("d", "i64")))


def sample(rows: int = 40, *, flat: bool = False) -> tuple[RowSchema, list[bytes]]:
    """Rows with varied values."""
    random = np.random.default_rng(4)
    times = random.integers(0, 2**32, rows) * 1_000_000
    a, b = random.normal(size=rows), random.integers(-(2**15), 2**15, rows)
    if flat:
        c, d = random.normal(size=rows) * 100, random.integers(-(2**63), 2**63 - 1, rows)
        return FLAT, split_rows(pack(FLAT, {"a": Values(a), "b": Values(b), "c": Values(c), "d": Values(d)}, times))
    names = strings([f"name {n}"[: n % 9] for n in range(rows)])
    return SCHEMA, split_rows(pack(SCHEMA, {"a": Values(a), "b": Values(b), "name": names, "ok": Values(random.random(rows) < 0.5)}, times))


@settings(max_examples=60)
@given(batches())
def test_unpack_gives_what_canonical_gives_bit_for_bit(batch):
    schema, columns, times = batch

    found, found_times = unpack(schema, pack(schema, columns, times))

    assert found_times.tolist() == times.tolist()
    assert list(found) == [column.name for column in schema.columns]
    for column in schema.columns:
        assert same_bits(found[column.name], canonical(column, columns[column.name])), column


@settings(max_examples=60)
@given(batches(), st.integers(1, 5))
def test_rows_packed_some_at_a_time_are_the_same_bytes(batch, size):
    schema, columns, times = batch
    counts = store_times(schema, times)
    if not len(times):
        return

    parts, whole = in_chunks(schema, columns, counts, size=size), pack_chunk(schema, columns, counts)

    assert parts.data.tobytes() == whole.data.tobytes()
    assert parts.offsets.tolist() == whole.offsets.tolist()


def test_a_bad_value_far_down_is_named_by_its_row():
    rows = 2 * CHUNK
    columns = {"a": Values(np.zeros(rows)), "b": Values(np.zeros(rows, dtype=np.int64)), "ok": Values(np.ones(rows, dtype=np.bool_))}
    columns["b"].data[CHUNK + 7] = 2**15
    times = np.zeros(rows, dtype=np.int64)
    names = strings(["x"] * rows)

    with pytest.raises(Invalid, match=f"column 'b', row {CHUNK + 7}: value 32768"):
        pack(SCHEMA, {**columns, "name": names}, times)
    columns["b"].data[CHUNK + 7] = 0
    longer = np.ones(2 * CHUNK + 1, dtype=np.bool_)
    with pytest.raises(Invalid, match="its null mask is"):
        pack(SCHEMA, {**columns, "b": Values(columns["b"].data, longer), "name": names}, times)
    with pytest.raises(Invalid, match="its offsets do not fit"):
        pack(SCHEMA, {**columns, "name": Ragged(names.offsets[::-1].copy(), names.data)}, times)


@settings(max_examples=60)
@given(batches())
def test_packing_what_was_unpacked_gives_the_same_bytes(batch):
    schema, columns, times = batch
    packed = pack(schema, columns, times)

    again = pack(schema, *unpack(schema, packed))

    assert again.data.tobytes() == packed.data.tobytes()
    assert again.offsets.tolist() == packed.offsets.tolist()


@settings(max_examples=60)
@given(batches())
def test_the_layout_is_the_one_described(batch):
    schema, columns, times = batch

    assert split_rows(pack(schema, columns, times)) == slow_rows(schema, columns, times)


@settings(max_examples=40)
@given(batches(), st.randoms(use_true_random=False))
def test_rows_do_not_depend_on_their_neighbours(batch, random):
    schema, columns, times = batch
    packed = pack(schema, columns, times)
    order = list(range(len(times)))
    random.shuffle(order)

    shuffled = take_rows(packed, np.array(order, dtype=np.int64))

    assert split_rows(shuffled) == [split_rows(packed)[place] for place in order]
    assert join_rows(split_rows(shuffled)).data.tobytes() == shuffled.data.tobytes()
    assert unpack(schema, shuffled)[1].tolist() == times[order].tolist()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_old_bytes_decode_for_ever(path):
    golden = json.loads(path.read_text())
    schema = RowSchema.from_json(golden["schema"])

    columns, times = unpack(schema, join_rows([bytes.fromhex(row) for row in golden["rows"]]))

    assert times.tolist() == golden["event_time_us"]
    for name, held in golden["columns"].items():
        column = columns[name]
        assert (None if column.valid is None else column.valid.tolist()) == held["valid"]
        assert column.data.dtype.name == held["dtype"]
        assert column.data.tobytes().hex() == held["data"]
        if "offsets" in held:
            assert column.offsets.tolist() == held["offsets"]
    again = pack(schema, columns, times)
    assert all(same_bits(unpack(schema, again)[0][name], columns[name]) for name in columns)
    # another build of zlib may deflate otherwise; what it wrote is read all the same
    if not any(column.encoding.endswith(":zip") for column in schema.columns):
        assert [row.hex() for row in split_rows(again)] == golden["rows"]


def test_there_are_golden_rows():
    assert {path.stem for path in GOLDEN.glob("*.json")} >= {
        "rows_v1_scalars",
        "rows_v1_varied",
        "rows_v1_vectors",
        "rows_v1_categories",
        "rows_v1_codecs",
    }


def test_a_row_of_twenty_scalars_stays_within_an_embedded_string():
    kinds = ["f16"] * 9 + ["i16"] * 5 + ["bool"] * 3 + ["i8"] * 3
    schema = RowSchema(1, tuple(Column(f"c{place}", kind) for place, kind in enumerate(kinds)))
    columns = {c.name: Values(np.zeros(1, dtype=bool if c.encoding == "bool" else np.int64)) for c in schema.columns}

    assert len(split_rows(pack(schema, columns, np.array([0])))[0]) <= 44


@pytest.mark.parametrize("flat", [True, False])
def test_every_change_of_one_byte_is_found(flat):
    schema, rows = sample(2, flat=flat)
    for row in rows:
        for place in range(len(row)):
            for change in range(1, 256):
                altered = row[:place] + bytes([row[place] ^ change]) + row[place + 1 :]
                with pytest.raises(Corrupt):
                    unpack(schema, join_rows([altered]))


@pytest.mark.parametrize("flat", [True, False])
def test_random_alterations_pass_at_most_twice_in_256(flat):
    schema, rows = sample(200, flat=flat)
    random = np.random.default_rng(8)
    passed = tried = 0
    for row in rows:
        for _ in range(40):
            altered = np.frombuffer(row, dtype=np.uint8).copy()
            places = random.integers(0, len(row), size=random.integers(2, 9))
            altered[places] = random.integers(0, 256, size=len(places))
            if altered.tobytes() == row:
                continue
            tried += 1
            try:
                unpack(schema, join_rows([altered.tobytes()]))
                passed += 1
            except Corrupt:
                continue

    assert tried > 7000
    assert passed <= tried * 2 / 256


def test_swapped_and_sign_flipped_columns_are_found_almost_always():
    schema, rows = sample(2000, flat=True)
    passed = dict.fromkeys(("swap", "signs"), 0)
    for row in rows:
        swapped = row[:7] + row[11:15] + row[7:11] + row[15:]
        flipped = bytearray(row)
        flipped[10] ^= 0x80
        flipped[18] ^= 0x80
        for kind, altered in (("swap", swapped), ("signs", bytes(flipped))):
            try:
                unpack(schema, join_rows([altered]))
                passed[kind] += altered != row
            except Corrupt:
                continue

    assert passed["swap"] <= 2000 * 4 / 256
    assert passed["signs"] <= 2000 * 6 / 256


def test_the_error_says_which_row_and_what():
    schema, rows = sample(5, flat=True)
    rows[3] = rows[3][:-1]
    with pytest.raises(Corrupt, match="row 3: its length is 26 bytes, expected 27") as caught:
        unpack(schema, join_rows(rows))
    assert caught.value.context == {"row": 3, "what": "length"}


def test_rows_of_another_number_or_schema_are_refused():
    schema, rows = sample(5, flat=True)
    other_number = RowSchema(4, schema.columns)
    other_columns = RowSchema(3, (Column("z", "f32"), *schema.columns[1:]))
    with pytest.raises(Corrupt, match="schema number is 3, expected 4"):
        unpack(other_number, join_rows(rows))
    with pytest.raises(Corrupt, match="check byte"):
        unpack(other_columns, join_rows(rows))


@pytest.mark.parametrize("alien", [b"", b"\0", b"hello world this is not a row", b"\x03" * 27, b"\xff" * 300])
def test_alien_bytes_are_refused(alien):
    for flat in (True, False):
        schema, rows = sample(2, flat=flat)
        with pytest.raises(Corrupt, match="row 1"):
            unpack(schema, join_rows([rows[0], alien, rows[1]]))


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=3))
def test_no_bytes_make_anything_but_values_or_corrupt(rows):
    for flat in (True, False):
        schema, _ = sample(1, flat=flat)
        try:
            unpack(schema, join_rows(rows))
        except Corrupt:
            continue


def test_a_row_longer_than_its_u16_ends_is_refused():
    schema = RowSchema(1, (Column("a", "str:32000"), Column("b", "str:32000"), Column("c", "str:32000")))
    long = strings(["x" * 22_000])
    with pytest.raises(Invalid, match="66000 bytes together: expected at most 65535"):
        pack(schema, {"a": long, "b": long, "c": long}, np.array([0]))


@pytest.mark.parametrize(
    ("time", "unit", "epoch"), [(1, 1_000_000, 0), (-1_000_000, 1_000_000, 0), (2**32 * 1_000_000, 1_000_000, 0), (0, 1_000_000, 5)]
)
def test_an_event_time_that_would_be_rounded_or_wrapped_is_refused(time, unit, epoch):
    schema = RowSchema(1, (Column("a", "i8"),), unit, epoch)
    with pytest.raises(Invalid, match="event time, row 1: value"):
        pack(schema, {"a": Values(np.array([1, 1]))}, np.array([epoch, time]))


def test_missing_extra_and_uneven_columns_are_refused_by_name():
    one = Values(np.array([1]))
    schema = RowSchema(1, (Column("apple", "i8"), Column("pear", "i8")))
    with pytest.raises(Invalid, match="'pear' is missing") as caught:
        pack(schema, {"apple": one, "paer": one}, np.array([0]))
    assert "did you mean 'paer'" in caught.value.fix
    with pytest.raises(Invalid, match="'plum' is not in schema 1"):
        pack(schema, {"apple": one, "pear": one, "plum": one}, np.array([0]))
    with pytest.raises(Invalid, match="'pear' has 2 rows, the event times 1"):
        pack(schema, {"apple": one, "pear": Values(np.array([1, 2]))}, np.array([0]))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20))
def test_varints_come_back(numbers):
    data, widths = encode_varints(np.array(numbers, dtype=np.int64))
    found, counts = decode_varints(data, np.array([0, len(data)]), column="x")

    assert found.tolist() == numbers
    assert counts.tolist() == [len(numbers)]
    assert widths.sum() == len(data)


@pytest.mark.parametrize("data", [[0x80], [0x80, 0x00], [0xFF] * 10, [0xFF] * 9 + [0x02], [0x80] * 10 + [0x01]])
def test_varints_that_are_cut_padded_or_too_long_are_corrupt(data):
    with pytest.raises(Corrupt, match=r"varint of column .x. is not in its shortest form"):
        decode_varints(np.array(data, dtype=np.uint8), np.array([0, len(data)]), column="x")


def test_a_number_cut_between_two_rows_is_corrupt():
    with pytest.raises(Corrupt):
        decode_varints(np.array([0x80, 0x01], dtype=np.uint8), np.array([0, 1, 2]), column="x")


def test_no_rows_are_rows_too():
    empty = pack(
        SCHEMA,
        {"a": Values(np.zeros(0)), "b": Values(np.zeros(0, dtype=int)), "name": strings([]), "ok": Values(np.zeros(0, bool))},
        np.zeros(0, int),
    )
    columns, times = unpack(SCHEMA, empty)

    assert len(empty) == len(times) == 0
    assert all(len(column) == 0 for column in columns.values())


def test_a_schema_from_another_process_is_the_same_schema():
    elsewhere = RowSchema(3, SCHEMA.columns)
    object.__setattr__(elsewhere, "hashed", hash(elsewhere) ^ 1)  # as another process hashes text

    here = pickle.loads(pickle.dumps(elsewhere))

    assert here == SCHEMA
    assert hash(here) == hash(SCHEMA)
