"""Kueue's objects: what machines there are, what each team owns of them, where its steps wait."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiffin.compute.allotment import Allotment
from tiffin.compute.platform_file import QUEUES, RUN_WORKERS, PlatformFile
from tiffin.compute.render_labels import INSTALLATION, labelled
from tiffin.compute.team_file import ALL

__all__ = ["KUEUE", "cluster_queue", "local_queues", "shared_queues", "team_queues"]

KUEUE = "kueue.x-k8s.io/v1beta2"
NEVER = {"withinClusterQueue": "Never", "reclaimWithinCohort": "Never"}


def shared_queues(platform: PlatformFile) -> list[dict[str, Any]]:
    """Flavors, priorities, the cohort and the run workers' ClusterQueue."""
    prefix = platform.prefix
    found = []
    for name, flavor in platform.flavors.items():
        spec: dict[str, Any] = {}
        if flavor.node_labels:
            spec["nodeLabels"] = dict(flavor.node_labels)
        if flavor.taints:
            spec["nodeTaints"] = [taint.model_dump() for taint in flavor.taints]
        found.append(kueue("ResourceFlavor", prefix + name, platform, spec))
    for name, priority in platform.priorities.items():
        one = kueue("WorkloadPriorityClass", prefix + name, platform, None)
        found.append({**one, "value": priority.value, "description": priority.description})
    found.append(kueue("Cohort", prefix + platform.cohort, platform, {}))
    workers = platform.run_workers
    group = {
        "coveredResources": list(workers.quota),
        "flavors": [
            {
                "name": prefix + workers.flavor,
                "resources": [{"name": name, "nominalQuota": amount} for name, amount in workers.quota.items()],
            }
        ],
    }
    # outside the cohort and without preemption: a run worker waits or runs, it is never stopped for somebody else
    spec = {
        "queueingStrategy": "BestEffortFIFO",
        "namespaceSelector": {"matchLabels": {INSTALLATION: platform.name}},
        "preemption": NEVER,
        "resourceGroups": [group],
    }
    found.append(kueue("ClusterQueue", prefix + RUN_WORKERS, platform, spec))
    return found


def team_queues(one: Allotment, platform: PlatformFile) -> list[dict[str, Any]]:
    """A team's two ClusterQueues and its LocalQueues."""
    owned = {
        flavor: {resource: (quota.nominal, quota.borrow, quota.lend) for resource, quota in quotas.items()}
        for flavor, quotas in one.quotas.items()
    }
    borrowed = {flavor: {resource: ("0", bound, ALL) for resource, bound in bounds.items()} for flavor, bounds in one.backfill.items()}
    return [
        cluster_queue(one.cluster_queue, owned, one, platform),
        cluster_queue(one.backfill_queue, borrowed, one, platform),
        *local_queues(one, platform),
    ]


def cluster_queue(
    name: str, quotas: Mapping[str, Mapping[str, tuple[str, str, str]]], one: Allotment, platform: PlatformFile
) -> dict[str, Any]:
    """One ClusterQueue in the cohort; `quotas` are (nominal, borrow, lend) by flavor and resource."""
    group = {
        "coveredResources": list(platform.resources),
        "flavors": [
            {"name": platform.prefix + flavor, "resources": [quota_of(resource, *amounts) for resource, amounts in resources.items()]}
            for flavor, resources in quotas.items()
        ],
    }
    spec = {
        "cohortName": platform.prefix + platform.cohort,
        "queueingStrategy": one.queueing,
        # the name that the API server itself writes on the namespace: nobody can put it on another one
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": one.namespace}},
        # Kueue's own default is Never, and then what was lent comes back only when Jobs end
        "preemption": {"withinClusterQueue": "LowerPriority", "reclaimWithinCohort": "Any"},
        "fairSharing": {"weight": one.weight},
        "resourceGroups": [group] if quotas else [],
    }
    return kueue("ClusterQueue", name, platform, spec, team=one.team)


def local_queues(one: Allotment, platform: PlatformFile) -> list[dict[str, Any]]:
    """`prod` and `default` spend the quota, `backfill` only what is idle, `run-workers` the platform's."""
    feeds = {name: one.backfill_queue if name == "backfill" else one.cluster_queue for name in QUEUES}
    feeds[RUN_WORKERS] = platform.prefix + RUN_WORKERS
    return [
        labelled(
            {
                "apiVersion": KUEUE,
                "kind": "LocalQueue",
                "metadata": {"name": name, "namespace": one.namespace},
                "spec": {"clusterQueue": queue},
            },
            platform,
            team=one.team,
        )
        for name, queue in feeds.items()
    ]


def quota_of(resource: str, nominal: str, borrow: str, lend: str) -> dict[str, str]:
    """One line of a ClusterQueue; no limit is no key."""
    found = {"name": resource, "nominalQuota": nominal}
    found |= {"borrowingLimit": borrow} if borrow != ALL else {}
    return found | ({"lendingLimit": lend} if lend != ALL else {})


def kueue(kind: str, name: str, platform: PlatformFile, spec: dict[str, Any] | None, *, team: str | None = None) -> dict[str, Any]:
    """A cluster-wide object of Kueue's."""
    found: dict[str, Any] = {"apiVersion": KUEUE, "kind": kind, "metadata": {"name": name}}
    if spec is not None:
        found["spec"] = spec
    return labelled(found, platform, team=team)
