"""What if: another quota, borrowing limit, priority or flavor, as a changed copy of the world.

Written as `quota:QUEUE/RESOURCE=20`, `borrow:QUEUE/RESOURCE=10` (or `unlimited`), `lend:QUEUE/RESOURCE=5`,
`priority:RUN[/STEP]=CLASS`, `flavor:RUN[/STEP]=FLAVOR`. A queue may be named as the ClusterQueue or as the team; a
resource may name its flavor as `FLAVOR:cpu`, else the queue's first flavor with that resource is meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tiffin.compute.quantities import milli
from tiffin.compute.world import ClusterQueue, Flavor, FlavorQuota, FlavorResource, Workload, World
from tiffin.compute.world_pods import Toleration
from tiffin.core.errors import Invalid, NotFound, nearest

__all__ = ["Change", "changed", "find_steps", "parse_change"]

KINDS = ("quota", "borrow", "lend", "priority", "flavor")
SHAPE = "write it like quota:team-x/cpu=20, borrow:team-x/cpu=unlimited, priority:RUN=prod or flavor:RUN=a100"
RUN_ID, STEP = "dagster/run-id", "tiffin.dev/step"


@dataclass(frozen=True, slots=True)
class Change:
    """One question."""

    kind: str
    target: str
    value: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.target}={self.value}"


def parse_change(text: str) -> Change:
    """Read one `--what-if`.

    Raises:
        Invalid: it has another shape.

    Example:
        >>> parse_change("quota:team-network/cpu=20")
        Change(kind='quota', target='team-network/cpu', value='20')
    """
    head, equals, value = text.rpartition("=")
    kind, colon, target = head.partition(":")
    if not (equals and colon and target and value):
        raise Invalid(f"--what-if {text!r} is not readable", fix=SHAPE)
    if kind not in KINDS:
        raise Invalid(f"--what-if {text!r} changes {kind!r}, which is none of {', '.join(KINDS)}", fix=nearest(kind, KINDS))
    return Change(kind, target, value)


def changed(world: World, changes: Iterable[Change]) -> World:
    """The world with every change made, in their order.

    Raises:
        NotFound, Invalid: no such queue, resource, class, flavor or step, with the nearest one.
    """
    for change in changes:
        if change.kind == "priority":
            world = with_priority(world, change)
        elif change.kind == "flavor":
            world = with_flavor(world, change)
        else:
            world = with_quota(world, change)
    return world


def with_quota(world: World, change: Change) -> World:
    name, slash, resource = change.target.partition("/")
    if not slash:
        raise Invalid(f"--what-if {change}: which resource?", fix=f"write {change.kind}:{name}/cpu={change.value}")
    queue = queue_named(world, name, change)
    what = quota_named(queue, resource, change)
    old = queue.quotas[what]
    amount = None if change.value == "unlimited" else milli(change.value)
    if change.kind == "quota":
        if amount is None:
            raise Invalid(f"--what-if {change}: a quota is an amount", fix="write it like '20' or '4Gi'")
        limit = old.lending_limit
        new = FlavorQuota(amount, old.borrowing_limit, None if limit is None else min(limit, amount))
    elif change.kind == "borrow":
        new = replace(old, borrowing_limit=amount)
    else:
        new = replace(old, lending_limit=amount)
    return replace(world, cluster_queues={**world.cluster_queues, queue.name: replace(queue, quotas={**queue.quotas, what: new})})


def queue_named(world: World, name: str, change: Change) -> ClusterQueue:
    for known in (name, f"team-{name}"):
        if known in world.cluster_queues:
            return world.cluster_queues[known]
    raise NotFound(f"--what-if {change}: no ClusterQueue {name!r}", fix=nearest(name, world.cluster_queues))


def quota_named(queue: ClusterQueue, text: str, change: Change) -> FlavorResource:
    flavor, colon, resource = text.rpartition(":")
    if colon:
        if (flavor, resource) in queue.quotas:
            return flavor, resource
    else:
        for group in queue.groups:
            if text in group.resources and group.flavors:
                return group.flavors[0], text
    known = sorted({one[1] for one in queue.quotas} | {f"{one[0]}:{one[1]}" for one in queue.quotas})
    raise NotFound(f"--what-if {change}: {queue.name} has no quota of {text!r}", fix=nearest(text, known))


def find_steps(world: World, target: str, *, doing: str) -> list[Workload]:
    """The live Workloads that `RUN`, `RUN/STEP`, or a Job's or Workload's name mean; a run may be cut to its first letters.

    Raises:
        NotFound: nothing waits or runs under that name. Invalid: the letters fit several runs.
    """
    run, _, step = target.partition("/")
    live = [workload for workload in world.workloads.values() if not workload.finished]
    found = [one for one in live if target in {one.name, one.owner, f"{one.namespace}/{one.owner}", f"{one.namespace}/{one.name}"}]
    if not found:
        found = [one for one in live if run and run_of(one).startswith(run) and (not step or step_of(one) == step)]
    runs = sorted({run_of(one) for one in found})
    if not found:
        names = {run_of(one) for one in live} | {one.owner or one.name for one in live}
        raise NotFound(f"{doing}: no step of {target!r} waits or runs", fix=nearest(target, names - {""}))
    if len(runs) > 1:
        raise Invalid(f"{doing}: {target!r} fits {len(runs)} runs", fix=f"write more letters of one of: {', '.join(runs[:5])}")
    return sorted(found, key=lambda one: (one.created, one.uid))


def run_of(workload: Workload) -> str:
    return workload.labels.get(RUN_ID, "")


def step_of(workload: Workload) -> str:
    return workload.labels.get(STEP) or workload.labels.get("dagster/op", "")


def with_priority(world: World, change: Change) -> World:
    if change.value not in world.priority_classes:
        raise NotFound(f"--what-if {change}: no WorkloadPriorityClass {change.value!r}", fix=nearest(change.value, world.priority_classes))
    steps = find_steps(world, change.target, doing=f"--what-if {change}")
    value = world.priority_classes[change.value]
    return world.with_workloads(*(replace(one, priority=value, priority_class=change.value) for one in steps))


def with_flavor(world: World, change: Change) -> World:
    """The steps asked for this flavor's nodes: its labels and tolerations instead of their own rules about it."""
    flavor = world.flavors.get(change.value)
    if flavor is None:
        raise NotFound(f"--what-if {change}: no ResourceFlavor {change.value!r}", fix=nearest(change.value, world.flavors))
    steps = find_steps(world, change.target, doing=f"--what-if {change}")
    for one in steps:
        queue = world.cluster_queue_of(one)
        if queue is not None and not any(flavor.name in group.flavors for group in queue.groups):
            offered = sorted({name for group in queue.groups for name in group.flavors})
            raise Invalid(
                f"--what-if {change}: {queue.name} has no quota in flavor {flavor.name!r}", fix=f"use one of: {', '.join(offered)}"
            )
    return world.with_workloads(*(onto(one, flavor, world.flavors) for one in steps))


def onto(workload: Workload, flavor: Flavor, flavors: Mapping[str, Flavor]) -> Workload:
    """The same pods, made to fit one flavor. A flavor without labels is met by asking for no labels of other flavors."""
    keys = {key for one in flavors.values() for key in one.node_labels}
    tolerations = tuple(Toleration(taint.key, "Equal", taint.value, taint.effect) for taint in flavor.taints)
    podsets = tuple(
        replace(
            pods,
            node_selector={key: value for key, value in pods.node_selector.items() if key not in keys} | dict(flavor.node_labels),
            node_terms=(),
            tolerations=(*pods.tolerations, *tolerations),
        )
        for pods in workload.podsets
    )
    return replace(workload, podsets=podsets)
