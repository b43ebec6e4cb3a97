"""`RowSource` on one Redis or Valkey server, by raw bytes: for each view one MGET with the pointer first."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

from tiffin.online.connection import Address, Pool, refused, unreadable
from tiffin.online.redis import translated
from tiffin.online.resp import MgetReplies, ReplyError, Unreadable, WordReplies, command, mget_request
from tiffin.online.source import Answer, Ask

__all__ = ["FastSource", "doing", "open_source", "request_of"]


class FastSource:
    """Reads from one server; threads may share it.

    Args:
        pool: connections of a user that may MGET.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.room = 0

    def words(self, names: Sequence[bytes]) -> list[bytes | None]:
        """See `RowSource.words`."""
        with translated("reading the online store's pointers"):
            replies: WordReplies = self.pool.ask(command([b"MGET", *names]), lambda: WordReplies(1))
            return words_of(replies)

    def fetch(self, asks: Sequence[Ask]) -> list[Answer]:
        """See `RowSource.fetch`: the server runs an MGET as one step, so a pointer stands beside its rows."""
        counts = [len(ask.keys) for ask in asks]
        with translated(doing(asks)):
            replies: MgetReplies = self.pool.ask(request_of(asks), lambda: MgetReplies(counts, room=self.room))
            self.room = replies.end + 64
            return answers_of(replies)


def request_of(asks: Sequence[Ask]) -> bytes:
    """All MGETs, to be sent at once."""
    return b"".join(mget_request(ask.pointer_key, ask.prefix, ask.keys) for ask in asks)


def answers_of(replies: MgetReplies) -> list[Answer]:
    """The answers, or the client's own error."""
    try:
        return replies.answers()
    except ReplyError as err:
        raise refused(err) from err
    except Unreadable as err:
        raise unreadable(err) from err


def words_of(replies: WordReplies) -> list[bytes | None]:
    """The one MGET's values."""
    (found,) = replies.found
    if isinstance(found, ReplyError):
        raise refused(found)
    if not isinstance(found, list):
        raise unreadable(f"expected values, found {found!r}")
    return [item if isinstance(item, bytes) else None for item in found]


def doing(asks: Sequence[Ask]) -> str:
    """How an error begins."""
    return f"reading {', '.join(ask.ref for ask in asks)}"


def open_source(
    url: str, *, timeout_s: float = 2.0, connect_timeout_s: float = 1.0, connections: int = 16, tls: ssl.SSLContext | None = None
) -> FastSource:
    """The source that serving uses; nothing is sent before its first use.

    Args:
        url: `redis://user:password@host:port/0`, or `rediss://`; it is never part of an error.
        timeout_s: for one request.
        connections: most at one time.
        tls: for `rediss://`; None trusts the system's authorities.
    """
    address = Address.of(url, tls=tls)
    return FastSource(Pool(address, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s, connections=connections))
