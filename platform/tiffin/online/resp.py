"""The Redis protocol as bytes, without I/O: requests built as matrices, replies seen as matrices.

A thousand rows of one width come as `$44\\r\\n<44 bytes>\\r\\n` a thousand times: one reshape shows them all, and
one comparison proves that every header and every end is where the protocol wants it. Whatever does not look so (a missing
key, another width, an error) goes to hiredis from its array's first byte on. The bytes are judged by the grammar,
never by luck: a header that stands where the one before it ends is the next element.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import hiredis
import numpy as np
import numpy.typing as npt

from tiffin.online.source import Answer, Bytes, KeyRows
from tiffin.wire.kernel import framed
from tiffin.wire.rows import join_rows

__all__ = ["MgetReplies", "Replies", "ReplyError", "Unreadable", "WordReplies", "answer_of", "command", "mget_request"]

FIRST_ROOM = 4096
LEAST_ROOM = 65_536
LARGEST_REPLY = 1 << 29
LONGEST_LINE = 32
CRLF = int.from_bytes(b"\r\n", "little")
VALUE_BYTES = 7
"""What the protocol adds to a value, about."""
VALUES = {bytes, type(None)}
NOTHING = np.zeros((0, 0), dtype=np.uint8)

ReplyError = hiredis.ReplyError


class Unreadable(Exception):
    """These are not the replies that the protocol allows here: the connection is of no more use."""


def command(words: Sequence[bytes]) -> bytes:
    """One command."""
    return b"*%d\r\n%b" % (len(words), b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))


def mget_request(pointer: bytes, prefix: bytes, keys: KeyRows) -> bytes:
    """`MGET pointer prefix+key ...`.

    Args:
        keys: `(keys, width)` uint8, or one `bytes` each.
    """
    head = b"*%d\r\n$4\r\nMGET\r\n$%d\r\n%b\r\n" % (len(keys) + 2, len(pointer), pointer)
    if not isinstance(keys, np.ndarray):
        start = len(prefix)
        return head + b"".join(b"$%d\r\n%b%b\r\n" % (start + len(key), prefix, key) for key in keys)
    rows, width = keys.shape
    begin = b"$%d\r\n%b" % (len(prefix) + width, prefix)
    made = np.empty((rows, len(begin) + width + 2), dtype=np.uint8)
    made[:] = np.frombuffer(begin + bytes(width) + b"\r\n", dtype=np.uint8)
    made[:, len(begin) : -2] = keys
    return head + made.tobytes()


class Replies(Protocol):
    """What a connection fills: it receives into `space` and says how much came."""

    def space(self) -> memoryview:
        """Where the next bytes go; never empty."""
        ...

    def received(self, count: int) -> bool:
        """So many bytes came; True once the last reply is whole. Raises Unreadable."""
        ...


class WordReplies:
    """Some replies of any kind, by hiredis."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.found: list[Any] = []
        self.reader = hiredis.Reader()
        self.room = bytearray(FIRST_ROOM)

    def space(self) -> memoryview:
        return memoryview(self.room)

    def received(self, count: int) -> bool:
        self.feed(memoryview(self.room)[:count])
        return len(self.found) == self.count

    def values(self) -> list[Any]:
        """Once all is received. Raises ReplyError: the server refused one of them."""
        for reply in self.found:
            if isinstance(reply, ReplyError):
                raise reply
        return self.found

    def feed(self, data: memoryview) -> None:
        """Parse; nothing may come after the last reply."""
        try:
            self.reader.feed(data)  # type: ignore[arg-type]  # its stub forgets that any buffer will do
            while len(self.found) < self.count and (reply := self.reader.gets()) is not False:
                self.found.append(reply)
            if len(self.found) == self.count and self.reader.has_data():
                raise Unreadable("more came than was asked for")
        except hiredis.ProtocolError as err:
            raise Unreadable(str(err)) from err


class MgetReplies:
    """The replies of pipelined `mget_request`s.

    Args:
        counts: keys of each, without the pointer.
        room: bytes expected in all; a hint.
    """

    def __init__(self, counts: Sequence[int], *, room: int = FIRST_ROOM) -> None:
        self.counts = counts
        self.found: list[Answer] = []
        self.data: Bytes = np.empty(max(room, FIRST_ROOM), dtype=np.uint8)
        self.view = self.data.data
        self.end = 0
        self.general: WordReplies | None = None
        self.begin(0)

    def begin(self, at: int) -> None:
        """The next array begins here."""
        self.at, self.rows_at, self.checked, self.stride = at, 0, 0, 0
        self.head = b""
        self.pointer: bytes | None = None

    def space(self) -> memoryview:
        if self.end == len(self.data):
            if self.end > LARGEST_REPLY:
                raise Unreadable(f"a reply of more than {LARGEST_REPLY} bytes")
            grown = np.empty(2 * len(self.data), dtype=np.uint8)
            grown[: self.end] = self.data
            self.data, self.view = grown, grown.data
        return self.view[self.end :]

    def received(self, count: int) -> bool:
        start, self.end = self.end, self.end + count
        while self.general is None and len(self.found) < len(self.counts):
            even = self.look(self.counts[len(self.found)])
            if even is None:
                return False
            if not even:
                self.general, start = WordReplies(len(self.counts) - len(self.found)), self.at
        if self.general is not None:
            self.general.feed(self.view[start : self.end])
            return len(self.general.found) == self.general.count
        if self.at != self.end:
            raise Unreadable("more came than was asked for")
        return True

    def look(self, rows: int) -> bool | None:
        """True: the array was whole and even, and is now found. None: more must come. False: it is not even."""
        if not self.rows_at:
            ready = self.look_at_head(rows)
            if not ready:
                return ready
        whole = min(rows, (self.end - self.rows_at) // self.stride) if rows else 0
        if whole > self.checked:
            start = self.rows_at + self.checked * self.stride
            if not framed(self.data, start, self.stride, whole - self.checked, self.head):
                if not self.same_heads(start, whole - self.checked):
                    return False
                if (self.words("<u2", start + self.stride - 2, whole - self.checked) != CRLF).any():  # hiredis does not look
                    raise Unreadable("a value does not end where it should")
            self.checked = whole
        stop = self.rows_at + whole * self.stride
        if whole < rows:
            # what has come of the next row: a shorter element may be all that will ever come
            piece = bytes(self.view[stop : min(stop + len(self.head), self.end)])
            return None if self.head.startswith(piece) else False
        matrix = self.data[self.rows_at : stop].reshape(rows, -1)[:, len(self.head) : -2] if rows else NOTHING
        self.found.append(Answer(self.pointer, matrix, reply_bytes=stop - self.at))
        self.begin(stop)
        return True

    def same_heads(self, start: int, rows: int) -> bool:
        """Whether so many rows begin as the first one did: its first four bytes and its last four, which may overlap."""
        back = len(self.head) - 4
        first, last = (int.from_bytes(self.head[at : at + 4], "little") for at in (0, back))
        same = not (self.words("<u4", start, rows) != first).any()
        return same and (back == 0 or not (self.words("<u4", start + back, rows) != last).any())

    def words(self, kind: str, start: int, rows: int) -> npt.NDArray[Any]:
        """One number of each row, where they stand."""
        return np.ndarray((rows,), kind, self.view, start, (self.stride,))

    def look_at_head(self, rows: int) -> bool | None:
        """Count, pointer and the first row's header; True once all are there."""
        line, at = self.line(self.at)
        if line is None or line != b"*%d" % (rows + 1):
            return None if line is None else False
        line, at = self.line(at)
        if line is None or line[:1] != b"$":
            return None if line is None else False
        pointer = None
        if line != b"$-1":
            if not line[1:].isdigit():
                return False
            start, at = at, at + int(line[1:]) + 2
            if self.end < at:
                return None
            if bytes(self.view[at - 2 : at]) != b"\r\n":
                raise Unreadable("a value does not end where it should")
            pointer = bytes(self.view[start : at - 2])
        if rows:
            line, _ = self.line(at)
            if line is None:
                return None
            if line[:1] != b"$" or not line[1:].isdigit() or line[1:2] == b"0":
                return False
            self.head = line + b"\r\n"
            self.stride = len(self.head) + int(line[1:]) + 2
        self.pointer, self.rows_at = pointer, at
        return True

    def line(self, at: int) -> tuple[bytes | None, int]:
        """The line that begins here and where the next begins; None while its end has not come, `b""` for an overlong one."""
        piece = bytes(self.view[at : min(at + LONGEST_LINE, self.end)])
        stop = piece.find(b"\r\n")
        if stop < 0:
            return (b"" if len(piece) == LONGEST_LINE else None), at
        return piece[:stop], at + stop + 2

    def answers(self) -> list[Answer]:
        """Once all is received.

        Raises:
            ReplyError: the server refused one of them.
            Unreadable: another number of values than was asked for.
        """
        rest = [] if self.general is None else self.general.values()
        done = len(self.found)
        return self.found + [answer_of(reply, rows) for reply, rows in zip(rest, self.counts[done:], strict=True)]


def answer_of(reply: Any, rows: int) -> Answer:
    """A pointer and some rows as hiredis gives them; equal widths make a matrix again."""
    if not isinstance(reply, list) or len(reply) != rows + 1 or not set(map(type, reply)) <= VALUES:
        raise Unreadable(f"expected {rows + 1} values, found {str(reply)[:40]!r}")
    pointer, found = reply[0], [row for row in reply[1:] if row is not None]
    present = None
    if len(found) < rows:
        present = np.fromiter((row is not None for row in reply[1:]), dtype=np.bool_, count=rows)
    packed = join_rows(found)
    widths = np.diff(packed.offsets)
    size = len(packed.data) + len(pointer or b"") + VALUE_BYTES * len(reply)
    if len(found) and widths[0] and (widths == widths[0]).all():
        return Answer(pointer, packed.data.reshape(len(found), -1), present, reply_bytes=size)
    return Answer(pointer, packed, present, reply_bytes=size)
