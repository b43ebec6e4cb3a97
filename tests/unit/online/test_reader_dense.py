"""Rows of the dense layout come back in the order asked, whatever buckets they stand in."""

from __future__ import annotations

import hiredis
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.online_case import T0
from tiffin.online.dense import bucket_name, bucket_of
from tiffin.online.dense_read import dense_request
from tiffin.online.fast_source import request_of
from tiffin.online.resp import Unreadable, WordReplies
from tiffin.online.source import Answer, Ask
from tiffin.online.views import LivePointer
from tiffin.wire.packed import split_rows

PREFIX, POINTER = b"teamGene", b"teamview.pointer"


class Server:
    """Hashes and strings in a dictionary; it reads commands and writes replies as the protocol has them."""

    def __init__(self, rows: dict[bytes, bytes], buckets: int) -> None:
        self.held: dict[bytes, dict[bytes, bytes]] = {}
        for key, row in rows.items():
            name = bucket_name(PREFIX, int(bucket_of([key], buckets)[0]))
            self.held.setdefault(name, {})[key] = row
        self.pointers = [b"live"]
        self.plain = {PREFIX + key: row for key, row in rows.items()}

    def answer(self, data: bytes) -> bytes:
        reader, replies = hiredis.Reader(), []
        reader.feed(data)
        while (words := reader.gets()) is not False:
            replies.append(self.run(*words))
        return b"".join(replies)

    def run(self, name: bytes, key: bytes, *words: bytes) -> bytes:
        if name == b"GET":
            return bulk(self.pointers.pop(0) if len(self.pointers) > 1 else self.pointers[0])
        if name == b"MGET":
            return array([self.pointers[0], *(self.plain.get(word) for word in words)])
        assert name == b"HMGET"
        return array([self.held.get(key, {}).get(word) for word in words])


def bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def array(values: list[bytes | None]) -> bytes:
    return b"*%d\r\n%b" % (len(values), b"".join(map(bulk, values)))


def ask_for(keys, buckets: int) -> Ask:
    return Ask("t/v", POINTER, LivePointer("Gene", "", "", 1, T0, None, None, 0, buckets), PREFIX, keys)


def matrix_of(keys: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(keys), dtype=np.uint8).reshape(len(keys), -1)


def rows_of(answer: Answer) -> list[bytes | None]:
    rows = [bytes(row) for row in answer.rows] if isinstance(answer.rows, np.ndarray) else split_rows(answer.rows)
    left = iter(rows)
    return [next(left) if answer.present is None or answer.present[place] else None for place in range(answer.asked)]


def exchange(server: Server, asks: list[Ask]) -> list[Answer]:
    request = request_of(asks, room=0)
    replies = request.replies()
    data = server.answer(request.data)
    while data:
        space = replies.space()
        space[: len(data[: len(space)])] = data[: len(space)]
        done = replies.received(len(data[: len(space)]))
        data = data[len(space) :]
    assert done
    return request.answers(replies)


keys_of_one_width = st.lists(st.binary(min_size=5, max_size=5), unique=True, min_size=1, max_size=40)


@settings(max_examples=120, deadline=None)
@given(keys_of_one_width, st.integers(1, 30), st.sets(st.integers(0, 39)), st.booleans(), st.booleans())
def test_rows_come_in_the_order_asked(keys: list[bytes], buckets: int, gone: set[int], matrix: bool, even: bool) -> None:
    held = {key: key * 3 + bytes(0 if even else place % 3) for place, key in enumerate(keys) if place not in gone}

    (answer,) = exchange(Server(held, buckets), [ask_for(matrix_of(keys) if matrix else keys, buckets)])

    assert rows_of(answer) == [held.get(key) for key in keys]
    assert (answer.pointer, answer.steady) == (b"live", True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=12), unique=True, max_size=30), st.integers(1, 9))
def test_keys_of_any_length_do_too(keys: list[bytes], buckets: int) -> None:
    held = {key: b"row " + key for key in keys[::2]}

    (answer,) = exchange(Server(held, buckets), [ask_for(keys, buckets)])

    assert rows_of(answer) == [held.get(key) for key in keys]


@settings(max_examples=60, deadline=None)
@given(keys_of_one_width, st.integers(1, 9))
def test_the_same_commands_are_made_of_a_matrix_and_of_a_list(keys: list[bytes], buckets: int) -> None:
    assert dense_request(ask_for(matrix_of(keys), buckets)).data == dense_request(ask_for(keys, buckets)).data


def test_a_pointer_that_moved_between_the_commands_is_told() -> None:
    server = Server({b"a": b"1", b"b": b"2"}, 3)
    server.pointers = [b"before", b"after"]

    (answer,) = exchange(server, [ask_for([b"a", b"b"], 3)])

    assert (answer.pointer, answer.steady) == (b"before", False)


def test_dense_and_plain_views_share_a_round_trip() -> None:
    server = Server({b"a": b"1", b"b": b"2"}, 3)

    answers = exchange(server, [ask_for([b"b", b"x"], 3), ask_for([b"a", b"x"], 0), ask_for([], 3)])

    assert [rows_of(answer) for answer in answers] == [[b"2", None], [b"1", None], []]


@pytest.mark.parametrize("reply", [b"*1\r\n$1\r\na\r\n", b"$-1\r\n", b"*3\r\n$-1\r\n$-1\r\n$-1\r\n"])
def test_another_number_of_values_than_asked_for_is_unreadable(reply: bytes) -> None:
    request = dense_request(ask_for([b"a", b"b"], 1))
    replies = WordReplies(request.replies)
    replies.feed(memoryview(bulk(b"live") + reply + bulk(b"live")))

    with pytest.raises(Unreadable, match="expected"):
        request.answer(replies.values())
