"""When a training table is rebuilt after other teams: decided from what landed, without I/O.

A day is ready when every upstream view has landed it and at least one landing of it is in no run yet.
All ready days go into one run; the others wait, and are seen to wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tiffin.core.digests import digest_json
from tiffin.orchestration.sensors_days import pack_days
from tiffin.orchestration.sensors_memory import Memory

__all__ = ["Decision", "Landing", "Notice", "Rebuild", "Upstream", "decide"]

HOURS = 24
RUNS_KEPT = 20


@dataclass(frozen=True, slots=True)
class Upstream:
    """A view that is waited for.

    Args:
        start: its first day; earlier days are not asked of it.
    """

    ref: str
    owner: str
    kind: Literal["daily", "hourly", "snapshot"]
    start: str


@dataclass(frozen=True, slots=True)
class Landing:
    """One materialised partition, as the event log has it.

    Args:
        partition: `2013-01-05`, `2013-01-05-06:00`, or `""` of a snapshot.
        changed: False when its content is what it was.
    """

    storage_id: int
    ref: str
    partition: str
    run_id: str
    changed: bool = True


@dataclass(frozen=True, slots=True)
class Rebuild:
    """One run to be asked for.

    Args:
        key: of the very landings that it consumes, so that asking twice is asking once.
        days: those that became ready.
        consumed: how many landed partitions it stands for.
        upto: storage id up to which events were read.
        upstream_runs: newest of the runs that landed them.
    """

    key: str
    sequence: int
    days: tuple[str, ...]
    consumed: int
    upto: int
    upstream_runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """One owner is told once that views are late: not once per day, and not once per table that waits."""

    owner: str
    refs: tuple[str, ...]
    days: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a tick does. `why` is what the tick shows when it starts nothing."""

    memory: Memory
    rebuild: Rebuild | None
    notices: tuple[Notice, ...]
    why: str


def decide(
    memory: Memory,
    landings: Sequence[Landing],
    *,
    upstreams: Sequence[Upstream],
    now_s: float,
    read_up_to: int,
    settle_s: float = 0.0,
    grace_s: float = 7200.0,
    busy: str | None = None,
    again: bool = False,
) -> Decision:
    """Take in what landed, and say whether a run starts and whom to tell.

    Args:
        landings: after `memory.after`, up to `read_up_to`, in order of their storage ids.
        settle_s: while something landed in this very tick, ready days wait for more, at most this long.
        grace_s: how long a day may wait for a view before its owner is told.
        busy: the run that is still building; no other starts beside it.
        again: the run of this sequence is there already, asked for by a tick whose memory was lost: ask for the same.
    """
    memory, new = absorb(memory, landings, {one.ref: one for one in upstreams}, now_s)
    memory = replace(memory, after=max(memory.after, read_up_to))
    missing = {one.ref: lacking(memory, one) for one in upstreams}
    memory, notices = notice(memory, upstreams, missing, now_s=now_s, grace_s=grace_s)
    days = ready(memory, missing)
    waits = f"; {sum(map(len, memory.waiting.values()))} landed partitions wait" if any(memory.waiting.values()) else ""
    absent = sorted(ref for ref, found in missing.items() if found)
    if not days:
        who = f" for {', '.join(absent)}" if absent and waits else ""
        return Decision(memory, None, notices, f"no day is ready{waits}{who}")
    if busy is not None and not again:
        return Decision(memory, None, notices, f"run {busy} is still building{waits}")
    if new and not again and now_s - min(memory.since_s[day] for day in days) < settle_s:
        return Decision(memory, None, notices, f"{new} partitions landed just now: waiting for the rest of the burst{waits}")
    return start(memory, days, notices)


def absorb(memory: Memory, landings: Sequence[Landing], upstreams: dict[str, Upstream], now_s: float) -> tuple[Memory, int]:
    """Landings as days that wait, and how many there were. Equal content that had landed before is no news."""
    landed = {ref: set(days) for ref, days in memory.landed.items()}
    waiting = {ref: set(days) for ref, days in memory.waiting.items()}
    hours = {ref: {day: set(found) for day, found in days.items()} for ref, days in memory.hours.items()}
    since, runs, new = dict(memory.since_s), list(memory.runs), 0
    for one in landings:
        if one.ref not in upstreams or one.storage_id <= memory.after:
            continue
        day = one.partition[:10]
        if upstreams[one.ref].kind == "hourly" and day not in landed.get(one.ref, set()):
            part = hours.setdefault(one.ref, {}).setdefault(day, set())
            part.add(one.partition[11:])
            new += 1
            if len(part) < HOURS:
                continue
            del hours[one.ref][day]
        elif not one.changed and day in landed.get(one.ref, set()):
            continue
        landed.setdefault(one.ref, set()).add(day)
        waiting.setdefault(one.ref, set()).add(day)
        new += 1
        if day:
            since.setdefault(day, now_s)
        if one.run_id not in runs:
            runs.append(one.run_id)
    return (
        replace(
            memory,
            landed={ref: frozenset(days) for ref, days in landed.items()},
            waiting={ref: frozenset(days) for ref, days in waiting.items()},
            hours={ref: {day: frozenset(found) for day, found in days.items()} for ref, days in hours.items() if days},
            since_s=since,
            runs=tuple(runs[-RUNS_KEPT:]),
        ),
        new,
    )


def lacking(memory: Memory, upstream: Upstream) -> frozenset[str]:
    """The days that wait and that this view has not landed; `{""}` for a snapshot that never has."""
    landed = memory.landed.get(upstream.ref, frozenset())
    if upstream.kind == "snapshot":
        return frozenset() if landed else frozenset([""])
    return frozenset(day for day in memory.since_s if day >= upstream.start and day not in landed)


def ready(memory: Memory, missing: dict[str, frozenset[str]]) -> list[str]:
    """Days that wait for nobody, in order."""
    absent = frozenset[str]().union(*missing.values())
    return [] if "" in absent else sorted(day for day in memory.since_s if day not in absent)


def notice(
    memory: Memory, upstreams: Sequence[Upstream], missing: dict[str, frozenset[str]], *, now_s: float, grace_s: float
) -> tuple[Memory, tuple[Notice, ...]]:
    """Whom to tell now. Who has been told is not told again before the view has caught up."""
    overdue = {day for day, instant in memory.since_s.items() if now_s - instant > grace_s}
    late = {ref: sorted(days & overdue) if "" not in days else sorted(overdue) for ref, days in missing.items()}
    still = frozenset(ref for ref, days in late.items() if days)
    found: dict[str, list[str]] = {}
    for one in upstreams:
        if one.ref in still - memory.late:
            found.setdefault(one.owner, []).append(one.ref)
    notices = tuple(
        Notice(owner, tuple(sorted(refs)), tuple(sorted({day for ref in refs for day in late[ref]})))
        for owner, refs in sorted(found.items())
    )
    return replace(memory, late=still), notices


def start(memory: Memory, days: Sequence[str], notices: tuple[Notice, ...]) -> Decision:
    """One run for all ready days; what it consumes waits no more."""
    taken = frozenset([*days, ""])
    consumed = {ref: sorted(found & taken) for ref, found in sorted(memory.waiting.items()) if found & taken}
    sequence = memory.sequence + 1
    rebuild = Rebuild(
        key=f"{sequence}:{digest_json([sequence, consumed])[:16]}",
        sequence=sequence,
        days=tuple(days),
        consumed=sum(map(len, consumed.values())),
        upto=memory.after,
        upstream_runs=memory.runs,
    )
    waiting = {ref: found - taken for ref, found in memory.waiting.items()}
    after = replace(
        memory,
        sequence=sequence,
        waiting={ref: found for ref, found in waiting.items() if found},
        since_s={day: instant for day, instant in memory.since_s.items() if day not in taken},
        runs=() if not any(waiting.values()) else memory.runs,
    )
    return Decision(after, rebuild, notices, f"{len(days)} days are ready: {', '.join(pack_days(days)[:5])}")
