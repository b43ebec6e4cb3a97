"""Spark inside one gang: rank 0 runs a standalone master and the driver in client mode, every other pod one worker.

Driver and executors are one Workload, so a driver never waits for executors that the same quota keeps waiting.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tiffin.core.errors import NotReady
from tiffin.core.gang import Gang
from tiffin.core.settings import Settings, with_variables
from tiffin.engines.java import find_java
from tiffin.engines.spark_cluster import environment_of, master_command, worker_command

__all__ = ["spark_driver", "spark_worker"]

PATIENCE_S = 300.0
LOOK_S = 0.5
GONE = 4
"""Looks in a row at which the master must be away before its worker goes: one may be lost."""


@contextmanager
def spark_driver(gang: Gang, *, settings: Mapping[str, str] | None = None, own_address: str | None = None) -> Iterator[Any]:
    """A Spark session whose executors are the gang's other pods, all of them there; for rank 0.

    Args:
        settings: of the session.
        own_address: on which master and driver listen; None: the host's own.

    Raises:
        NotReady: the workers did not come in time.
    """
    from pyspark.sql import SparkSession  # 0.5 s and 100 MB that a worker's pod does not need

    address = own_address or socket.gethostbyname(gang.host)
    java = find_java(Settings.from_environment().cache)
    command = master_command(java, host=address, port=gang.port, ui_port=0)
    master = subprocess.Popen(command, env=environment_of(java, host=address), stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(address, gang.port, master)
        variables = {"JAVA_HOME": str(java), "SPARK_LOCAL_IP": address, "PYSPARK_PYTHON": sys.executable}
        with with_variables(variables):
            scratch = tempfile.mkdtemp(prefix="tiffin-spark-")
            given = {
                "spark.master": f"spark://{address}:{gang.port}",
                "spark.driver.host": address,
                "spark.driver.bindAddress": address,
                "spark.ui.enabled": "false",
                "spark.sql.warehouse.dir": f"{scratch}/warehouse",
                "spark.local.dir": scratch,
                # the first task waits until every worker is there
                "spark.scheduler.minRegisteredResourcesRatio": "1.0",
                "spark.scheduler.maxRegisteredResourcesWaitingTime": f"{int(PATIENCE_S)}s",
                **(settings or {}),
            }
            builder = SparkSession.builder.appName("tiffin-gang")
            for name, value in given.items():
                builder = builder.config(name, value)
            session = builder.getOrCreate()
            try:
                wait_for_executors(session, gang.size - 1)
                yield session
            finally:
                session.stop()
    finally:
        master.terminate()
        master.wait(timeout=30)


def spark_worker(gang: Gang, *, cores: int | None = None, memory: str = "1g", own_address: str | None = None) -> int:
    """One worker, until its master goes; for the other ranks. Returns 0: whether all went well is the driver's to say.

    Args:
        cores: None: those that this process may use.
        memory: for its executor.
        own_address: None: the host's own.

    Raises:
        NotReady: the master did not come in time.
    """
    java = find_java(Settings.from_environment().cache)
    # where pods share one machine's network the gang meets on the loopback, and so does this worker
    meeting = ip_address(socket.gethostbyname(gang.host))
    own = own_address or (str(meeting) if meeting.is_loopback else socket.gethostbyname(socket.gethostname()))
    count = cores or len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="tiffin-spark-") as folder:
        wait_for(gang.host, gang.port, None)
        command = worker_command(java, f"spark://{gang.host}:{gang.port}", host=own, cores=count, memory=memory, folder=Path(folder))
        environment = environment_of(java, host=own, path=os.pathsep.join(filter(None, sys.path)))
        worker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        away = 0
        try:
            while away < GONE and worker.poll() is None:
                time.sleep(LOOK_S)
                away = 0 if listens(gang.host, gang.port) else away + 1
        finally:
            worker.terminate()
            worker.wait(timeout=30)
    return 0


def wait_for(host: str, port: int, process: subprocess.Popen[bytes] | None) -> None:
    """Until somebody listens there."""
    end = time.monotonic() + PATIENCE_S
    while not listens(host, port):
        if process is not None and process.poll() is not None:
            raise NotReady(f"the Spark master ended with {process.returncode}", fix="its words are in this pod's log; is the port free?")
        if time.monotonic() > end:
            raise NotReady(f"no Spark master at {host}:{port} after {PATIENCE_S:.0f} s", fix="read the log of the gang's first pod")
        time.sleep(LOOK_S)


def listens(host: str, port: int) -> bool:
    """Whether a connection is taken."""
    try:
        with socket.create_connection((host, port), timeout=5):
            return True
    except OSError:
        return False


def wait_for_executors(session: Any, count: int) -> None:
    """Until every other pod's executor has come: the driver is one more entry of the status."""
    end = time.monotonic() + PATIENCE_S
    while (there := session.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1) < count:
        if time.monotonic() > end:
            raise NotReady(f"{there} of {count} Spark workers came within {PATIENCE_S:.0f} s", fix="read the logs of the gang's other pods")
        time.sleep(LOOK_S)
