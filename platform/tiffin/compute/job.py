"""The parts of a step's Job that follow from its `Compute`: plain dicts, in the shape of dagster-k8s's own configuration.

The queue's label goes on the Job and never on its pods: Kueue would take each pod for a piece of work of its own. The
Job is not suspended here: Kueue's webhook does that, and where Kueue does not manage a namespace nobody would wake it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tiffin.compute.quantities import quantity_text
from tiffin.compute.spec import Compute
from tiffin.compute.world import Flavor
from tiffin.compute.world_pods import PodSet, read_pod_set

__all__ = [
    "ASSET_LABEL",
    "PRIORITY_LABEL",
    "QUEUE_LABEL",
    "STEP_LABEL",
    "TEAM_LABEL",
    "label_value",
    "pod_defaults",
    "pod_set",
    "step_config",
    "step_labels",
]

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
LONGEST_LABEL = "kueue.x-k8s.io/max-exec-time-seconds"
TEAM_LABEL, STEP_LABEL, ASSET_LABEL = "tiffin.dev/team", "tiffin.dev/step", "tiffin.dev/asset"
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")

K8sConfig = dict[str, dict[str, Any]]
"""container_config, pod_spec_config, pod_template_spec_metadata, job_spec_config, job_metadata"""


def label_value(text: str) -> str:
    """The text itself where a label may hold it, else a readable part of it and its hash: different texts stay different.

    Example:
        >>> label_value("carrier_delays"), label_value("network/carrier_delays")
        ('carrier_delays', 'network_carrier_delays.32682a66')
    """
    if LABEL_VALUE.fullmatch(text):
        return text
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_-")[:52].rstrip("_-")
    return f"{readable or 'x'}.{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def step_labels(*, team: str, step: str, asset: str | None = None) -> dict[str, str]:
    """What a step's Job is found by, beside dagster-k8s's own labels."""
    found = {TEAM_LABEL: label_value(team), STEP_LABEL: label_value(step)}
    return found | ({ASSET_LABEL: label_value(asset)} if asset else {})


def pod_defaults(security: Literal["restricted", "none"] = "restricted") -> K8sConfig:
    """What every pod of ours is refused: root, more rights than it began with, unusual system calls, a token of the API.

    "restricted" passes the Pod Security level of that name. "none" leaves pods as dagster-k8s makes them.
    """
    if security == "none":
        return {}
    container = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    return {
        "container_config": {"securityContext": container},
        "pod_spec_config": {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}},
    }


def step_config(
    compute: Compute,
    *,
    queue: str | None,
    priority: str | None,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    checkpoint: str | None = None,
    flavors: Mapping[str, Flavor] | None = None,
) -> K8sConfig:
    """A step's Job as its spec asks for it. The spec's own queue and priority win over those given.

    Args:
        queue: LocalQueue; None leaves Kueue out.
        labels, annotations: of the Job.
        checkpoint: object-store prefix where the step keeps what its next attempt may go on from.
        flavors: of the cluster; needed when the spec names one.
    """
    queue, priority = compute.queue or queue, compute.priority or priority
    found = {QUEUE_LABEL: queue} if queue else {}
    found |= {PRIORITY_LABEL: priority} if queue and priority else {}
    found |= {LONGEST_LABEL: str(int(compute.max_run.total_seconds()))} if queue and compute.max_run else {}
    selector, tolerations = placement(compute, flavors or {})
    container: dict[str, Any] = {"resources": resources(compute), "env": environment(checkpoint)}
    pod: dict[str, Any] = {"terminationGracePeriodSeconds": int(compute.grace.total_seconds())}
    pod |= {"nodeSelector": selector} if selector else {}
    pod |= {"tolerations": tolerations} if tolerations else {}
    job: dict[str, Any] = {"backoffLimit": 0}
    if compute.parallelism > 1:
        job |= {"parallelism": compute.parallelism, "completions": compute.parallelism, "completionMode": "Indexed"}
    return {
        "container_config": container | ({"image": compute.image} if compute.image else {}),
        "pod_spec_config": pod,
        "job_spec_config": job,
        "job_metadata": {"labels": {**(labels or {}), **found}, "annotations": dict(annotations or {})},
    }


def resources(compute: Compute) -> dict[str, dict[str, str]]:
    """Memory is limited to what was asked for: a step that grows is ended, not its neighbours. Cores are only shared out."""
    asked = compute.resource_list()
    return {"requests": asked, "limits": {name: amount for name, amount in asked.items() if name != "cpu"}}


def environment(checkpoint: str | None) -> list[dict[str, Any]]:
    """Which pod this is, and where its checkpoints are. The attempt's number is taken by the pod itself, from the fence."""
    fields = {"POD_NAME": "metadata.name", "POD_UID": "metadata.uid"}
    found: list[dict[str, Any]] = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()]
    return found + ([{"name": "TIFFIN_CHECKPOINT", "value": checkpoint}] if checkpoint else [])


def placement(compute: Compute, flavors: Mapping[str, Flavor]) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Node selector and tolerations: Kueue judges flavors by them before it adds a flavor's own."""
    tolerations = [{"key": compute.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}] if compute.gpus else []
    flavor = flavors.get(compute.flavor or "")
    if flavor is None:
        return {}, tolerations
    for taint in flavor.taints:
        known = any(own.accepts(taint) for own in flavor.tolerations) or any(one["key"] == taint.key for one in tolerations)
        if not known and taint.effect in ("NoSchedule", "NoExecute"):
            tolerations.append({"key": taint.key, "operator": "Equal", "value": taint.value, "effect": taint.effect})
    return dict(flavor.node_labels), tolerations


def pod_set(compute: Compute, flavors: Mapping[str, Flavor] | None = None) -> PodSet:
    """What Kueue will be asked to admit."""
    selector, tolerations = placement(compute, flavors or {})
    containers: Sequence[dict[str, Any]] = [{"resources": {"requests": {n: quantity_text(a) for n, a in compute.requests().items()}}}]
    spec = {"containers": containers, "nodeSelector": selector, "tolerations": tolerations}
    return read_pod_set({"name": "main", "count": compute.parallelism, "template": {"spec": spec}})
