"""Replies seen as matrices are what hiredis reads, however they are cut, and never what the protocol forbids."""

from __future__ import annotations

from collections.abc import Sequence

import hiredis
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tiffin.online.resp import MgetReplies, ReplyError, Unreadable, WordReplies, command, mget_request
from tiffin.online.source import Answer
from tiffin.wire.packed import split_rows

Values = list[bytes | None]


def bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def array(values: Values) -> bytes:
    return b"*%d\r\n%b" % (len(values), b"".join(map(bulk, values)))


def fill(replies: MgetReplies | WordReplies, data: bytes, cuts: Sequence[int]) -> bool:
    """Feed `data` in pieces; whether the replies were whole at its end, and not before."""
    done = False
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        piece = data[start:end]
        while piece:
            assert not done, "whole before the end"
            space = replies.space()
            count = min(len(space), len(piece))
            space[:count] = piece[:count]
            piece = piece[count:]
            done = replies.received(count)
    return done


def values_of(answer: Answer) -> Values:
    rows = [bytes(row) for row in answer.rows] if isinstance(answer.rows, np.ndarray) else split_rows(answer.rows)
    if answer.present is None:
        return [answer.pointer, *rows]
    left = iter(rows)
    return [answer.pointer, *(next(left) if there else None for there in answer.present.tolist())]


def hiredis_reads(data: bytes, count: int) -> list[object] | None:
    """None: it is not whole, or against the protocol."""
    reader, found = hiredis.Reader(), []
    try:
        reader.feed(data)
        while len(found) < count and (reply := reader.gets()) is not False:
            found.append(reply)
    except hiredis.ProtocolError:
        return None
    return found if len(found) == count else None


widths = st.integers(0, 60)
one_row = st.one_of(st.binary(max_size=60), st.none())
even = st.tuples(widths, st.integers(0, 20), st.integers(0, 255)).map(lambda t: [bytes([(t[2] + i) % 256]) * t[0] for i in range(t[1])])
spotted = st.tuples(even, st.sets(st.integers(0, 20))).map(lambda t: [None if i in t[1] else row for i, row in enumerate(t[0])])
rows = st.one_of(even, spotted, st.lists(one_row, max_size=12), even.map(lambda r: [*r, b"$-1\r\n", None]))
arrays = st.lists(st.tuples(one_row, rows).map(lambda t: [t[0], *t[1]]), min_size=1, max_size=4)


def cuts_of(data: st.DataObject, length: int) -> list[int]:
    return sorted(data.draw(st.lists(st.integers(0, length), max_size=6)))


@settings(max_examples=150, deadline=None)
@given(arrays, st.data())
def test_whatever_comes_in_whatever_pieces_is_what_was_sent(sent: list[Values], data: st.DataObject) -> None:
    raw = b"".join(map(array, sent))
    replies = MgetReplies([len(values) - 1 for values in sent])

    assert fill(replies, raw, cuts_of(data, len(raw)))
    assert [values_of(answer) for answer in replies.answers()] == sent


@settings(max_examples=80, deadline=None)
@given(arrays, st.data())
def test_a_reply_is_not_whole_before_its_last_byte(sent: list[Values], data: st.DataObject) -> None:
    raw = b"".join(map(array, sent))
    cut = data.draw(st.integers(0, len(raw) - 1))

    assert not fill(MgetReplies([len(values) - 1 for values in sent]), raw[:cut], [])


@settings(max_examples=250, deadline=None)
@given(arrays, st.data())
def test_altered_bytes_are_refused_or_read_as_hiredis_reads_them(sent: list[Values], data: st.DataObject) -> None:
    raw = bytearray(b"".join(map(array, sent)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] = data.draw(st.one_of(st.sampled_from(b"$*-+:\r\n0123456789"), st.integers(0, 255)))
    replies = MgetReplies([len(values) - 1 for values in sent])
    expected = hiredis_reads(bytes(raw), len(sent))

    try:
        whole = fill(replies, bytes(raw), cuts_of(data, len(raw)))
        found = [values_of(answer) for answer in replies.answers()] if whole else None
    except (Unreadable, ReplyError, AssertionError):
        return  # "whole before the end": the altered bytes end early, the connection sees more than it asked for

    assert found is None or found == expected


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200), st.data())
def test_arbitrary_bytes_are_never_rows_that_hiredis_would_not_read(raw: bytes, data: st.DataObject) -> None:
    replies = MgetReplies([1])

    try:
        whole = fill(replies, raw, cuts_of(data, len(raw)))
        found = [values_of(answer) for answer in replies.answers()] if whole else None
    except (Unreadable, ReplyError, AssertionError):
        return

    assert found is None or found == hiredis_reads(raw, 1)


ROWS = [bytes([number]) * 44 for number in range(100)]


def test_rows_of_one_width_are_seen_without_a_copy() -> None:
    raw = array([b"pointer", *ROWS])
    replies = MgetReplies([100])
    assert fill(replies, raw, [10, 700, 701, 2000])

    (answer,) = replies.answers()

    assert isinstance(answer.rows, np.ndarray)
    assert answer.rows.shape == (100, 44)
    assert np.shares_memory(answer.rows, replies.data)
    assert answer.present is None


@pytest.mark.parametrize("end", [b"\rX", b"X\n", b"\n\r"])
@pytest.mark.parametrize("row", [0, 50, 99])
def test_a_row_that_does_not_end_where_it_says_is_refused(end: bytes, row: int) -> None:
    raw = array([b"p", *ROWS])
    place = raw.index(bulk(ROWS[row])) + len(bulk(ROWS[row]))
    replies = MgetReplies([100])

    with pytest.raises(Unreadable, match="does not end where it should"):
        fill(replies, raw[: place - 2] + end + raw[place:], [])


@pytest.mark.parametrize("missing", [0, 1, 50, 99])
def test_missing_rows_are_known_by_their_place(missing: int) -> None:
    sent: Values = [b"p", *(None if number == missing else row for number, row in enumerate(ROWS))]
    replies = MgetReplies([100])
    raw = array(sent)

    # the end of the reply comes by itself: nobody may wait for more
    assert fill(replies, raw, [len(raw) - 5])
    (answer,) = replies.answers()

    assert isinstance(answer.rows, np.ndarray)
    assert answer.present is not None
    assert np.flatnonzero(~answer.present).tolist() == [missing]
    assert values_of(answer) == sent


def test_an_error_is_raised_once_every_reply_has_come() -> None:
    raw = array([b"p", *ROWS]) + b"-LOADING wait\r\n" + array([None, b"a"])
    replies = MgetReplies([100, 3, 1])

    assert fill(replies, raw, [3])
    with pytest.raises(ReplyError, match="LOADING wait"):
        replies.answers()


@pytest.mark.parametrize(
    ("counts", "raw"),
    [
        pytest.param([2], array([b"p", b"a"]), id="too few"),
        pytest.param([0], array([b"p", b"a"]), id="too many"),
        pytest.param([1], b"+OK\r\n", id="a word"),
        pytest.param([1], b"*-1\r\n", id="no array"),
        pytest.param([1], b"*2\r\n$1\r\np\r\n:7\r\n", id="a number among rows"),
        pytest.param([1], b"*2\r\n$1\r\np\r\n*0\r\n", id="an array among rows"),
    ],
)
def test_another_shape_than_was_asked_for_is_unreadable(counts: list[int], raw: bytes) -> None:
    replies = MgetReplies(counts)

    assert fill(replies, raw, [])
    with pytest.raises(Unreadable, match="expected"):
        replies.answers()


@pytest.mark.parametrize("more", [b"+OK\r\n", b"$", array([b"p"])])
@pytest.mark.parametrize("sent", [[b"p", *ROWS], [b"p", None]])
def test_more_than_was_asked_for_is_unreadable(sent: Values, more: bytes) -> None:
    with pytest.raises(Unreadable, match="more came"):
        fill(MgetReplies([len(sent) - 1]), array(sent) + more, [])


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 9).flatmap(lambda n: st.lists(st.binary(min_size=n, max_size=n))))
@example(b"pointer", b"prefix", [b"\r\n$-1\r\n"] * 3)
def test_a_request_is_the_same_from_a_matrix_and_from_a_list(pointer: bytes, prefix: bytes, keys: list[bytes]) -> None:
    matrix = np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), -1) if keys else np.zeros((0, 4), dtype=np.uint8)

    made = mget_request(pointer, prefix, matrix)

    assert made == mget_request(pointer, prefix, keys) == command([b"MGET", pointer, *(prefix + key for key in keys)])
