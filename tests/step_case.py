"""A step's life as Kueue, the Job controller and the node write it: plain JSON, condition for condition.

Conditions behave as the real ones do: they turn false with "Previously: ..." instead of going away, Evicted stays true
through the second wait, evicted pods are not counted as failed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tiffin.compute.cluster import Seen

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
PREEMPTED_BY = (
    "Preempted to accommodate a workload (UID: boss-workload, JobUID: boss-job) due to reclamation within the cohort;"
    " preemptor path: /ml/fleet; preemptee path: /ml/network"
)
WAITS = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor big, 2 more needed"
NEVER = (
    "couldn't assign flavors to pod set main: insufficient quota for cpu in flavor big, previously considered podsets requests (0)"
    " + current podset request (200) > maximum capacity (64)"
)


def text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def make_job(name: str = "step", *, uid: str = "job-1", namespace: str = "team-network", queue: str = "default") -> dict[str, Any]:
    """A Job just created, as Kueue's webhook leaves it: suspended."""
    labels = {"kueue.x-k8s.io/queue-name": queue} if queue else {}
    meta = {"name": name, "uid": uid, "namespace": namespace, "labels": labels, "creationTimestamp": text(START), "resourceVersion": "1"}
    return {"metadata": meta, "spec": {"suspend": bool(queue)}, "status": {}}


def make_workload(*, job: str = "job-1", name: str = "step", uid: str = "workload-1", queue: str = "default") -> dict[str, Any]:
    owner = {"kind": "Job", "controller": True, "name": name, "uid": job}
    meta = {
        "name": f"job-{name}-{uid}",
        "uid": uid,
        "namespace": "team-network",
        "creationTimestamp": text(START),
        "labels": {"kueue.x-k8s.io/job-uid": job},
        "ownerReferences": [owner],
    }
    return {"metadata": meta, "spec": {"queueName": queue, "active": True}, "status": {"conditions": []}}


def make_pod(number: int, *, job: str = "job-1", name: str = "step") -> dict[str, Any]:
    owner = {"kind": "Job", "controller": True, "name": name, "uid": job}
    meta = {"name": f"{name}-{number}", "uid": f"pod-{number}", "creationTimestamp": text(START), "ownerReferences": [owner]}
    return {"metadata": meta, "status": {"phase": "Pending"}}


@dataclass
class Life:
    """One step from its creation on; every change is kept, so that a test can show any part of it late or never."""

    at: datetime = START
    job: dict[str, Any] = field(default_factory=make_job)
    workload: dict[str, Any] | None = None
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: int = 0
    evictions: int = 0
    shots: list[tuple[dict[str, Any], dict[str, Any] | None, dict[str, dict[str, Any]], datetime]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shoot()

    # -- looking -------------------------------------------------------------------------------------------------
    def shoot(self) -> None:
        # through text: a copy, several times faster than deepcopy
        self.shots.append((*json.loads(json.dumps([self.job, self.workload, self.pods])), self.at))

    def seen(self, job: int = -1, workload: int = -1, pods: int = -1, *, fresh: bool = True) -> Seen:
        """What a watch shows whose three streams are at different moments."""
        found = self.shots[workload][1]
        return Seen(self.shots[job][0], () if found is None else (found,), tuple(self.shots[pods][2].values()), fresh=fresh)

    # -- what happens ----------------------------------------------------------------------------------------------
    def passes(self, seconds: float) -> Life:
        self.at += timedelta(seconds=seconds)
        return self

    def condition(self, kind: str, true: bool, reason: str, message: str = "") -> None:
        assert self.workload is not None
        conditions = self.workload["status"]["conditions"]
        old = next((one for one in conditions if one["type"] == kind), None)
        status = "True" if true else "False"
        since = old["lastTransitionTime"] if old is not None and old["status"] == status else text(self.at)
        conditions[:] = [one for one in conditions if one["type"] != kind]
        conditions.append({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})

    def queued(self, reason: str = "Pending", message: str = WAITS) -> Life:
        if self.workload is None:
            self.workload = make_workload(queue=self.job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"])
            self.shoot()
        self.condition("QuotaReserved", False, reason, message)
        self.shoot()
        return self

    def admitted(self, flavor: str = "big", *, checks: bool = False) -> Life:
        assert self.workload is not None
        assigned = {"name": "main", "flavors": {"cpu": flavor}, "resourceUsage": {"cpu": "2"}, "count": 1}
        self.workload["status"]["admission"] = {"clusterQueue": "network", "podSetAssignments": [assigned]}
        self.condition("QuotaReserved", True, "QuotaReserved", "Quota reserved in ClusterQueue network")
        for kind in ("Evicted", "Preempted"):
            old = next((one for one in self.workload["status"]["conditions"] if one["type"] == kind), None)
            if old is not None and old["status"] == "True":
                self.condition(kind, False, "QuotaReserved", "Previously: " + old["message"])
        if checks:
            self.workload["status"]["admissionChecks"] = [{"name": "budget", "state": "Pending"}]
            self.shoot()
            return self
        self.condition("Admitted", True, "Admitted", "The workload is admitted")
        self.shoot()
        self.job["spec"]["suspend"] = False
        self.shoot()
        return self

    def pod_made(self) -> Life:
        self.made += 1
        pod = make_pod(self.made)
        pod["metadata"]["creationTimestamp"] = text(self.at)
        self.pods[pod["metadata"]["uid"]] = pod
        self.shoot()
        return self

    def pod_waits(self, reason: str, message: str = "") -> Life:
        self.pods[f"pod-{self.made}"]["status"]["containerStatuses"] = [{"state": {"waiting": {"reason": reason, "message": message}}}]
        self.shoot()
        return self

    def pod_runs(self) -> Life:
        self.pods[f"pod-{self.made}"]["status"] = {"phase": "Running"}
        self.shoot()
        return self

    def pod_ends(self, code: int) -> Life:
        state = {"terminated": {"exitCode": code}}
        self.pods[f"pod-{self.made}"]["status"] = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [{"state": state}]}
        self.shoot()
        return self

    def evicted(self, reason: str = "Preempted", message: str = PREEMPTED_BY) -> Life:
        """Quota is asked back; the pods are told to end."""
        assert self.workload is not None
        self.condition("Evicted", True, reason, message)
        if reason == "Preempted":
            self.condition("Preempted", True, "InCohortReclamation", message)
        self.evictions += 1
        stats = self.workload["status"].setdefault("schedulingStats", {"evictions": []})["evictions"]
        old = next((one for one in stats if one["reason"] == reason), None)
        stats[:] = [one for one in stats if one["reason"] != reason]
        stats.append({"reason": reason, "count": 1 + (old["count"] if old else 0)})
        self.shoot()
        self.job["spec"]["suspend"] = True
        self.shoot()
        for pod in self.pods.values():
            pod["metadata"]["deletionTimestamp"] = text(self.at)
        self.shoot()
        return self

    def pods_gone(self, *, code: int | None = None) -> Life:
        """The taken-away pods end, perhaps with the code of a signal, and go; the quota is free."""
        assert self.workload is not None
        if code is not None:
            for pod in self.pods.values():
                pod["status"] = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": code}}}]}
            self.shoot()
        self.pods.clear()
        self.shoot()
        self.workload["status"].pop("admission", None)
        evicted = next(one for one in self.workload["status"]["conditions"] if one["type"] == "Evicted")
        self.condition("QuotaReserved", False, evicted["reason"], evicted["message"])
        self.condition("Admitted", False, "NoReservation", "The workload has no reservation")
        self.condition("Requeued", True, evicted["reason"], evicted["message"])
        self.shoot()
        return self

    def paused(self) -> Life:
        assert self.workload is not None
        self.workload["spec"]["active"] = False
        self.shoot()
        return self.evicted("Deactivated", "The workload is deactivated")

    def resumed(self) -> Life:
        assert self.workload is not None
        self.workload["spec"]["active"] = True
        self.shoot()
        return self

    def succeeded(self) -> Life:
        self.pod_ends(0)
        self.job["status"]["conditions"] = [{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]
        self.shoot()
        self.condition("Finished", True, "Succeeded", "Job finished successfully")
        self.shoot()
        return self

    def failed(self, code: int = 1) -> Life:
        self.pod_ends(code)
        conditions = [{"type": kind, "status": "True", "reason": "BackoffLimitExceeded"} for kind in ("FailureTarget", "Failed")]
        self.job["status"] = {"conditions": conditions, "failed": 1}
        self.shoot()
        self.condition("Finished", True, "Failed", "Job has reached the specified backoff limit")
        self.shoot()
        return self
