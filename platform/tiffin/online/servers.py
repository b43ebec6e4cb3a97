"""Which server of an installation holds a name, and how long one waits for it: one server, or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from tiffin.core.errors import NotReady
from tiffin.online.guarded_load import Batch, GuardedLoad
from tiffin.online.places import Shard
from tiffin.online.redis import LOST, Client, Exchange, held
from tiffin.online.requests import command
from tiffin.online.retries import Retries

__all__ = ["Loader", "OneServer", "Servers", "await_copies"]

T = TypeVar("T")


def await_copies(wire: Exchange, copies: int) -> None:
    """Wait until replicas have what was written on this connection.

    Raises:
        NotReady: fewer than `copies` have it after a second.
    """
    if not copies:
        return
    wire.send(command(b"WAIT", b"%d" % copies, b"1000"))
    found = wire.receive(1)[0]
    if found < copies:
        raise NotReady(f"writing rows: {found} replicas have them, {copies} are wanted", fix="bring replicas back, or ask for fewer copies")


class Loader(Protocol):
    """Writes batches under a guard."""

    def write(self, batch: Batch) -> None:
        """Send a batch; the one before is acknowledged then, this one may still be under way."""
        ...

    def then(self, act: Callable[[], None]) -> None:
        """Called once all that was written so far is acknowledged."""
        ...


class Servers(Protocol):
    """One server or several. Every operation given to them may be done twice."""

    shards: int
    copies: int

    def at(self, name: bytes, act: Callable[[Client], T]) -> T:
        """Do something at the server that holds `name`, again when the connection is lost or the name moved."""
        ...

    def ask(self, requests: Sequence[tuple[bytes, bytes]]) -> list[Any]:
        """The answers to `(name, command about it)`, in order; each server is asked once."""
        ...

    def loader(
        self, shards: Sequence[Shard], *, token: str, content: str, life: str, refused: Callable[[], Exception]
    ) -> AbstractContextManager[Loader]:
        """For batches of a claimed generation; `refused` is the error when it is no longer claimed."""
        ...


class OneServer:
    """All names are in one server.

    Args:
        client: from `tiffin.online.redis.connect`.
    """

    shards = 0
    copies = 0

    def __init__(self, client: Client, *, retries: Retries) -> None:
        self.client = client
        self.retries = retries

    def at(self, name: bytes, act: Callable[[Client], T]) -> T:
        for pause in (*self.retries.pauses(), None):
            try:
                return act(self.client)
            except LOST:
                if pause is None:
                    raise
                self.retries.sleep(pause)
        raise AssertionError("unreachable")

    def ask(self, requests: Sequence[tuple[bytes, bytes]]) -> list[Any]:
        def exchange(client: Client) -> list[Any]:
            with held(client) as wire:
                wire.send(b"".join(request for _, request in requests))
                return wire.receive(len(requests))

        return self.at(requests[0][0], exchange) if requests else []

    def loader(
        self, shards: Sequence[Shard], *, token: str, content: str, life: str, refused: Callable[[], Exception]
    ) -> AbstractContextManager[Loader]:
        (shard,) = shards
        return GuardedLoad(
            self.client, registry=shard.registry, token=token, content=content, life=life, refused=refused, retries=self.retries
        )
