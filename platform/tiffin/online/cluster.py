"""A Redis or Valkey cluster: which node holds a name, through failovers and slots on the move."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from tiffin.core.errors import Invalid, NotReady
from tiffin.online.guarded_load import MOVES, Batch, guard_of, standing
from tiffin.online.places import SHARDS, SLOTS, Shard, slot_of
from tiffin.online.redis import ELSEWHERE, LOST, AskError, Client, connect, held
from tiffin.online.requests import command
from tiffin.online.retries import Retries
from tiffin.online.servers import Loader, await_copies

__all__ = ["Cluster"]

T = TypeVar("T")


class Cluster:
    """The `Servers` of a cluster.

    Args:
        urls: of some of its nodes; the others are learned from them and reached with the same user and scheme.
        patience_s: how long an operation is tried while the cluster elects a primary or moves a slot.
        copies: how many replicas must have a write before it counts as done; 0: none. A failover may lose what no
            replica has.
        shards: over how many slots a view is spread: one number for the life of an installation.
        retries: pauses between two attempts.
        dial: makes a client from a URL.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        patience_s: float = 30.0,
        copies: int = 0,
        shards: int = SHARDS,
        retries: Retries | None = None,
        dial: Callable[[str], Client] = connect,
    ) -> None:
        if not urls:
            raise Invalid("a cluster needs the URL of at least one node", fix="give one URL or more")
        self.seeds = list(urls)
        self.patience_s = patience_s
        self.copies = copies
        self.shards = shards
        self.retries = retries or Retries(attempts=1_000)
        self.dial = dial
        self.clients: dict[str, Client] = {}
        self.slots: list[str] = []

    def client(self, url: str) -> Client:
        """One client per node, for the life of the process."""
        if url not in self.clients:
            self.clients[url] = self.dial(url)
        return self.clients[url]

    def url_of(self, host: str, port: int) -> str:
        """A node's URL: the first seed's, at another address."""
        seed = urlsplit(self.seeds[0])
        user, at, _ = seed.netloc.rpartition("@")
        return urlunsplit(seed._replace(netloc=f"{user}{at}{host or seed.hostname}:{port}"))

    def refresh(self) -> None:
        """Ask the nodes, one after the other, which slots each of them holds.

        Raises:
            NotReady: none of them answers.
        """
        failure: Exception | None = None
        for url in dict.fromkeys([*self.slots, *self.seeds]):
            try:
                found = self.exchange(self.client(url), command(b"CLUSTER", b"SLOTS"), 1)[0]
            except LOST as err:
                failure = err
                continue
            slots = [""] * SLOTS
            for start, end, primary, *_ in ranges(found):
                slots[start : end + 1] = [self.url_of(*primary)] * (end - start + 1)
            self.slots = slots
            return
        raise NotReady("no node of the online store's cluster answers", fix="is it running? are the URLs right?") from failure

    def holder(self, name: bytes) -> Client:
        """The client of the node that holds a name."""
        if not self.slots:
            self.refresh()
        url = self.slots[slot_of(name)]
        return self.client(url or self.seeds[0])  # a slot that nobody holds: that node says so

    def patiently(self, act: Callable[[], T]) -> T:
        """Something that may be done twice, until it succeeds or patience ends."""
        deadline = time.monotonic() + self.patience_s
        for pause in (*self.retries.pauses(), None):
            try:
                return act()
            except (*LOST, *ELSEWHERE):
                if pause is None or time.monotonic() + pause > deadline:
                    raise
                self.retries.sleep(pause)
                self.look_again()
        raise AssertionError("unreachable")

    def look_again(self) -> None:
        """A refresh that may fail: the old map is as good as none."""
        try:
            self.refresh()
        except (NotReady, *ELSEWHERE):
            self.slots = []

    def at(self, name: bytes, act: Callable[[Client], T]) -> T:
        return self.patiently(lambda: act(self.holder(name)))

    def ask(self, requests: Sequence[tuple[bytes, bytes]]) -> list[Any]:
        found = self.patiently(lambda: self.ask_nodes([(name, [request]) for name, request in requests]))
        return [self.settled(name, request, answer[0]) for (name, request), answer in zip(requests, found, strict=True)]

    def ask_nodes(self, requests: Sequence[tuple[bytes, Sequence[bytes]]]) -> list[list[Any]]:
        """The answers to commands about names, errors among them. Every node is asked before the first is listened to."""
        by_node: dict[Client, list[int]] = {}
        for number, (name, _) in enumerate(requests):
            by_node.setdefault(self.holder(name), []).append(number)
        found: list[list[Any]] = [[]] * len(requests)
        with ExitStack() as stack:
            wires = [(stack.enter_context(held(client)), numbers) for client, numbers in by_node.items()]
            for wire, numbers in wires:
                wire.send(b"".join(request for number in numbers for request in requests[number][1]))
            for wire, numbers in wires:
                for number in numbers:
                    found[number] = wire.receive_all(len(requests[number][1]))
        return found

    def settled(self, name: bytes, request: bytes, found: Any) -> Any:
        """An answer; when the name was elsewhere, the one from there."""
        if isinstance(found, ELSEWHERE):
            return self.answer(name, request)
        if isinstance(found, Exception):
            raise found
        return found

    def answer(self, name: bytes, request: bytes) -> Any:
        """The answer to a command about one name, also while its slot is on the move."""

        def ask() -> Any:
            try:
                return self.exchange(self.holder(name), request, 1)[0]
            except AskError as err:
                # while a slot moves, what has arrived is answered only to those who were sent there
                there = self.client(self.url_of(str(err.host), int(err.port)))
                return self.exchange(there, command(b"ASKING") + request, 2)[1]

        return self.patiently(ask)

    def exchange(self, client: Client, request: bytes, replies: int) -> list[Any]:
        """One request to one node."""
        with held(client) as wire:
            wire.send(request)
            return wire.receive(replies)

    def loader(
        self, shards: Sequence[Shard], *, token: str, content: str, life: str, refused: Callable[[], Exception]
    ) -> AbstractContextManager[Loader]:
        return ClusterLoad(self, shards, token=token, expected=[content.encode(), life.encode()], refused=refused)


def ranges(found: Any) -> Iterable[tuple[int, int, tuple[str, int]]]:
    """`(first slot, last slot, (host, port) of its primary)` from the answer to CLUSTER SLOTS."""
    for start, end, primary, *_ in found:
        host = primary[0] or b""
        yield int(start), int(end), (host.decode() if isinstance(host, bytes) else str(host), int(primary[1]))


class ClusterLoad:
    """Writes batches to the shards of a cluster, each under its own registry (see `tiffin.online.guarded_load`)."""

    def __init__(
        self, cluster: Cluster, shards: Sequence[Shard], *, token: str, expected: list[bytes], refused: Callable[[], Exception]
    ) -> None:
        self.cluster = cluster
        self.shards = shards
        self.token = token
        self.expected = expected
        self.refused = refused

    def __enter__(self) -> ClusterLoad:
        asked = [(shard.registry, standing(shard.registry, self.token)) for shard in self.shards]
        for found in self.cluster.ask(asked):
            self.check(found)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is under way."""

    def check(self, found: list[bytes | None]) -> None:
        """The shard still says that the token is ours."""
        if found != self.expected:
            raise self.refused()

    def write(self, batch: Batch) -> None:
        """Send a batch; it is acknowledged when this returns."""
        self.cluster.at(batch.shard.registry, lambda client: self.once(client, batch))

    def once(self, client: Client, batch: Batch) -> None:
        """One attempt at the node that is said to hold the shard."""
        with held(client) as wire:
            for _ in range(MOVES):
                wire.send(guard_of(batch.shard.registry, self.token))
                self.check(wire.receive(2)[1])
                wire.send(command(b"MULTI") + batch.request + command(b"EXEC"))
                results = wire.receive(batch.commands + 2)[-1]
                if results is None:
                    continue  # the registry changed since the guard was asked
                for result in results:
                    if isinstance(result, Exception):
                        raise result
                await_copies(wire, self.cluster.copies)
                return
        raise NotReady("loading rows: the registry of the view changes without end", fix="look for publishers that run in a loop")

    def then(self, act: Callable[[], None]) -> None:
        """All that was written is acknowledged."""
        act()
