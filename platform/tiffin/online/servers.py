"""Which server of an installation holds a name, and how long one waits for it: one server, or a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from tiffin.online.guarded_load import Batch, GuardedLoad
from tiffin.online.places import Shard
from tiffin.online.redis import LOST, Client
from tiffin.online.retries import Retries

__all__ = ["Loader", "OneServer", "Servers"]

T = TypeVar("T")


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

    def at(self, name: bytes, act: Callable[[Client], T]) -> T:
        """Do something at the server that holds `name`, again when the connection is lost or the name moved."""
        ...

    def each(self, names: Iterable[bytes], act: Callable[[Client, bytes], T]) -> list[T]:
        """The same for every name, in order."""
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

    def each(self, names: Iterable[bytes], act: Callable[[Client, bytes], T]) -> list[T]:
        return [self.at(name, lambda client, name=name: act(client, name)) for name in names]  # type: ignore[misc]

    def loader(
        self, shards: Sequence[Shard], *, token: str, content: str, life: str, refused: Callable[[], Exception]
    ) -> AbstractContextManager[Loader]:
        (shard,) = shards
        return GuardedLoad(
            self.client, registry=shard.registry, token=token, content=content, life=life, refused=refused, retries=self.retries
        )
