"""The one door to the Redis client: connections with limits, and the vendor's errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import TimeoutError as LateAnswer
from redis.retry import Retry

from tiffin.core.errors import Corrupt, Denied, Invalid, NotReady, Unsupported

__all__ = ["ELSEWHERE", "LOST", "AskError", "Client", "Exchange", "NoScriptError", "connect", "held", "translated"]

Client = redis.Redis
LOST = (LostConnection, LateAnswer)
"""The connection is gone; what was sent may or may not have been done."""
ELSEWHERE = (MovedError, AskError, TryAgainError, ClusterDownError, ReadOnlyError, BusyLoadingError)
"""A cluster moves a slot or elects a primary: look again where the name is, and wait a little. Nothing was done."""


def connect(
    url: str, *, timeout_s: float = 2.0, connect_timeout_s: float = 1.0, connections: int | None = None, ca_file: str | None = None
) -> Client:
    """A client that never waits longer than its timeouts; nothing is sent before its first use.

    A command on a connection that the server closed meanwhile is sent once more: every command we send
    may be repeated.

    Args:
        url: `redis://user:password@host:port/0`, `rediss://` for TLS; it is never part of an error.
        connections: most of its pool; a request beyond them waits for one, as long as for an answer.
        ca_file: certificates that a server's must be signed by, instead of the system's.
    """
    options: dict[str, Any] = {"ssl_ca_certs": ca_file} if ca_file else {}
    if connections is not None:
        options["max_connections"] = connections
    try:
        pool = (redis.ConnectionPool if connections is None else redis.BlockingConnectionPool).from_url(
            url,
            protocol=2,
            socket_timeout=timeout_s,
            socket_connect_timeout=connect_timeout_s,
            retry=Retry(NoBackoff(), 1),
            health_check_interval=30,
            **({} if connections is None else {"timeout": timeout_s}),
            **options,
        )
    except ValueError as err:
        raise Invalid("the online store's URL is not readable", fix="write it like redis://user:password@host:6379/0") from err
    return redis.Redis.from_pool(pool)


class Exchange:
    """One connection, kept for several requests that were built elsewhere.

    It never reconnects by itself: what a connection was watching would be forgotten.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def send(self, request: bytes) -> None:
        """Bytes of whole commands."""
        self.connection.send_packed_command([request], check_health=False)

    def receive(self, replies: int) -> list[Any]:
        """So many replies. The first that is an error is raised, once all have been read."""
        found = self.receive_all(replies)
        for item in found:
            if isinstance(item, Exception):
                raise item
        return found

    def receive_all(self, replies: int) -> list[Any]:
        """So many replies; errors stand among them."""
        found: list[Any] = []
        for _ in range(replies):
            try:
                found.append(self.connection.read_response())
            except ResponseError as err:
                found.append(err)
        return found


@contextmanager
def held(client: Client) -> Iterator[Exchange]:
    """A connection from the client's pool; one that was left in the middle of something is closed."""
    pool: Any = client.connection_pool
    connection = pool.get_connection()
    try:
        yield Exchange(connection)
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn the client's errors into ours; `doing` begins the message.

    Raises:
        Denied: wrong user, or a command or key that this user may not touch.
        NotReady: no answer, loading, full, or a replica: try again later.
        Corrupt: something of another type stands under one of our keys.
        Unsupported: the server does not know what we asked.
    """
    try:
        yield
    except (AuthenticationError, NoPermissionError) as err:
        raise Denied(f"{doing}: the online store refuses this user: {err}", fix="use the URL of the user meant for this") from err
    except OutOfMemoryError as err:
        raise NotReady(f"{doing}: the online store is full", fix="raise its maxmemory, or take views offline") from err
    except (BusyLoadingError, ReadOnlyError) as err:
        raise NotReady(f"{doing}: the online store cannot take this yet: {err}", fix="wait, or ask its primary") from err
    except (MovedError, AskError, TryAgainError, ClusterDownError) as err:
        raise NotReady(f"{doing}: the cluster does not settle: {err}", fix="is a slot or a primary on the move? try again later") from err
    except ResponseError as err:
        if "WRONGTYPE" in str(err):
            raise Corrupt(
                f"{doing}: a key of ours holds something else: {err}", fix="find who else writes there, then publish again"
            ) from err
        raise Unsupported(f"{doing}: the online store answers {err}", fix="use Redis 7 or Valkey 8, or newer") from err
    except RedisError as err:
        raise NotReady(f"{doing}: the online store does not answer: {err}", fix="is it running? `tiffin doctor` knows") from err
