"""The compiled loops give what numpy gives, bit by bit, and leave every complaint to it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.wire_cases import batches, same_bits
from tiffin.core.errors import Corrupt
from tiffin.online.asked import distinct
from tiffin.online.resp import MgetReplies, Unreadable
from tiffin.wire import compiling, kernel
from tiffin.wire.checks import CHECK_AT, fold_matrix, seed_of
from tiffin.wire.columns import Ragged, Values, strings
from tiffin.wire.keys import encode_keys
from tiffin.wire.layouts import HEADER, layout_of
from tiffin.wire.matrix import row_width, unpack_matrix
from tiffin.wire.rows import pack
from tiffin.wire.schema import Column, RowSchema

SOURCE = Path(kernel.__file__).with_name(compiling.SOURCE)
even_batches = batches().filter(lambda batch: row_width(batch[0]) is not None)


@contextmanager
def using(library: Any) -> Iterator[None]:
    """The loops of this library; None: numpy's."""
    before, kernel.LIBRARY = kernel.LIBRARY, library
    try:
        yield
    finally:
        kernel.LIBRARY = before


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Compiled from the source as it is now; where there is no compiler, numpy is compared with itself."""
    target = tmp_path_factory.mktemp("kernel") / compiling.LIBRARY
    if not compiling.compile_kernel(SOURCE, target):
        assert compiling.compiler() is None
        return None
    library = kernel.load(target)
    assert library is not None
    return library


def outcome(call: Callable[[], Any]) -> tuple[str, Any]:
    """What came of it: a value, or the error's words and where it points."""
    try:
        return "value", call()
    except (Corrupt, Unreadable) as err:
        return type(err).__name__, (str(err), getattr(err, "context", None))


def both(compiled: Any, call: Callable[[], Any]) -> tuple[tuple[str, Any], tuple[str, Any]]:
    """What came of it either way."""
    with using(compiled):
        one = outcome(call)
    with using(None):
        return one, outcome(call)


def signed(schema: RowSchema, matrix: Any) -> Any:
    """With the check bytes that these rows should have."""
    matrix[:, CHECK_AT] = fold_matrix(matrix, seed_of(schema))
    return matrix


def same(one: tuple[str, Any], other: tuple[str, Any]) -> bool:
    """Two outcomes of `unpack_matrix`."""
    if one[0] != "value" or other[0] != "value":
        return one == other
    (columns, times), (others, other_times) = one[1], other[1]
    return (
        list(columns) == list(others)
        and times.tolist() == other_times.tolist()
        and all(same_bits(column, others[name]) and whole(column) == whole(others[name]) for name, column in columns.items())
    )


def whole(column: Values | Ragged) -> tuple[Any, ...]:
    """Dtype, shape, bits and nulls, those behind a null too."""
    return column.data.dtype, column.data.shape, column.data.tobytes(), None if column.valid is None else column.valid.tolist()


@settings(max_examples=150, deadline=None)
@given(even_batches, st.data())
def test_rows_read_by_compiled_loops_are_those_that_numpy_reads(compiled, batch, data):
    schema, columns, times = batch
    rows = pack(schema, columns, times).data.reshape(len(times), row_width(schema))
    wide = np.full((len(rows), rows.shape[1] + 9), 0xA5, dtype=np.uint8)
    wide[:, 5:-4] = rows
    wanted = data.draw(st.none() | st.lists(st.integers(-1, len(times) - 1), max_size=9))
    index = None if wanted is None else np.array(wanted, dtype=np.int64)
    names = data.draw(st.none() | st.lists(st.sampled_from([column.name for column in schema.columns]), unique=True))

    found = both(compiled, lambda: unpack_matrix(schema, wide[:, 5:-4], index, names))

    assert same(*found), found


@settings(max_examples=300, deadline=None)
@given(even_batches.filter(lambda batch: len(batch[2])), st.data())
def test_altered_rows_are_refused_in_the_same_words(compiled, batch, data):
    schema, columns, times = batch
    rows = pack(schema, columns, times).data.reshape(len(times), row_width(schema)).copy()
    for _ in range(data.draw(st.integers(1, 3))):
        row, place = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, rows.shape[1] - 1))
        rows[row, place] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):  # by somebody who computes the check byte too
        signed(schema, rows)

    found = both(compiled, lambda: unpack_matrix(schema, rows))

    assert same(*found), found


def halves_of(patterns: Any) -> tuple[RowSchema, Any]:
    """Rows of one half each, of these bits."""
    schema = RowSchema(3, (Column("half", "f16", nullable=False), Column("flag", "bool"), Column("word", 'cat:["a"]')))
    rows = np.array(patterns, dtype="<u2")
    columns = {"half": Values(np.zeros(len(rows))), "flag": Values(np.ones(len(rows), dtype=np.bool_)), "word": strings(["a"] * len(rows))}
    matrix = pack(schema, columns, np.zeros(len(rows), dtype=np.int64)).data.reshape(len(rows), -1).copy()
    at = layout_of(schema).slots[0].at
    matrix[:, at : at + 2] = rows.view(np.uint8).reshape(-1, 2)
    return schema, signed(schema, matrix)


def test_every_half_is_the_same_number(compiled):
    every = np.arange(2**16)
    schema, matrix = halves_of(every[every & 0x7C00 != 0x7C00])

    one, other = both(compiled, lambda: unpack_matrix(schema, matrix))

    assert one[0] == "value"
    assert same(one, other)


@pytest.mark.parametrize("bits", [0x7C00, 0xFC00, 0x7E01])
def test_what_is_not_finite_is_refused(compiled, bits):
    schema, matrix = halves_of([0, bits, 0])

    one, other = both(compiled, lambda: unpack_matrix(schema, matrix))

    assert one == other
    assert (one[1][1]["what"], one[1][1]["row"]) == ("number", 1)


@pytest.mark.parametrize("place", [HEADER, HEADER + 1], ids=["null bits", "bools"])
def test_bits_of_no_column_are_refused(compiled, place):
    schema, matrix = halves_of([0, 0])
    matrix[1, place] |= 0x80

    one, other = both(compiled, lambda: unpack_matrix(schema, signed(schema, matrix)))

    assert one == other
    assert one[1][1]["what"] == "padding"


@pytest.mark.parametrize("code", [0, 2])
def test_a_code_of_no_word_is_refused(compiled, code):
    schema, matrix = halves_of([0, 0])
    matrix[1, layout_of(schema).slots[2].at] = code

    one, other = both(compiled, lambda: unpack_matrix(schema, signed(schema, matrix)))

    assert one == other
    assert (one[1][1]["what"], one[1][1]["row"]) == ("code", 1)


def test_an_unknown_entity_is_null_in_every_column(compiled):
    schema, matrix = halves_of([0x3C00, 0x4000])

    one, other = both(compiled, lambda: unpack_matrix(schema, matrix, np.array([1, -1, 0])))

    assert same(one, other)
    assert [column.valid.tolist() for column in one[1][0].values()] == [[True, False, True]] * 3


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20), st.sampled_from([8, 16, 32, 64]), st.sampled_from(["i4", "i8", ">i8", "i2"])
)
@example([-128, 127], 8, "i4")
def test_keys_of_whole_numbers_are_the_same_bytes(compiled, numbers, bits, dtype):
    size = min(bits, 8 * np.dtype(dtype).itemsize)
    given_ = np.array([number % 2**size - 2 ** (size - 1) for number in numbers], dtype=np.int64).astype(dtype)

    one, other = both(compiled, lambda: encode_keys([("id", f"int{bits}")], {"id": given_})[0])

    assert one[0] == "value"
    assert one == other


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 19))
def test_equal_keys_are_found(compiled, numbers, width):
    matrix = np.array([number.to_bytes(1, "big") * width for number in numbers], dtype=f"V{width}").view(np.uint8).reshape(-1, width)

    def places() -> list[list[int]] | None:
        pair = distinct(matrix)
        return None if pair is None else [part.tolist() for part in pair]

    one, other = both(compiled, places)

    assert one == other
    assert (one[1] is None) == (len(set(numbers)) == len(numbers))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(min_size=3, max_size=3), min_size=1, max_size=8), st.data())
def test_replies_are_taken_apart_alike_however_they_are_broken(compiled, rows, data):
    reply = bytearray(b"*%d\r\n$1\r\nP\r\n" % (len(rows) + 1) + b"".join(b"$3\r\n%b\r\n" % row for row in rows))
    for _ in range(data.draw(st.integers(0, 2))):
        reply[data.draw(st.integers(0, len(reply) - 1))] = data.draw(st.sampled_from(b"$3\r\n:*-P0"))
    cut = data.draw(st.integers(0, len(reply)))

    one, other = both(compiled, lambda: fed(bytes(reply), cut, len(rows)))

    assert one == other


def fed(reply: bytes, cut: int, rows: int) -> Any:
    """What two pieces of a reply become."""
    replies, done = MgetReplies([rows], room=1 << 16), False
    for piece in filter(None, (reply[:cut], reply[cut:])):
        replies.space()[: len(piece)] = piece
        done = replies.received(len(piece))
    if not done:
        return None
    try:
        (answer,) = replies.answers()
    except Exception as err:  # noqa: BLE001  hiredis' own, the same both times
        return repr(err)
    kept = answer.rows if isinstance(answer.rows, np.ndarray) else answer.rows.data
    return answer.pointer, kept.tobytes(), None if answer.present is None else answer.present.tolist()


def test_a_library_of_another_version_or_none_at_all_is_left_alone(tmp_path, monkeypatch, compiled):
    assert kernel.load(tmp_path / "nothing.so") is None
    (tmp_path / "text.so").write_text("no library")
    assert kernel.load(tmp_path / "text.so") is None
    if compiled is not None:
        monkeypatch.setattr(kernel, "VERSION", kernel.VERSION + 1)
        assert kernel.load(Path(compiled._name)) is None
        assert isinstance(compiled, ctypes.CDLL)


def test_a_compiler_that_fails_is_told_and_numpy_reads_on(tmp_path, monkeypatch, capsys):
    (tmp_path / "cc").symlink_to("/bin/false")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert not compiling.compile_kernel(SOURCE, tmp_path / "kernel.so")
    assert [path.name for path in tmp_path.iterdir()] == ["cc"]
    assert "numpy reads rows" in capsys.readouterr().err
