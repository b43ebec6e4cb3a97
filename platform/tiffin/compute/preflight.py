"""What could never be admitted, found before anything is created: with the resource, the queue, the limit and the fix.

Only what waiting cannot mend is refused. Quota in use by others, a queue that is stopped for now, a higher priority
ahead: all of that is a wait, and the step is queued.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tiffin.compute.job import PRIORITY_LABEL, QUEUE_LABEL, pod_set
from tiffin.compute.preflight_quota import quota_refusal
from tiffin.compute.spec import Compute
from tiffin.compute.world import LocalQueue, World
from tiffin.compute.world_pods import PodSet, read_pod_set
from tiffin.core.errors import Denied, Invalid, NotFound, NotReady, PlatformError, nearest

__all__ = ["refusal", "refusal_of_job", "refusal_of_pods"]

BUDGET = "tiffin.dev/budget"
FOR_A_WHILE = ("Stopped", "LocalQueueStopped", "Kueue has not looked")
"""Beginnings of why a queue is inactive that pass by themselves, or when somebody starts it again."""


def refusal(
    asked: Compute, *, namespace: str, queue: str, world: World, priority: str | None = None, what: str = "this step"
) -> PlatformError | None:
    """Why a step with that spec could never run; None when it could, today or later.

    Args:
        queue, priority: where the run would put it; the spec's own win.
        world: at least the flavors, cohorts, queues and priority classes.
    """
    queue, priority = asked.queue or queue, asked.priority or priority
    if asked.flavor is not None and asked.flavor not in world.flavors:
        fix = nearest(asked.flavor, world.flavors)
        return NotFound(f"{what} asks for flavor {asked.flavor!r}, which the cluster does not have", fix=fix)
    pods = [pod_set(asked, world.flavors)]
    return refusal_of_pods(pods, namespace=namespace, queue=queue, priority=priority, world=world, flavor=asked.flavor, what=what)


def refusal_of_job(job: Mapping[str, Any], *, world: World, what: str | None = None) -> PlatformError | None:
    """The same for a finished Job, whatever set its requests."""
    meta, spec = job["metadata"], job["spec"]
    labels = meta.get("labels") or {}
    count = min(int(spec.get("parallelism") or 1), int(spec.get("completions") or 10**9))
    pods = [read_pod_set({"name": "main", "count": count, "template": spec["template"]})]
    return refusal_of_pods(
        pods,
        namespace=meta["namespace"],
        queue=labels.get(QUEUE_LABEL, "default"),
        priority=labels.get(PRIORITY_LABEL),
        world=world,
        what=what or f"Job {meta['name']!r}",
    )


def refusal_of_pods(
    pods: Sequence[PodSet],
    *,
    namespace: str,
    queue: str,
    world: World,
    priority: str | None = None,
    flavor: str | None = None,
    what: str = "this step",
) -> PlatformError | None:
    """Pods of one Job, admitted together."""
    local = world.local_queues.get((namespace, queue))
    if local is None:
        known = [name for space, name in world.local_queues if space == namespace]
        fix = nearest(queue, known) if known else "have the platform team create it: `tiffin teams apply` makes a team's queues"
        return NotFound(f"{what} goes to LocalQueue {queue!r}, which namespace {namespace!r} does not have", fix=fix)
    return (
        budget_refusal(local, what)
        or queue_refusal(local, world, what)
        or priority_refusal(priority, world, what)
        or quota_refusal(pods, local, world, flavor, what)
    )


def budget_refusal(local: LocalQueue, what: str) -> PlatformError | None:
    """A team whose budget is spent starts nothing new in the queue that was closed for that."""
    said = local.annotations.get(BUDGET)
    if said is None or not local.held:
        return None
    return Denied(
        f"{what} goes to LocalQueue {local.name!r} of namespace {local.namespace!r}, which is closed: {said}",
        fix="wait for the next budget period, have the budget raised, or use another queue",
        context={"queue": local.name, "namespace": local.namespace},
    )


def queue_refusal(local: LocalQueue, world: World, what: str) -> PlatformError | None:
    """The way from the namespace to a quota."""
    behind = world.cluster_queues.get(local.cluster_queue)
    where = f"LocalQueue {local.name!r} of namespace {local.namespace!r}"
    context = {"queue": local.name, "namespace": local.namespace, "cluster_queue": local.cluster_queue}
    if behind is None:
        fix = nearest(local.cluster_queue, world.cluster_queues)
        return NotFound(f"{what} goes to {where}, whose ClusterQueue {local.cluster_queue!r} does not exist", fix=fix, context=context)
    if not behind.active and not behind.why_inactive.startswith(FOR_A_WHILE):
        fix = "have the platform team mend the queue: `tiffin queue` shows what it lacks"
        found = f"{what} goes to ClusterQueue {behind.name!r}, which is not active: {behind.why_inactive}"
        return NotReady(found, fix=fix, context=context)
    labels = world.namespaces.get(local.namespace)
    if behind.namespaces is None or (labels is not None and not selects(behind.namespaces, labels)):
        rule = "none at all" if behind.namespaces is None else f"those with {behind.namespaces}"
        fix = "have the platform team label the namespace, or widen the queue's namespaceSelector"
        return Invalid(f"{what} goes to ClusterQueue {behind.name!r}, which serves other namespaces: {rule}", fix=fix, context=context)
    return None


def priority_refusal(priority: str | None, world: World, what: str) -> PlatformError | None:
    if priority is None or priority in world.priority_classes:
        return None
    return NotFound(f"{what} has priority {priority!r}, which is no WorkloadPriorityClass", fix=nearest(priority, world.priority_classes))


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A Kubernetes label selector; {} selects everything."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for rule in selector.get("matchExpressions") or ():
        value, values = labels.get(rule["key"]), rule.get("values") or ()
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[rule["operator"]]
        if not holds:
            return False
    return True
