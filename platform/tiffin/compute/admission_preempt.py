"""Whom Kueue would evict to make room: classical preemption, and what it shares with fair sharing.

Candidates are taken in a fixed order until the newcomer fits; then, backwards, whoever need not go after all stays.
Evicting changes only the usage on the tree; every function here leaves the tree as it found it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tiffin.compute.admission_tree import Node, Tree
from tiffin.compute.world import ClusterQueue, FlavorResource, Workload

__all__ = ["Held", "Newcomer", "Stage", "Victim", "allowed", "classical_victims", "fill_back"]

IN_QUEUE = "InClusterQueue"
RECLAIMED = "InCohortReclamation"
FAIR = "InCohortFairSharing"
WHILE_BORROWING = "InCohortReclaimWhileBorrowing"


@dataclass(frozen=True, slots=True)
class Held:
    """A Workload that holds quota."""

    workload: Workload
    queue: str
    usage: Mapping[FlavorResource, int]
    since: datetime
    evicted: bool = False


@dataclass(frozen=True, slots=True)
class Victim:
    """Somebody to evict, and by which right."""

    held: Held
    reason: str


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Who needs room: how much of what, and which of it must be freed by eviction."""

    workload: Workload
    queue: ClusterQueue
    requests: Mapping[FlavorResource, int]
    contested: frozenset[FlavorResource]


@dataclass(slots=True)
class Stage:
    """The tree with its usage, and who holds it."""

    tree: Tree
    queues: Mapping[str, ClusterQueue]
    held: dict[str, dict[str, Held]] = field(default_factory=dict)
    """Queue to Workload uid to what it holds."""

    def node(self, queue: str) -> Node:
        return self.tree.queues[queue]

    def put(self, held: Held) -> None:
        self.held.setdefault(held.queue, {})[held.workload.uid] = held
        self.node(held.queue).take_all(held.usage)

    def drop(self, uid: str, queue: str) -> Held:
        held = self.held[queue].pop(uid)
        self.node(queue).give_back_all(held.usage)
        return held

    def suspend(self, victims: Iterable[Held]) -> None:
        """Usage away, for a moment."""
        for held in victims:
            self.node(held.queue).give_back_all(held.usage)

    def restore(self, victims: Iterable[Held]) -> None:
        for held in victims:
            self.node(held.queue).take_all(held.usage)


@dataclass(frozen=True, slots=True)
class Candidate:
    held: Held
    reason: str
    only_within_quota: bool
    """May go only if the newcomer ends up within its own quota."""
    meeting: Node | None
    """The cohort in which its queue and the newcomer's meet."""


def allowed(newcomer: Workload, held: Held, policy: str) -> bool:
    """Whether a preemption policy lets `newcomer` evict it."""
    other = held.workload
    if policy == "Any":
        return True
    if policy == "LowerPriority":
        return newcomer.priority > other.priority
    if policy == "LowerOrNewerEqualPriority":
        newer = newcomer.priority == other.priority and newcomer.queued_at < other.queued_at
        return newcomer.priority > other.priority or newer
    return False


def uses(held: Held, contested: Iterable[FlavorResource]) -> bool:
    return any(what in held.usage for what in contested)


def order(held: Held, own_queue: str) -> tuple[bool, bool, int, float, str]:
    """Already evicted first, then other queues, low priority, the most recently admitted."""
    return (not held.evicted, held.queue == own_queue, held.workload.priority, -held.since.timestamp(), held.workload.uid)


def classical_victims(newcomer: Newcomer, stage: Stage) -> list[Victim]:
    """The Workloads to evict; empty when no allowed set of evictions makes room."""
    queue, node = newcomer.queue, stage.node(newcomer.queue.name)
    own = same_queue(newcomer, stage)
    with_right, by_priority = in_cohort(newcomer, stage)
    forbidden = queue.preemption.while_borrowing == "Never"
    if not (with_right or by_priority) or (forbidden and not under_quota(newcomer, node)):
        attempts = [True]
    elif forbidden and not with_right:
        attempts = [False, True]
    else:
        attempts = [True, False]
    ordered = in_turn(with_right, by_priority, own, queue.name)
    for borrowing in attempts:
        gone: list[Victim] = []
        for candidate in ordered:
            if not still_counts(candidate, newcomer, stage, borrowing=borrowing):
                continue
            stage.suspend([candidate.held])
            gone.append(Victim(candidate.held, candidate.reason))
            if has_room(newcomer, node, borrowing=borrowing):
                kept = fill_back(gone, stage, lambda: has_room(newcomer, node, borrowing=borrowing))  # noqa: B023 - called within this round
                stage.restore(victim.held for victim in kept)
                return kept
        stage.restore(victim.held for victim in gone)
    return []


def in_turn(with_right: list[Candidate], by_priority: list[Candidate], own: list[Candidate], queue: str) -> list[Candidate]:
    """Those being evicted already, then: by right of quota, by priority, from the own queue."""
    groups = [sorted(group, key=lambda one: order(one.held, queue)) for group in (with_right, by_priority, own)]
    return [one for evicted in (True, False) for group in groups for one in group if one.held.evicted is evicted]


def has_room(newcomer: Newcomer, node: Node, *, borrowing: bool) -> bool:
    """Whether it fits now; `borrowing` allows quota of others."""
    if not borrowing and any(node.borrows_with(what, amount) for what, amount in newcomer.requests.items()):
        return False
    return node.fits(newcomer.requests)


def fill_back(gone: Sequence[Victim], stage: Stage, room: Callable[[], bool]) -> list[Victim]:
    """From the last but one backwards, whoever can stay stays. Those returned are left suspended."""
    kept = list(gone)
    for index in range(len(kept) - 2, -1, -1):
        stage.restore([kept[index].held])
        if room():
            kept[index] = kept[-1]
            kept.pop()
        else:
            stage.suspend([kept[index].held])
    return kept


def under_quota(newcomer: Newcomer, node: Node) -> bool:
    return all(node.subtree.get(what, 0) > node.usage.get(what, 0) for what in newcomer.contested)


def same_queue(newcomer: Newcomer, stage: Stage) -> list[Candidate]:
    policy = newcomer.queue.preemption.within_queue
    holders = stage.held.get(newcomer.queue.name, {}).values() if policy != "Never" else ()
    return [
        Candidate(held, IN_QUEUE, only_within_quota=False, meeting=None)
        for held in holders
        if uses(held, newcomer.contested) and allowed(newcomer.workload, held, policy)
    ]


def in_cohort(newcomer: Newcomer, stage: Stage) -> tuple[list[Candidate], list[Candidate]]:
    """Candidates of other queues: those over whose quota the newcomer's side has the better right, and those to be had by priority."""
    with_right: list[Candidate] = []
    by_priority: list[Candidate] = []
    node = stage.node(newcomer.queue.name)
    if node.parent is None or newcomer.queue.preemption.reclaim == "Never":
        return with_right, by_priority
    right, rest = room_by_own_quota(node, newcomer.requests)
    done: Node | None = None
    for cohort in node.above():
        found = with_right if right else by_priority
        for other in borrowers(cohort, done, node, newcomer.contested):
            found += from_queue(other, cohort, newcomer, stage, right=right)
        fits, rest = room_by_own_quota(cohort, rest)
        right = right or fits
        done = cohort
    return with_right, by_priority


def room_by_own_quota(node: Node, requests: Mapping[FlavorResource, int]) -> tuple[bool, dict[FlavorResource, int]]:
    """Whether a node's own quota has room, and what of the requests goes on to its parent."""
    fits = not any(node.borrows_with(what, amount) for what, amount in requests.items())
    return fits, {what: max(0, amount - node.kept_free(what)) for what, amount in requests.items()}


def borrowers(cohort: Node, done: Node | None, own: Node, contested: frozenset[FlavorResource]) -> Iterable[Node]:
    """Queues under a cohort that use more than they own, without the part that was looked at before."""
    for child in cohort.children:
        if child is done or child is own or child.owns_all_it_uses(contested):
            continue
        if child.queue:
            yield child
        else:
            yield from borrowers(child, done, own, contested)


def from_queue(other: Node, meeting: Node, newcomer: Newcomer, stage: Stage, *, right: bool) -> Iterable[Candidate]:
    rules = newcomer.queue.preemption
    for held in stage.held.get(other.name, {}).values():
        if not uses(held, newcomer.contested) or not allowed(newcomer.workload, held, rules.reclaim):
            continue
        priority, threshold = held.workload.priority, rules.borrow_threshold
        above = priority >= newcomer.workload.priority or (threshold is not None and priority > threshold)
        within_quota = not right and (rules.while_borrowing == "Never" or above)
        yield Candidate(held, RECLAIMED if right or within_quota else WHILE_BORROWING, within_quota, meeting)


def still_counts(candidate: Candidate, newcomer: Newcomer, stage: Stage, *, borrowing: bool) -> bool:
    """Earlier evictions may have brought its queue back within its quota: then it is safe."""
    if candidate.held.queue == newcomer.queue.name:
        return True
    if borrowing and candidate.only_within_quota:
        return False
    node = stage.node(candidate.held.queue)
    if node.owns_all_it_uses(newcomer.contested):
        return False
    for cohort in node.above():
        if cohort is candidate.meeting:
            break
        if cohort.owns_all_it_uses(newcomer.contested):
            return False
    return True
