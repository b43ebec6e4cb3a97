"""What is remembered of a step between two looks, and what is told of a change. Values only; `states.step` moves them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from tiffin.compute.messages import Preemptor, Reason, Why, duration_words
from tiffin.compute.observation import Observation

__all__ = ["ENDED", "FAILURES", "WAITING", "Limits", "Memory", "State", "Transition", "admission_of", "seconds", "settle", "tell"]


class State(StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    QUEUED = "queued"
    GATED = "gated"
    PAUSED = "paused"
    ADMITTED = "admitted"
    RUNNING = "running"
    EVICTING = "evicting"
    REQUEUED = "requeued"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    DEACTIVATED = "deactivated"
    REFUSED = "refused"
    LOST = "lost"


FAILURES = frozenset({State.FAILED, State.DEACTIVATED, State.REFUSED, State.LOST})
ENDED = FAILURES | {State.SUCCEEDED}
WAITING = frozenset({State.PENDING, State.QUEUED, State.GATED, State.PAUSED, State.REQUEUED})


@dataclass(frozen=True, slots=True)
class Limits:
    """How patient to be."""

    start: timedelta = timedelta(minutes=15)
    """From *Admitted* until a pod runs."""
    queue: timedelta | None = None
    """Longest wait for quota at a stretch; None waits for ever."""
    refuse: timedelta = timedelta(minutes=5)
    """How long Kueue must call a step hopeless; a queue may be just being changed."""
    lost: timedelta = timedelta(seconds=60)
    """How long a finished Job's step may go without its own last event, and a new Job unseen."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered between looks. Begin with `Memory.begin(uid, now)` when the Job was handed in."""

    state: State
    why: Why
    since: datetime
    """When this state was entered, by our clock."""
    uid: str = ""
    seen: bool = False
    waiting_since: datetime | None = None
    admitted_since: datetime | None = None
    """When we saw the current admission first."""
    admission: datetime | None = None
    """Kueue's time of that admission: tells one from the next."""
    hopeless: Reason | None = None
    """What Kueue said last, if that was that it can never be admitted."""
    hopeless_since: datetime | None = None
    doubt_since: datetime | None = None
    workload: str = ""
    evictions: int = 0
    evictions_before: int = 0
    """Evictions of earlier slices of an elastic Job."""
    waited_s: float = 0.0
    """Without quota, summed over all waits that are over."""
    held_s: float = 0.0
    """Admitted, summed over all admissions that are over."""
    flavors: tuple[str, ...] = ()
    told_at: datetime | None = None

    @classmethod
    def begin(cls, uid: str, now: datetime) -> Memory:
        """A Job of that uid was just handed in."""
        return cls(State.PENDING, Why.NEW, since=now, uid=uid, waiting_since=now)

    @property
    def over(self) -> bool:
        return self.state in ENDED

    def waited(self, now: datetime) -> float:
        """Seconds without quota so far."""
        return self.waited_s + (seconds(now, self.waiting_since) if self.waiting_since else 0.0)

    def held(self, now: datetime) -> float:
        """Seconds with quota so far."""
        return self.held_s + (seconds(now, self.admitted_since) if self.admitted_since else 0.0)

    def summary(self, now: datetime) -> dict[str, object]:
        """For metadata at the end."""
        evictions = self.evictions_before + self.evictions
        return {"kueue/wait_s": round(self.waited(now), 1), "kueue/evictions": evictions, "kueue/flavor": ", ".join(self.flavors)}


@dataclass(frozen=True, slots=True)
class Transition:
    """One change, for the event log."""

    at: datetime
    state: State
    before: State
    reason: Reason
    words: str
    queue: str = ""
    cluster_queue: str = ""
    position: int | None = None
    wait_s: float = 0.0
    preemptor: Preemptor | None = None
    flavors: tuple[str, ...] = ()
    evictions: int = 0

    @property
    def failed(self) -> bool:
        """The step ends here and did not succeed."""
        return self.state in FAILURES


def settle(memory: Memory, state: State, now: datetime, admission: datetime | None = None) -> Memory:
    """Stop the clock of what ends and start that of what begins."""
    holds = state in (State.ADMITTED, State.RUNNING)
    another = holds and memory.admitted_since is not None and admission != memory.admission
    if memory.admitted_since is not None and (not holds or another):
        held = memory.held_s + seconds(now, memory.admitted_since)
        memory = replace(memory, held_s=held, admitted_since=None, admission=None)
    if holds and memory.admitted_since is None:
        memory = replace(memory, admitted_since=now, admission=admission)
    if memory.waiting_since is not None and (holds or state in ENDED):
        memory = replace(memory, waited_s=memory.waited_s + seconds(now, memory.waiting_since), waiting_since=None)
    if memory.waiting_since is None and not holds and state not in ENDED:
        memory = replace(memory, waiting_since=now)
    return memory


def admission_of(seen: Observation) -> datetime | None:
    return None if seen.workload is None else seen.workload.since("Admitted")


VERBS = {
    State.PENDING: "handed in",
    State.QUEUED: "queued",
    State.GATED: "held",
    State.PAUSED: "paused",
    State.ADMITTED: "admitted",
    State.RUNNING: "running",
    State.EVICTING: "gives its quota back",
    State.REQUEUED: "queued again",
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.DEACTIVATED: "taken out by Kueue",
    State.REFUSED: "cannot be admitted",
    State.LOST: "lost",
}


def tell(memory: Memory, state: State, reason: Reason, seen: Observation, now: datetime) -> Transition:
    """The transition, and its sentence."""
    queue = seen.queue
    cluster_queue = seen.workload.admission.cluster_queue if seen.workload and seen.workload.admission else ""
    evictions = memory.evictions + memory.evictions_before
    parts = [VERBS[state]]
    if state in WAITING and queue:
        parts[0] += f" in queue {queue}"
        parts += [f"position {seen.position + 1}"] if seen.position is not None else []
        kept = seen.workload is not None and seen.workload.queued_at == seen.workload.created
        parts += ["keeps its place"] if state is State.REQUEUED and kept else []
    if state is State.ADMITTED:
        parts[0] += f" by {cluster_queue}" if cluster_queue else ""
        parts[0] += f" (flavor {', '.join(seen.flavors)})" if seen.flavors else ""
        parts += [f"waited {duration_words(memory.waited_s)}"]
    words = ", ".join(parts) + (f": {reason.words}" if reason.words and state not in (State.RUNNING, State.SUCCEEDED) else "")
    return Transition(
        at=now,
        state=state,
        before=memory.state,
        reason=reason,
        words=words,
        queue=queue,
        cluster_queue=cluster_queue,
        position=seen.position if state in WAITING else None,
        wait_s=memory.waited(now),
        preemptor=seen.preemptor if state in (State.EVICTING, State.REQUEUED) else None,
        flavors=seen.flavors or memory.flavors,
        evictions=evictions,
    )


def seconds(now: datetime, then: datetime) -> float:
    """Never negative: clocks are set back."""
    return max(0.0, (now - then).total_seconds())
