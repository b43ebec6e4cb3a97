"""A Dagster step of two pods that train one model together: each on half of the rows, their gradients summed over a socket."""

import json
import socket
import struct
import time

import dagster as dg
import numpy as np

from tiffin.compute.gang import MEMBER_TAG
from tiffin.compute.spec import Compute
from tiffin.core.gang import Gang
from tiffin.core.settings import Settings
from tiffin.orchestration.kueue_executor import kueue_job_executor
from tiffin.orchestration.kueue_tags import compute_tags

ROWS, STEPS, RATE = 40, 200, 0.1
TRUE = np.array([1.0, -2.0, 0.5])


def rows() -> tuple[np.ndarray, np.ndarray]:
    """The same in every pod."""
    columns = np.random.default_rng(3).normal(size=(ROWS, 3))
    return columns, columns @ TRUE


def received(link: socket.socket, count: int) -> np.ndarray:
    """`count` float64 from the other pod."""
    data = b""
    while len(data) < 8 * count:
        part = link.recv(8 * count - len(data))
        if not part:
            raise ConnectionError("the other pod has gone")
        data += part
    return np.array(struct.unpack(f"<{count}d", data))


def train(gang: Gang, link: socket.socket) -> np.ndarray:
    """Both pods end with the same weights, as after training on all rows in one process."""
    columns, label = rows()
    mine = slice(gang.rank * ROWS // gang.size, (gang.rank + 1) * ROWS // gang.size)
    weights = np.zeros(3)
    for _ in range(STEPS):
        gradient = columns[mine].T @ (columns[mine] @ weights - label[mine])
        link.sendall(struct.pack("<3d", *gradient))
        # rank 0's part first in both pods: sums of floats have one order
        parts = [gradient, received(link, 3)]
        first, second = parts if gang.first else reversed(parts)
        weights = weights - RATE * 2 * (first + second) / ROWS
    return weights


def beside(gang: Gang) -> None:
    """The pod beside rank 0."""
    end = time.monotonic() + 120
    while True:
        try:
            link = socket.create_connection((gang.host, gang.port), timeout=60)
            break
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
    with link:
        print(json.dumps({"rank": gang.rank, "weights": train(gang, link).tolist()}), flush=True)


@dg.op(tags={**compute_tags(Compute(cpu="1", memory="64Mi", parallelism=2)), MEMBER_TAG: f"{__name__}:beside"})
def pair(context: dg.OpExecutionContext) -> None:
    gang = Gang.here(Settings.from_environment())
    with socket.create_server((gang.host, gang.port)) as server:
        link, _ = server.accept()
    with link:
        found = train(gang, link)
    context.log.info(json.dumps({"rank": gang.rank, "weights": found.tolist()}))


@dg.job(executor_def=kueue_job_executor)
def trained_by_two() -> None:
    pair()
