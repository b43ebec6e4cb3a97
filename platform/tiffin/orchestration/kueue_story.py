"""A step's life in Kueue as events of its run, and who it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from dagster import DagsterEventType, DagsterInstance, DagsterRunStatus, MetadataValue, RunsFilter
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.context.system import IStepContext

from tiffin.compute.kubernetes import KubernetesCluster
from tiffin.compute.messages import Preemptor, duration_words
from tiffin.compute.states import Transition
from tiffin.core.errors import PlatformError

__all__ = ["JOB_UID", "Story", "facts", "steps_by_job"]

KUEUE = "kueue.x-k8s.io/v1beta2"
PLACES_FOR = timedelta(seconds=3)
"""How old a queue's list of places, or a look at all runs, may be: many steps that queue or are preempted at once ask once."""
JOB_UID = "kueue/job_uid"
"""In the metadata of a step's events: which Job is meant, also for a team that may not see it in the cluster."""
RECENT = timedelta(minutes=10)
RUNS, EVENTS = 50, 1000


class Story:
    """Tells transitions; asks the cluster only for what the watch does not show.

    Args:
        cluster: asked for places in a queue, and for the run of a preemptor.
    """

    def __init__(self, cluster: KubernetesCluster) -> None:
        self.cluster = cluster
        self.places: dict[tuple[str, str], tuple[datetime, Mapping[str, int]]] = {}
        self.jobs: tuple[datetime, Mapping[str, tuple[str, str]]] | None = None

    def position(self, namespace: str, queue: str, workload: str, now: datetime) -> int | None:
        """Place in the ClusterQueue from 0; None when it is not in the list, or nobody answers."""
        asked, places = self.places.get((namespace, queue), (None, {}))
        if asked is None or now - asked > PLACES_FOR:
            try:
                places = self.cluster.positions(namespace, queue)
            except PlatformError:
                places = {}  # a cluster without Kueue's visibility API still tells why a step waits
            self.places[namespace, queue] = now, places
        return places.get(workload)

    def run_of(self, preemptor: Preemptor, namespace: str, instance: DagsterInstance, now: datetime) -> tuple[str, str] | None:
        """Run and step of who took the quota; None when it is no step of ours, or has not said yet which Job it is.

        Another team's Workload is not ours to see; Dagster's event log is one for all teams.
        """
        if not preemptor.job_uid:
            return None
        for space in (None, namespace):
            try:
                found = self.cluster.list(KUEUE, "Workload", space, selector=f"kueue.x-k8s.io/job-uid={preemptor.job_uid}")
            except PlatformError:
                continue
            labels = found[0]["metadata"].get("labels", {}) if found else {}
            if labels.get("dagster/run-id"):
                return labels["dagster/run-id"], labels.get("dagster/op", "")
        if self.jobs is None or now - self.jobs[0] > PLACES_FOR:
            self.jobs = now, steps_by_job(instance, now)
        return self.jobs[1].get(preemptor.job_uid)

    def tell(self, context: IStepContext, told: Transition, namespace: str, job_uid: str) -> None:
        """One transition as an event of the step."""
        words, metadata = f"Kueue: {told.words}", {**facts(told), JOB_UID: job_uid}
        if told.preemptor is not None:
            found = self.run_of(told.preemptor, namespace, context.instance, told.at)
            by = f"run {found[0]}" + (f", step {found[1]}" if found[1] else "") if found else f"a step of queue {told.preemptor.queue}"
            words += f"; by {by.rstrip()}"
            metadata["preempted by"] = MetadataValue.dagster_run(found[0]) if found else MetadataValue.text(by)
        DagsterEvent.engine_event(context, words, EngineEventData(metadata))

    def sum_up(self, context: IStepContext, summary: Mapping[str, Any]) -> None:
        """A step's whole time in Kueue, for plots."""
        evictions = int(summary["kueue/evictions"])
        times = {0: "never preempted", 1: "preempted once"}.get(evictions, f"preempted {evictions} times")
        words = f"Kueue: waited {duration_words(float(summary['kueue/wait_s']))}, flavor {summary['kueue/flavor'] or 'unknown'}, {times}"
        DagsterEvent.engine_event(context, words, EngineEventData(dict(summary)))


def steps_by_job(instance: DagsterInstance, now: datetime) -> dict[str, tuple[str, str]]:
    """Run and step of each Job that the newest events of the runs at work, and of those that ended lately, name."""
    at_work = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]), limit=RUNS)
    over = [DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED]
    ended = instance.get_runs(RunsFilter(statuses=over, updated_after=now - RECENT), limit=RUNS)
    found: dict[str, tuple[str, str]] = {}
    for run in (*at_work, *ended):
        page = instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ENGINE_EVENT, limit=EVENTS, ascending=False)
        for record in page.records:
            event = record.event_log_entry.dagster_event
            told = None if event is None else event.engine_event_data.metadata.get(JOB_UID)
            if event is not None and told is not None:
                found.setdefault(str(told.value), (run.run_id, event.step_key or ""))
    return found


def facts(told: Transition) -> dict[str, Any]:
    """What a transition says, as metadata."""
    found: dict[str, Any] = {"kueue/state": told.state.value, "kueue/reason": told.reason.why.value, "kueue/wait_s": round(told.wait_s, 1)}
    if told.queue:
        found["kueue/queue"] = told.queue
    if told.cluster_queue:
        found["kueue/cluster_queue"] = told.cluster_queue
    if told.position is not None:
        found["kueue/position"] = told.position + 1
    if told.flavors:
        found["kueue/flavor"] = ", ".join(told.flavors)
    if told.evictions:
        found["kueue/evictions"] = told.evictions
    if told.reason.said:
        found["Kueue's words"] = told.reason.said
    return found
