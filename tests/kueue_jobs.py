"""Jobs that the cluster tests run; pods import them from here."""

import os

import dagster as dg

from tests.entry_jobs import wait_at
from tiffin.compute.spec import Compute
from tiffin.orchestration.kueue_tags import compute_tags
from tiffin.orchestration.kueue_team_executor import team_executor

# in the tests' namespaces nobody has made the account of a team's steps
EXECUTION = {"config": {"service_account_name": "default"}}
SMALL = Compute(cpu="1", memory="64Mi", grace="60s")
GATE = {"folder": str, "gate": str}
RETRIES = dg.RetryPolicy(max_retries=2)
HUGE = Compute(cpu="500", memory="64Mi")


@dg.op(tags=compute_tags(SMALL))
def hello(context: dg.OpExecutionContext) -> int:
    context.log.info("hello from a pod")
    print("printed in a pod", flush=True)
    return 1


@dg.op(tags=compute_tags(SMALL))
def goodbye(context: dg.OpExecutionContext, before: int) -> None:
    context.log.info(f"goodbye {before}")


@dg.job(executor_def=team_executor)
def two_steps() -> None:
    goodbye(hello())


@dg.op(tags=compute_tags(HUGE))
def huge() -> None: ...


@dg.job(executor_def=team_executor)
def one_huge_step() -> None:
    hello()
    huge()


@dg.op(tags=compute_tags(SMALL), retry_policy=dg.RetryPolicy(max_retries=0))
def dies() -> None:
    print("the last words of a pod", flush=True)
    os._exit(3)


@dg.job(executor_def=team_executor)
def one_that_dies() -> None:
    dies()


@dg.op(tags=compute_tags(SMALL), config_schema=GATE, retry_policy=RETRIES)
def gated(context: dg.OpExecutionContext) -> None:
    wait_at(context)


@dg.op(tags=compute_tags(SMALL.with_changes(grace="0s")), config_schema=GATE, retry_policy=RETRIES)
def gated_without_grace(context: dg.OpExecutionContext) -> None:
    wait_at(context)


@dg.job(executor_def=team_executor)
def one_gated() -> None:
    gated()


@dg.job(executor_def=team_executor)
def one_gated_without_grace() -> None:
    gated_without_grace()


@dg.op(tags=compute_tags(SMALL.with_changes(max_queue="2s")))
def impatient() -> None: ...


@dg.job(executor_def=team_executor)
def one_impatient() -> None:
    impatient()


@dg.job(executor_def=team_executor)
def two_at_once() -> None:
    for name in ("first", "second"):
        hello.alias(name)()


@dg.job(executor_def=team_executor)
def one_step() -> None:
    hello()


@dg.op(tags=compute_tags(SMALL.with_changes(grace="0s")), config_schema=GATE)
def gated_once(context: dg.OpExecutionContext) -> None:
    wait_at(context)


@dg.job(executor_def=team_executor)
def one_gated_once() -> None:
    gated_once()
