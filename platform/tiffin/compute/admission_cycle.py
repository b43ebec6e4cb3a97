"""One admission cycle: the head of every queue is judged once, in Kueue's order.

Written after Kueue 0.19.2 with its default feature gates; topology, partial admission, workload slices and admission
fair sharing are not modelled. A head that does not fit is set aside until quota is freed in its cohort (BestEffortFIFO)
or stays and blocks its queue (StrictFIFO). A head that waits for evictions stays the head.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

from tiffin.compute.admission_fair import Share, fair_victims, shares_above
from tiffin.compute.admission_flavors import Fit, Plan, Shop, choose
from tiffin.compute.admission_preempt import Held, Newcomer, Stage, Victim, classical_victims
from tiffin.compute.admission_tree import Node, Tree
from tiffin.compute.world import ClusterQueue, FlavorResource, Workload, World

__all__ = ["Decision", "Floor", "Rules", "admit", "open_floor", "run_cycle"]

PREEMPTOR = re.compile(r"\(UID: ([^,)]+)")
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Rules:
    """How this Kueue is configured."""

    fair_sharing: bool = False
    strategies: tuple[str, ...] = ("LessThanOrEqualToFinalShare", "LessThanInitialShare")
    retry_s: float = 1.0
    """Kueue collects freed quota for so long before it looks again at what did not fit."""

    @classmethod
    def of(cls, world: World) -> Rules:
        return cls(fair_sharing=world.fair_sharing)


@dataclass(frozen=True, slots=True)
class Decision:
    """What one cycle said about one Workload.

    `outcome`: `admitted`; `preempting` (waits for the evictions in `victims`); `blocked` (fits only by preemption, and
    nobody may be evicted); `overtaken` (another head of this cycle took the room); `waiting` (no quota); `never`.
    """

    uid: str
    queue: str
    outcome: str
    plan: Plan | None = None
    victims: tuple[Victim, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class Line:
    """The Workloads of one queue: those to be tried, and those set aside until quota is freed."""

    ready: set[str] = field(default_factory=set)
    aside: set[str] = field(default_factory=set)
    aside_shapes: set[str] = field(default_factory=set)
    sticky: str | None = None
    generation: int = 0
    """Rises whenever quota is given back in this queue."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the search for flavors stopped, and when."""

    stopped_at: Mapping[tuple[int, str], int]
    cycle: int
    generation: int

    def unfinished(self) -> bool:
        return any(index != -1 for index in self.stopped_at.values())


@dataclass(slots=True)
class Floor:
    """The state that cycles work on: scratch paper of one simulation."""

    world: World
    rules: Rules
    stage: Stage
    waiting: dict[str, Workload] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    shapes: dict[str, str] = field(default_factory=dict)
    cycle: int = 0

    def queue_name(self, workload: Workload) -> str | None:
        """The ClusterQueue it waits in; None when nothing would ever look at it there."""
        local = self.world.local_queues.get((workload.namespace, workload.local_queue))
        if local is None or local.held or local.cluster_queue not in self.world.cluster_queues:
            return None
        return local.cluster_queue

    def enter(self, workload: Workload) -> None:
        """Into its queue, as something new or as something evicted."""
        name = self.queue_name(workload)
        if name is None:
            return
        self.waiting[workload.uid] = workload
        line = self.lines.setdefault(name, Line())
        self.shapes[workload.uid] = shape(workload)
        known_hopeless = self.world.cluster_queues[name].strategy == "BestEffortFIFO" and self.shapes[workload.uid] in line.aside_shapes
        (line.aside if known_hopeless else line.ready).add(workload.uid)

    def leave(self, uid: str) -> Workload | None:
        """Out of its queue."""
        workload = self.waiting.pop(uid, None)
        for line in self.lines.values():
            line.ready.discard(uid)
            line.aside.discard(uid)
            if line.sticky == uid:
                line.sticky = None
        return workload

    def release(self, uid: str, queue: str) -> Held:
        """Quota given back by somebody who finished or was evicted."""
        self.lines.setdefault(queue, Line()).generation += 1
        return self.stage.drop(uid, queue)

    def retry(self, queue: str) -> None:
        """Everything set aside in the tree of a queue is ready again: quota was freed there."""
        for node in [self.stage.node(queue).root(), *self.stage.node(queue).root().queues()]:
            line = self.lines.get(node.name) if node.queue else None
            if line is not None:
                line.ready |= line.aside
                line.aside.clear()
                line.aside_shapes.clear()

    def head(self, name: str) -> Workload | None:
        line = self.lines[name]
        ready = [self.waiting[uid] for uid in line.ready]
        return min(ready, key=lambda one: (one.uid != line.sticky, -one.priority, one.queued_at, one.uid)) if ready else None


@dataclass(slots=True)
class Entry:
    """One head in one cycle."""

    workload: Workload
    queue: ClusterQueue
    node: Node
    plan: Plan
    victims: list[Victim]
    stopped: Progress


def open_floor(world: World, rules: Rules | None = None, *, now: datetime = LONG_AGO) -> Floor:
    """The floor as the world stands: who holds quota, who waits."""
    floor = Floor(world, rules or Rules.of(world), Stage(Tree(world), world.cluster_queues))
    for workload in sorted(world.workloads.values(), key=lambda one: one.uid):
        admission = workload.admission
        if workload.finished:
            continue
        if workload.reserved and admission is not None and admission.cluster_queue in world.cluster_queues:
            since = workload.since("QuotaReserved") or now
            floor.stage.put(Held(workload, admission.cluster_queue, admission.usage(), since, workload.evicted))
        elif workload.waiting and not on_hold(workload):
            floor.enter(workload)
    for workload in world.workloads.values():
        if workload.reserved and workload.is_true("Preempted"):
            preemptor = PREEMPTOR.search(workload.conditions["Preempted"].message)
            keep_its_turn(floor, preemptor[1] if preemptor else "")
    return floor


def keep_its_turn(floor: Floor, uid: str) -> None:
    """Who has evicted somebody and waits for the quota stays the head of its queue."""
    name = floor.queue_name(floor.waiting[uid]) if uid in floor.waiting else None
    if name is not None and floor.world.cluster_queues[name].strategy == "BestEffortFIFO":
        floor.lines[name].sticky = uid


def on_hold(workload: Workload) -> bool:
    """Kept out of the queue by an approval, a backoff or its own Job."""
    reserved, requeued = workload.conditions.get("QuotaReserved"), workload.conditions.get("Requeued")
    if workload.is_true("WaitingForReplacementPods"):
        return True
    if workload.annotations.get("kueue.x-k8s.io/admission-gated-by"):
        return True
    if reserved is not None and not reserved.true and reserved.reason == "OnHold":
        return True
    return requeued is not None and not requeued.true


def shape(workload: Workload) -> str:
    """Workloads of one shape are admissible together or not at all."""
    pods = [{**asdict(one), "name": ""} for one in workload.podsets]
    return json.dumps([workload.priority, pods], sort_keys=True, default=str)


def admit(world: World, rules: Rules | None = None, *, now: datetime = LONG_AGO) -> list[Decision]:
    """What Kueue would decide about the head of each queue right now, in its order."""
    return run_cycle(open_floor(world, rules, now=now), now)


def run_cycle(floor: Floor, now: datetime) -> list[Decision]:
    """One cycle: admissions and the evictions asked for are entered on the floor; victims go on holding their quota."""
    floor.cycle += 1
    entries, decisions = nominate(floor)
    gone: dict[str, Held] = {}
    taken: list[tuple[Node, Mapping[FlavorResource, int]]] = []
    while entries:
        entry = next_entry(entries, floor)
        decisions.append(judge(entry, floor, gone, taken))
    for node, usage in taken:
        node.give_back_all(usage)
    for decision in decisions:
        settle(decision, floor, now)
    return decisions


def nominate(floor: Floor) -> tuple[list[Entry], list[Decision]]:
    """The heads with the flavors they would get; what cannot be judged is put aside."""
    entries: list[Entry] = []
    decisions: list[Decision] = []
    for name in sorted(floor.lines):
        queue = floor.world.cluster_queues[name]
        if not queue.active or not floor.stage.tree.usable(name):
            continue
        head = floor.head(name)
        if head is None:
            continue
        floor.lines[name].ready.discard(head.uid)
        labels = floor.world.namespaces.get(head.namespace)
        if labels is not None and not queue.serves(labels):
            decisions.append(Decision(head.uid, name, "never", reasons=(f"ClusterQueue {name} does not serve namespace {head.namespace}",)))
            continue
        entries.append(plan_entry(head, queue, floor))
    return entries, decisions


def plan_entry(head: Workload, queue: ClusterQueue, floor: Floor) -> Entry:
    node, line = floor.stage.node(queue.name), floor.lines[queue.name]
    progress = floor.progress.get(head.uid)
    if progress is not None and floor.cycle - progress.cycle > 1 and line.generation > progress.generation:
        progress = None
    shop = Shop(
        queue=queue,
        node=node,
        flavors=floor.world.flavors,
        oracle=lambda workload, what, amount: could_evict(workload, queue, what, amount, floor),
        preempts_while_borrowing=queue.preemption.while_borrowing != "Never"
        or (floor.rules.fair_sharing and queue.preemption.reclaim != "Never"),
        stopped_at=progress.stopped_at if progress else {},
    )
    plan = choose(head, shop)
    victims: list[Victim] = []
    if plan.needs_preemption:
        wanted = {what: amount for what, amount in plan.usage.items() if amount}
        victims = find_victims(Newcomer(head, queue, wanted, plan.contested()), floor)
    return Entry(head, queue, node, plan, victims, Progress(plan.stopped_at(), floor.cycle, line.generation))


def find_victims(newcomer: Newcomer, floor: Floor) -> list[Victim]:
    if floor.rules.fair_sharing:
        return fair_victims(newcomer, floor.stage, floor.rules.strategies)
    return classical_victims(newcomer, floor.stage)


def could_evict(workload: Workload, queue: ClusterQueue, what: FlavorResource, amount: int, floor: Floor) -> tuple[Fit, int]:
    """Whether evictions could free one resource of one flavor, and from how far the quota would come then."""
    node = floor.stage.node(queue.name)
    victims = [victim.held for victim in find_victims(Newcomer(workload, queue, {what: amount}, frozenset({what})), floor)]
    if not victims:
        return Fit.NO_VICTIM, node.lowest_that_fits(what, amount)[0]
    floor.stage.suspend(victims)
    borrow = node.lowest_that_fits(what, amount)[0]
    floor.stage.restore(victims)
    return (Fit.PREEMPT if any(held.queue == queue.name for held in victims) else Fit.RECLAIM), borrow


def next_entry(entries: list[Entry], floor: Floor) -> Entry:
    """Kueue's order: own quota before borrowing (or the smallest share), priority, age."""
    if floor.rules.fair_sharing:
        found = fairest(entries)
    else:
        found = min(entries, key=lambda one: (one.plan.borrow, -one.workload.priority, one.workload.queued_at, one.queue.name))
    entries.remove(found)
    return found


def fairest(entries: list[Entry]) -> Entry:
    """A tournament: at each cohort, the branch with the smallest share after admission wins."""
    first = entries[0]
    if first.node.parent is None:
        return first
    root = first.node.root()
    mine = {id(one.node): one for one in entries if one.node.root() is root}
    shares = {key: shares_above(one.node, one.plan.usage) for key, one in mine.items()}
    found = winner(root, mine, shares)
    assert found is not None
    return found


def winner(cohort: Node, entries: Mapping[int, Entry], shares: Mapping[int, Mapping[int, Share]]) -> Entry | None:
    found = [winner(child, entries, shares) for child in cohort.children if not child.queue]
    found += [entries.get(id(child)) for child in cohort.children if child.queue]
    rivals = [one for one in found if one is not None]

    def key(entry: Entry) -> tuple[bool, tuple[bool, float], int, datetime]:
        found = shares[id(entry.node)][id(cohort)]
        borrows = any(entry.plan.usage.get(what, 0) > 0 for what in found.borrowed)
        return borrows, found.key(), -entry.workload.priority, entry.workload.queued_at

    return min(rivals, key=key) if rivals else None


def judge(entry: Entry, floor: Floor, gone: dict[str, Held], taken: list[tuple[Node, Mapping[FlavorResource, int]]]) -> Decision:
    """Admit, ask for evictions, or leave it; what it takes or reserves counts for the rest of the cycle."""
    plan, node, uid, name = entry.plan, entry.node, entry.workload.uid, entry.queue.name
    floor.progress[uid] = entry.stopped

    def says(outcome: str, *victims: Victim, reasons: tuple[str, ...] = plan.reasons) -> Decision:
        return Decision(uid, name, outcome, plan, victims, reasons)

    def take(usage: Mapping[FlavorResource, int]) -> None:
        node.take_all(usage)
        taken.append((node, usage))

    if plan.fit is Fit.NEVER_NOW:
        return says("never" if plan.never else "waiting")
    if plan.needs_preemption and not entry.victims:
        if entry.queue.preemption.reclaim != "Any":
            take(to_reserve(entry))
        return says("blocked")
    if any(victim.held.workload.uid in gone for victim in entry.victims):
        return says("overtaken", reasons=("another Workload preempts the same Workloads first",))
    merged = {**gone, **{victim.held.workload.uid: victim.held for victim in entry.victims}}
    floor.stage.suspend(merged.values())
    fits = node.fits(plan.usage)
    floor.stage.restore(merged.values())
    if not fits:
        return says("overtaken", reasons=("another Workload took the room first",))
    gone.update(merged)
    take(plan.usage)
    return says("preempting", *entry.victims) if entry.victims else says("admitted", reasons=())


def to_reserve(entry: Entry) -> dict[FlavorResource, int]:
    """A blocked head keeps others of its cohort from taking what it waits for, up to its limits."""
    reserved: dict[FlavorResource, int] = {}
    for what, amount in entry.plan.usage.items():
        quota = entry.queue.quotas.get(what)
        nominal, used = (quota.nominal if quota else 0), entry.node.usage.get(what, 0)
        limit = quota.borrowing_limit if quota else None
        if entry.plan.borrow == 0:
            reserved[what] = max(0, min(amount, nominal - used))
        elif limit is None:
            reserved[what] = amount
        else:
            reserved[what] = max(0, min(amount, nominal + limit - used))
    return reserved


def settle(decision: Decision, floor: Floor, now: datetime) -> None:
    """Back into the queue, to the head of it, aside, or out of it with quota."""
    uid, name, outcome = decision.uid, decision.queue, decision.outcome
    line, strict = floor.lines[name], floor.world.cluster_queues[name].strategy == "StrictFIFO"
    if outcome == "admitted" and decision.plan is not None:
        workload = floor.leave(uid)
        assert workload is not None
        floor.progress.pop(uid, None)
        floor.stage.put(Held(workload, name, dict(decision.plan.usage), now))
        return
    if outcome == "preempting":
        floor.progress.pop(uid, None)
        line.sticky = None if strict else uid
        for victim in decision.victims:
            held = victim.held
            floor.stage.held[held.queue][held.workload.uid] = Held(held.workload, held.queue, held.usage, held.since, evicted=True)
    progress = floor.progress.get(uid)
    if decision.plan is None:
        line.aside.add(uid)
        return
    if strict or outcome in {"preempting", "overtaken"} or (progress is not None and progress.unfinished()):
        line.ready.add(uid)
        return
    line.aside.add(uid)
    line.aside_shapes.add(floor.shapes[uid])
    alike = {one for one in line.ready if floor.shapes[one] == floor.shapes[uid]}
    line.ready -= alike
    line.aside |= alike
