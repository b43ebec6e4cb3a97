"""How memory, writing and reading grow with the number of entities: slopes of log cost over log size; 1 is linear."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.online_data import VALUES, make_mixed
from bench.online_ours import Ours
from bench.online_reads import reader_of, rounds_of_reads
from bench.online_servers import started
from bench.online_writes import cost_of
from bench.report import print_table

__all__ = ["exponents"]

READ = 1000


def exponents(sizes: Sequence[int], server_name: str, folder: Path, *, seed: int) -> tuple[dict[str, float], dict[str, object]]:
    """Ours alone at every size: bytes held, CPU of a publication, CPU of a read of 1,000 entities.

    `exponent_read` is of the time per request, so that 0 means: the size of the store does not matter.
    """
    memory, write, read = [], [], []
    for size in sizes:
        rows = make_mixed(size, seed=seed)
        with started(server_name) as server:
            ours, before = Ours(server, rows, folder), server.used_bytes()
            cost = cost_of(ours.publish, server)
            memory.append(server.used_bytes() - before)
            write.append(cost.cpu_s)
            count = min(READ, size)
            measured = rounds_of_reads({"ours": reader_of(ours)}, rows.ids, server=server, size=count, rounds=50, seed=seed, few={})
            read.append(measured["ours"].cpu_s)
        shutil.rmtree(folder)
        del rows, ours
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


def slope(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """Least squares over logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])
