"""What a pod does when it comes up for a step: the first start, one more attempt, or nothing at all.

A preempted step's Job is resumed with a new pod, which finds the step *started and not ended* in the event log. Dagster's own
entry takes that for a mistake and exits; a step that was really taken away must run again, and uses no retry for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from dagster import DagsterEventType, DagsterRunStatus
from dagster._core.execution.stats import RunStepKeyStatsSnapshot

__all__ = ["ENDS", "OVER", "Asked", "History", "LastWords", "Next", "asked_for", "history_of", "what_next"]

ENDS = frozenset({DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_SKIPPED})
"""After one of these a step is over in its run."""

OVER = frozenset({DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED, DagsterRunStatus.CANCELING})
"""A run of which nothing may be started any more."""


class Next(StrEnum):
    """What a pod does with its step."""

    FIRST = "first"
    AGAIN = "again"
    DONE = "done"
    LEAVE = "leave"
    DOUBT = "doubt"


class Asked(StrEnum):
    """Why a pod is told to end."""

    CANCEL = "cancel"
    PREEMPTED = "preempted"


@dataclass(frozen=True, slots=True)
class History:
    """What the event log says of one step.

    Args:
        ended: tries that have a last word: success, failure, or up for retry.
        started: a try has begun and has no last word.
        retries: tries that Dagster counts as used before this pod's.
        run_over: nothing of the run may start any more.
    """

    ended: int = 0
    started: bool = False
    retries: int = 0
    run_over: bool = False


def history_of(stats: RunStepKeyStatsSnapshot | None, *, retries: int, status: DagsterRunStatus) -> History:
    """Read Dagster's statistics of one step.

    Args:
        stats: None before the step's first event.
    """
    over = status in OVER
    if stats is None:
        return History(retries=retries, run_over=over)
    return History(ended=len(stats.attempts_list), started=stats.partial_attempt_start is not None, retries=retries, run_over=over)


def what_next(history: History, attempt: int | None) -> Next:
    """Decide before any of the step's code runs.

    A step that began and has no last word runs again only if its earlier process is known to be another one: the fence has
    counted it. The same number twice is the same pod, and a second start inside it is a mistake.

    Args:
        attempt: the fence's number of this start, from 1; None where no object store keeps one. Then nothing tells a second
            start from a mistake, and a step that could hang for ever is the worse one.

    Example:
        >>> what_next(History(started=True), 2)
        <Next.AGAIN: 'again'>
        >>> what_next(History(ended=1), 2)
        <Next.DONE: 'done'>
    """
    if history.run_over:
        return Next.LEAVE
    if history.ended > history.retries:
        return Next.DONE
    if history.ended < history.retries:
        return Next.DOUBT
    if not history.started:
        return Next.FIRST
    return Next.DOUBT if attempt == 1 else Next.AGAIN


def asked_for(status: DagsterRunStatus | None) -> Asked:
    """Who sent the signal: a run that goes on was not cancelled, so the cluster took the pod away.

    Args:
        status: of the run; None when nobody can say.
    """
    return Asked.CANCEL if status in OVER else Asked.PREEMPTED


@dataclass(slots=True)
class LastWords:
    """Of two attempts that both come to the end of a step, the first one's word counts.

    The older of two may have been past its last look at the fence. Dagster takes a second end for a fault of its own and
    fails the run, so its executor is not told of it.
    """

    tries: dict[str, int] = field(default_factory=dict)
    spoken: set[tuple[str, int]] = field(default_factory=set)

    def first(self, step: str, kind: DagsterEventType) -> bool:
        """Whether an event is to be believed: all are, but for a second end of one try."""
        again = kind is DagsterEventType.STEP_UP_FOR_RETRY
        if kind not in ENDS and not again:
            return True
        word = (step, self.tries.get(step, 0))
        if word in self.spoken:
            return False
        self.spoken.add(word)
        if again:
            self.tries[step] = word[1] + 1
        return True
