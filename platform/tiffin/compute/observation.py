"""What one look at a step's Job, its Workload and its pods tells, without memory.

Conditions of a Workload are not cleared at once: a step that was preempted yesterday and runs today still carries
Evicted=False "Previously: Preempted". So only the status decides, and *QuotaReserved* alone is not *Admitted*.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tiffin.compute.cluster import Seen
from tiffin.compute.messages import Preemptor, Reason, Why, read_eviction, read_preemptor, read_waiting
from tiffin.compute.world import JOB_UID, Workload, read_workload
from tiffin.core.units import parse_instant

__all__ = ["Observation", "PodView", "observe", "workload_of"]

QUEUE_NAME = "kueue.x-k8s.io/queue-name"


@dataclass(frozen=True, slots=True)
class PodView:
    """One pod of the Job."""

    name: str
    phase: str
    created: str = ""
    deleting: bool = False
    trouble: str = ""
    """Why it does not start: 'ImagePullBackOff: ...', 'Unschedulable: ...'."""
    exit_code: int | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One moment's facts. `fresh` is False while the watch is being mended: what is missing may only be late."""

    exists: bool = False
    fresh: bool = True
    uid: str = ""
    suspended: bool = False
    created: datetime | None = None
    complete: bool = False
    failure: Reason | None = None
    """Set when the Job itself has failed for good; pods that failed or were taken away do not set it."""
    queue: str = ""
    workload: Workload | None = None
    pods: tuple[PodView, ...] = ()
    position: int | None = None
    """Place in its ClusterQueue, from 0, when somebody asked."""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def started(self) -> bool:
        """A pod that nobody is taking away does its work, or has done it."""
        return any(pod.phase in ("Running", "Succeeded", "Failed") and not pod.deleting for pod in self.pods)

    @property
    def pods_left(self) -> bool:
        """Some pod has not ended yet."""
        return any(pod.phase not in ("Succeeded", "Failed") for pod in self.pods)

    @property
    def waiting_reason(self) -> Reason:
        """Why it has no quota."""
        if self.workload is None:
            return Reason(Why.NEW, "waits for Kueue to look at it")
        condition = self.workload.conditions.get("QuotaReserved")
        if condition is None or condition.true:
            return Reason(Why.NEW, "waits for Kueue to look at it")
        return read_waiting(condition.reason, condition.message)

    @property
    def eviction_reason(self) -> Reason:
        """Why it lost its quota, now or before."""
        evicted = None if self.workload is None else self.workload.conditions.get("Evicted")
        if evicted is None:
            return Reason(Why.OTHER, "lost its quota")
        # once admitted again only the message still says what it was
        return read_eviction(evicted.reason if evicted.true else "", evicted.message)

    @property
    def preemptor(self) -> Preemptor | None:
        """Who took its quota last, if that was another step."""
        evicted = None if self.workload is None else self.workload.conditions.get("Evicted")
        return None if evicted is None else read_preemptor(evicted.message)

    @property
    def trouble(self) -> str:
        """Why its pods do not start; empty when nothing is known."""
        return next((pod.trouble for pod in self.pods if pod.trouble and not pod.deleting), "")

    @property
    def newest_pod(self) -> str | None:
        """Whose log has the last words."""
        return max(self.pods, key=lambda pod: (pod.created, pod.name)).name if self.pods else None

    @property
    def flavors(self) -> tuple[str, ...]:
        """Of the quota that it holds."""
        admission = None if self.workload is None else self.workload.admission
        return tuple(dict.fromkeys(name for one in admission.assignments for name in one.flavors.values())) if admission else ()


def observe(seen: Seen, *, position: int | None = None) -> Observation:
    """Read the plain JSON of one step's objects."""
    job = seen.job
    if job is None:
        return Observation(fresh=seen.fresh, position=position)
    meta, status = job["metadata"], job.get("status") or {}
    labels = dict(meta.get("labels") or {})
    conditions = {one["type"]: one for one in status.get("conditions") or () if one.get("status") == "True"}
    # the targets come first, while pods are still ending; the outcome is settled by then
    failed = conditions.get("Failed") or conditions.get("FailureTarget")
    workload = workload_of(seen.workloads, meta["uid"])
    pods = tuple(view(pod) for pod in seen.pods if owned(pod, meta["uid"]))
    return Observation(
        exists=True,
        fresh=seen.fresh,
        uid=meta["uid"],
        suspended=bool((job.get("spec") or {}).get("suspend")),
        created=parse_instant(meta["creationTimestamp"]) if meta.get("creationTimestamp") else None,
        complete="Complete" in conditions or "SuccessCriteriaMet" in conditions,
        failure=None if failed is None else Reason(Why.OTHER, job_failure(failed, pods), failed.get("message", "")),
        queue=workload.local_queue if workload else labels.get(QUEUE_NAME, ""),
        workload=workload,
        pods=pods,
        position=position,
        labels=labels,
    )


def workload_of(workloads: Iterable[Mapping[str, Any]], job_uid: str) -> Workload | None:
    """The Workload that speaks for a Job, by uid and never by name.

    An elastic Job has a slice for each size: the one that holds quota speaks, else the newest that is not over.
    """
    mine = [read_workload(one)[1] for one in workloads if owned(one, job_uid)]
    return max(mine, key=lambda one: (not one.finished, one.admitted and not one.evicted, one.created, one.name), default=None)


def owned(api: Mapping[str, Any], job_uid: str) -> bool:
    """Whether an object belongs to the Job of that uid."""
    meta = api["metadata"]
    if (meta.get("labels") or {}).get(JOB_UID) == job_uid:
        return True
    return any(owner.get("uid") == job_uid for owner in meta.get("ownerReferences") or ())


def job_failure(condition: Mapping[str, Any], pods: Iterable[PodView]) -> str:
    """Why the Job failed, with its pod's exit code where that is known."""
    reason = condition.get("reason", "")
    codes = [pod.exit_code for pod in pods if pod.phase == "Failed" and not pod.deleting and pod.exit_code is not None]
    exit_code = f" with exit code {codes[-1]}" if codes else ""
    return {
        "BackoffLimitExceeded": f"its pod failed{exit_code}",
        "DeadlineExceeded": "it was active for longer than the Job's deadline",
        "PodFailurePolicy": f"its pod failed{exit_code}, in a way that is not tried again",
    }.get(reason, f"{reason}: {condition.get('message', '')}")


def view(pod: Mapping[str, Any]) -> PodView:
    meta, status = pod["metadata"], pod.get("status") or {}
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    waiting = [state for one in containers if (state := (one.get("state") or {}).get("waiting"))]
    ended = [state for one in containers if (state := (one.get("state") or {}).get("terminated"))]
    unscheduled = [
        one for one in status.get("conditions") or () if one["type"] == "PodScheduled" and one["status"] == "False" and one.get("message")
    ]
    troubles = [f"{one.get('reason')}: {one.get('message', '')}".rstrip(": ") for one in [*waiting, *unscheduled] if one.get("reason")]
    return PodView(
        name=meta["name"],
        phase=status.get("phase", "Pending"),
        created=meta.get("creationTimestamp", ""),
        deleting=bool(meta.get("deletionTimestamp")),
        trouble=next((one for one in troubles if one not in ("ContainerCreating", "PodInitializing")), ""),
        exit_code=int(ended[-1].get("exitCode", 0)) if ended else None,
    )
