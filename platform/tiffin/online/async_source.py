"""`AsyncRowSource` on one server: the same bytes and rules as `fast_source`, on an event loop."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import exceptions

from tiffin.core.errors import NotReady
from tiffin.online import connection
from tiffin.online.connection import Address, greeting, refused, unreadable
from tiffin.online.fast_source import answers_of, doing, request_of, words_of
from tiffin.online.redis import translated
from tiffin.online.resp import Replies, ReplyError, Unreadable, WordReplies, command
from tiffin.online.source import Answer, Ask

__all__ = ["AsyncSource", "open_async_source"]

PIECE = 1 << 18


@dataclass(slots=True)
class Line:
    """One connection, logged in, with one request at a time."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used_s: float = field(default_factory=time.monotonic)

    async def ask(self, request: bytes, replies: Replies) -> None:
        """Send, and receive until the replies are whole; after an error the line must be closed."""
        try:
            self.writer.write(request)
            await self.writer.drain()
            whole = False
            while not whole:
                piece = memoryview(await self.reader.read(PIECE))
                if not piece:
                    raise exceptions.ConnectionError("the server closed the connection")
                while piece:
                    space = replies.space()
                    count = min(len(space), len(piece))
                    space[:count] = piece[:count]
                    piece = piece[count:]
                    whole = replies.received(count)
        except Unreadable as err:
            raise unreadable(err) from err
        except OSError as err:
            raise exceptions.ConnectionError(f"the connection broke: {err}") from err
        self.used_s = time.monotonic()


class AsyncSource:
    """Reads from one server, for the tasks of one event loop.

    Args:
        timeout_s: for one request, from its first byte out to the last one in.
        connections: most at one time; who finds none free waits as long as for an answer.
    """

    def __init__(self, address: Address, *, timeout_s: float = 2.0, connect_timeout_s: float = 1.0, connections: int = 16) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.connect_timeout_s = connect_timeout_s
        self.free = asyncio.Semaphore(connections)
        self.idle: list[Line] = []
        self.room = 0

    async def words(self, names: Sequence[bytes]) -> list[bytes | None]:
        """See `RowSource.words`."""
        with translated("reading the online store's pointers"):
            replies: WordReplies = await self.ask(command([b"MGET", *names]), lambda: WordReplies(1))
            return words_of(replies)

    async def fetch(self, asks: Sequence[Ask]) -> list[Answer]:
        """See `RowSource.fetch`."""
        if not asks:
            return []
        with translated(doing(asks)):
            request = request_of(asks, room=self.room)
            replies = await self.ask(request.data, request.replies)
            answers = answers_of(request, replies)
        self.room = sum(answer.reply_bytes for answer in answers) + 64
        return answers

    async def ask(self, request: bytes, make: Callable[[], Any]) -> Any:
        """Send a request; once more on a new line when an old one turns out to be dead."""
        try:
            async with asyncio.timeout(self.timeout_s):
                await self.free.acquire()
        except TimeoutError as err:
            raise NotReady(
                f"reading the online store at {self.address}: no connection became free within {self.timeout_s:g} s",
                fix="ask less at once, or allow more connections",
            ) from err
        try:
            held = self.take()
            if held is not None:
                try:
                    return await self.use(held, request, make())
                except exceptions.TimeoutError:
                    raise  # it had its time
                except exceptions.ConnectionError:
                    self.close()  # the server restarted: the others are dead too
            return await self.use(await self.connect(), request, make())
        finally:
            self.free.release()

    async def use(self, line: Line, request: bytes, replies: Any) -> Any:
        """One request; the line is kept only after a whole answer: not after a cancellation either."""
        try:
            async with asyncio.timeout(self.timeout_s):
                await line.ask(request, replies)
        except TimeoutError as err:
            line.writer.close()
            raise exceptions.TimeoutError(f"no whole answer within {self.timeout_s:g} s") from err
        except BaseException:
            line.writer.close()
            raise
        self.idle.append(line)
        return replies

    async def connect(self) -> Line:
        """A new line."""
        address = self.address
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                name = None if address.tls is None else address.host
                line = Line(*await asyncio.open_connection(address.host, address.port, ssl=address.tls, server_hostname=name))
        except TimeoutError as err:
            raise exceptions.TimeoutError(f"connecting to {address} took more than {self.connect_timeout_s:g} s") from err
        except OSError as err:
            raise exceptions.ConnectionError(f"cannot connect to {address}: {err}") from err
        said = greeting(address)
        if said:
            replies: WordReplies = await self.use(line, b"".join(said), WordReplies(len(said)))
            self.idle.remove(line)
            for reply in replies.found:
                if isinstance(reply, ReplyError):
                    line.writer.close()
                    raise refused(reply)
        return line

    def take(self) -> Line | None:
        """The line used last, unless it lay too long or has ended."""
        while self.idle:
            held = self.idle.pop()
            if time.monotonic() - held.used_s <= connection.IDLE_S and not held.reader.at_eof():
                return held
            held.writer.close()
        return None

    def close(self) -> None:
        """Close what is idle."""
        while self.idle:
            self.idle.pop().writer.close()


def open_async_source(
    url: str, *, timeout_s: float = 2.0, connect_timeout_s: float = 1.0, connections: int = 16, tls: ssl.SSLContext | None = None
) -> AsyncSource:
    """As `fast_source.open_source`, for an event loop."""
    return AsyncSource(Address.of(url, tls=tls), timeout_s=timeout_s, connect_timeout_s=connect_timeout_s, connections=connections)
