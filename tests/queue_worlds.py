"""Small worlds of queues for tests: builders that state only what a test is about, and the random ones of the benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.kueue_scenarios import Scenario, make_scenario
from tiffin.compute.quantities import milli
from tiffin.compute.world import (
    Admission,
    Assignment,
    ClusterQueue,
    Cohort,
    Condition,
    Flavor,
    FlavorQuota,
    LocalQueue,
    Preemption,
    ResourceGroup,
    Workload,
    World,
)
from tiffin.compute.world_pods import PodSet

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def quota(nominal: str | int, borrow: str | int | None = None, lend: str | int | None = None) -> FlavorQuota:
    return FlavorQuota(milli(nominal), None if borrow is None else milli(borrow), None if lend is None else milli(lend))


def make_queue(
    name: str, cpu: FlavorQuota | str | int | Mapping[str, FlavorQuota], *, cohort: str | None = "all", **fields: Any
) -> ClusterQueue:
    """A queue with cpu quota in flavor `any`, or in the flavors given, in their order."""
    quotas = cpu if isinstance(cpu, Mapping) else {"any": cpu if isinstance(cpu, FlavorQuota) else quota(cpu)}
    return ClusterQueue(
        name=name,
        cohort=cohort,
        groups=(ResourceGroup(("cpu",), tuple(quotas)),),
        quotas={(flavor, "cpu"): one for flavor, one in quotas.items()},
        **fields,
    )


def make_workload(
    name: str, queue: str, cpu: str | int, *, priority: int = 0, age_s: float = 0.0, count: int = 1, **fields: Any
) -> Workload:
    """Waiting in the LocalQueue of a queue's own name, created `age_s` before NOW."""
    pods = PodSet("main", count, {"cpu": milli(cpu)})
    usual: dict[str, Any] = {"local_queue": queue, "podsets": (pods,), "owner": name, "job_uid": f"job-{name}"}
    created = NOW - timedelta(seconds=age_s)
    return Workload(uid=name, namespace="ns", name=name, priority=priority, created=created, **{**usual, **fields})


def running(workload: Workload, *, flavor: str = "any", ran_s: float = 10.0, queue: str | None = None) -> Workload:
    """The same Workload, admitted `ran_s` before NOW."""
    usage = workload.requests()
    since = NOW - timedelta(seconds=ran_s)
    admitted = {kind: Condition(True, kind, "", since) for kind in ("QuotaReserved", "Admitted")}
    assignment = Assignment("main", dict.fromkeys(usage, flavor), usage, workload.podsets[0].count)
    return replace(workload, admission=Admission(queue or workload.local_queue, (assignment,)), conditions=admitted)


def make_world(*things: ClusterQueue | Workload | Cohort | Flavor, priorities: Mapping[str, int] | None = None) -> World:
    """A LocalQueue per ClusterQueue, and every flavor that is mentioned."""
    queues = {one.name: one for one in things if isinstance(one, ClusterQueue)}
    named = {flavor: Flavor(flavor) for queue in queues.values() for flavor, _ in queue.quotas}
    return World(
        flavors=named | {one.name: one for one in things if isinstance(one, Flavor)},
        cohorts={one.name: one for one in things if isinstance(one, Cohort)},
        cluster_queues=queues,
        local_queues={("ns", name): LocalQueue("ns", name, name) for name in queues},
        priority_classes=dict(priorities or {}),
        workloads={one.uid: one for one in things if isinstance(one, Workload)},
    )


def reclaiming(**fields: Any) -> Preemption:
    """Takes back what others borrow, and evicts lower priorities of its own."""
    return Preemption(**{"within_queue": "LowerPriority", "reclaim": "Any", **fields})


def random_world(seed: int) -> tuple[World, Scenario]:
    """The benchmark's scenario of a seed as a world in which everything waits; arrivals are there from the start."""
    scenario = make_scenario(seed, "t", "ns", gated=False)
    objects = [*scenario.flavor_objects(), *scenario.cohort_objects(), *scenario.local_queue_objects()]
    active = {"status": {"conditions": [{"type": "Active", "status": "True", "reason": "Ready", "message": ""}]}}
    objects += [{**one, **active} for one in scenario.queue_objects()]
    stamp = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    for place, job in enumerate(scenario.jobs):
        thing = scenario.workload(job)
        meta = {**thing["metadata"], "uid": f"u{place:02}", "creationTimestamp": stamp}
        objects.append({**thing, "metadata": meta})
    return World.parse(objects), scenario
