"""What would let a waiting step start at once: each possible change is tried on the model, and only what works is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tiffin.compute.admission_cycle import Decision, Rules, open_floor
from tiffin.compute.admission_flavors import mismatch
from tiffin.compute.admission_simulate import settle_floor
from tiffin.compute.admission_tree import Tree
from tiffin.compute.quantities import quantity_text
from tiffin.compute.queue_change import Change, changed
from tiffin.compute.world import Workload, World

__all__ = ["Unblock", "starts_now", "unblocks"]


@dataclass(frozen=True, slots=True)
class Unblock:
    """One change, and what it would do."""

    kind: str
    words: str
    what_if: str
    """As `--what-if` takes it."""
    evicts: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "words": self.words, "what_if": self.what_if, "evicts": self.evicts}


def unblocks(world: World, workload: Workload, *, rules: Rules, now: datetime) -> tuple[Unblock, ...]:
    """The changes that would admit it now, alone or by preemption; nothing when it would be admitted anyway."""
    near = neighbourhood(world, workload)
    if starts_now(near, workload.uid, rules=rules, now=now) is not None:
        return ()
    found = []
    for change, words in candidates(near, workload):
        decision = starts_now(changed(near, [change]), workload.uid, rules=rules, now=now)
        if decision is not None:
            victims = len(decision.victims)
            cost = f", preempting {victims} step{'s' if victims > 1 else ''}" if victims else ""
            found.append(Unblock(change.kind, words + cost, str(change), victims))
    kinds: dict[str, Unblock] = {}
    for one in found:
        kinds.setdefault(one.kind, one)
    return tuple(kinds.values())


def neighbourhood(world: World, workload: Workload) -> World:
    """The tree of quota that it belongs to: nothing else matters to it."""
    queue = world.cluster_queue_of(workload)
    if queue is None:
        return world
    root = Tree(world).queues[queue.name].root()
    names = {root.name} if root.queue else {node.name for node in root.queues()}
    near = {uid: one for uid, one in world.workloads.items() if not one.finished and queue_name(world, one) in names}
    return replace(world, cluster_queues={name: world.cluster_queues[name] for name in names}, workloads={**near, workload.uid: workload})


def queue_name(world: World, workload: Workload) -> str | None:
    queue = world.cluster_queue_of(workload)
    return queue.name if queue else None


def starts_now(world: World, uid: str, *, rules: Rules, now: datetime) -> Decision | None:
    """The decision that admits a Workload or has others evicted for it, if Kueue looked at everything now."""
    decisions = settle_floor(open_floor(world, rules, now=now), now)
    return next((one for one in decisions if one.uid == uid and one.outcome in {"admitted", "preempting"}), None)


def candidates(world: World, workload: Workload) -> Iterator[tuple[Change, str]]:
    """Changes worth trying, the cheapest of each kind first."""
    target = workload.owner or workload.name
    name = f"{workload.namespace}/{target}"
    for priority, value in sorted(world.priority_classes.items(), key=lambda one: (one[1], one[0])):
        if value > workload.priority:
            yield Change("priority", name, priority), f"priority {priority}"
    yield from by_flavor(world, workload, name)
    yield from by_quota(world, workload)


def by_flavor(world: World, workload: Workload, name: str) -> Iterator[tuple[Change, str]]:
    queue = world.cluster_queue_of(workload)
    for group in queue.groups if queue else ():
        for one in group.flavors:
            flavor = world.flavors.get(one)
            if flavor is not None and any(mismatch(pods, flavor) for pods in workload.podsets):
                yield Change("flavor", name, one), f"flavor {one}"


def by_quota(world: World, workload: Workload) -> Iterator[tuple[Change, str]]:
    """A borrowing limit away, or as much more quota as is missing, in each flavor that its pods could run on."""
    queue = world.cluster_queue_of(workload)
    if queue is None:
        return
    node = open_floor(world, Rules()).stage.node(queue.name)
    asked = workload.requests()
    if queue.group_of("pods") is not None:
        asked["pods"] = sum(pods.count for pods in workload.podsets) * 1000
    for group in queue.groups:
        wanted = {name: amount for name, amount in asked.items() if name in group.resources and amount}
        for flavor in group.flavors if wanted else ():
            known = world.flavors.get(flavor)
            if known is None or any(mismatch(pods, known) for pods in workload.podsets):
                continue
            lacking = {name: amount - max(0, node.free((flavor, name))) for name, amount in wanted.items()}
            lacking = {name: amount for name, amount in lacking.items() if amount > 0}
            if len(lacking) != 1:
                continue  # one change cannot mend two resources, or none is missing
            ((name, amount),) = lacking.items()
            quota = queue.quotas[flavor, name]
            target = f"{queue.name}/{flavor}:{name}"
            if quota.borrowing_limit is not None:
                yield Change("borrow", target, "unlimited"), f"no borrowing limit on {name} in flavor {flavor}"
            more = quantity_text(quota.nominal + amount)
            yield Change("quota", target, more), f"quota of {more} {name} in flavor {flavor} ({quantity_text(amount)} more)"
