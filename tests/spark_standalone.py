"""A Spark standalone cluster for tests: a master with its REST server and one worker, on free ports of the loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tiffin.core.settings import Settings
from tiffin.embedded.processes import wait_until
from tiffin.engines.java import find_java
from tiffin.engines.remote_spark import SparkStandalone
from tiffin.engines.spark_cluster import environment_of, master_command, worker_command

HOST = "127.0.0.1"
PATIENCE_S = 180.0

PROGRAM = """
import sys, time
from pathlib import Path
from pyspark.sql import SparkSession

go, result = map(Path, sys.argv[1:])
spark = SparkSession.builder.getOrCreate()
total = spark.range(1000).selectExpr("sum(id) as total").collect()[0]["total"]
print("the sum is", total, flush=True)
while not go.exists():
    time.sleep(0.2)
with result.open("a") as file:
    file.write(f"{total}\\n")
spark.stop()
"""
SETTINGS = {"spark.cores.max": "1", "spark.executor.memory": "512m", "spark.driver.bindAddress": HOST, "spark.ui.enabled": "false"}


def ports(count: int) -> list[int]:
    """Free ones, all different."""
    taken = [socket.socket() for _ in range(count)]
    try:
        for one in taken:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in taken]
    finally:
        for one in taken:
            one.close()


def page(remote: SparkStandalone) -> dict[str, Any]:
    """What the master says of itself, asked without the library."""
    with urllib.request.urlopen(f"{remote.ui}/json/", timeout=30) as answer:
        return dict(json.load(answer))


@contextmanager
def spark_standalone(folder: Path) -> Iterator[SparkStandalone]:
    """The cluster, until the block ends."""
    java = find_java(Settings.from_environment({}).cache)
    port, ui, rest = ports(3)
    environment = environment_of(java, host=HOST)
    remote = SparkStandalone(master=f"spark://{HOST}:{port}", rest=f"http://{HOST}:{rest}", ui=f"http://{HOST}:{ui}")
    commands = [
        master_command(java, host=HOST, port=port, ui_port=ui, rest_port=rest),
        worker_command(java, remote.master, host=HOST, cores=2, memory="2g", folder=folder / "work"),
    ]
    started: list[subprocess.Popen[bytes]] = []
    try:
        with (folder / "spark.log").open("wb") as log:
            for command in commands:
                started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))

        def ready() -> bool:
            try:
                return int(page(remote)["aliveworkers"]) == 1 and rest_answers(rest)
            except (OSError, ValueError):
                return False

        assert wait_until(ready, timeout_s=PATIENCE_S, every_s=0.3), (folder / "spark.log").read_text()[-3000:]
        yield remote
    finally:
        for one in reversed(started):
            one.terminate()
        for one in started:
            try:
                one.wait(timeout=30)
            except subprocess.TimeoutExpired:  # a master that waits for a worker which is gone too
                one.kill()
                one.wait()


def rest_answers(port: int) -> bool:
    """Whether the REST server listens."""
    with socket.create_connection((HOST, port), timeout=5):
        return True
