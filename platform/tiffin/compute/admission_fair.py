"""Fair sharing: who borrows how much of what could be lent, weighed, and what follows for order and preemption.

A node's share is the largest part, over its resources, of what its parent could lend it that it borrows, in
thousandths, divided by its weight. Kueue turns it on for the whole cluster (`fairSharing` in its configuration).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tiffin.compute.admission_preempt import FAIR, IN_QUEUE, RECLAIMED, Held, Newcomer, Stage, Victim, allowed, fill_back, order, uses
from tiffin.compute.admission_tree import Node
from tiffin.compute.world import FlavorResource

__all__ = ["Share", "fair_victims", "share"]


@dataclass(frozen=True, slots=True)
class Share:
    """How much of the common good a node takes beyond its own."""

    ratio: float
    weight: float
    borrowed: frozenset[FlavorResource] = frozenset()

    def key(self) -> tuple[bool, float]:
        """Smaller is served first. Weight 0 comes after everybody as soon as it borrows."""
        if self.weight == 0 and self.ratio != 0:
            return True, self.ratio
        return False, 0.0 if self.ratio == 0 else self.ratio / self.weight


NO_SHARE = (False, -math.inf)


def units(resource: str, amount: int) -> int:
    """Kueue counts cpu in thousandths and everything else whole; the same floats break ties the same way."""
    return amount if resource == "cpu" else amount // 1000


def share(node: Node) -> Share:
    """A node's share at its present usage; 0 at the root."""
    if node.parent is None:
        return Share(0.0, node.weight)
    borrowing: dict[str, int] = {}
    borrowed = set()
    for what, owned in node.subtree.items():
        beyond = node.usage.get(what, 0) - owned
        if beyond > 0:
            borrowing[what[1]] = borrowing.get(what[1], 0) + beyond
            borrowed.add(what)
    if not borrowing:
        return Share(0.0, node.weight)
    lendable: dict[str, int] = {}
    for what in node.root().subtree:
        lendable[what[1]] = lendable.get(what[1], 0) + node.parent.most(what)
    ratio = 0.0
    for resource, amount in borrowing.items():
        whole = units(resource, lendable.get(resource, 0))
        if whole > 0:
            ratio = max(ratio, units(resource, amount) * 1000.0 / whole)
    return Share(ratio, node.weight, frozenset(borrowed))


@dataclass(slots=True)
class Targets:
    """Candidates by queue, and which part of the tree is still worth looking at."""

    own: Node
    waiting: dict[str, list[Held]] = field(default_factory=dict)
    pruned: set[int] = field(default_factory=set)

    def next(self, node: Node) -> Node | None:
        """The queue with the highest share under `node`; None when this look only ruled something out."""
        best_queue: Node | None = None
        best_queue_key = NO_SHARE
        best_cohort: Node | None = None
        best_cohort_key = NO_SHARE
        on_path = {id(one) for one in self.own.above()}
        for child in node.children:
            if id(child) in self.pruned:
                continue
            found = share(child)
            key = found.key()
            if child.queue:
                mine = self.waiting.get(child.name)
                if not mine or (not found.borrowed and child is not self.own):
                    self.pruned.add(id(child))
                elif best_queue is None or key > best_queue_key or (key == best_queue_key and self.before(child, best_queue)):
                    best_queue, best_queue_key = child, key
            elif not found.borrowed and id(child) not in on_path:
                self.pruned.add(id(child))
            elif key >= best_cohort_key:
                best_cohort, best_cohort_key = child, key
        if best_queue is None and best_cohort is None:
            self.pruned.add(id(node))
            return None
        if best_cohort is not None and best_cohort_key >= best_queue_key:
            return self.next(best_cohort)
        return best_queue

    def before(self, one: Node, other: Node) -> bool:
        return order(self.waiting[one.name][0], self.own.name) < order(self.waiting[other.name][0], self.own.name)

    def exhausted(self) -> bool:
        if self.own.parent is None:
            return id(self.own) in self.pruned or not self.waiting.get(self.own.name)
        return id(self.own.root()) in self.pruned

    def turn(self) -> Node | None:
        return self.own if self.own.parent is None else self.next(self.own.root())


def fair_victims(newcomer: Newcomer, stage: Stage, strategies: Sequence[str]) -> list[Victim]:
    """Whom fair sharing would evict; empty when nobody's eviction makes it fit and fair."""
    node = stage.node(newcomer.queue.name)
    candidates = sorted(fair_candidates(newcomer, stage), key=lambda held: order(held, node.name))
    if not candidates:
        return []

    def room() -> bool:
        node.give_back_all(newcomer.requests)
        fits = node.fits(newcomer.requests)
        node.take_all(newcomer.requests)
        return fits

    node.take_all(newcomer.requests)
    gone: list[Victim] = []
    fits, again = first_rule(newcomer, stage, candidates, gone, strategies[0], room)
    if not fits and len(strategies) > 1:
        fits = second_rule(node, stage, again, gone, room)
    node.give_back_all(newcomer.requests)
    if not fits:
        stage.restore(victim.held for victim in gone)
        return []
    kept = fill_back(gone, stage, lambda: node.fits(newcomer.requests))
    stage.restore(victim.held for victim in kept)
    return kept


def fair_candidates(newcomer: Newcomer, stage: Stage) -> list[Held]:
    rules, node = newcomer.queue.preemption, stage.node(newcomer.queue.name)
    found = [(held, rules.within_queue) for held in stage.held.get(node.name, {}).values()]
    if node.parent is not None and rules.reclaim != "Never":
        for other in node.root().queues():
            if other is not node and any(other.borrows_with(what) for what in newcomer.contested):
                found += [(held, rules.reclaim) for held in stage.held.get(other.name, {}).values()]
    return [held for held, policy in found if allowed(newcomer.workload, held, policy) and uses(held, newcomer.contested)]


def grouped(node: Node, candidates: Sequence[Held]) -> Targets:
    targets = Targets(node)
    for held in candidates:
        targets.waiting.setdefault(held.queue, []).append(held)
    return targets


def sides(own: Node, other: Node) -> tuple[Node, Node]:
    """The two branches below the cohort in which the queues meet."""
    mine = [own, *own.above()]
    previous = other
    for cohort in other.above():
        for below, above in itertools.pairwise(mine):
            if above is cohort:
                return below, previous
        previous = cohort
    return own, other


def first_rule(
    newcomer: Newcomer, stage: Stage, candidates: Sequence[Held], gone: list[Victim], strategy: str, room: Callable[[], bool]
) -> tuple[bool, list[Held]]:
    """Evict while the newcomer's share stays at most the other's; collects those whom the second rule may still take."""
    node = stage.node(newcomer.queue.name)
    targets, again = grouped(node, candidates), list[Held]()
    entitled = not any(node.borrows_with(what) for what in newcomer.contested)
    while not targets.exhausted():
        other = targets.turn()
        if other is None:
            continue
        waiting = targets.waiting[other.name]
        if other is node or entitled:
            if evict(waiting.pop(0), IN_QUEUE if other is node else RECLAIMED, stage, gone, room):
                return True, []
            continue
        mine, theirs = sides(node, other)
        while waiting:
            held = waiting.pop(0)
            if strategy_allows(strategy, mine, theirs, held, stage):
                if evict(held, FAIR, stage, gone, room):
                    return True, []
                break
            again.append(held)
    return False, again


def strategy_allows(strategy: str, mine: Node, theirs: Node, held: Held, stage: Stage) -> bool:
    new = share(mine).key()
    if strategy == "LessThanInitialShare":
        return new < share(theirs).key()
    stage.suspend([held])
    allowed_now = new <= share(theirs).key()
    stage.restore([held])
    return allowed_now


def second_rule(node: Node, stage: Stage, candidates: Sequence[Held], gone: list[Victim], room: Callable[[], bool]) -> bool:
    """One more per queue, if the newcomer's share stays below what the other's is now."""
    targets = grouped(node, candidates)
    while not targets.exhausted():
        other = targets.turn()
        if other is None:
            continue
        mine, theirs = sides(node, other)
        held = targets.waiting[other.name].pop(0)
        if share(mine).key() < share(theirs).key() and evict(held, FAIR, stage, gone, room):
            return True
        targets.pruned.add(id(other))
    return False


def evict(held: Held, reason: str, stage: Stage, gone: list[Victim], room: Callable[[], bool]) -> bool:
    stage.suspend([held])
    gone.append(Victim(held, reason))
    return room()


def shares_above(node: Node, usage: Mapping[FlavorResource, int]) -> dict[int, Share]:
    """With `usage` added: for each cohort above a queue, the share of the branch that leads to it."""
    node.take_all(usage)
    found, branch = {}, node
    for cohort in node.above():
        found[id(cohort)] = share(branch)
        branch = cohort
    node.give_back_all(usage)
    return found
