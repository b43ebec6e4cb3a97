"""Assets whose steps can be stopped at any point of their work; a code location for tests on a cluster.

Each step works in slices and keeps a checkpoint, commits a table, then moves a pointer, as the library's own assets do. The
attempt's number is in everything that it writes, so that it shows whose commit stands. Where a step stops, and until when, is
said by files in a folder: `plan.json`, and `released/<step>-<attempt>`.

    python -m tests.fenced_assets            # run the job as a run worker does; prints the run's id first
    python -m tests.fenced_assets submit 10  # queue so many runs for the daemon; prints their ids
"""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
from dagster._cli.job import _create_run
from dagster._core.execution.api import execute_run
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget

from tiffin.compute.spec import Compute
from tiffin.core.clock import wall_clock
from tiffin.core.digests import digest_json
from tiffin.core.errors import Conflict
from tiffin.core.settings import Settings
from tiffin.orchestration.kueue_tags import compute_tags
from tiffin.orchestration.kueue_team_executor import team_executor
from tiffin.orchestration.run_identity import RunTables, began_at, fence_of
from tiffin.registry.pointers import move
from tiffin.storage.delta import DeltaStore
from tiffin.storage.objects import ObjectStore
from tiffin.storage.s3 import S3Store

FOLDER, STEPS, CPU, PRIORITY, GRACE, PACE = (f"STORY_{name}" for name in ("FOLDER", "STEPS", "CPU", "PRIORITY", "GRACE", "PACE"))
TEAM, LOCATION, SUBMITTED = "story", "fenced", "submitted "
SLICES = 6
WORKING = ("begun", *(f"slice-{number}" for number in range(1, SLICES + 1)))
PUBLISHING = ("files", "committed", "moved")
POINTS = (*WORKING, *PUBLISHING)
"""In the order in which a step comes to them."""


@dataclass(frozen=True, slots=True)
class Stops:
    """Where this attempt at this step has to stop."""

    folder: Path
    step: str
    attempt: int

    def at(self, point: str) -> None:
        """Stop, if this is the point, until it is released."""
        if self.wanted() != point:
            return
        name = f"{self.step}-{self.attempt}"
        mark = self.folder / "reached" / f".{name}"
        mark.write_text(json.dumps({"point": point, "inner": os.getpid(), "outer": os.getppid()}))
        mark.rename(self.folder / "reached" / name)
        while not (self.folder / "released" / name).exists():
            time.sleep(0.02)

    def wanted(self) -> str | None:
        points = json.loads((self.folder / "plan.json").read_text()).get(self.step, [])
        return points[self.attempt - 1] if self.attempt <= len(points) else None

    def told(self, err: Conflict) -> None:
        """Keep what this attempt was told."""
        (self.folder / "told" / f"{self.step}-{self.attempt}").write_text(json.dumps({"message": err.message, **err.context}))


@dataclass
class StoppingFiles:
    """Data files after which one may stop: they are written, and no commit names them yet."""

    store: ObjectStore
    stops: Stops

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        tag = self.store.put(key, data, if_absent=if_absent, if_match=if_match)
        self.stops.at("files")
        return tag

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


def bucket(settings: Settings) -> S3Store:
    return S3Store("dev", settings.need("s3_endpoint"), settings.need("dev_access_key"), settings.need("dev_secret_key"))


def tables(settings: Settings) -> DeltaStore:
    return DeltaStore.for_bucket(settings.need("s3_endpoint"), "dev", settings.need("dev_access_key"), settings.need("dev_secret_key"))


def table_of(run_id: str, step: str) -> str:
    return f"{TEAM}/t_{run_id.replace('-', '_')}_{step}"


def pointer_of(run_id: str, step: str) -> str:
    return f"p_{run_id.replace('-', '_')}_{step}"


def step_names() -> list[str]:
    return [f"step_{number:02}" for number in range(int(os.environ.get(STEPS, "1")))]


def slices_done(store: ObjectStore, prefix: str) -> int:
    return max((int(key.rpartition("/")[2]) for key in store.list(prefix)), default=0)


def work(context: dg.AssetExecutionContext, step: str) -> Iterator[dg.MaterializeResult[None]]:
    settings, run_id = Settings.from_environment(), context.run.run_id
    store, delta = bucket(settings), tables(settings)
    fence = fence_of(context, store)
    assert fence is not None, "the step's entry has taken no fence"
    stops = Stops(Path(os.environ[FOLDER]), step, fence.number)
    delta.files = StoppingFiles(delta.files, stops)
    own = RunTables(delta, table_of(run_id, step), fence=fence)
    since = began_at(store, "model", TEAM, pointer_of(run_id, step))
    stops.at("begun")
    resumed = slices_done(store, fence.checkpoint)
    for number in range(resumed + 1, SLICES + 1):
        time.sleep(float(os.environ.get(PACE, "0.01")))
        store.put(f"{fence.checkpoint}{number}", b"")
        stops.at(f"slice-{number}")
    try:
        rows = pa.table({"step": [step], "attempt": [fence.number]})
        replaced = own.replace(table_of(run_id, step), rows, partitions=None, attempt=run_id)
        stops.at("committed")
        digest = digest_json({"step": step, "attempt": fence.number})
        move(store, "model", TEAM, pointer_of(run_id, step), digest, now=wall_clock, since=since, fence=fence)
        stops.at("moved")
    except Conflict as err:
        stops.told(err)
        raise
    yield dg.MaterializeResult(metadata={"attempt": fence.number, "resumed_from": resumed, "version": replaced.version})


def asset_of(step: str) -> dg.AssetsDefinition:
    compute = Compute(cpu=os.environ.get(CPU, "1"), memory="64Mi", priority=os.environ.get(PRIORITY), grace=os.environ.get(GRACE, "5s"))

    @dg.asset(name=step, op_tags=compute_tags(compute))
    def made(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        yield from work(context, step)

    return made


def story() -> dg.JobDefinition:
    """All steps side by side."""
    executor = team_executor.configured({"service_account_name": "default"})
    job = dg.define_asset_job("story", executor_def=executor)
    return dg.Definitions(assets=[asset_of(step) for step in step_names()], jobs=[job]).resolve_job_def("story")


defs = dg.Definitions(
    assets=[asset_of(step) for step in step_names()],
    jobs=[dg.define_asset_job("story", executor_def=team_executor.configured({"service_account_name": "default"}))],
)


def run_here() -> int:
    """A run worker without a pod."""
    with dg.DagsterInstance.get() as instance:
        job = dg.reconstructable(story)
        run = instance.create_run_for_job(job.get_definition(), job_code_origin=job.get_python_origin())
        print(run.run_id, flush=True)
        return 0 if execute_run(job, run, instance).success else 1


def submit(count: int) -> int:
    """What a person does in the UI, `count` times."""
    target = ModuleTarget("tests.fenced_assets", "defs", os.getcwd(), LOCATION)
    with dg.DagsterInstance.get() as instance, WorkspaceProcessContext(instance, target) as process:
        workspace = process.create_request_context()
        location = workspace.get_code_location(LOCATION)
        repository = next(iter(location.get_repositories().values()))
        job = repository.get_full_job("story")
        for _ in range(count):
            run = _create_run(instance, location, repository, job, {}, {}, None, None)
            instance.submit_run(run.run_id, workspace)
            print(f"{SUBMITTED}{run.run_id}", flush=True)  # beside what Dagster prints
    return 0


if __name__ == "__main__":
    sys.exit(submit(int(sys.argv[2])) if sys.argv[1:2] == ["submit"] else run_here())
