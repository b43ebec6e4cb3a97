"""How memory, writing and reading grow with the number of entities: slopes of log cost over log size; 1 is linear."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import psutil

from bench.online_data import VALUES, make_mixed
from bench.online_floor import RawClient, plain_sets
from bench.online_ours import Ours
from bench.online_reads import reader_of, rounds_of_reads
from bench.online_servers import Server, started
from bench.online_writes import cost_of
from bench.report import print_table
from tiffin.wire.matrix import row_width

__all__ = ["exponents", "that_fit"]

READ = 1000
# measured at 2,000,000: columns, packed rows and their segment in this process, and the server's copy
BYTES_PER_ENTITY = 600
SHARE_OF_FREE = 0.4
# the first publication of its size also waits for memory that a virtual machine has never touched
ROUNDS = 3
CHUNK = 100_000


def exponents(sizes: Sequence[int], server_name: str, folder: Path, *, seed: int) -> tuple[dict[str, float], dict[str, object]]:
    """Ours alone at every size: bytes held, CPU of a publication, CPU of a read of 1,000 entities.

    `exponent_read` is of the time per request, so that 0 means: the size of the store does not matter. `exponent_write_floor`
    is that of the server alone under raw SETs, `exponent_write_client` that of our part of a publication.
    """
    memory: list[float] = []
    write: list[float] = []
    client: list[float] = []
    floor: list[float] = []
    read: list[float] = []
    for size in sizes:
        rows = make_mixed(size, seed=seed)
        with started(server_name) as server:
            small = Ours(server, make_mixed(1000, seed=seed), folder)
            small.publish()  # what a server takes once and for all is no part of the slope
            costs, floors = [], []
            for _ in range(ROUNDS):
                server.client().flushall()
                ours, before = Ours(server, rows, folder), server.used_bytes()
                costs.append(cost_of(ours.publish, server))
                held = server.used_bytes() - before
                server.client().flushall()
                floors.append(floor_cost(ours, server))
            server.client().flushall()
            ours.publish()
            memory.append(held)
            write.append(median(cost.cpu_s for cost in costs))
            client.append(median(cost.client_s for cost in costs))
            floor.append(median(floors))
            count = min(READ, size)
            measured = rounds_of_reads({"ours": reader_of(ours)}, rows.ids, server=server, size=count, rounds=50, seed=seed, few={})
            read.append(measured["ours"].cpu_s)
        shutil.rmtree(folder)
        del rows, ours, small
        gc.collect()
    print_table(
        f"{server_name}: ours by size",
        ["entities", "bytes/value", "publish CPU µs/row", "of it client", "raw SETs, server", "read of 1,000, CPU ms"],
        [
            [f"{size:,}", f"{held / size / VALUES:.2f}", *(f"{cpu / size * 1e6:.2f}" for cpu in costs), f"{one * 1e3:.3f}"]
            for size, held, one, *costs in zip(sizes, memory, read, write, client, floor, strict=True)
        ],
    )
    found = {"memory": memory, "write": write, "write_client": client, "write_floor": floor, "read": read}
    return (
        {f"exponent_{name}": slope(sizes, costs) for name, costs in found.items()},
        {"sizes": list(sizes), "memory_bytes": memory, **{f"{name}_cpu_s": found[name] for name in found if name != "memory"}},
    )


def floor_cost(ours: Ours, server: Server) -> float:
    """CPU seconds of the server for raw SETs of rows as many and as long, made ready a thousand at a time: what it costs
    a server alone to grow. The bytes are not those of the rows; a server does not look at them."""
    raw, size = RawClient(server), len(ours.rows)
    value, before = bytes(row_width(ours.rows.schema) or 0), server.cpu_s()
    for start in range(0, size, CHUNK):
        names = [b"floor%08x" % number for number in range(start, min(start + CHUNK, size))]
        for request, reply_bytes in plain_sets(names, [value] * len(names)):
            raw.ask(request, reply_bytes)
    raw.close()
    return server.cpu_s() - before


def that_fit(wanted: int) -> int:
    """So many entities, or as many as a part of the memory that is free now can hold, twice over."""
    fitting = int(psutil.virtual_memory().available * SHARE_OF_FREE / BYTES_PER_ENTITY)
    return min(wanted, fitting // 1_000_000 * 1_000_000)


def slope(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Least squares over logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])
