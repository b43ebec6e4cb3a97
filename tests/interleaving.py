"""Several actors, one at a time: a schedule says whose turn it is at each of the points where they could be interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiffin.storage.fencing import Fence
from tiffin.storage.objects import ObjectStore, Stored

Turn = Callable[[], None]
GIVE_UP_S = 60.0


class Killed(BaseException):
    """The process of this actor is gone."""


@dataclass
class Actor:
    """One of them: what it does, and what became of it."""

    work: Callable[[Turn], Any]
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    waits: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: bool = False
    killed: bool = False
    answer: Any = None
    error: BaseException | None = None

    def turn(self) -> None:
        self.waits.release()
        assert self.go.acquire(timeout=GIVE_UP_S)
        if self.killed:
            raise Killed

    def run(self) -> None:
        try:
            self.turn()
            self.answer = self.work(self.turn)
        except BaseException as err:  # noqa: BLE001  # whatever it was is the outcome
            self.error = err
        finally:
            self.done = True
            self.waits.release()


def interleave(works: Sequence[Callable[[Turn], Any]], schedule: Sequence[int], *, killed: frozenset[int] = frozenset()) -> list[Actor]:
    """Run them in the order that the schedule gives; then those not killed to their ends, the first first.

    Args:
        schedule: places of actors; one that has ended is skipped.
        killed: whoever is still at work after the schedule never goes on.
    """
    actors = [Actor(work) for work in works]
    threads = [threading.Thread(target=actor.run, daemon=True) for actor in actors]
    for thread, actor in zip(threads, actors, strict=True):
        thread.start()
        assert actor.waits.acquire(timeout=GIVE_UP_S)
    for place in schedule:
        step(actors[place])
    for place in sorted(killed):
        actors[place].killed = True
        while not actors[place].done:
            step(actors[place])
    for actor in actors:
        while not actor.done:
            step(actor)
    for thread in threads:
        thread.join(GIVE_UP_S)
    return actors


def step(actor: Actor) -> None:
    """Let it go on to its next turn."""
    if not actor.done:
        actor.go.release()
        assert actor.waits.acquire(timeout=GIVE_UP_S)


@dataclass
class TurnStore:
    """An object store that waits for its turn before every request."""

    store: ObjectStore
    turn: Turn

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        self.turn()
        return self.store.put(key, data, if_absent=if_absent, if_match=if_match)

    def get(self, key: str) -> Stored:
        self.turn()
        return self.store.get(key)

    def list(self, prefix: str) -> Iterator[str]:
        self.turn()
        return self.store.list(prefix)

    def delete(self, key: str) -> None:
        self.turn()
        self.store.delete(key)


@dataclass
class TurnFence:
    """A fence that can be interrupted between its check and whatever follows it."""

    fence: Fence
    turn: Turn

    @property
    def step(self) -> str:
        return self.fence.step

    @property
    def number(self) -> int:
        return self.fence.number

    def check(self, doing: str) -> None:
        self.fence.check(doing)
        self.turn()
