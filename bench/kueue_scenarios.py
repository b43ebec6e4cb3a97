"""Random small worlds for Kueue: a cohort tree of queues, and Workloads with a virtual run time each.

Data only, from a seed: the same scenario is built in the real API and in the model. Within a cohort no two queues use
the same priority, because Kueue decides such ties by chance.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["GATE", "PROBE", "Job", "Scenario", "make_scenario", "pod_sets"]

GROUP = "kueue.x-k8s.io/v1beta2"
GATE = "tiffin.dev/gate"
PROBE = "tiffin.dev/probe"
LABEL = "tiffin.dev/scenario"
CPU, MEMORY = "cpu", "memory"


@dataclass(frozen=True)
class Job:
    """One Workload to come: its queue, shape, priority and virtual seconds."""

    name: str
    queue: int
    count: int
    requests: Mapping[str, str]
    priority: int
    duration: float
    tier: str | None = None
    arrives: float = 0.0
    """Virtual seconds after the opening."""


@dataclass(frozen=True)
class Scenario:
    """One world: API objects without the gate flavor, and the Workloads."""

    seed: int
    tag: str
    namespace: str
    flavors: tuple[str, ...]
    queues: tuple[dict[str, Any], ...]
    cohorts: tuple[dict[str, Any], ...]
    jobs: tuple[Job, ...]

    def flavor_objects(self) -> list[dict[str, Any]]:
        return [self.thing("ResourceFlavor", name, {"nodeLabels": {"tier": name.rsplit("-", 1)[1]}}) for name in self.flavors]

    def gate(self) -> dict[str, Any]:
        """The flavor that every queue waits for: creating it opens all queues at once."""
        return self.thing("ResourceFlavor", f"{self.tag}-gate", {})

    def queue_name(self, index: int) -> str:
        return f"{self.tag}-q{index}"

    def queue_objects(self) -> list[dict[str, Any]]:
        return [self.thing("ClusterQueue", self.queue_name(index), spec) for index, spec in enumerate(self.queues)]

    def cohort_objects(self) -> list[dict[str, Any]]:
        return [self.thing("Cohort", spec["name"], {key: value for key, value in spec.items() if key != "name"}) for spec in self.cohorts]

    def local_queue_objects(self) -> list[dict[str, Any]]:
        names = [self.queue_name(index) for index in range(len(self.queues))] + [f"{self.tag}-probe"]
        return [self.thing("LocalQueue", name, {"clusterQueue": name}, namespaced=True) for name in names]

    def probe_queue(self) -> dict[str, Any]:
        """A queue of the same tree with one unit of its own: it tells when Kueue has looked at the tree again."""
        quota = {"name": f"{self.tag}-gate", "resources": [{"name": PROBE, "nominalQuota": "1"}]}
        groups = [{"coveredResources": [PROBE], "flavors": [quota]}]
        return self.thing(
            "ClusterQueue", f"{self.tag}-probe", {"cohortName": f"{self.tag}-root", "namespaceSelector": {}, "resourceGroups": groups}
        )

    def probe(self, number: int) -> dict[str, Any]:
        pods = pod_sets({PROBE: "1"}, 1, None)
        return self.thing("Workload", f"{self.tag}-p{number}", {"queueName": f"{self.tag}-probe", "podSets": pods}, namespaced=True)

    def workload(self, job: Job) -> dict[str, Any]:
        pods = pod_sets(job.requests, job.count, job.tier)
        spec = {"queueName": self.queue_name(job.queue), "priority": job.priority, "podSets": pods}
        return self.thing("Workload", job.name, spec, namespaced=True)

    def thing(self, kind: str, name: str, spec: Mapping[str, Any], *, namespaced: bool = False) -> dict[str, Any]:
        meta: dict[str, Any] = {"name": name, "labels": {LABEL: self.tag}}
        if namespaced:
            meta["namespace"] = self.namespace
        return {"apiVersion": GROUP, "kind": kind, "metadata": meta, "spec": dict(spec)}


def pod_sets(requests: Mapping[str, str], count: int, tier: str | None) -> list[dict[str, Any]]:
    container = {"name": "main", "image": "none", "resources": {"requests": dict(requests)}}
    spec: dict[str, Any] = {"containers": [container], "restartPolicy": "Never"}
    if tier:
        spec["nodeSelector"] = {"tier": tier}
    return [{"name": "main", "count": count, "template": {"spec": spec}}]


def make_scenario(seed: int, tag: str, namespace: str, *, gated: bool = True) -> Scenario:
    """The scenario of a seed. `tag` makes its names unique and is no part of what is random."""
    chance = random.Random(seed)
    nested = chance.random() < 0.3
    with_memory = chance.random() < 0.3
    flavors = tuple(f"{tag}-f{index}" for index in range(chance.choice([1, 1, 2, 2, 3])))
    cohorts = make_cohorts(chance, tag, flavors, with_memory=with_memory, nested=nested)
    queues = tuple(
        make_queue(chance, tag, flavors, with_memory=with_memory, nested=nested, gated=gated) for _ in range(chance.randint(2, 4))
    )
    jobs = tuple(make_job(chance, tag, index, len(queues), flavors, with_memory=with_memory) for index in range(chance.randint(5, 11)))
    return Scenario(seed, tag, namespace, flavors, queues, cohorts, jobs)


def make_quota(chance: random.Random, name: str, resource: str, *, least: int = 0) -> dict[str, Any]:
    """Quota of one resource; limits sometimes."""
    scale = 1 if resource == CPU else 2
    nominal = chance.randint(least, 8) * scale
    quota: dict[str, Any] = {"name": resource, "nominalQuota": text(resource, nominal)}
    if chance.random() < 0.35:
        quota["borrowingLimit"] = text(resource, chance.randint(0, 8) * scale)
    if chance.random() < 0.35:
        quota["lendingLimit"] = text(resource, chance.randint(0, nominal))
    return quota


def text(resource: str, amount: int) -> str:
    return str(amount) if resource == CPU else f"{amount}Gi"


def make_groups(chance: random.Random, flavors: tuple[str, ...], *, with_memory: bool) -> list[dict[str, Any]]:
    resources = [CPU, MEMORY] if with_memory else [CPU]
    quotas = [{"name": name, "resources": [make_quota(chance, name, resource) for resource in resources]} for name in flavors]
    return [{"coveredResources": resources, "flavors": quotas}]


def make_cohorts(
    chance: random.Random, tag: str, flavors: tuple[str, ...], *, with_memory: bool, nested: bool
) -> tuple[dict[str, Any], ...]:
    root: dict[str, Any] = {"name": f"{tag}-root"}
    if not nested:
        return (root,)
    if chance.random() < 0.5:
        root["resourceGroups"] = without_limits(make_groups(chance, flavors, with_memory=with_memory))
    children: list[dict[str, Any]] = [{"name": f"{tag}-{side}", "parentName": f"{tag}-root"} for side in ("left", "right")]
    for child in children:
        if chance.random() < 0.4:
            child["resourceGroups"] = make_groups(chance, flavors, with_memory=with_memory)
    return (root, *children)


def without_limits(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A root has nobody to borrow from or to lend to."""
    for group in groups:
        for flavor in group["flavors"]:
            flavor["resources"] = [{key: value for key, value in one.items() if not key.endswith("Limit")} for one in flavor["resources"]]
    return groups


def make_queue(
    chance: random.Random, tag: str, flavors: tuple[str, ...], *, with_memory: bool, nested: bool, gated: bool
) -> dict[str, Any]:
    groups = make_groups(chance, tuple(chance.sample(flavors, len(flavors))), with_memory=with_memory)
    if gated:
        quota = {"name": f"{tag}-gate", "resources": [{"name": GATE, "nominalQuota": "0"}]}
        groups.append({"coveredResources": [GATE], "flavors": [quota]})
    reclaim = chance.choice(["Never", "LowerPriority", "Any", "Any"])
    preemption: dict[str, Any] = {
        "withinClusterQueue": chance.choice(["Never", "LowerPriority", "LowerPriority", "LowerOrNewerEqualPriority"]),
        "reclaimWithinCohort": reclaim,
    }
    if reclaim != "Never" and chance.random() < 0.4:
        preemption["borrowWithinCohort"] = {"policy": "LowerPriority"}
        if chance.random() < 0.5:
            preemption["borrowWithinCohort"]["maxPriorityThreshold"] = chance.choice([5, 15, 25])
    fungibility: dict[str, Any] = {
        "whenCanBorrow": chance.choice(["MayStopSearch", "TryNextFlavor"]),
        "whenCanPreempt": chance.choice(["MayStopSearch", "TryNextFlavor", "TryNextFlavor"]),
    }
    if fungibility == {"whenCanBorrow": "TryNextFlavor", "whenCanPreempt": "TryNextFlavor"} and chance.random() < 0.6:
        fungibility["preference"] = chance.choice(["BorrowingOverPreemption", "PreemptionOverBorrowing"])
    return {
        "cohortName": f"{tag}-{chance.choice(['left', 'right', 'root'])}" if nested else f"{tag}-root",
        "namespaceSelector": {},
        "queueingStrategy": "StrictFIFO" if chance.random() < 0.25 else "BestEffortFIFO",
        "resourceGroups": groups,
        "preemption": preemption,
        "flavorFungibility": fungibility,
        "fairSharing": {"weight": chance.choice(["1", "1", "2", "500m"])},
    }


def make_job(chance: random.Random, tag: str, index: int, queues: int, flavors: tuple[str, ...], *, with_memory: bool) -> Job:
    queue = chance.randrange(queues)
    requests = {CPU: str(chance.randint(1, 5))}
    if with_memory:
        requests[MEMORY] = f"{chance.randint(1, 6)}Gi"
    return Job(
        name=f"{tag}-w{index}",
        queue=queue,
        count=chance.choice([1, 1, 1, 2]),
        requests=requests,
        priority=10 * chance.randint(0, 3) + queue,
        duration=round(chance.uniform(10, 100), 3),
        tier=chance.choice(flavors).rsplit("-", 1)[1] if chance.random() < 0.1 else None,
        arrives=round(chance.uniform(1, 90), 3) if chance.random() < 0.45 else 0.0,
    )
