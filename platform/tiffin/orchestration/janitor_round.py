"""One round of the janitor: look at the cluster's Jobs and the instance's runs, do what `janitor.sweep` decides."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from dagster import DagsterInstance, DagsterRunStatus, RunRecord, RunsFilter

from tiffin.compute.cluster import JobRef
from tiffin.compute.kubernetes import KubernetesCluster
from tiffin.core.errors import PlatformError
from tiffin.core.units import parse_instant
from tiffin.orchestration.janitor import JobSeen, Life, Part, Patience, RunSeen, Sweep, sweep

__all__ = ["job_seen", "jobs_seen", "run_seen", "runs_seen", "sweep_once"]

RUN_ID, COMPONENT = "dagster/run-id", "app.kubernetes.io/component"
LIVES = {
    DagsterRunStatus.STARTING: Life.STARTING,
    DagsterRunStatus.CANCELING: Life.CANCELING,
    DagsterRunStatus.SUCCESS: Life.OVER,
    DagsterRunStatus.FAILURE: Life.OVER,
    DagsterRunStatus.CANCELED: Life.OVER,
}
BATCH = 500
PATIENT = Patience()


def job_seen(job: Mapping[str, Any]) -> JobSeen | None:
    """A Job of Dagster's from its JSON; None for one of somebody else's.

    A Job's start time is set when it is taken out of suspension and cleared by an eviction: it is its admission, without
    asking Kueue.
    """
    meta, status = job["metadata"], job.get("status") or {}
    labels = meta.get("labels") or {}
    part = labels.get(COMPONENT)
    if not labels.get(RUN_ID) or part not in list(Part) or meta.get("deletionTimestamp"):
        return None
    finished = any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in status.get("conditions") or ())
    started = status.get("startTime") if not job["spec"].get("suspend") else None
    return JobSeen(
        ref=JobRef(meta["namespace"], meta["name"], meta["uid"]),
        run=labels[RUN_ID],
        part=Part(part),
        created=parse_instant(meta["creationTimestamp"]),
        finished=finished,
        admitted=None if started is None else parse_instant(started),
    )


def jobs_seen(cluster: KubernetesCluster, namespaces: Iterable[str]) -> list[JobSeen]:
    """Every Job of Dagster's in some namespaces; one request each."""
    jobs = (job for space in sorted(set(namespaces)) for job in cluster.list("batch/v1", "Job", space, selector=RUN_ID))
    return [seen for job in jobs if (seen := job_seen(job)) is not None]


def run_seen(record: RunRecord) -> RunSeen:
    """A run from its record."""
    return RunSeen(record.dagster_run.run_id, LIVES.get(record.dagster_run.status, Life.GOES_ON), parse_instant(record.update_timestamp))


def runs_seen(instance: DagsterInstance, run_ids: Sequence[str]) -> list[RunSeen]:
    """The runs of some Jobs, and all that are starting or being cancelled."""
    found = {one.run: one for one in map(run_seen, instance.get_run_records(RunsFilter(statuses=[*LIVES][:2])))}
    for start in range(0, len(run_ids), BATCH):
        records = instance.get_run_records(RunsFilter(run_ids=list(run_ids[start : start + BATCH])))
        found |= {one.run: one for one in map(run_seen, records)}
    return list(found.values())


def sweep_once(
    instance: DagsterInstance,
    cluster: KubernetesCluster,
    namespaces: Iterable[str],
    *,
    now: datetime,
    patience: Patience = PATIENT,
    before: Callable[[JobRef], None] | None = None,
) -> Sweep:
    """Look, decide, do. A Job that cannot be deleted now is there in the next round.

    Args:
        before: told of each Job before it is deleted, e.g. to keep what its costs are read from.
    """
    jobs = jobs_seen(cluster, namespaces)
    # runs after Jobs: a run that ends in between is seen as over, never a Job of one that is not there yet
    decided = sweep(runs_seen(instance, sorted({job.run for job in jobs if not job.finished})), jobs, now, patience)
    for run_id, words in decided.fail.items():
        if (run := instance.get_run_by_id(run_id)) is not None and not run.is_finished:
            instance.report_run_failed(run, f"The janitor calls this run failed: {words}.")
    for run_id, words in decided.cancel.items():
        if (run := instance.get_run_by_id(run_id)) is not None and run.status is DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, f"The janitor calls this run cancelled: {words}.")
    for ref, _ in decided.delete:
        with contextlib.suppress(PlatformError):
            if before is not None:
                before(ref)
            cluster.stop(ref.namespace, ref.name, uid=ref.uid)
    return decided
