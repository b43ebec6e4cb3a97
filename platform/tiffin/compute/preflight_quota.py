"""Whether a queue could hold a step's pods if nobody else used anything; if not: by what, how much, and what to change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tiffin.compute.admission_flavors import mismatch
from tiffin.compute.admission_tree import Node, Tree
from tiffin.compute.quantities import quantity_text
from tiffin.compute.world import ClusterQueue, LocalQueue, ResourceGroup, World
from tiffin.compute.world_pods import PodSet
from tiffin.core.errors import Invalid, NotReady, PlatformError

__all__ = ["quota_refusal"]


@dataclass(frozen=True, slots=True)
class Small:
    """A flavor that accepts the pods and is too small in one resource."""

    flavor: str
    resource: str
    most: int


def quota_refusal(pods: Sequence[PodSet], local: LocalQueue, world: World, flavor: str | None, what: str) -> PlatformError | None:
    """The quota that a LocalQueue leads to. It and its ClusterQueue exist."""
    queue = world.cluster_queues[local.cluster_queue]
    what = f"{what} goes to ClusterQueue {queue.name!r} (by LocalQueue {local.name!r} of namespace {local.namespace!r})"
    tree = Tree(world)
    if not tree.usable(queue.name):
        return NotReady(f"{what}, whose cohorts form a circle", fix="have the platform team mend the cohorts' parentName")
    flavors = sorted({name for group in queue.groups for name in group.flavors})
    if flavor is not None and flavor not in flavors:
        return Invalid(
            f"{what} and asks for flavor {flavor!r}, which is not there", fix=f"name one of these, or none: {', '.join(flavors)}"
        )
    for one in pods:
        asked = {name: amount for name, amount in one.total().items() if amount}
        if not asked:
            fix = "give the asset compute=Compute(cpu=..., memory=...)"
            return Invalid(f"{what} and requests nothing: it would be admitted at no cost", fix=fix)
        asked |= {"pods": one.count * 1000} if queue.group_of("pods") is not None else {}
        found = uncovered(asked, queue, what)
        for group in queue.groups:
            needed = {name: amount for name, amount in asked.items() if name in group.resources}
            if found is None and needed:
                found = too_large(one, needed, group, queue, tree.queues[queue.name], world, flavor, what)
        if found is not None:
            return found
    return None


def uncovered(asked: Mapping[str, int], queue: ClusterQueue, what: str) -> PlatformError | None:
    """A resource that no flavor of the queue has: Kueue would keep the step for ever."""
    for resource, amount in asked.items():
        if queue.group_of(resource) is None:
            offered = ", ".join(sorted({name for group in queue.groups for name in group.resources})) or "nothing"
            return Invalid(
                f"{what} and asks for {quantity_text(amount)} of {resource}, which that queue does not offer: it has {offered}",
                fix=f"ask for none of it, use another queue, or have a quota of {resource} added to ClusterQueue {queue.name!r}",
                context={"resource": resource, "cluster_queue": queue.name, "limit": "0", "asked": quantity_text(amount)},
            )
    return None


def too_large(
    pods: PodSet,
    needed: Mapping[str, int],
    group: ResourceGroup,
    queue: ClusterQueue,
    node: Node,
    world: World,
    flavor: str | None,
    what: str,
) -> PlatformError | None:
    """Resources of a group come from one flavor: one must accept the pods and be large enough for all of them."""
    unfit: list[str] = []
    small: list[Small] = []
    large: list[str] = []
    for name in group.flavors:
        known = world.flavors.get(name)
        why = "it does not exist" if known is None else mismatch(pods, known)
        if why is not None:
            unfit.append(f"{name} ({why})")
            continue
        lacking = [Small(name, resource, node.most((name, resource))) for resource in needed]
        lacking = [one for one in lacking if needed[one.resource] > one.most]
        small += lacking
        large += [] if lacking else [name]
    others = [name for name in large if name != flavor]
    if flavor in group.flavors and others:
        # Kueue looks only at the labels that a flavor has: one without any takes every pod
        fix = f"leave the flavor out, or have node labels added to ResourceFlavor {others[0]!r}: without them it takes every step"
        return Invalid(f"{what} and asks for flavor {flavor!r}, and flavor {others[0]!r} would be given as well", fix=fix)
    if large:
        return None
    if not small:
        fix = "leave the flavor out, or have the queue get a flavor for such nodes"
        return Invalid(f"{what}, of whose flavors none accepts its pods: {', '.join(unfit)}", fix=fix)
    return too_small(pods, needed, small, queue, what)


def too_small(pods: PodSet, needed: Mapping[str, int], small: Sequence[Small], queue: ClusterQueue, what: str) -> PlatformError:
    """Some flavor accepts the pods and none is large enough: the sentence names the nearest."""
    near = max(small, key=lambda one: (one.most / needed[one.resource], one.flavor, one.resource))
    asked, most = quantity_text(needed[near.resource]), quantity_text(near.most)
    gang = pods.count > 1 and near.resource in pods.requests
    each = f" ({pods.count} pods of {quantity_text(pods.requests[near.resource])})" if gang else ""
    own = queue.quotas.get((near.flavor, near.resource))
    limits = ", ".join(f"{quantity_text(one.most)} of {one.resource} in flavor {one.flavor!r}" for one in small)
    return Invalid(
        f"{what} and asks for {asked} of {near.resource}{each}; the most that this queue can ever hold is {limits}"
        f" ({quantity_text(own.nominal) if own else 0} its own, the rest borrowed)",
        fix=f"ask for at most {most} of {near.resource}, or have nominalQuota or borrowingLimit of ClusterQueue {queue.name!r} raised",
        context={"cluster_queue": queue.name, "resource": near.resource, "flavor": near.flavor, "limit": most, "asked": asked},
    )
