"""Blocking connections for reads: one request at a time on each, a few of them kept, no wait without an end.

Every request may be repeated, so one that meets a connection closed meanwhile is sent once more on a new one. A
connection that lay idle for long is replaced before its use: whoever sits between may have dropped it without a word.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from redis import exceptions

from tiffin.core.errors import Invalid, NotReady
from tiffin.online.resp import Replies, ReplyError, Unreadable, WordReplies, command

__all__ = ["Address", "Connection", "Pool", "greeting", "refused", "unreadable"]

IDLE_S = 30.0
REFUSALS: dict[str, type[exceptions.RedisError]] = {
    "NOAUTH": exceptions.AuthenticationError,
    "WRONGPASS": exceptions.AuthenticationError,
    "NOPERM": exceptions.NoPermissionError,
    "LOADING": exceptions.BusyLoadingError,
    "READONLY": exceptions.ReadOnlyError,
    "OOM": exceptions.OutOfMemoryError,
    "BUSY": exceptions.BusyLoadingError,
    "MASTERDOWN": exceptions.BusyLoadingError,
    "CLUSTERDOWN": exceptions.BusyLoadingError,
    "TRYAGAIN": exceptions.BusyLoadingError,
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is and who we are there. `str()` and `repr()` hold no password."""

    host: str
    port: int
    user: str | None
    password: str | None
    database: int
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, url: str, *, tls: ssl.SSLContext | None = None) -> Address:
        """Read `redis://user:password@host:port/0`; `rediss://` is TLS.

        Args:
            tls: for `rediss://`; None trusts the system's authorities.

        Raises:
            Invalid: not such a URL; it is never part of the error.
        """
        try:
            parts = urlsplit(url)
            port, database = parts.port or 6379, int(parts.path.lstrip("/") or 0)
            if parts.scheme not in ("redis", "rediss") or not parts.hostname:
                raise ValueError("another scheme, or no host")
        except ValueError as err:
            fix = "write it like redis://user:password@host:6379/0"
            raise Invalid("the online store's URL is not readable", fix=fix) from err
        context = (tls or ssl.create_default_context()) if parts.scheme == "rediss" else None
        user, password = (None if part is None else unquote(part) for part in (parts.username, parts.password))
        return cls(parts.hostname, port, user or None, password, database, context)

    def __repr__(self) -> str:
        return f"{self.host}:{self.port}"


def greeting(address: Address) -> list[bytes]:
    """What a new connection says first."""
    said = []
    if address.password is not None:
        said.append(command([b"AUTH", *([] if address.user is None else [address.user.encode()]), address.password.encode()]))
    if address.database:
        said.append(command([b"SELECT", b"%d" % address.database]))
    return said


def refused(error: ReplyError) -> exceptions.RedisError:
    """The client's own error for what a server answered, so that one place translates both."""
    text = str(error)
    return REFUSALS.get(text.partition(" ")[0], exceptions.ResponseError)(text)


def unreadable(found: object) -> exceptions.RedisError:
    """The client's own error for bytes that are no answer."""
    return exceptions.InvalidResponse(f"the answer breaks the protocol: {found}")


class Connection:
    """One socket, logged in. Raises redis' ConnectionError and TimeoutError, and what `refused` gives."""

    def __init__(self, address: Address, *, timeout_s: float, connect_timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self.used_s = time.monotonic()
        try:
            self.socket = socket.create_connection((address.host, address.port), timeout=connect_timeout_s)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if address.tls is not None:
                self.socket = address.tls.wrap_socket(self.socket, server_hostname=address.host)
        except TimeoutError as err:
            raise exceptions.TimeoutError(f"connecting to {address} took more than {connect_timeout_s:g} s") from err
        except OSError as err:
            raise exceptions.ConnectionError(f"cannot connect to {address}: {err}") from err
        said = greeting(address)
        if said:
            replies = WordReplies(len(said))
            try:
                self.ask(b"".join(said), replies)
                for reply in replies.found:
                    if isinstance(reply, ReplyError):
                        raise refused(reply)
            except BaseException:
                self.close()
                raise

    def ask(self, request: bytes, replies: Replies) -> None:
        """Send, and receive until the replies are whole; after an error the connection must be closed."""
        ends_s = time.monotonic() + self.timeout_s
        self.socket.settimeout(self.timeout_s)
        try:
            self.socket.sendall(request)
            while True:
                count = self.socket.recv_into(replies.space())
                if count == 0:
                    raise exceptions.ConnectionError("the server closed the connection")
                if replies.received(count):
                    break
                if (left_s := ends_s - time.monotonic()) <= 0:
                    raise TimeoutError
                self.socket.settimeout(left_s)
        except TimeoutError as err:
            raise exceptions.TimeoutError(f"no whole answer within {self.timeout_s:g} s") from err
        except Unreadable as err:
            raise unreadable(err) from err
        except OSError as err:
            raise exceptions.ConnectionError(f"the connection broke: {err}") from err
        self.used_s = time.monotonic()

    def close(self) -> None:
        """Give the socket back."""
        with contextlib.suppress(OSError):
            self.socket.close()


class Pool:
    """Connections to one server, shared by threads.

    Args:
        timeout_s: for one request, from its first byte out to the last one in.
        connections: most at one time; who finds none free waits as long as for an answer.
    """

    def __init__(self, address: Address, *, timeout_s: float = 2.0, connect_timeout_s: float = 1.0, connections: int = 16) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self.connect_timeout_s = connect_timeout_s
        self.free = threading.BoundedSemaphore(connections)
        self.idle: list[Connection] = []

    def ask(self, request: bytes, make: Callable[[], Any]) -> Any:
        """Send a request; the replies received.

        Args:
            make: an empty `Replies`; made anew when the request is repeated.
        """
        with self.place():
            held = self.take()
            if held is not None:
                try:
                    return self.use(held, request, make())
                except exceptions.TimeoutError:
                    raise  # it had its time: who asks again would wait twice as long as promised
                except exceptions.ConnectionError:
                    self.forget()  # the server restarted: the others are dead too
            return self.use(self.connect(), request, make())

    def use(self, connection: Connection, request: bytes, replies: Any) -> Any:
        """One request; the connection is kept only after a whole answer."""
        try:
            connection.ask(request, replies)
        except BaseException:
            connection.close()
            raise
        self.idle.append(connection)
        return replies

    def connect(self) -> Connection:
        """A new one."""
        return Connection(self.address, timeout_s=self.timeout_s, connect_timeout_s=self.connect_timeout_s)

    def take(self) -> Connection | None:
        """The one used last, unless it lay too long; list operations are atomic."""
        while self.idle:
            try:
                held = self.idle.pop()
            except IndexError:
                return None
            if time.monotonic() - held.used_s <= IDLE_S:
                return held
            held.close()
        return None

    def forget(self) -> None:
        """Close all that lie idle."""
        while self.idle:
            with contextlib.suppress(IndexError):
                self.idle.pop().close()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """One of the `connections`."""
        if not self.free.acquire(timeout=self.timeout_s):
            raise NotReady(
                f"reading the online store at {self.address}: no connection became free within {self.timeout_s:g} s",
                fix="ask less at once, or allow more connections",
            )
        try:
            yield
        finally:
            self.free.release()

    def close(self) -> None:
        """Close what is idle; the pool may be used again."""
        self.forget()
