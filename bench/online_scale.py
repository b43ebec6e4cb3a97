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
from bench.online_ours import Ours
from bench.online_reads import reader_of, rounds_of_reads
from bench.online_servers import started
from bench.online_writes import cost_of
from bench.report import print_table

__all__ = ["exponents", "that_fit"]

READ = 1000
# measured at 2,000,000: columns, packed rows and their segment in this process, and the server's copy
BYTES_PER_ENTITY = 600
SHARE_OF_FREE = 0.4


def exponents(sizes: Sequence[int], server_name: str, folder: Path, *, seed: int) -> tuple[dict[str, float], dict[str, object]]:
    """Ours alone at every size: bytes held, CPU of a publication, CPU of a read of 1,000 entities.

    `exponent_read` is of the time per request, so that 0 means: the size of the store does not matter.
    """
    memory: list[float] = []
    write: list[float] = []
    read: list[float] = []
    for size in sizes:
        rows = make_mixed(size, seed=seed)
        with started(server_name) as server:
            small = Ours(server, make_mixed(1000, seed=seed), folder)
            small.publish()  # what a server takes once and for all is no part of the slope
            costs = []
            for _ in range(max(1, 3 * sizes[0] // size)):
                server.client().flushall()
                ours, before = Ours(server, rows, folder), server.used_bytes()
                costs.append(cost_of(ours.publish, server).cpu_s)
            memory.append(server.used_bytes() - before)
            write.append(median(costs))
            count = min(READ, size)
            measured = rounds_of_reads({"ours": reader_of(ours)}, rows.ids, server=server, size=count, rounds=50, seed=seed, few={})
            read.append(measured["ours"].cpu_s)
        shutil.rmtree(folder)
        del rows, ours, small
        gc.collect()
    print_table(
        f"{server_name}: ours by size",
        ["entities", "bytes/value", "publish CPU µs/row", "read of 1,000, CPU ms"],
        [
            [f"{size:,}", f"{held / size / VALUES:.2f}", f"{cpu / size * 1e6:.2f}", f"{one * 1e3:.3f}"]
            for size, held, cpu, one in zip(sizes, memory, write, read, strict=True)
        ],
    )
    slopes = {"exponent_memory": slope(sizes, memory), "exponent_write": slope(sizes, write), "exponent_read": slope(sizes, read)}
    return slopes, {"sizes": list(sizes), "memory_bytes": memory, "publish_cpu_s": write, "read_cpu_s": read}


def that_fit(wanted: int) -> int:
    """So many entities, or as many as a part of the memory that is free now can hold, twice over."""
    fitting = int(psutil.virtual_memory().available * SHARE_OF_FREE / BYTES_PER_ENTITY)
    return min(wanted, fitting // 1_000_000 * 1_000_000)


def slope(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Least squares over logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])
