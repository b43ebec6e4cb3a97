"""What happens next: the model run forward in time, from who holds quota and how long everybody runs.

Events are a Workload's end, the release of a victim's quota, an arrival, and Kueue's second look at what did not fit.
After each event cycles run until nothing changes any more. The clock of the simulation is seconds from `now`.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tiffin.compute.admission_cycle import Decision, Floor, Rules, open_floor, run_cycle
from tiffin.compute.admission_preempt import Held
from tiffin.compute.world import Workload, World

__all__ = ["Event", "Timeline", "settle_floor", "simulate"]

END, RELEASE, ARRIVAL, RETRY = "end", "release", "arrival", "retry"
MOST_EVENTS = 100_000
MOST_EVICTIONS = 12  # of one Workload; a story with more is a circle


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happens to a Workload, `at_s` seconds from now.

    `what`: `admitted`, `evicted` (asked to go) or `finished`.
    """

    at_s: float
    what: str
    uid: str
    queue: str
    flavors: Mapping[str, str] = field(default_factory=dict)
    borrowed: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything that happened, in order, and who was still waiting when nothing could change any more."""

    events: tuple[Event, ...]
    stuck: tuple[str, ...]
    in_circles: tuple[str, ...] = ()
    """Workloads that evict each other again and again: the run was stopped there. Kueue does go round in such circles, mostly
    with fair sharing, when priority in a queue and shares between queues contradict each other."""

    def starts(self) -> dict[str, float]:
        """First admission of each Workload, in seconds from now."""
        found: dict[str, float] = {}
        for event in self.events:
            if event.what == "admitted":
                found.setdefault(event.uid, event.at_s)
        return found

    def waves(self) -> list[tuple[float, frozenset[str]]]:
        """Who was admitted at the same moment, in order."""
        found: dict[float, set[str]] = {}
        for event in self.events:
            if event.what == "admitted":
                found.setdefault(event.at_s, set()).add(event.uid)
        return [(at, frozenset(found[at])) for at in sorted(found)]


def simulate(
    world: World,
    durations: Mapping[str, float],
    *,
    now: datetime,
    rules: Rules | None = None,
    arrivals: Mapping[float, Iterable[Workload]] | None = None,
    grace_s: float = 0.0,
    until_s: float = float("inf"),
) -> Timeline:
    """Run the queues forward until nothing waits or nothing can change.

    Args:
        world: who holds quota and who waits, now.
        durations: uid to seconds: what is left of a running Workload, the whole run of a waiting one. A Workload
            without a duration never ends. An evicted one starts over with its whole duration.
        arrivals: seconds from now to Workloads created then.
        grace_s: how long an evicted Workload goes on holding its quota.
        until_s: stop there.
    """
    return Run(open_floor(world, rules, now=now), dict(durations), now, grace_s).forward(arrivals or {}, until_s)


def settle_floor(floor: Floor, now: datetime) -> list[Decision]:
    """Cycles until nothing changes: the last decision about each Workload, admissions and evictions all."""
    patience = 2 + max((len(group.flavors) for queue in floor.world.cluster_queues.values() for group in queue.groups), default=0)
    found: list[Decision] = []
    idle = 0
    while idle < patience and any(line.ready for line in floor.lines.values()):
        before = {name: frozenset(line.ready) for name, line in floor.lines.items()}
        gone = {uid for held in floor.stage.held.values() for uid, one in held.items() if one.evicted}
        decisions = run_cycle(floor, now)
        found += decisions
        progress = any(decision.outcome == "admitted" for decision in decisions)
        progress = progress or any(victim.held.workload.uid not in gone for decision in decisions for victim in decision.victims)
        progress = progress or before != {name: frozenset(line.ready) for name, line in floor.lines.items()}
        idle = 0 if progress else idle + 1
    return found


class Run:
    """One run forward. Ties in time: ends, releases and arrivals before the second look."""

    def __init__(self, floor: Floor, durations: dict[str, float], now: datetime, grace_s: float) -> None:
        self.floor, self.durations, self.now, self.grace_s = floor, durations, now, grace_s
        self.agenda: list[tuple[float, int, int, str, object]] = []
        self.events: list[Event] = []
        self.count = 0
        self.admissions: dict[str, int] = {}
        self.looks: set[str] = set()
        self.evictions: Counter[str] = Counter()

    def plan(self, at: float, what: str, about: object) -> None:
        self.count += 1
        heapq.heappush(self.agenda, (at, int(what == RETRY), self.count, what, about))

    def forward(self, arrivals: Mapping[float, Iterable[Workload]], until_s: float) -> Timeline:
        self.prepare(arrivals)
        self.look(0.0)
        while self.agenda and self.count < MOST_EVENTS and not self.circle():
            at = self.agenda[0][0]
            if at > until_s:
                break
            second = self.agenda[0][1]
            while self.agenda and self.agenda[0][:2] == (at, second):
                _, _, _, what, about = heapq.heappop(self.agenda)
                self.happen(at, what, about)
            self.look(at)
        return Timeline(tuple(self.events), tuple(sorted(self.floor.waiting)), self.circle())

    def circle(self) -> tuple[str, ...]:
        often = max(self.evictions.values(), default=0)
        return tuple(sorted(uid for uid, times in self.evictions.items() if times > MOST_EVICTIONS // 2)) if often > MOST_EVICTIONS else ()

    def prepare(self, arrivals: Mapping[float, Iterable[Workload]]) -> None:
        for queue, holders in self.floor.stage.held.items():
            for uid, held in holders.items():
                self.admissions[uid] = 0
                if held.evicted:
                    self.plan(self.grace_s, RELEASE, (uid, queue))
                elif uid in self.durations:
                    self.plan(self.durations[uid], END, (uid, queue, 0))
        for at, workloads in arrivals.items():
            for workload in workloads:
                self.plan(at, ARRIVAL, workload)
        for workload in self.floor.world.workloads.values():
            if workload.waiting and workload.uid not in self.floor.waiting and workload.requeue_at is not None:
                self.plan(max(0.0, (workload.requeue_at - self.now).total_seconds()), ARRIVAL, workload)

    def happen(self, at: float, what: str, about: object) -> None:
        if what == ARRIVAL and isinstance(about, Workload):
            self.floor.enter(about)
        elif what == RETRY and isinstance(about, str):
            self.looks.discard(self.root(about))
            self.floor.retry(about)
        elif what == END and isinstance(about, tuple):
            uid, queue, admission = about
            held = self.floor.stage.held.get(queue, {}).get(uid)
            if held is not None and self.admissions[uid] == admission:
                self.events.append(Event(at, "finished", uid, queue))
                self.free(at, held)
        elif what == RELEASE and isinstance(about, tuple):
            uid, queue = about
            held = self.floor.stage.held.get(queue, {}).get(uid)
            if held is not None:
                self.free(at, held)
                self.floor.enter(held.workload)

    def root(self, queue: str) -> str:
        return self.floor.stage.node(queue).root().name

    def free(self, at: float, held: Held) -> None:
        """Quota back; Kueue looks at its tree again a little later, once for all that came back meanwhile."""
        self.floor.release(held.workload.uid, held.queue)
        if self.root(held.queue) not in self.looks:
            self.looks.add(self.root(held.queue))
            self.plan(at + self.floor.rules.retry_s, RETRY, held.queue)

    def look(self, at: float) -> None:
        evicted: set[str] = {uid for held in self.floor.stage.held.values() for uid, one in held.items() if one.evicted}
        for decision in settle_floor(self.floor, self.now + timedelta(seconds=at)):
            if decision.outcome == "admitted" and decision.plan is not None:
                self.admit(at, decision)
            for victim in decision.victims:
                uid, queue = victim.held.workload.uid, victim.held.queue
                if uid not in evicted:
                    evicted.add(uid)
                    self.evictions[uid] += 1
                    self.events.append(Event(at, "evicted", uid, queue, why=f"{victim.reason} by {decision.uid}"))
                    self.admissions[uid] += 1
                    self.plan(at + self.grace_s, RELEASE, (uid, queue))

    def admit(self, at: float, decision: Decision) -> None:
        assert decision.plan is not None
        uid = decision.uid
        self.admissions[uid] = self.admissions.get(uid, 0) + 1
        self.events.append(Event(at, "admitted", uid, decision.queue, decision.plan.flavors(), decision.plan.borrow > 0))
        if uid in self.durations:
            self.plan(at + self.durations[uid], END, (uid, decision.queue, self.admissions[uid]))
