"""A job whose step waits for a file; pods and processes of the tests import it from here, without a cluster's libraries."""

import os
import time
from pathlib import Path

import dagster as dg


def wait_at(context: dg.OpExecutionContext) -> None:
    """Leave a line for each start, then wait until a file is there."""
    folder = Path(context.op_config["folder"])
    with (folder / f"{context.run_id}.starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    print("standing at the gate", flush=True)
    while not (folder / context.op_config["gate"]).exists():
        time.sleep(0.05)


@dg.op(config_schema={"folder": str, "gate": str})
def waits(context: dg.OpExecutionContext) -> None:
    wait_at(context)


@dg.job
def one_that_waits() -> None:
    waits()
