"""What every benchmark ends with: a table for people and, as its last line, one JSON object for programs."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

__all__ = ["Clocked", "interleaved", "machine", "print_json", "print_table"]


@dataclass
class Clocked:
    """The times of one competitor, seconds, one per round."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    @property
    def wall(self) -> float:
        """Median elapsed seconds."""
        return median(self.wall_s)

    @property
    def cpu(self) -> float:
        """Median CPU seconds of all threads of this process."""
        return median(self.cpu_s)


def interleaved(competitors: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, Clocked]:
    """Time all competitors in each round, beginning with another one each time, after one round that does not count.

    Whatever the machine does meanwhile falls on all of them, so that ratios hold better than times.
    """
    names, times = list(competitors), {name: Clocked() for name in competitors}
    for turn in range(-1, rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            wall, cpu = time.perf_counter(), time.process_time()
            competitors[name]()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if turn >= 0:
                times[name].wall_s.append(wall)
                times[name].cpu_s.append(cpu)
    return times


def machine() -> dict[str, object]:
    """What the numbers were measured on; no names of hosts and no paths."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "memory_gib": round(memory / 2**30, 1)}


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their longest cell; the first one to the left, numbers to the right."""
    widths = [max(len(row[place]) for row in (columns, *rows)) for place in range(len(columns))]
    print(f"\n{title}")
    for row in (columns, *rows):
        cells = [
            cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells))


def print_json(bench: str, *, figures: Mapping[str, float], detail: Mapping[str, object], packages: Sequence[str]) -> None:
    """The last line. A figure's name is part of the contract: renaming one breaks whoever follows it."""
    versions = {"python": platform.python_version(), **{name: version(name) for name in packages}}
    rounded = {name: float(f"{value:.4g}") for name, value in figures.items()}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    print()
    print(json.dumps({"bench": bench, "date": date, "machine": machine(), "versions": versions, "figures": rounded, "detail": detail}))
