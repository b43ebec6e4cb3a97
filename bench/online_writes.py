"""Writes: whole publications beside raw SETs of equal bytes, a delta beside plain guarded SETs, and the peers' ways."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from bench.online_data import Rows
from bench.online_floor import RawClient, guard_script, guarded_sets, plain_sets
from bench.online_ours import Ours
from bench.online_servers import Server
from tiffin.wire.encodings import take

__all__ = ["Cost", "cost_of", "deltas", "generations", "middle"]

HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class Cost:
    """Seconds of one write."""

    wall_s: float
    client_s: float
    server_s: float

    @property
    def cpu_s(self) -> float:
        """Client and server together."""
        return self.client_s + self.server_s

    def row(self, name: str, rows: int, values: int) -> list[str]:
        """For a table: µs per row, million values per second of wall."""
        per_row = (self.wall_s, self.client_s, self.server_s, self.cpu_s)
        return [name, *(f"{one / rows * 1e6:.2f}" for one in per_row), f"{rows * values / self.wall_s / 1e6:.2f}"]


def cost_of(run: Callable[[], object], server: Server) -> Cost:
    """Run once."""
    server_s, wall, cpu = server.cpu_s(), time.perf_counter(), time.process_time()
    found = run()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    time.sleep(0.001)
    cost = Cost(wall, cpu, server.cpu_s() - server_s)
    if isinstance(found, dict):  # a worker that measured itself
        cost = replace(cost, wall_s=found["wall_s"], client_s=found["cpu_s"])
    return cost


def middle(costs: list[Cost]) -> Cost:
    """Medians, each of its own."""
    return Cost(*(median(getattr(one, name) for one in costs) for name in ("wall_s", "client_s", "server_s")))


def send(client: RawClient, chunks: list[tuple[bytes, int]]) -> None:
    """Every chunk, each answered before the next."""
    for request, size in chunks:
        client.ask(request, size)


def generations(rows: Rows, server: Server, folder: Path, *, rounds: int) -> dict[str, Cost]:
    """Interleaved on an empty server each time, beside raw SETs of equal bytes.

    `generation` begins with the durable segment, as a refill does: verify it, claim, load, validate, flip.
    `publication` is `publish_generation`, which packs the columns and makes the segment durable before that.
    """
    client, admin = RawClient(server), server.client()
    ours = Ours(server, rows, folder)
    published = ours.publish()
    chunks = plain_sets(ours.names(), ours.packed())
    costs: dict[str, list[Cost]] = {"publication": [], "generation": [], "floor_set": []}
    runs: dict[str, Callable[[], object]] = {
        "publication": ours.publish,
        "generation": lambda: ours.bring(published.record),
        "floor_set": lambda: send(client, chunks),
    }
    names = list(runs)
    for turn in range(rounds):
        for name in names[turn % 3 :] + names[: turn % 3]:
            admin.flushall()
            costs[name].append(cost_of(runs[name], server))
    admin.flushall()
    client.close()
    return {name: middle(found) for name, found in costs.items()}


def deltas(rows: Rows, server: Server, folder: Path, *, share: int, rounds: int) -> dict[str, Cost]:
    """Interleaved on a live generation: one row in `share` replaced by a newer one.

    `delta` begins with the durable segment: verify it, mark, apply, validate, flip, watermark; `delta_publication` packs
    and makes it durable before that. `floor_guarded` is the least script that guards an event time, on equal rows.
    """
    client, admin = RawClient(server), server.client()
    admin.flushall()
    ours = Ours(server, rows, folder)
    current, digest = ours.publish().record, guard_script(client)
    costs: dict[str, list[Cost]] = {"delta_publication": [], "delta": [], "floor_guarded": []}
    for turn in range(rounds):
        first, second, third = (
            part(rows, np.arange((3 * turn + place) % share, len(rows), share), (turn + 1) * HOUR_US) for place in range(3)
        )
        names = Ours(server, third, folder).names()
        chunks = guarded_sets(digest, names, ours.packed(third))

        def publication(some: Rows = first) -> None:
            nonlocal current
            current = ours.publish_delta(some, current).record

        def delta(some: Rows = second) -> Cost:
            nonlocal current
            current = ours.delta_record(some, current)
            return cost_of(lambda: ours.bring(current), server)

        def floor(chunks: list[tuple[bytes, int]] = chunks) -> Cost:
            return cost_of(lambda: send(client, chunks), server)

        runs: list[tuple[str, Callable[[], Cost]]] = [
            ("delta_publication", lambda: cost_of(publication, server)),
            ("delta", delta),
            ("floor_guarded", floor),
        ]
        for name, run in runs[turn % 3 :] + runs[: turn % 3]:
            costs[name].append(run())
    admin.flushall()
    client.close()
    return {name: middle(found) for name, found in costs.items()}


def part(rows: Rows, index: np.ndarray, later_us: int) -> Rows:
    """Some of the rows, at a later event time."""
    columns = {name: take(column, index) for name, column in rows.columns.items()}
    return Rows(rows.view, rows.schema, rows.ids[index], columns, rows.event_time_us[index] + later_us)
