"""A job whose step gets a secret; pods import it from here."""

import hashlib
import os

import dagster as dg

from tiffin.compute.spec import Compute
from tiffin.orchestration.kueue_tags import compute_tags
from tiffin.orchestration.kueue_team_executor import team_executor

VARIABLE = "DOOR_KEY"


@dg.op(tags=compute_tags(Compute(cpu="1", memory="64Mi", grace="2s")))
def uses_the_secret(context: dg.OpExecutionContext) -> None:
    """Proves that it has the secret without telling it."""
    digest = hashlib.sha256(os.environ[VARIABLE].encode()).hexdigest()
    context.log.info(f"used a secret with digest {digest}")
    print(f"printed: digest {digest}", flush=True)


@dg.op(tags=compute_tags(Compute(cpu="1", memory="64Mi", grace="2s")), ins={"start": dg.In(dg.Nothing)})
def fails_with_it() -> None:
    """A failure whose message names the variable, as an honest message does."""
    raise ValueError(f"the door did not open with ${VARIABLE}")


@dg.job(executor_def=team_executor)
def canary_job() -> None:
    fails_with_it(uses_the_secret())
