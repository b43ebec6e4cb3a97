"""What waits, where, why, behind whom, since when, until when, and what would help: one row per live Workload.

The same rows are a table for people, JSON for programs and metadata for Dagster. Pure: from a `World`, the past run
times and the clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tiffin.compute.admission_cycle import Rules, open_floor
from tiffin.compute.admission_preempt import Stage
from tiffin.compute.forecast import Expected, History, forecast
from tiffin.compute.messages import duration_words, read_eviction, read_preemptor, read_waiting
from tiffin.compute.quantities import quantity_text
from tiffin.compute.queue_change import run_of, step_of
from tiffin.compute.queue_unblock import Unblock, unblocks
from tiffin.compute.world import Workload, World

__all__ = ["QueueView", "QuotaLine", "Row", "queue_metadata", "view_queues"]

TEAM = "tiffin.dev/team"
MOST_NAMED = 5
MOST_EXPLAINED = 20


@dataclass(frozen=True, slots=True)
class QuotaLine:
    """One ClusterQueue's quota of one resource in one flavor, in thousandths."""

    queue: str
    cohort: str | None
    flavor: str
    resource: str
    quota: int
    used: int
    borrowed: int
    free: int
    """What it could still take now, own and borrowed."""
    waiting: int
    """Workloads that wait in this queue."""

    def to_json(self) -> dict[str, Any]:
        amounts = {name: quantity_text(getattr(self, name)) for name in ("quota", "used", "borrowed", "free")}
        where = {"queue": self.queue, "cohort": self.cohort, "flavor": self.flavor, "resource": self.resource}
        return {**where, **amounts, "waiting": self.waiting}


@dataclass(frozen=True, slots=True)
class Row:
    """One live Workload. `state`: waiting, preempting, approval, paused, stopped, checks, running or leaving."""

    uid: str
    namespace: str
    team: str
    run: str
    step: str
    job: str
    state: str
    local_queue: str
    cluster_queue: str
    priority: int
    priority_class: str | None
    asks: Mapping[str, int]
    flavors: Mapping[str, str]
    since_s: float
    """In this state: waiting since it was created or put back, running since its admission."""
    position: int | None = None
    """Place in its ClusterQueue, from 1."""
    why: str = ""
    behind: tuple[str, ...] = ()
    """Names of those before it in its ClusterQueue, the nearest last."""
    held_by: tuple[str, ...] = ()
    """Names of those who hold what it waits for, those admitted last first."""
    preempted_by: str | None = None
    evictions: int = 0
    expected: Expected | None = None
    unblocks: tuple[Unblock, ...] = ()

    @property
    def name(self) -> str:
        """What people call it: run and step, else its Job."""
        return f"{self.run[:8]}/{self.step}" if self.run and self.step else self.job

    def to_json(self) -> dict[str, Any]:
        """Plain values; amounts as Kubernetes writes them."""
        expected = self.expected
        return {
            "namespace": self.namespace,
            "team": self.team,
            "run": self.run or None,
            "step": self.step or None,
            "job": self.job,
            "state": self.state,
            "queue": self.local_queue,
            "cluster_queue": self.cluster_queue or None,
            "position": self.position,
            "priority": self.priority,
            "priority_class": self.priority_class,
            "asks": {name: quantity_text(amount) for name, amount in self.asks.items()},
            "flavors": dict(self.flavors),
            "since_s": round(self.since_s, 3),
            "why": self.why,
            "behind": list(self.behind),
            "held_by": list(self.held_by),
            "preempted_by": self.preempted_by,
            "evictions": self.evictions,
            "expected_start_s": None if expected is None or expected.start_s is None else round(expected.start_s, 1),
            "expected_early_s": None if expected is None or expected.early_s is None else round(expected.early_s, 1),
            "expected_late_s": None if expected is None or expected.late_s is None else round(expected.late_s, 1),
            "expected_from_past_runs": None if expected is None else expected.known,
            "unblocks": [one.to_json() for one in self.unblocks],
        }


@dataclass(frozen=True, slots=True)
class QueueView:
    """All rows, waiting ones first, and the quotas behind them."""

    rows: tuple[Row, ...]
    quotas: tuple[QuotaLine, ...]
    in_circles: tuple[str, ...] = ()
    """Names of those who, as the rules stand, will evict each other again and again."""

    def to_json(self) -> dict[str, Any]:
        """Plain values; amounts as Kubernetes writes them."""
        return {
            "steps": [row.to_json() for row in self.rows],
            "quotas": [line.to_json() for line in self.quotas],
            "in_circles": list(self.in_circles),
        }

    def of_team(self, team: str) -> QueueView:
        """One team's rows, by its name or its namespace; and the quotas of the queues that these use."""
        rows = tuple(row for row in self.rows if team in {row.team, row.namespace, row.namespace.removeprefix("team-")})
        queues = {row.cluster_queue for row in rows} | {f"team-{team}", team}
        return QueueView(rows, tuple(line for line in self.quotas if line.queue in queues), self.in_circles)


def view_queues(
    world: World, history: History, *, now: datetime, rules: Rules | None = None, explain: int = MOST_EXPLAINED, grace_s: float = 0.0
) -> QueueView:
    """Everything about the queues now.

    Args:
        history: past run times, for the expected start.
        explain: for how many of the waiting, from the front, to work out what would help.
    """
    rules = rules or Rules.of(world)
    floor = open_floor(world, rules, now=now)
    found = forecast(world, history, now=now, rules=rules, grace_s=grace_s)
    lines = {name: in_order(world, name) for name in world.cluster_queues}
    places = {workload.uid: place for line in lines.values() for place, workload in enumerate(line, 1)}
    rows = []
    for workload in world.workloads.values():
        if workload.finished:
            continue
        row = row_of(workload, world, now)
        place = places.get(workload.uid)
        if place is not None:
            ahead = lines[row.cluster_queue][: place - 1]
            holders = who_holds(workload, floor.stage, row.cluster_queue)
            row = replace(
                row,
                position=place,
                behind=tuple(name_of(one) for one in ahead[-MOST_NAMED:]),
                held_by=tuple(name_of(one) for one in holders[:MOST_NAMED]),
                expected=found.starts.get(workload.uid),
            )
            if place <= explain:
                row = replace(row, unblocks=unblocks(world, workload, rules=rules, now=now))
        rows.append(row)
    rows.sort(key=lambda row: (row.position is None, row.state == "running", row.cluster_queue, row.position or 0, -row.since_s, row.uid))
    circles = tuple(name_of(world.workloads[uid]) for uid in found.in_circles if uid in world.workloads)
    return QueueView(tuple(rows), tuple(quota_lines(world, floor.stage, lines)), circles)


def in_order(world: World, queue: str) -> list[Workload]:
    """Who waits in a ClusterQueue, from the front; without those that are paused or held back."""
    found = [one for one in world.workloads.values() if one.waiting and queue_of(world, one) == queue and not held_back(one)]
    return sorted(found, key=lambda one: (-one.priority, one.queued_at, one.uid))


def queue_of(world: World, workload: Workload) -> str:
    queue = world.cluster_queue_of(workload)
    return queue.name if queue else ""


def held_back(workload: Workload) -> bool:
    return bool(workload.annotations.get("kueue.x-k8s.io/admission-gated-by"))


def name_of(workload: Workload) -> str:
    run, step = run_of(workload), step_of(workload)
    return f"{run[:8]}/{step}" if run and step else workload.owner or workload.name


def row_of(workload: Workload, world: World, now: datetime) -> Row:
    state, why = state_of(workload, world)
    admission = workload.admission if workload.reserved else None
    began = workload.since("Admitted") or workload.since("QuotaReserved")
    put_back = workload.conditions.get("QuotaReserved")
    since = began if admission and began else (put_back.since if put_back and workload.evictions else workload.created)
    preempted = workload.conditions.get("Preempted")
    preemptor = read_preemptor(preempted.message) if preempted is not None and not workload.admitted else None
    by = world.workloads.get(preemptor.workload_uid) if preemptor else None
    return Row(
        uid=workload.uid,
        namespace=workload.namespace,
        team=workload.labels.get(TEAM) or workload.namespace.removeprefix("team-"),
        run=run_of(workload),
        step=step_of(workload),
        job=workload.owner or workload.name,
        state=state,
        local_queue=workload.local_queue,
        cluster_queue=queue_of(world, workload),
        priority=workload.priority,
        priority_class=workload.priority_class,
        asks=workload.requests(),
        flavors={name: flavor for one in admission.assignments for name, flavor in one.flavors.items()} if admission else {},
        since_s=max(0.0, (now - since).total_seconds()),
        why=why,
        preempted_by=None if preemptor is None else (name_of(by) if by else preemptor.queue or "a step that is over"),
        evictions=sum(workload.evictions.values()),
    )


def state_of(workload: Workload, world: World) -> tuple[str, str]:
    """The state in one word, and why."""
    evicted, quota = workload.conditions.get("Evicted"), workload.conditions.get("QuotaReserved")
    if workload.reserved:
        if evicted is not None and evicted.true:
            return "leaving", read_eviction(evicted.reason, evicted.message).words
        if workload.admitted:
            return "running", ""
        open_checks = ", ".join(sorted(name for name, state in workload.checks.items() if state != "Ready"))
        return "checks", f"has quota and waits for its admission checks {open_checks}".rstrip()
    if not workload.active:
        paused = read_eviction(evicted.reason, evicted.message).words if evicted is not None and evicted.true else ""
        return "paused", paused or "is paused: resume it with `tiffin queue resume`"
    if held_back(workload):
        return "approval", f"waits for the approval {workload.annotations['kueue.x-k8s.io/admission-gated-by']}"
    local = world.local_queues.get((workload.namespace, workload.local_queue))
    queue = world.cluster_queue_of(workload)
    if local is None:
        return "stopped", f"there is no LocalQueue {workload.local_queue!r} in namespace {workload.namespace}"
    if local.held or not local.active or queue is None or not queue.active:
        reason = local.why_inactive or (queue.why_inactive if queue else f"there is no ClusterQueue {local.cluster_queue!r}")
        return "stopped", f"LocalQueue {local.name} is stopped" if local.held else f"its queue takes nothing: {reason}"
    words = read_waiting(quota.reason, quota.message) if quota is not None and not quota.true else None
    if words is None:
        return "waiting", "waits for Kueue to look at it"
    return ("preempting" if words.why == "preempting" else "waiting"), words.words


def who_holds(workload: Workload, stage: Stage, queue: str) -> list[Workload]:
    """Those who hold a resource that it asks for, in the tree of its queue, those admitted last first."""
    if not queue:
        return []
    root = stage.node(queue).root()
    names = [node.name for node in ([root] if root.queue else root.queues())]
    asked = set(workload.requests())
    found = [held for name in names for held in stage.held.get(name, {}).values() if asked & {resource for _, resource in held.usage}]
    found.sort(key=lambda held: (held.queue != queue, -held.since.timestamp(), held.workload.uid))
    return [held.workload for held in found]


def quota_lines(world: World, stage: Stage, lines: Mapping[str, list[Workload]]) -> Iterable[QuotaLine]:
    for name in sorted(world.cluster_queues):
        queue, node = world.cluster_queues[name], stage.node(name)
        for what in sorted(queue.quotas):
            quota, used = queue.quotas[what].nominal, node.usage.get(what, 0)
            free = max(0, node.free(what)) if stage.tree.usable(name) else 0
            yield QuotaLine(name, queue.cohort, what[0], what[1], quota, used, max(0, used - quota), free, len(lines[name]))


def queue_metadata(row: Row) -> dict[str, str | int | float]:
    """A row as metadata of a Dagster event: plain values under `kueue/...`, absent where there is nothing to say."""
    expected = row.expected.start_s if row.expected else None
    found: dict[str, str | int | float | None] = {
        "kueue/state": row.state,
        "kueue/queue": row.local_queue,
        "kueue/cluster_queue": row.cluster_queue or None,
        "kueue/priority": row.priority_class or row.priority,
        "kueue/position": row.position,
        "kueue/why": row.why or None,
        "kueue/behind": ", ".join(row.behind) or None,
        "kueue/held_by": ", ".join(row.held_by) or None,
        "kueue/preempted_by": row.preempted_by,
        "kueue/flavor": ", ".join(sorted(set(row.flavors.values()))) or None,
        "kueue/evictions": row.evictions or None,
        "kueue/wait_s": round(row.since_s, 1) if row.position is not None else None,
        "kueue/expected_start_s": None if expected is None else round(expected, 1),
        "kueue/expected_start": None if expected is None else f"in {duration_words(expected)}",
        "kueue/would_help": "; ".join(one.words for one in row.unblocks) or None,
    }
    return {key: value for key, value in found.items() if value is not None}
