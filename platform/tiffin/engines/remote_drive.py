"""Conduct one remote job from a step: start it once, follow it over preemptions, cancel it when nobody wants it any more."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from tiffin.core.errors import Conflict, Invalid, NotFound, NotReady
from tiffin.engines.remote import FindsJobs, Remote, RemoteCost, RemoteJob, RemoteStatus
from tiffin.engines.remote_keep import Keep, RemoteRecord

__all__ = ["Driven", "Pace", "drive"]

Answer = TypeVar("Answer")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Driven:
    """A remote job that succeeded.

    Args:
        adopted: whether an earlier attempt of the step had started it.
    """

    remote_id: str
    status: RemoteStatus
    cost: RemoteCost
    logs: str
    adopted: bool


@dataclass(frozen=True, slots=True)
class Pace:
    """How often and how long to ask.

    Args:
        poll_s: between two looks.
        patience_s: how long a provider may stay away before the step gives up; its job then goes on, and is taken up by a retry.
    """

    poll_s: float = 5.0
    patience_s: float = 600.0
    sleep: Callable[[float], None] = field(default=time.sleep)
    now_s: Callable[[], float] = field(default=time.monotonic)


def drive(
    remote: Remote, job: RemoteJob, keep: Keep, *, cancel: bool = True, pace: Pace | None = None, told: Callable[[str], None] = logger.info
) -> Driven:
    """Start the job, or go on with the one that an earlier attempt of this step started; return when it has succeeded.

    An interruption (the run was cancelled) cancels the job. An eviction kills this process: see `cancel_kept`.

    Args:
        cancel: whether an eviction cancels the job. False: it goes on meanwhile, and the next attempt waits for it.
        told: sentences for people, one per change.

    Raises:
        Invalid: the job failed or was cancelled by somebody else; with its last words.
        Conflict: a newer attempt looks after the job; it is left alone.
        NotReady: the provider stayed away for too long.
    """
    pace = pace or Pace()
    record, adopted = begin(remote, job, keep, cancel=cancel, pace=pace, told=told)
    remote_id = record.remote_id or ""
    try:
        status = follow(remote, remote_id, pace, told)
    except NotReady:
        raise
    except BaseException:
        stop(remote, keep, record, told)
        raise
    words = patiently(lambda: remote.logs(remote_id), pace)
    if status.state != "succeeded":
        keep.move(record, "cancelled")  # a retry of the step asks for a job of its own
        raise Invalid(
            f"remote job {remote_id} of {remote.provider} {status.state}: {status.detail}\n{words}".rstrip(),
            fix="its last words are above; mend the job, or look at the provider's own page",
            context={"remote_id": remote_id, "provider": remote.provider, "state": status.state},
        )
    return Driven(remote_id, status, patiently(lambda: remote.cost(remote_id, record.token), pace), words, adopted)


def begin(
    remote: Remote, job: RemoteJob, keep: Keep, *, cancel: bool, pace: Pace, told: Callable[[str], None]
) -> tuple[RemoteRecord, bool]:
    """A job that runs, and whether it was there before."""
    record = keep.load()
    if record is not None and record.phase == "cancelling" and record.remote_id is not None:
        kept_id = record.remote_id
        patiently(lambda: remote.cancel(kept_id), pace)
        record = keep.move(record, "cancelled")
    if record is not None and record.phase == "cancelled" and record.remote_id is not None and ended_well(remote, record.remote_id, pace):
        record = keep.move(record, "running")  # it was faster than its cancellation
    if record is not None and record.phase == "running" and record.remote_id is not None:
        told(f"goes on with remote job {record.remote_id}, which attempt {record.attempt} started")
        return keep.move(record, "running"), True
    found: str | None = None
    if record is not None and record.phase == "asked":
        # an attempt died between asking for the job and writing down its id
        token = record.token
        found = patiently(lambda: remote.find(token), pace) if isinstance(remote, FindsJobs) else None
    else:
        record = keep.ask(record, provider=remote.provider, where=remote.where, cancel=cancel)
    asked = record.token
    remote_id = found or patiently(lambda: remote.submit(job, asked), pace)
    told(f"remote job {remote_id} of {remote.provider} {'was found by its token' if found else 'is handed in'}")
    try:
        return keep.move(record, "running", remote_id=remote_id), found is not None
    except Conflict:
        if found is None and not isinstance(remote, FindsJobs):
            remote.cancel(remote_id)  # nobody would ever know of it
        raise


def ended_well(remote: Remote, remote_id: str, pace: Pace) -> bool:
    """Whether a job that was cancelled had succeeded already; one that the provider has forgotten had not."""
    try:
        return patiently(lambda: remote.poll(remote_id), pace).state == "succeeded"
    except NotFound:
        return False


def follow(remote: Remote, remote_id: str, pace: Pace, told: Callable[[str], None]) -> RemoteStatus:
    """Look until it is over."""
    before: RemoteStatus | None = None
    while True:
        status = patiently(lambda: remote.poll(remote_id), pace)
        if status != before:
            told(f"remote job {remote_id} is {status.state}{f': {status.detail}' if status.detail else ''}")
        if status.over:
            return status
        before = status
        pace.sleep(pace.poll_s)


def stop(remote: Remote, keep: Keep, record: RemoteRecord, told: Callable[[str], None]) -> None:
    """Nobody wants it any more, unless a newer attempt does."""
    try:
        record = keep.move(record, "cancelling")
    except Conflict:
        return
    remote.cancel(record.remote_id or "")
    keep.move(record, "cancelled")
    told(f"remote job {record.remote_id} is cancelled")


def patiently(ask: Callable[[], Answer], pace: Pace) -> Answer:
    """Ask again while the provider does not answer, within its patience."""
    end = pace.now_s() + pace.patience_s
    while True:
        try:
            return ask()
        except NotReady:
            if pace.now_s() >= end:
                raise
            pace.sleep(pace.poll_s)
