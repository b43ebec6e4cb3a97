"""Feast 0.67 with its Redis store, in an environment of its own outside the checkout, measured inside itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.online_data import KEY, Rows
from bench.online_servers import Server
from tiffin.wire.encodings import Ragged, to_strings

__all__ = ["FEAST", "Feast", "feast_python", "opened"]

FEAST = "0.67.0"
WORKER = Path(__file__).with_name("online_feast_worker.py")
ROOT = Path(__file__).parents[1]


def feast_python() -> Path:
    """Its interpreter; the first call fills the cache (a few hundred MB), later ones find it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tiffin-bench" / f"feast-{FEAST}"
    python, uv = cache / "bin" / "python", ROOT / ".uv" / "bin" / "uv"
    if not (cache / "complete").exists():
        print(f"filling {cache} with feast[redis]=={FEAST}, once ...", flush=True)
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, cache], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, f"feast[redis]=={FEAST}"], check=True)
        (cache / "complete").touch()
    return python


@dataclass
class Feast:
    """A worker process, one line of JSON each way."""

    process: subprocess.Popen[str]
    source: Path

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """One order; what it measured inside itself."""
        to, back = self.process.stdin, self.process.stdout
        assert to is not None
        assert back is not None
        to.write(json.dumps({"do": do, **more}) + "\n")
        to.flush()
        for line in back:
            if line.startswith("@"):
                found: dict[str, Any] = json.loads(line[1:])
                return found
        sys.exit("Feast's worker ended; its errors are above")

    def write(self) -> dict[str, Any]:
        """Every row."""
        return self.ask("write", file=str(self.source))

    def read(self, ids: Sequence[int]) -> dict[str, Any]:
        """Rows of these entities to numpy, inside the worker."""
        return self.ask("read", ids=list(ids))

    def look(self, ids: Sequence[int]) -> dict[str, list[Any]]:
        """The values, for a comparison."""
        columns: dict[str, list[Any]] = self.ask("look", ids=list(ids))["columns"]
        return columns


def table_of(rows: Rows) -> pa.Table:
    """The rows as Feast takes them."""
    columns: dict[str, pa.Array] = {KEY: pa.array(rows.ids)}
    for name, column in rows.columns.items():
        if isinstance(column, Ragged):
            columns[name] = pa.array(to_strings(column))
        else:
            columns[name] = pa.array(column.data, mask=None if column.valid is None else ~column.valid)
    columns["event_time"] = pa.array(rows.event_time_us).cast(pa.timestamp("us", tz="UTC"))
    return pa.table(columns)


@contextmanager
def opened(server: Server, rows: Rows, folder: Path) -> Iterator[Feast]:
    """A worker with the view registered, ended with the block."""
    source = folder / "rows.parquet"
    pq.write_table(table_of(rows), source)
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "FEAST_USAGE": "False", "PYTHONWARNINGS": "ignore"}
    command = [feast_python(), WORKER, folder, str(server.port)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
    try:
        feast = Feast(process, source)
        feast.ask("apply", file=str(source))
        yield feast
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
