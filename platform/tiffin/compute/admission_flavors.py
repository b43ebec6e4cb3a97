"""Which flavors a Workload would get: the order of search, what fits, what would need preemption.

Kueue walks the flavors of a resource group in their order and stops at the first good enough one; what counts as good
enough is the queue's `flavorFungibility`. A search that stopped early goes on behind that flavor next time.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tiffin.compute.admission_tree import Node
from tiffin.compute.quantities import quantity_text
from tiffin.compute.world import ClusterQueue, Flavor, FlavorResource, ResourceGroup, Workload
from tiffin.compute.world_pods import PodSet

__all__ = ["Choice", "Fit", "Oracle", "Plan", "choose", "mismatch"]

TAINTS_THAT_BLOCK = {"NoSchedule", "NoExecute"}


class Fit(enum.IntEnum):
    """How a flavor could be had, from worst to best."""

    NEVER_NOW = 0
    """Not now: above the maximum, or waiting for quota that nobody may be evicted for."""
    NO_VICTIM = 1
    """Only by preemption, and there is nobody to evict."""
    PREEMPT = 2
    RECLAIM = 3
    """By evicting only what borrows from others."""
    FREE = 4


@dataclass(frozen=True, slots=True)
class Level:
    """A flavor's fit and how far away its quota comes from (0: the queue's own)."""

    fit: Fit
    borrow: int


WORST = Level(Fit.NEVER_NOW, 10**9)
BEST = Level(Fit.FREE, 0)


@dataclass(frozen=True, slots=True)
class Choice:
    """The flavor of one resource of one pod set."""

    flavor: str
    fit: Fit
    borrow: int
    stopped_at: int
    """Index at which the search stopped, -1 at the last flavor: where the next search goes on."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one Workload could be admitted now."""

    choices: tuple[Mapping[str, Choice], ...]
    usage: Mapping[FlavorResource, int]
    borrow: int
    fit: Fit
    reasons: tuple[str, ...] = ()
    never: bool = False
    """No flavor could hold it even with all quota free."""

    @property
    def needs_preemption(self) -> bool:
        return Fit.NO_VICTIM <= self.fit < Fit.FREE

    def contested(self) -> frozenset[FlavorResource]:
        """What has to be freed by eviction."""
        return frozenset((c.flavor, name) for one in self.choices for name, c in one.items() if c.fit < Fit.FREE)

    def flavors(self) -> dict[str, str]:
        """Resource to flavor, over all pod sets."""
        return {name: choice.flavor for one in self.choices for name, choice in one.items()}

    def stopped_at(self) -> dict[tuple[int, str], int]:
        return {(index, name): choice.stopped_at for index, one in enumerate(self.choices) for name, choice in one.items()}


class Oracle(Protocol):
    """Asks whether evicting somebody would make room: the fit, and the borrowing level afterwards."""

    def __call__(self, workload: Workload, what: FlavorResource, amount: int) -> tuple[Fit, int]: ...


@dataclass(frozen=True, slots=True)
class Shop:
    """What a search for flavors looks at."""

    queue: ClusterQueue
    node: Node
    flavors: Mapping[str, Flavor]
    oracle: Oracle
    preempts_while_borrowing: bool
    stopped_at: Mapping[tuple[int, str], int] = field(default_factory=dict)


def mismatch(pods: PodSet, flavor: Flavor) -> str | None:
    """Why these pods cannot run on a flavor's nodes; None when they can. Labels that the flavor does not name are ignored."""
    tolerations = (*pods.tolerations, *flavor.tolerations)
    for taint in flavor.taints:
        if taint.effect in TAINTS_THAT_BLOCK and not any(toleration.accepts(taint) for toleration in tolerations):
            return f"its nodes carry the taint {taint.key}={taint.value}:{taint.effect}, which the pods do not tolerate"
    for key, value in pods.node_selector.items():
        if key in flavor.node_labels and flavor.node_labels[key] != value:
            return f"the pods ask for nodes with {key}={value}, its nodes have {key}={flavor.node_labels[key]}"
    terms = [[rule for rule in term if rule.key in flavor.node_labels] for term in pods.node_terms]
    if terms and all(terms) and not any(all(rule.holds(flavor.node_labels) for rule in term) for term in terms):
        return "its nodes do not match the pods' node affinity"
    return None


def better(one: Level, other: Level, queue: ClusterQueue) -> bool:
    """Whether the queue prefers `one`."""
    if one.fit is Fit.NEVER_NOW or other.fit is Fit.NEVER_NOW:
        return one.fit is not Fit.NEVER_NOW
    if (one.fit is Fit.NO_VICTIM) != (other.fit is Fit.NO_VICTIM):
        return other.fit is Fit.NO_VICTIM
    by_fit, by_borrow = one.fit - other.fit, other.borrow - one.borrow
    ranked = (by_borrow, by_fit) if queue.flavor_preference == "PreemptionOverBorrowing" else (by_fit, by_borrow)
    return ranked > (0, 0)


def good_enough(level: Level, queue: ClusterQueue) -> bool:
    """Whether the search may stop here."""
    if level.fit <= Fit.NO_VICTIM:
        return False
    if level.fit < Fit.FREE and queue.when_can_preempt == "TryNextFlavor":
        return False
    return not (level.borrow > 0 and queue.when_can_borrow == "TryNextFlavor")


def choose(workload: Workload, shop: Shop) -> Plan:
    """The flavors that Kueue would assign to a Workload now, and how they could be had."""
    usage: dict[FlavorResource, int] = {}
    found: list[Mapping[str, Choice]] = []
    reasons: list[str] = []
    worst, borrow, never = Fit.FREE, 0, False
    for index, pods in enumerate(workload.podsets):
        asked = dict(pods.total())
        if shop.queue.group_of("pods") is not None:
            asked["pods"] = pods.count * 1000
        chosen: dict[str, Choice] = {}
        for resource in sorted(asked):
            group = shop.queue.group_of(resource)
            if group is None and asked[resource] == 0:
                continue
            if resource in chosen:
                continue
            if group is None:
                return Plan((*found, {}), usage, borrow, Fit.NEVER_NOW, (f"resource {resource} unavailable in ClusterQueue",), never=True)
            part = search(workload, shop, group, index, {name: asked[name] for name in group.resources if name in asked}, usage)
            reasons += part.reasons
            if not part.chosen and asked:
                return Plan((*found, {}), usage, borrow, Fit.NEVER_NOW, tuple(reasons), never=part.never)
            chosen.update(part.chosen)
        for name, choice in chosen.items():
            what = (choice.flavor, name)
            usage[what] = usage.get(what, 0) + asked[name]
            borrow = max(borrow, choice.borrow)
            worst = min(worst, choice.fit)
        found.append(chosen)
    return Plan(tuple(found), usage, borrow, worst, tuple(reasons), never)


@dataclass(frozen=True, slots=True)
class Part:
    """What one resource group gave to one pod set."""

    chosen: Mapping[str, Choice]
    reasons: tuple[str, ...]
    never: bool


def search(
    workload: Workload, shop: Shop, group: ResourceGroup, index: int, asked: Mapping[str, int], before: Mapping[FlavorResource, int]
) -> Part:
    """Walk the flavors of one group; `before` is what the Workload's earlier pod sets take."""
    pods = workload.podsets[index]
    best: dict[str, tuple[Fit, int]] = {}
    best_name, best_level = "", WORST
    reasons: list[str] = []
    could = False
    start = shop.stopped_at.get((index, min(asked)), -1) + 1
    last = start - 1
    for last in range(start, len(group.flavors)):
        name = group.flavors[last]
        flavor = shop.flavors.get(name)
        why = f"flavor {name} does not exist" if flavor is None else mismatch(pods, flavor)
        if why is not None:
            reasons.append(f"flavor {name}: {why}")
            continue
        level = BEST
        fits: dict[str, tuple[Fit, int]] = {}
        could = could or all(shop.node.most((name, r)) >= before.get((name, r), 0) + amount for r, amount in asked.items())
        for resource, amount in asked.items():
            what = (name, resource)
            one, reason = fit_of(workload, shop, what, before.get(what, 0) + amount)
            reasons += [reason] if reason else []
            if better(level, one, shop.queue):
                level = one
            if one.fit is Fit.NEVER_NOW:
                break
            fits[resource] = (one.fit, one.borrow)
        if good_enough(level, shop.queue):
            best, best_name, best_level = fits, name, level
            break
        if better(level, best_level, shop.queue):
            best, best_name, best_level = fits, name, level
    stopped = -1 if last == len(group.flavors) - 1 else last
    chosen = {resource: Choice(best_name, fit, borrow, stopped) for resource, (fit, borrow) in best.items()}
    return Part(chosen, () if best_level.fit is Fit.FREE else tuple(reasons), never=not could)


def fit_of(workload: Workload, shop: Shop, what: FlavorResource, amount: int) -> tuple[Level, str | None]:
    """Fit of one (flavor, resource), and the reason when it is not free."""
    node, (flavor, resource) = shop.node, what
    most = node.most(what)
    if amount > most:
        ever = f"{shop.queue.name} could ever hold in flavor {flavor}"
        text = f"{quantity_text(amount)} {resource} is more than {ever} ({quantity_text(max(0, most))})"
        return Level(Fit.NEVER_NOW, 0), text
    borrow, below_root = node.lowest_that_fits(what, amount)
    free = max(0, node.free(what))
    if amount <= free:
        return Level(Fit.FREE, borrow), None
    reason = f"{quantity_text(amount - free)} more {resource} needed in flavor {flavor}"
    quota = shop.queue.quotas.get(what)
    if (quota is not None and quota.nominal >= amount) or below_root or shop.preempts_while_borrowing:
        return Level(*shop.oracle(workload, what, amount)), reason
    return Level(Fit.NEVER_NOW, borrow), reason
