"""When a waiting step will start: past run times of its asset, and the queues run forward many times.

A run time is not one number. Each try draws one for every Workload from the past runs of its asset, all parts of the
distribution alike often; for what runs already, only from the runs that took longer than it has taken. The answer is
the middle of the starts found, with an early and a late one. Pure: the same world and history give the same answer.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tiffin.compute.admission_cycle import Rules
from tiffin.compute.admission_simulate import simulate
from tiffin.compute.world import Workload, World

__all__ = ["Expected", "Forecast", "History", "forecast", "history_of", "kind_of"]

TRIES = 21
WORK_LIMIT = 6000  # Workloads times tries: about 6 s on one core
UNKNOWN_S = 600.0
LABELS = ("tiffin.dev/asset", "tiffin.dev/step", "dagster/op", "dagster/job")
EARLY, MIDDLE, LATE = 0.1, 0.5, 0.9


def kind_of(workload: Workload) -> str:
    """What past runs it resembles: its asset, else its step, else its Job."""
    named = next((workload.labels[label] for label in LABELS if label in workload.labels), None)
    return named or (workload.owner or workload.name).rsplit("-", 1)[0]


@dataclass(frozen=True, slots=True)
class History:
    """Run times in seconds, from admission to the end, of runs that succeeded, by kind."""

    seconds: Mapping[str, Sequence[float]] = field(default_factory=dict)
    default_s: float = UNKNOWN_S
    """For a kind that never ran, where nothing ever ran."""

    def of(self, kind: str) -> Sequence[float]:
        """Sorted run times; those of all kinds for one that never ran."""
        own = self.seconds.get(kind)
        if own:
            return sorted(own)
        everything = sorted(value for values in self.seconds.values() for value in values)
        return everything or [self.default_s]

    def merged(self, other: History) -> History:
        """Both together."""
        kinds = {*self.seconds, *other.seconds}
        return History({kind: [*self.seconds.get(kind, ()), *other.seconds.get(kind, ())] for kind in kinds}, self.default_s)


@dataclass(frozen=True, slots=True)
class Expected:
    """When a waiting Workload is expected to start, in seconds from now; None: not as things are."""

    uid: str
    early_s: float | None
    start_s: float | None
    late_s: float | None
    evicted_share: float = 0.0
    """In how many of the tries somebody preempted it after its start."""
    known: bool = True
    """Whether its asset has run before."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is expected of everybody who waits."""

    starts: Mapping[str, Expected]
    """By uid."""
    in_circles: tuple[str, ...] = ()
    """Those who evicted each other for ever in some of the tries."""


def quantile(ordered: Sequence[float], share: float) -> float:
    """Between the two nearest values, as they lie.

    Example:
        >>> quantile([1.0, 2.0, 4.0], 0.5), quantile([1.0, 2.0, 4.0], 0.75)
        (2.0, 3.0)
    """
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def remaining(ordered: Sequence[float], elapsed_s: float, share: float) -> float:
    """What is left after `elapsed_s`, of runs that took longer.

    Past the longest run known nothing is known: a tenth of what it has taken already is assumed.

    Example:
        >>> remaining([10.0, 20.0, 30.0], 15.0, 0.0), remaining([10.0, 20.0, 30.0], 40.0, 0.5)
        (5.0, 4.0)
    """
    longer = ordered[bisect.bisect_right(ordered, elapsed_s) :]
    return quantile(longer, share) - elapsed_s if longer else max(1.0, elapsed_s / 10)


def history_of(workloads: Iterable[Workload]) -> History:
    """Run times of the finished Workloads that are still there; failed runs say nothing about the next one."""
    found: dict[str, list[float]] = {}
    for workload in workloads:
        ended, began = workload.since("Finished"), workload.since("Admitted")
        if ended is not None and began is not None and workload.conditions["Finished"].reason == "Succeeded":
            found.setdefault(kind_of(workload), []).append(max(0.0, (ended - began).total_seconds()))
    return History(found)


def forecast(
    world: World,
    history: History,
    *,
    now: datetime,
    rules: Rules | None = None,
    tries: int = TRIES,
    seed: int = 0,
    grace_s: float = 0.0,
) -> Forecast:
    """The expected start of every waiting Workload.

    Args:
        world: the queues now; what has finished in it is passed over.
        history: past run times; see `history_of`.
        tries: how often the queues are run forward; fewer when very many wait.
        seed: which run times are drawn together; any one will do.
        grace_s: how long evicted pods go on holding their quota.
    """
    waiting = [workload for workload in world.workloads.values() if workload.waiting]
    if not waiting:
        return Forecast({})
    live = [workload for workload in world.workloads.values() if not workload.finished]
    tries = max(3, min(tries, WORK_LIMIT // len(live)))
    chance = random.Random(seed)  # noqa: S311 # a draw of run times, no secret
    shares = {workload.uid: chance.sample(range(tries), tries) for workload in sorted(live, key=lambda one: one.uid)}
    ordered = {kind: history.of(kind) for kind in {kind_of(workload) for workload in live}}
    starts: dict[str, list[float]] = {workload.uid: [] for workload in waiting}
    evicted = dict.fromkeys(starts, 0)
    circles: set[str] = set()
    for turn in range(tries):
        drawn = {uid: (places[turn] + 0.5) / tries for uid, places in shares.items()}
        durations = {workload.uid: duration(workload, ordered[kind_of(workload)], drawn[workload.uid], now) for workload in live}
        timeline = simulate(world, durations, now=now, rules=rules, grace_s=grace_s)
        first = timeline.starts()
        circles.update(timeline.in_circles)
        gone = {event.uid for event in timeline.events if event.what == "evicted"}
        for uid in starts:
            starts[uid].append(first.get(uid, float("inf")))
            evicted[uid] += uid in gone
    known = {workload.uid: kind_of(workload) in history.seconds for workload in waiting}
    found = {uid: expected(uid, sorted(times), evicted[uid] / tries, known=known[uid]) for uid, times in starts.items()}
    return Forecast(found, tuple(sorted(circles)))


def duration(workload: Workload, ordered: Sequence[float], share: float, now: datetime) -> float:
    began = workload.since("Admitted") if workload.reserved else None
    return quantile(ordered, share) if began is None else remaining(ordered, max(0.0, (now - began).total_seconds()), share)


def expected(uid: str, starts: Sequence[float], evicted: float, *, known: bool) -> Expected:
    """`starts` sorted; endless ones come last."""
    early, middle, late = (starts[min(len(starts) - 1, int(share * len(starts)))] for share in (EARLY, MIDDLE, LATE))
    seconds = [None if value == float("inf") else value for value in (early, middle, late)]
    return Expected(uid, seconds[0], seconds[1], seconds[2], evicted, known)
