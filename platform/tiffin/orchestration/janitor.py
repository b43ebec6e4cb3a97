"""Which Jobs and runs nobody looks after any more; pure.

A launcher or a run worker may die between creating a Job and recording it, or between its run's end and the Job's deletion.
Every Job carries its run's id, so what is over is found by looking at both sides, however it came about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from tiffin.compute.cluster import JobRef

__all__ = ["JobSeen", "Life", "Part", "Patience", "RunSeen", "Sweep", "sweep"]


class Part(StrEnum):
    """What a Job does for its run, as dagster-k8s labels it."""

    RUN_WORKER = "run_worker"
    STEP_WORKER = "step_worker"


class Life(StrEnum):
    """Where a run stands, as far as its Jobs are concerned."""

    STARTING = "starting"
    GOES_ON = "goes on"
    CANCELING = "canceling"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class JobSeen:
    """One Job of a run."""

    ref: JobRef
    run: str
    part: Part
    created: datetime
    finished: bool = False
    admitted: datetime | None = None
    """Since when it may run: Kueue's admission, or its creation where Kueue does not queue it; None while it waits."""


@dataclass(frozen=True, slots=True)
class RunSeen:
    """One run; a run that was deleted is not seen at all."""

    run: str
    life: Life
    since: datetime
    """When it got there."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to leave something alone. A run's last event and its Job's end come from different places."""

    over: timedelta = timedelta(seconds=60)
    unknown: timedelta = timedelta(minutes=10)
    """A run that this instance does not know: its creation may be in flight, or it is another instance's."""
    cancel: timedelta = timedelta(seconds=60)
    start: timedelta = timedelta(minutes=15)
    """From admission until the run worker reports that the run has started."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What to do: Jobs to delete, runs to call cancelled or failed, each with its sentence."""

    delete: tuple[tuple[JobRef, str], ...] = ()
    cancel: Mapping[str, str] = field(default_factory=dict)
    fail: Mapping[str, str] = field(default_factory=dict)


def sweep(runs: Iterable[RunSeen], jobs: Iterable[JobSeen], now: datetime, patience: Patience = Patience()) -> Sweep:
    """Decide from one look at both sides.

    A finished Job is left to its time to live: whoever counts costs reads it first. A queued run worker is nobody's
    failure, however long it waits: the start timeout counts from its admission.

    Args:
        runs: all that the instance knows of those that the Jobs name, and all that are starting or cancelling.
    """
    known = {one.run: one for one in runs}
    every = sorted(jobs, key=lambda job: (job.ref.namespace, job.ref.name))
    delete: list[tuple[JobRef, str]] = []
    fail: dict[str, str] = {}
    for job in every:
        run = known.get(job.run)
        if job.finished:
            continue
        if run is None:
            if now - job.created >= patience.unknown:
                delete.append((job.ref, f"run {job.run} is unknown to this instance"))
        elif run.life is Life.OVER:
            if now - run.since >= patience.over:
                delete.append((job.ref, f"run {job.run} is over"))
        elif late(job, run, now, patience):
            words = f"its run worker did not start within {int((now - (job.admitted or now)).total_seconds())} s of its admission"
            fail[job.run] = words
            delete.append((job.ref, f"run {job.run}: {words}"))
    workers = [job for job in every if job.part is Part.RUN_WORKER]
    alive = {job.run for job in workers if not job.finished}
    for run in known.values():
        if run.life is Life.STARTING and not any(job.run == run.run for job in workers) and now - run.since >= patience.start:
            fail[run.run] = "its run worker was never created"
    cancel = {
        run.run: "nobody was alive to end it: its run worker's Job is gone"
        for run in known.values()
        if run.life is Life.CANCELING and run.run not in alive and now - run.since >= patience.cancel
    }
    return Sweep(tuple(delete), cancel, fail)


def late(job: JobSeen, run: RunSeen, now: datetime, patience: Patience) -> bool:
    """A run worker that may run and has not reported its run's start."""
    if run.life is not Life.STARTING or job.part is not Part.RUN_WORKER or job.admitted is None:
        return False
    return now - job.admitted >= patience.start
