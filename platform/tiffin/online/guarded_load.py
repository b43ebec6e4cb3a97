"""Write batches of rows under a token that nobody may have taken away meanwhile.

Before a batch the connection watches the view's registry and reads what it says of the token; the batch is one
transaction, which the server refuses when the registry changed since. So no row is written after a collection, and
none over a delta's: plain writes at full speed, as safe as a script.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

from tiffin.core.errors import NotReady
from tiffin.online.places import Shard
from tiffin.online.redis import LOST, Client, Exchange, held
from tiffin.online.requests import command
from tiffin.online.retries import Retries

__all__ = ["Batch", "GuardedLoad", "guard_of", "standing"]

MOVES = 100


@dataclass(frozen=True, slots=True)
class Batch:
    """Commands that are run whole or not at all.

    Args:
        shard: where the rows stand.
        request: their bytes, without MULTI and EXEC.
        commands: how many they are.
    """

    shard: Shard
    request: bytes
    commands: int


def standing(registry: bytes, token: str) -> bytes:
    """Ask what the registry says of a token: content and life."""
    return command(b"HMGET", registry, token.encode(), b".life " + token.encode())


def guard_of(registry: bytes, token: str) -> bytes:
    """Two commands: watch the registry, and ask it."""
    return command(b"WATCH", registry) + standing(registry, token)


class GuardedLoad:
    """A context in which `write` sends batches; one is under way while the caller prepares the next.

    Args:
        client: of the server that holds the registry and the rows.
        registry: the one that guards all batches.
        token, content, life: what the registry must say.
        refused: the error when it says something else.
    """

    def __init__(
        self, client: Client, *, registry: bytes, token: str, content: str, life: str, refused: Callable[[], Exception], retries: Retries
    ) -> None:
        self.client = client
        self.guard = guard_of(registry, token)
        self.expected = [content.encode(), life.encode()]
        self.refused = refused
        self.retries = retries
        self.connection = ExitStack()
        self.wire: Exchange | None = None
        self.under_way: Batch | None = None
        self.waiting: list[Callable[[], None]] = []

    def __enter__(self) -> GuardedLoad:
        try:
            self.open()
        except LOST as err:
            self.again(self.open, err)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self.settle()
                self.forget()
        finally:
            self.connection.__exit__(kind, error, trace)

    def write(self, batch: Batch) -> None:
        """Send a batch once the one before is done."""
        self.settle()
        self.under_way = batch
        try:
            self.send(batch)
        except LOST as err:
            self.again(lambda: self.send(batch), err)

    def then(self, act: Callable[[], None]) -> None:
        """Called once all that was written so far is acknowledged."""
        self.waiting.append(act)
        if self.under_way is None:
            self.tell()

    def tell(self) -> None:
        """All that was written is acknowledged."""
        waiting, self.waiting = self.waiting, []
        for act in waiting:
            act()

    def settle(self) -> None:
        """Wait for the batch under way, and send it again as long as only the registry's other words changed."""
        batch, self.under_way = self.under_way, None
        if batch is None:
            return
        for _ in range(MOVES):
            try:
                done = self.answer(batch)
            except LOST as err:
                self.again(lambda: self.send(batch), err)
                continue
            if done:
                self.tell()
                return
            self.send(batch)
        raise NotReady("loading rows: the registry of the view changes without end", fix="look for publishers that run in a loop")

    def open(self) -> Exchange:
        """A connection on which the guard has been asked."""
        if self.wire is None:
            self.wire = self.connection.enter_context(held(self.client))
            self.wire.send(self.guard)
            self.check(self.wire.receive(2)[1])
        return self.wire

    def send(self, batch: Batch) -> None:
        """The transaction, and the guard for the one after it."""
        self.open().send(b"".join([command(b"MULTI"), batch.request, command(b"EXEC"), self.guard]))

    def answer(self, batch: Batch) -> bool:
        """Whether the batch was done."""
        replies = self.open().receive(batch.commands + 4)
        self.check(replies[-1])
        results = replies[batch.commands + 1]
        for result in results or ():
            if isinstance(result, Exception):
                raise result
        return results is not None

    def check(self, found: list[bytes | None]) -> None:
        """The registry still says that the token is ours."""
        if found != self.expected:
            raise self.refused()

    def again(self, act: Callable[[], object], failure: Exception) -> None:
        """A new connection, after a pause; a batch may have been done, and doing it again is harmless."""
        for pause in self.retries.pauses():
            self.drop()
            self.retries.sleep(pause)
            try:
                act()
            except LOST as err:
                failure = err
                continue
            return
        raise failure

    def drop(self) -> None:
        """Close the connection that was lost."""
        if self.wire is not None:
            self.wire.connection.disconnect()
        self.connection.close()
        self.connection, self.wire = ExitStack(), None

    def forget(self) -> None:
        """Watch nothing any more: the connection goes back to its pool."""
        if self.wire is not None:
            self.wire.send(command(b"UNWATCH"))
            self.wire.receive(1)
