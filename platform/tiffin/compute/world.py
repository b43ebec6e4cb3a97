"""What the queues of a cluster look like at one moment: frozen values read from the Kubernetes API.

Pure: whoever has the JSON (a list call, a watch, a file) gets a `World`. Preflight, the admission model, the
forecast and `tiffin queue` all read this one picture. Every amount is in thousandths of its resource's unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from tiffin.compute.world_pods import PodSet, Taint, Toleration, amount, amounts, read_pod_set, read_taints, read_term, read_tolerations
from tiffin.core.units import parse_instant

__all__ = [
    "Admission",
    "Assignment",
    "ClusterQueue",
    "Cohort",
    "Condition",
    "Flavor",
    "FlavorQuota",
    "FlavorResource",
    "LocalQueue",
    "Preemption",
    "ResourceGroup",
    "Workload",
    "World",
]

JOB_UID = "kueue.x-k8s.io/job-uid"
FlavorResource = tuple[str, str]


@dataclass(frozen=True, slots=True)
class FlavorQuota:
    """Quota of one resource in one flavor. A limit of None means: no limit."""

    nominal: int
    borrowing_limit: int | None = None
    lending_limit: int | None = None


@dataclass(frozen=True, slots=True)
class ResourceGroup:
    """Resources that always come from the same flavor, and the flavors in the order in which they are tried."""

    resources: tuple[str, ...]
    flavors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flavor:
    """A kind of node."""

    name: str
    node_labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    tolerations: tuple[Toleration, ...] = ()


@dataclass(frozen=True, slots=True)
class Cohort:
    """Queues that lend each other what they do not use; cohorts form trees."""

    name: str
    parent: str | None = None
    quotas: Mapping[FlavorResource, FlavorQuota] = field(default_factory=dict)
    fair_weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Preemption:
    """Whom a queue may evict. Kueue's defaults: nobody."""

    within_queue: str = "Never"
    reclaim: str = "Never"
    while_borrowing: str = "Never"
    borrow_threshold: int | None = None
    """While borrowing, only Workloads of at most this priority are evicted."""


@dataclass(frozen=True, slots=True)
class ClusterQueue:
    """One team's quota, and the rules by which it borrows, lends and preempts."""

    name: str
    cohort: str | None = None
    groups: tuple[ResourceGroup, ...] = ()
    quotas: Mapping[FlavorResource, FlavorQuota] = field(default_factory=dict)
    preemption: Preemption = Preemption()
    strategy: str = "BestEffortFIFO"
    when_can_borrow: str = "MayStopSearch"
    when_can_preempt: str = "TryNextFlavor"
    flavor_preference: str = "BorrowingOverPreemption"
    fair_weight: float = 1.0
    active: bool = True
    why_inactive: str = ""
    admission_checks: tuple[str, ...] = ()
    namespaces: Mapping[str, Any] | None = field(default_factory=dict)
    """Label selector of the namespaces it serves: {} all, None none."""
    weighted_share: int | None = None
    """Its share as Kueue reports it; None where fair sharing is off."""

    def serves(self, labels: Mapping[str, str]) -> bool:
        """Whether Workloads of a namespace with these labels may use it."""
        if self.namespaces is None:
            return False
        wanted: Mapping[str, str] = self.namespaces.get("matchLabels") or {}
        rules = read_term({"matchExpressions": self.namespaces.get("matchExpressions")})
        return all(labels.get(key) == value for key, value in wanted.items()) and all(rule.holds(labels) for rule in rules)

    def group_of(self, resource: str) -> ResourceGroup | None:
        return next((group for group in self.groups if resource in group.resources), None)


@dataclass(frozen=True, slots=True)
class LocalQueue:
    """A namespace's door to a ClusterQueue."""

    namespace: str
    name: str
    cluster_queue: str
    active: bool = True
    why_inactive: str = ""
    held: bool = False
    """Its stop policy is Hold or HoldAndDrain: nothing new is admitted through it."""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a Workload; conditions stay after they have turned false."""

    true: bool
    reason: str
    message: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which flavors a pod set got, and how much of each resource all its pods hold together."""

    pod_set: str
    flavors: Mapping[str, str]
    usage: Mapping[str, int]
    count: int


@dataclass(frozen=True, slots=True)
class Admission:
    """Where a Workload holds quota."""

    cluster_queue: str
    assignments: tuple[Assignment, ...]

    def usage(self) -> dict[FlavorResource, int]:
        """Quota held per (flavor, resource)."""
        held: dict[FlavorResource, int] = {}
        for assignment in self.assignments:
            for resource, value in assignment.usage.items():
                where = (assignment.flavors.get(resource, ""), resource)
                held[where] = held.get(where, 0) + value
        return held


@dataclass(frozen=True, slots=True)
class Workload:
    """What Kueue queues and admits: here, one step's Job."""

    uid: str
    namespace: str
    name: str
    job_uid: str
    local_queue: str
    priority: int
    created: datetime
    podsets: tuple[PodSet, ...]
    admission: Admission | None = None
    conditions: Mapping[str, Condition] = field(default_factory=dict)
    active: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    priority_class: str | None = None
    requeue_at: datetime | None = None
    owner: str | None = None
    """Name of the Job it stands for."""
    evictions: Mapping[str, int] = field(default_factory=dict)
    """Evictions so far, by reason."""
    past_execution_s: int = 0
    checks: Mapping[str, str] = field(default_factory=dict)
    """Admission checks and their states."""

    def is_true(self, condition: str) -> bool:
        found = self.conditions.get(condition)
        return found is not None and found.true

    def since(self, condition: str) -> datetime | None:
        """When a condition became true; None while it is not."""
        found = self.conditions.get(condition)
        return found.since if found is not None and found.true else None

    @property
    def finished(self) -> bool:
        return self.is_true("Finished")

    @property
    def reserved(self) -> bool:
        """Holds quota. With admission checks this is not yet Admitted."""
        return self.admission is not None and self.is_true("QuotaReserved")

    @property
    def admitted(self) -> bool:
        return self.is_true("Admitted")

    @property
    def evicted(self) -> bool:
        return self.is_true("Evicted")

    @property
    def waiting(self) -> bool:
        """In a queue: neither finished nor holding quota nor paused."""
        return self.active and not self.finished and not self.reserved

    @property
    def queued_at(self) -> datetime:
        """Its place in the queue: creation, so that a preempted Workload keeps it; eviction, if its pods or checks failed."""
        evicted = self.conditions.get("Evicted")
        if evicted is not None and evicted.true and evicted.reason in {"PodsReadyTimeout", "AdmissionCheck"}:
            return evicted.since
        return self.created

    def requests(self) -> dict[str, int]:
        """What all its pods request together."""
        total: dict[str, int] = {}
        for podset in self.podsets:
            for name, value in podset.total().items():
                total[name] = total.get(name, 0) + value
        return total


@dataclass(frozen=True, slots=True)
class World:
    """Everything that decides about admission, at one moment."""

    flavors: Mapping[str, Flavor] = field(default_factory=dict)
    cohorts: Mapping[str, Cohort] = field(default_factory=dict)
    cluster_queues: Mapping[str, ClusterQueue] = field(default_factory=dict)
    local_queues: Mapping[tuple[str, str], LocalQueue] = field(default_factory=dict)
    priority_classes: Mapping[str, int] = field(default_factory=dict)
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Labels of the namespaces that were read."""

    @property
    def fair_sharing(self) -> bool:
        """Whether Kueue runs with fair sharing: only then its ClusterQueues report a share."""
        return any(queue.weighted_share is not None for queue in self.cluster_queues.values())

    @classmethod
    def parse(cls, objects: Iterable[Mapping[str, Any]]) -> Self:
        """Read API objects (`kueue.x-k8s.io/v1beta2`, Namespaces, lists of these) in any order; other kinds are passed over."""
        found: dict[str, dict[Any, Any]] = {name: {} for name in READERS_INTO}
        for api in flat(objects):
            reader = READERS.get(api.get("kind", ""))
            if reader is not None:
                into, read = reader
                key, value = read(api)
                found[into][key] = value
        return cls(**found)

    def cluster_queue_of(self, workload: Workload) -> ClusterQueue | None:
        """Where it is queued or admitted; None when its LocalQueue or that one's ClusterQueue is missing."""
        if workload.admission is not None:
            return self.cluster_queues.get(workload.admission.cluster_queue)
        local = self.local_queues.get((workload.namespace, workload.local_queue))
        return self.cluster_queues.get(local.cluster_queue) if local else None

    def with_workloads(self, *changed: Workload) -> Self:
        """The same world with these Workloads added or replaced."""
        return replace(self, workloads={**self.workloads, **{workload.uid: workload for workload in changed}})


def flat(objects: Iterable[Mapping[str, Any]]) -> Iterable[Mapping[str, Any]]:
    """Lists opened: an item of a list carries no kind of its own."""
    for api in objects:
        kind = api.get("kind", "")
        if kind.endswith("List") and "items" in api:
            yield from flat({"kind": kind.removesuffix("List"), **item} for item in api["items"] or ())
        else:
            yield api


def read_quotas(groups: Iterable[Mapping[str, Any]]) -> dict[FlavorResource, FlavorQuota]:
    found = {}
    for group in groups:
        for flavor in group.get("flavors") or ():
            for one in flavor.get("resources") or ():
                name = one["name"]
                limits = [None if one.get(key) is None else amount(name, one[key]) for key in ("borrowingLimit", "lendingLimit")]
                found[flavor["name"], name] = FlavorQuota(amount(name, one.get("nominalQuota", 0)), *limits)
    return found


def read_weight(spec: Mapping[str, Any]) -> float:
    weight = (spec.get("fairSharing") or {}).get("weight")
    return 1.0 if weight is None else amount("cpu", weight) / 1000


def read_active(api: Mapping[str, Any]) -> tuple[bool, str]:
    """A queue without an Active condition has not been seen by Kueue yet."""
    for condition in (api.get("status") or {}).get("conditions") or ():
        if condition["type"] == "Active":
            true = condition["status"] == "True"
            return true, "" if true else f"{condition.get('reason', '')}: {condition.get('message', '')}"
    return False, "Kueue has not looked at it yet"


def read_flavor(api: Mapping[str, Any]) -> tuple[str, Flavor]:
    name, spec = api["metadata"]["name"], api.get("spec") or {}
    taints, tolerations = read_taints(spec.get("nodeTaints") or ()), read_tolerations(spec.get("tolerations") or ())
    return name, Flavor(name, dict(spec.get("nodeLabels") or {}), taints, tolerations)


def read_cohort(api: Mapping[str, Any]) -> tuple[str, Cohort]:
    name, spec = api["metadata"]["name"], api.get("spec") or {}
    return name, Cohort(name, spec.get("parentName") or None, read_quotas(spec.get("resourceGroups") or ()), read_weight(spec))


def read_cluster_queue(api: Mapping[str, Any]) -> tuple[str, ClusterQueue]:
    name, spec = api["metadata"]["name"], api.get("spec") or {}
    groups = spec.get("resourceGroups") or ()
    rules, fungible = spec.get("preemption") or {}, spec.get("flavorFungibility") or {}
    borrow = rules.get("borrowWithinCohort") or {}
    active, why = read_active(api)
    return name, ClusterQueue(
        name=name,
        cohort=spec.get("cohortName") or None,
        groups=tuple(ResourceGroup(tuple(g["coveredResources"]), tuple(f["name"] for f in g.get("flavors") or ())) for g in groups),
        quotas=read_quotas(groups),
        preemption=Preemption(
            within_queue=rules.get("withinClusterQueue") or "Never",
            reclaim=rules.get("reclaimWithinCohort") or "Never",
            while_borrowing=borrow.get("policy") or "Never",
            borrow_threshold=borrow.get("maxPriorityThreshold"),
        ),
        strategy=spec.get("queueingStrategy") or "BestEffortFIFO",
        when_can_borrow=fungible.get("whenCanBorrow") or "MayStopSearch",
        when_can_preempt=fungible.get("whenCanPreempt") or "TryNextFlavor",
        flavor_preference=fungible.get("preference") or "BorrowingOverPreemption",
        fair_weight=read_weight(spec),
        active=active,
        why_inactive=why,
        admission_checks=tuple(rule["name"] for rule in (spec.get("admissionChecksStrategy") or {}).get("admissionChecks") or ()),
        namespaces=spec.get("namespaceSelector"),
        weighted_share=((api.get("status") or {}).get("fairSharing") or {}).get("weightedShare"),
    )


def read_local_queue(api: Mapping[str, Any]) -> tuple[tuple[str, str], LocalQueue]:
    meta, spec = api["metadata"], api.get("spec") or {}
    active, why = read_active(api)
    held = spec.get("stopPolicy") in {"Hold", "HoldAndDrain"}
    notes = dict(meta.get("annotations") or {})
    found = LocalQueue(meta["namespace"], meta["name"], spec.get("clusterQueue", ""), active, why, held, notes)
    return (meta["namespace"], meta["name"]), found


def read_admission(api: Mapping[str, Any] | None) -> Admission | None:
    if not api:
        return None
    return Admission(api["clusterQueue"], tuple(read_assignment(one) for one in api.get("podSetAssignments") or ()))


def read_assignment(api: Mapping[str, Any]) -> Assignment:
    flavors, usage = dict(api.get("flavors") or {}), amounts(api.get("resourceUsage"))
    return Assignment(api.get("name", "main"), flavors, usage, int(api.get("count") or 0))


def read_conditions(conditions: Iterable[Mapping[str, Any]]) -> dict[str, Condition]:
    return {one["type"]: read_condition(one) for one in conditions}


def read_condition(api: Mapping[str, Any]) -> Condition:
    return Condition(api["status"] == "True", api.get("reason", ""), api.get("message", ""), parse_instant(api["lastTransitionTime"]))


def read_workload(api: Mapping[str, Any]) -> tuple[str, Workload]:
    meta, spec, status = api["metadata"], api.get("spec") or {}, api.get("status") or {}
    reclaimable = {one["name"]: int(one["count"]) for one in status.get("reclaimablePods") or ()}
    requeue_at = (status.get("requeueState") or {}).get("requeueAt")
    evictions: dict[str, int] = {}
    for one in (status.get("schedulingStats") or {}).get("evictions") or ():
        evictions[one["reason"]] = evictions.get(one["reason"], 0) + int(one["count"])
    labels = dict(meta.get("labels") or {})
    owner: Mapping[str, Any] = next((ref for ref in meta.get("ownerReferences") or () if ref.get("controller")), {})
    return meta["uid"], Workload(
        uid=meta["uid"],
        namespace=meta["namespace"],
        name=meta["name"],
        job_uid=labels.get(JOB_UID) or owner.get("uid", ""),
        local_queue=spec.get("queueName", ""),
        priority=int(spec.get("priority") or 0),
        created=parse_instant(meta["creationTimestamp"]),
        podsets=tuple(read_pod_set(one, reclaimable=reclaimable.get(one.get("name", "main"), 0)) for one in spec.get("podSets") or ()),
        admission=read_admission(status.get("admission")),
        conditions=read_conditions(status.get("conditions") or ()),
        active=spec.get("active") is not False,
        labels=labels,
        annotations=dict(meta.get("annotations") or {}),
        priority_class=(spec.get("priorityClassRef") or {}).get("name"),
        requeue_at=parse_instant(requeue_at) if requeue_at else None,
        owner=owner.get("name"),
        evictions=evictions,
        past_execution_s=int(status.get("accumulatedPastExecutionTimeSeconds") or 0),
        checks={one["name"]: one.get("state", "") for one in status.get("admissionChecks") or ()},
    )


READERS: dict[str, tuple[str, Any]] = {
    "ResourceFlavor": ("flavors", read_flavor),
    "Cohort": ("cohorts", read_cohort),
    "ClusterQueue": ("cluster_queues", read_cluster_queue),
    "LocalQueue": ("local_queues", read_local_queue),
    "WorkloadPriorityClass": ("priority_classes", lambda api: (api["metadata"]["name"], int(api.get("value") or 0))),
    "Workload": ("workloads", read_workload),
    "Namespace": ("namespaces", lambda api: (api["metadata"]["name"], dict(api["metadata"].get("labels") or {}))),
}
READERS_INTO = tuple(into for into, _ in READERS.values())
