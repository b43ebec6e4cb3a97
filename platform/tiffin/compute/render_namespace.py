"""A team's namespace: how secure its pods are, how many objects it holds, how large one container is."""

from __future__ import annotations

from typing import Any

from tiffin.compute.allotment import Allotment
from tiffin.compute.platform_file import PlatformFile
from tiffin.compute.quantities import milli, quantity_text
from tiffin.compute.render_labels import labelled
from tiffin.compute.team_file import ALL

__all__ = ["ceiling", "namespace", "team_namespace"]

NEVER_MADE = ("services.loadbalancers", "services.nodeports")
"""A team's services are met through the platform's gateway alone."""


def team_namespace(one: Allotment, platform: PlatformFile) -> list[dict[str, Any]]:
    """Namespace, ResourceQuota and LimitRange."""
    annotations = {"tiffin.dev/owner": one.owner} | ({"tiffin.dev/description": one.description} if one.description else {})
    return [
        namespace(one.namespace, platform, annotations=annotations, team=one.team),
        inside(one, platform, "v1", "ResourceQuota", "team", {"hard": hard_limits(one, platform)}),
        inside(one, platform, "v1", "LimitRange", "containers", {"limits": [container_limits(one)]}),
    ]


def namespace(name: str, platform: PlatformFile, *, annotations: dict[str, str], team: str | None = None) -> dict[str, Any]:
    """A namespace whose pods are held to the Pod Security Standard, and told of it before they are refused."""
    labels: dict[str, str] = {}
    for mode in ("enforce", "audit", "warn"):
        labels[f"pod-security.kubernetes.io/{mode}"] = platform.pod_security
        labels[f"pod-security.kubernetes.io/{mode}-version"] = platform.pod_security_version
    metadata = {"name": name, "labels": labels, "annotations": annotations}
    return labelled({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, platform, team=team)


def hard_limits(one: Allotment, platform: PlatformFile) -> dict[str, str]:
    """What the namespace may hold.

    Kueue decides how much of it runs. The limits on requests only stop what goes around Kueue, so they must never
    refuse a pod that Kueue admitted: Kueue gives quota away when a deletion is *requested*, and for the grace period
    the preempted pods and their successors exist together.
    """
    counts = {kind if kind == "pods" else f"count/{kind}": str(count) for kind, count in one.objects.items()}
    requests = {f"requests.{name}": quantity_text(amount) for name, amount in ceiling(one, platform).items()}
    return {**counts, **dict.fromkeys(NEVER_MADE, "0"), **requests}


def ceiling(one: Allotment, platform: PlatformFile) -> dict[str, int]:
    """Per resource: twice all that Kueue can ever give the team, and the run workers' share; in thousandths."""
    found = {}
    for resource in platform.resources:
        reach = 0
        for flavor, quotas in one.quotas.items():
            capacity = milli(platform.flavors[flavor].capacity.get(resource, "0"))
            quota, backfill = quotas[resource], one.backfill[flavor][resource]
            bounds = [capacity if bound == ALL else milli(bound) for bound in (quota.borrow, backfill)]
            # both queues are of one cohort, which holds no more than the nodes have
            reach += min(capacity, milli(quota.nominal) + sum(bounds))
        found[resource] = 2 * reach + milli(platform.run_workers.quota.get(resource, "0"))
    return found


def container_limits(one: Allotment) -> dict[str, Any]:
    """Requests for who asks for nothing: Kueue would admit such a pod at no cost.

    Default limits are left out: they would throttle and kill containers that ask for more.
    """
    found: dict[str, Any] = {"type": "Container"}
    found |= {"defaultRequest": dict(one.container_request)} if one.container_request else {}
    return found | ({"max": dict(one.container_max)} if one.container_max else {})


def inside(one: Allotment, platform: PlatformFile, version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """An object of the team's namespace."""
    metadata = {"name": name, "namespace": one.namespace}
    return labelled({"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}, platform, team=one.team)
