"""Fill the partitions of one asset: what is due, launch it in ranges, and follow the runs with their retries to the end.

All state is Dagster's: whoever is killed, here or there, the next call sees what is made and what still runs.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date

from tiffin.core.errors import Invalid, NotReady, PlatformError
from tiffin.orchestration.backfill_client import Dagster, PartitionedAsset, RunTold
from tiffin.orchestration.backfill_progress import Progress
from tiffin.orchestration.backfill_ranges import BACKFILL, RETRY_ROOT, contiguous, read_ranges

__all__ = ["Backfill", "Filled", "Plan", "Unmade", "chosen", "follow", "launch", "plan"]

POLL_S = 1.0
SETTLE_S = 120.0
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do.

    Args:
        asked: the partitions that were asked for.
        due: those to be run now: missing, failed or outdated ones that no run is working on.
        running: runs that will make some of the others: active ones, and failed ones that will be retried.
        why: words for people, by reason.
    """

    asset: PartitionedAsset
    asked: tuple[str, ...]
    due: tuple[str, ...]
    running: tuple[RunTold, ...]
    why: dict[str, int]


@dataclass
class Backfill:
    """Runs that were launched or joined, by the run that all of a range's runs began with."""

    plan: Plan
    name: str
    roots: list[str] = field(default_factory=list)
    cursors: dict[str, str | None] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unmade:
    """Partitions that could not be made, and the error of the run that tried last."""

    partitions: tuple[str, ...]
    error: str
    fix: str | None
    run_id: str


@dataclass(frozen=True, slots=True)
class Filled:
    """How it ended."""

    runs: tuple[RunTold, ...]
    unmade: tuple[Unmade, ...]


Show = Callable[[int, int, float], None]
"""Partitions made, of how many, and rows a second."""


def chosen(asset: PartitionedAsset, first: str | None, last: str | None) -> tuple[str, ...]:
    """The partitions from `first` to `last`, both included.

    A day stands for all of its hours. Raises Invalid for an end that is no partition.
    """
    if not asset.keys:
        raise Invalid(f"asset {asset.name!r} has no partition yet", fix="its first one is not over; come back later")
    start = place(asset, first, last=False) if first is not None else 0
    end = place(asset, last, last=True) if last is not None else len(asset.keys) - 1
    if end < start:
        raise Invalid(f"--from {first} is after --to {last}", fix="swap the two")
    return asset.keys[start : end + 1]


def place(asset: PartitionedAsset, key: str, *, last: bool) -> int:
    """Where a partition stands, or the first or last one of a day."""
    found = [index for index, one in enumerate(asset.keys) if one == key or (is_day(key) and one.startswith(f"{key}-"))]
    if not found:
        raise Invalid(f"asset {asset.name!r} has no partition {key!r}", fix=f"its partitions go from {asset.keys[0]} to {asset.keys[-1]}")
    return found[-1 if last else 0]


def is_day(text: str) -> bool:
    """Whether text is a date."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def plan(dagster: Dagster, asset: PartitionedAsset, asked: Sequence[str], *, force: bool) -> Plan:
    """What of `asked` must run: nothing that is made by today's code, unless `force`; nothing that a run is working on."""
    running = tuple(run for run in dagster.unfinished_runs(asset) if set(run.partitions(asset.keys)) & set(asked))
    asset = dagster.asset(asset.name)  # after the runs: what one of them finished in between is not made twice
    covered = {key for run in running for key in run.partitions(asset.keys)}
    versions = {} if force else dagster.versions(asset)
    due: list[str] = []
    why: dict[str, int] = {}
    for key in asked:
        if key in covered:
            reason = "being made by a run"
        elif key not in asset.made:
            reason = "missing or failed"
        elif force:
            reason = "made, forced"
        elif versions.get(key) != asset.version:
            reason = "made by older code"
        else:
            reason = "up to date"
        why[reason] = why.get(reason, 0) + 1
        if reason not in ("being made by a run", "up to date"):
            due.append(key)
    return Plan(asset, tuple(asked), tuple(due), running, why)


def launch(dagster: Dagster, made: Plan) -> Backfill:
    """Start one run per range of neighbouring due partitions, and join the runs that are under way.

    Raises:
        NotReady: Dagster's daemon is silent, so that nothing would ever start.
    """
    silent = dagster.silent_daemons()
    if silent and made.due:
        raise NotReady(f"Dagster's daemon is silent ({', '.join(silent)}): runs would stay in the queue", fix="tiffin up")
    found = Backfill(made, f"{made.asset.name}:{uuid.uuid4().hex[:8]}")
    for run in made.running:
        root = run.tags.get(RETRY_ROOT, run.run_id)
        found.roots += [root] if root not in found.roots else []
    for group in contiguous(made.due, made.asset.keys):
        found.roots.append(dagster.launch(made.asset, group, {BACKFILL: found.name}))
    return found


def family(dagster: Dagster, backfill: Backfill) -> list[RunTold]:
    """All runs of a backfill as they are now: the first ones and every retry."""
    found: dict[str, RunTold] = {}
    for run in dagster.tagged(BACKFILL, backfill.name):
        found[run.run_id] = run
    joined = [root for root in backfill.roots if root not in found]
    if joined:
        found |= {run.run_id: run for run in dagster.runs(runIds=joined)}
    for root in joined:
        found |= {run.run_id: run for run in dagster.tagged(RETRY_ROOT, root)}
    return list(found.values())


def follow(dagster: Dagster, backfill: Backfill, show: Show, *, sleep: Callable[[float], None] = time.sleep) -> Filled:
    """Wait until every run and every retry has ended; a webserver or daemon may come and go meanwhile.

    Raises:
        NotReady: Dagster does not answer any more, or nobody looks after a failed run. Call again: it goes on from there.
    """
    silent_s, unsettled_s = 0.0, 0.0
    while True:
        try:
            runs = family(dagster, backfill)
            look(dagster, backfill, runs)
            silent_s = 0.0
        except (NotReady, Invalid):
            silent_s += POLL_S
            if silent_s > PATIENCE_S:
                raise
            sleep(POLL_S)
            continue
        show(*reached(backfill, runs))
        if runs and all(run.settled for run in runs):
            return Filled(tuple(runs), unmade(dagster, backfill, runs))
        unsettled_s = 0.0 if any(run.active for run in runs) else unsettled_s + POLL_S
        if unsettled_s > SETTLE_S:
            raise NotReady(
                f"{sum(not run.settled for run in runs)} failed runs wait for sensor 'retry_failed_ranges', which does not look at them",
                fix="switch the sensor on in Dagster's UI (Automation), then call this again: it goes on from there",
            )
        sleep(POLL_S)


def look(dagster: Dagster, backfill: Backfill, runs: Sequence[RunTold]) -> None:
    """Read the new log lines of the runs that are at work."""
    for run in runs:
        if run.status == "STARTED":
            newest, backfill.cursors[run.run_id] = dagster.progress(run.run_id, backfill.cursors.get(run.run_id))
            if newest is not None:
                backfill.progress[run.run_id] = newest


def reached(backfill: Backfill, runs: Sequence[RunTold]) -> tuple[int, int, float]:
    """Partitions made or computed so far, their total, rows a second of the runs at work."""
    order = backfill.plan.asset.keys
    wanted = set(backfill.plan.due).union(*(run.partitions(order) for run in backfill.plan.running))
    at_work = [backfill.progress[run.run_id] for run in runs if run.active and run.run_id in backfill.progress]
    done = sum(run.made for run in runs if not run.active) + sum(one.done for one in at_work)
    return min(done, len(wanted)), len(wanted), sum(one.rows_per_s for one in at_work)


def unmade(dagster: Dagster, backfill: Backfill, runs: Sequence[RunTold]) -> tuple[Unmade, ...]:
    """Partitions that every attempt failed at, or whose run was cancelled, each with the last word about it."""
    order = backfill.plan.asset.keys
    asked = set(backfill.plan.asked)
    found: list[Unmade] = []
    for run in runs:
        left = read_ranges(run.gave_up, order) if run.gave_up else []
        error, fix = "", None
        if run.status == "CANCELED":
            left, error, fix = run.partitions(order), "the run was cancelled", "call this again"
        elif left:
            error, fix = dagster.why_failed(run.run_id)
        left = [key for key in left if key in asked]
        if left:
            found.append(Unmade(tuple(left), error, fix, run.run_id))
    if not found:
        return ()
    try:
        made_since = dagster.asset(backfill.plan.asset.name).made - backfill.plan.asset.made
    except PlatformError:
        made_since = frozenset()
    # another run may have made what ours gave up, because the other one was faster
    kept = [(one, tuple(key for key in one.partitions if key not in made_since)) for one in found]
    return tuple(Unmade(keys, one.error, one.fix, one.run_id) for one, keys in kept if keys)
