"""Reads: every competitor asks for the same entities in the same round, to numpy; the floor asks for equal bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import numpy.typing as npt

from bench.online_feast import Feast
from bench.online_floor import RawClient, mget
from bench.online_layout import PublishedLayout
from bench.online_ours import Ours
from bench.online_servers import Server

__all__ = ["Measured", "Reader", "feast_reader", "floor_reader", "layout_readers", "reader_of", "rounds_of_reads"]

Ids = npt.NDArray[np.int32]
Prepared = Callable[[], "tuple[float, float] | None"]
Reader = Callable[[Ids], Prepared]
"""Makes a request ready, untimed, and returns what is timed; a competitor that measures itself returns (wall s, CPU s)."""

# the scheduler counts a server's last slice once it sleeps again
SETTLE_S = 0.0004
COUNTED = 4


@dataclass
class Measured:
    """One competitor: seconds per round."""

    wall_s: list[float] = field(default_factory=list)
    client_s: list[float] = field(default_factory=list)
    server_s: list[float] = field(default_factory=list)

    @property
    def p50_s(self) -> float:
        """Median elapsed time."""
        return median(self.wall_s)

    @property
    def p99_s(self) -> float:
        """99th percentile of the elapsed time."""
        return float(np.percentile(self.wall_s, 99))

    @property
    def cpu_s(self) -> float:
        """Median of client and server CPU together."""
        return median(client + server for client, server in zip(self.client_s, self.server_s, strict=True))

    def figures(self) -> tuple[float, ...]:
        """p50, p99, client CPU, server CPU, both; seconds."""
        return (self.p50_s, self.p99_s, median(self.client_s), median(self.server_s), self.cpu_s)

    def row(self, name: str) -> list[str]:
        """For a table, in ms."""
        return [name, *(f"{figure * 1e3:,.3f}" for figure in self.figures())]


def clocked(run: Prepared, server: Server, into: Measured | None) -> None:
    """Run once; wall, this process's CPU and the server's."""
    server_s = server.cpu_s()
    wall, cpu = time.perf_counter(), time.process_time()
    itself = run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    time.sleep(SETTLE_S)
    server_s = server.cpu_s() - server_s
    if into is not None:
        into.wall_s.append(wall if itself is None else itself[0])
        into.client_s.append(cpu if itself is None else itself[1])
        into.server_s.append(server_s)


def rounds_of_reads(
    readers: Mapping[str, Reader], ids: Ids, *, server: Server, size: int, rounds: int, seed: int, few: Mapping[str, int]
) -> dict[str, Measured]:
    """Interleaved: in each round everybody asks for the same entities, several requests in a row, beginning with another
    competitor each time. The first request of a row warms the caches of who was waiting, as in a server that is in use; it
    does not count, and neither does the first round.

    Args:
        few: competitors that take part only in every n-th round, because they are slow.
    """
    rng, names = np.random.default_rng([seed, size]), list(readers)
    measured = {name: Measured() for name in names}
    for turn in range(-1, rounds):
        requests = [rng.choice(ids, size, replace=False) for _ in range(1 + COUNTED)]
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            if turn % few.get(name, 1) == 0:
                for place, wanted in enumerate(requests):
                    clocked(readers[name](wanted), server, measured[name] if turn >= 0 and place > 0 else None)
    return measured


def nothing(_: object) -> None:
    """A timed function's result, not looked at."""


def reader_of(ours: Ours) -> Reader:
    """Our reader: everything from ids to columns is timed."""
    return lambda ids: lambda: nothing(ours.read(ids))


def floor_reader(ours: Ours) -> Reader:
    """The floor: one raw MGET of the same keys, made ready before, its reply received and not looked at."""
    client, ids = RawClient(ours.server), ours.rows.ids.tolist()
    names, values = dict(zip(ids, ours.names(), strict=True)), dict(zip(ids, ours.packed(), strict=True))

    def prepare(wanted: Ids) -> Prepared:
        request, size = mget([names[one] for one in wanted.tolist()], [values[one] for one in wanted.tolist()])
        return lambda: nothing(client.ask(request, size))

    return prepare


def layout_readers(layout: PublishedLayout) -> dict[str, Reader]:
    """The published layout's two clients."""

    def prepared(ids: Ids) -> Prepared:
        request = layout.prepare(ids)
        return lambda: nothing(layout.read_prepared(request, len(ids)))

    return {"layout": lambda ids: lambda: nothing(layout.read(ids)), "fast_layout": prepared}


def feast_reader(feast: Feast) -> Reader:
    """It measures inside its worker."""

    def prepare(ids: Ids) -> Prepared:
        def run() -> tuple[float, float]:
            found = feast.read(ids.tolist())
            return found["wall_s"], found["cpu_s"]

        return run

    return prepare
