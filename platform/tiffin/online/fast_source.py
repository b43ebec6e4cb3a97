"""`RowSource` on one Redis or Valkey server, by raw bytes: one MGET a view with its pointer first, or its buckets' HMGETs."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tiffin.online.connection import Address, Pool, refused, unreadable
from tiffin.online.dense_read import dense_request
from tiffin.online.redis import translated
from tiffin.online.resp import MgetReplies, Replies, ReplyError, Unreadable, WordReplies, answer_of, command, mget_request
from tiffin.online.source import Answer, Ask

__all__ = ["FastSource", "Request", "answers_of", "doing", "open_source", "request_of", "words_of"]


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
        if not asks:
            return []
        with translated(doing(asks)):
            request = request_of(asks, room=self.room)
            replies = self.pool.ask(request.data, request.replies)
            answers = answers_of(request, replies)
        self.room = sum(answer.reply_bytes for answer in answers) + 64
        return answers


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent, and what comes back.

    Args:
        replies: makes an empty place for what comes.
        answers: of the replies, once whole.
    """

    data: bytes
    replies: Callable[[], Replies]
    answers: Callable[[Any], list[Answer]]


def request_of(asks: Sequence[Ask], *, room: int) -> Request:
    """All views' commands, to be sent at once.

    Args:
        room: bytes expected back; a hint.
    """
    if all(ask.pointer.buckets == 0 for ask in asks):
        counts = [len(ask.keys) for ask in asks]
        data = b"".join(mget_request(ask.pointer_key, ask.prefix, ask.keys) for ask in asks)
        return Request(data, lambda: MgetReplies(counts, room=room), MgetReplies.answers)
    parts = [dense_request(ask) if ask.pointer.buckets else PlainRequest.of(ask) for ask in asks]
    total = sum(part.replies for part in parts)

    def answers(replies: WordReplies) -> list[Answer]:
        found, made = replies.values(), []
        for part in parts:
            some, found = found[: part.replies], found[part.replies :]
            made.append(part.answer(some))
        return made

    return Request(b"".join(part.data for part in parts), lambda: WordReplies(total), answers)


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """The MGET of a view beside a dense one."""

    data: bytes
    keys: int
    replies: int = 1

    @classmethod
    def of(cls, ask: Ask) -> PlainRequest:
        """Of one view."""
        return cls(mget_request(ask.pointer_key, ask.prefix, ask.keys), len(ask.keys))

    def answer(self, replies: Sequence[Any]) -> Answer:
        """Its one reply."""
        return answer_of(replies[0], self.keys)


def answers_of(request: Request, replies: Replies) -> list[Answer]:
    """The answers, or the client's own error."""
    try:
        return request.answers(replies)
    except ReplyError as err:
        raise refused(err) from err
    except Unreadable as err:
        raise unreadable(err) from err


def words_of(replies: WordReplies) -> list[bytes | None]:
    """The one MGET's values."""
    try:
        (found,) = replies.values()
    except ReplyError as err:
        raise refused(err) from err
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
