"""Jobs that the cluster tests run; pods import them from here."""

import os
import time
from pathlib import Path

import dagster as dg

from tiffin.compute.spec import Compute
from tiffin.orchestration.kueue_executor import kueue_job_executor
from tiffin.orchestration.kueue_tags import compute_tags

SMALL = compute_tags(Compute(cpu="1", memory="64Mi", grace="5s"))


@dg.op(tags=SMALL)
def hello(context: dg.OpExecutionContext) -> int:
    context.log.info("hello from a pod")
    print("printed in a pod", flush=True)
    return 1


@dg.op(tags=SMALL)
def goodbye(context: dg.OpExecutionContext, before: int) -> None:
    context.log.info(f"goodbye {before}")


@dg.job(executor_def=kueue_job_executor)
def two_steps() -> None:
    goodbye(hello())
