"""The life of one step under Kueue, as a pure function: what was known, what is seen now -> what happened, in words.

    memory, happened = step(memory, observe(watched.see(namespace, name)), now, limits)

Rules, each with a test: a queued, evicted or paused step is no failure, however long (unless `max_queue` was asked
for); only the Job's own failure, or Kueue taking it out for good, is one; the start timeout counts time *Admitted*;
nothing is concluded from what a broken watch does not show; an end stays an end.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from tiffin.compute.life import ENDED, FAILURES, WAITING, Limits, Memory, State, Transition, admission_of, seconds, settle, tell
from tiffin.compute.messages import NO_NEWS, Reason, Why, duration_words
from tiffin.compute.observation import Observation

__all__ = ["ENDED", "FAILURES", "WAITING", "Limits", "Memory", "State", "Transition", "step"]

USUAL = Limits()
REASONS_APART = timedelta(seconds=30)


def step(memory: Memory, seen: Observation, now: datetime, limits: Limits = USUAL) -> tuple[Memory, list[Transition]]:
    """One look. Looking twice at the same changes nothing and tells nothing."""
    if memory.state in FAILURES:
        return memory, []
    if memory.state is State.SUCCEEDED:
        return after_success(memory, seen, now, limits)
    if not seen.exists or (memory.uid and seen.uid != memory.uid):
        return missing(memory, seen, now, limits)
    memory, told = count_evictions(memory, seen, now)
    memory = replace(memory, seen=True, uid=seen.uid)
    state, reason = classify(seen, memory)
    if state is None:  # the Workload is over and its Job is not: one of the two is late
        doubt = memory.doubt_since or now
        memory = replace(memory, doubt_since=doubt)
        if seen.fresh and seconds(now, doubt) >= limits.lost.total_seconds():
            return end(memory, State.LOST, reason, seen, now, told)
        return memory, told
    memory = replace(memory, doubt_since=None)
    if state in ENDED:
        return end(memory, state, reason, seen, now, told)
    memory, told = enter(memory, state, reason, seen, now, told)
    late = out_of_time(memory, seen, reason, now, limits)
    return end(memory, *late, seen, now, told) if late else (memory, told)


def classify(seen: Observation, memory: Memory) -> tuple[State | None, Reason]:
    """The state that one look shows."""
    if seen.failure is not None:
        return State.FAILED, seen.failure
    if seen.complete:
        return State.SUCCEEDED, Reason(Why.OTHER, "its Job has succeeded")
    workload = seen.workload
    if workload is None:
        if seen.suspended:
            return State.PENDING, seen.waiting_reason
        return held(seen, memory, "" if seen.queue else "it is not under Kueue: its Job names no queue")
    if workload.finished:
        condition = workload.conditions["Finished"]
        return None, Reason(Why.OTHER, f"Kueue calls its Workload finished ({condition.reason}) and its Job has no end", condition.message)
    if workload.evicted:
        return classify_evicted(seen, paused=not workload.active)
    if not workload.active and not workload.is_true("DeactivationTarget"):
        return State.PAUSED, Reason(Why.PAUSED, "is paused: somebody deactivated its Workload")
    if workload.admitted:
        return held(seen, memory, "")
    if workload.reserved:
        waiting = ", ".join(sorted(name for name, state in workload.checks.items() if state != "Ready"))
        return State.GATED, Reason(Why.CHECKS, f"has quota and waits for its admission checks {waiting}".rstrip())
    reason = seen.waiting_reason
    if reason.why is Why.GATED:
        return State.GATED, reason
    return (State.REQUEUED if memory.evictions + memory.evictions_before else State.QUEUED), reason


def held(seen: Observation, memory: Memory, words: str) -> tuple[State, Reason]:
    """With quota. What ran once runs until it loses its quota, also between its pod's end and its Job's."""
    ran = memory.state is State.RUNNING and memory.admission == admission_of(seen)
    if ran or seen.started:
        return State.RUNNING, Reason(Why.NEW, words)
    return State.ADMITTED, Reason(Why.NOT_READY, seen.trouble) if seen.trouble else Reason(Why.NEW, words)


def classify_evicted(seen: Observation, *, paused: bool) -> tuple[State, Reason]:
    """Evicted stays true through the whole second wait, so the pods tell whether it still gives its quota back."""
    reason = seen.eviction_reason
    if reason.why in (Why.RETRIES, Why.TOO_LONG, Why.DEACTIVATED):
        return State.DEACTIVATED, reason
    if paused:
        return State.PAUSED, reason
    if seen.pods_left or (seen.workload is not None and seen.workload.reserved):
        return State.EVICTING, reason
    return State.REQUEUED, seen.waiting_reason


def count_evictions(memory: Memory, seen: Observation, now: datetime) -> tuple[Memory, list[Transition]]:
    """Tell of evictions that came and went between two looks; a new slice of an elastic Job begins at none."""
    workload = seen.workload
    if workload is None:
        return memory, []
    counted = sum(workload.evictions.values())
    known = memory.seen and memory.workload in ("", workload.uid)
    if workload.uid != memory.workload:
        memory = replace(memory, workload=workload.uid, evictions_before=memory.evictions_before + memory.evictions, evictions=0)
    missed = counted > memory.evictions and not workload.evicted and known
    memory = replace(memory, evictions=max(counted, memory.evictions))
    if not missed or seen.complete or seen.failure is not None:
        return memory, []
    memory = settle(memory, State.EVICTING, now)
    reason = seen.eviction_reason
    return replace(memory, state=State.EVICTING, why=reason.why, since=now), [tell(memory, State.EVICTING, reason, seen, now)]


def enter(
    memory: Memory, state: State, reason: Reason, seen: Observation, now: datetime, told: list[Transition]
) -> tuple[Memory, list[Transition]]:
    """Into a state, or on in it. A transition is told for a new state, and for a new reason of waiting."""
    memory = replace(settle(memory, state, now, admission_of(seen)), flavors=seen.flavors or memory.flavors)
    if reason.hopeless and state in WAITING:
        memory = replace(memory, hopeless=reason, hopeless_since=memory.hopeless_since or now)
    elif reason.why not in NO_NEWS or state not in WAITING:
        memory = replace(memory, hopeless=None, hopeless_since=None)
    if state is memory.state and not worth_telling(memory, state, reason, now):
        return memory, told
    told = [*told, tell(memory, state, reason, seen, now)]
    since = now if state is not memory.state else memory.since
    return replace(memory, state=state, why=reason.why, since=since, told_at=now), told


def worth_telling(memory: Memory, state: State, reason: Reason, now: datetime) -> bool:
    """A new reason in the same state: only where it explains something, and not at every turn of a busy queue."""
    if reason.why is memory.why or reason.why in (Why.NEW, Why.EVALUATED) or state not in WAITING | {State.ADMITTED}:
        return False
    if reason.why in NO_NEWS and memory.why not in NO_NEWS:
        return False
    return memory.why in NO_NEWS or memory.told_at is None or now - memory.told_at >= REASONS_APART


def out_of_time(memory: Memory, seen: Observation, reason: Reason, now: datetime, limits: Limits) -> tuple[State, Reason] | None:
    """The end of somebody's patience; never by what a broken watch shows."""
    if not seen.fresh:
        return None
    if memory.state is State.ADMITTED and memory.admitted_since is not None:
        waited = seconds(now, memory.admitted_since)
        if waited >= limits.start.total_seconds():
            trouble = f": {seen.trouble}" if seen.trouble else ""
            return State.FAILED, Reason(Why.NOT_READY, f"its pods did not start within {duration_words(waited)} of its admission{trouble}")
    hopeless_s = 0.0 if memory.hopeless_since is None else seconds(now, memory.hopeless_since)
    if memory.hopeless is not None and hopeless_s >= limits.refuse.total_seconds():
        return State.REFUSED, memory.hopeless
    if limits.queue is not None and memory.state in WAITING and memory.state is not State.PAUSED and memory.waiting_since is not None:
        waited = seconds(now, memory.waiting_since)
        if waited >= limits.queue.total_seconds():
            words = f"it waited {duration_words(waited)}, longer than its max_queue of {duration_words(limits.queue.total_seconds())}"
            return State.FAILED, Reason(memory.why, f"{words}; it {reason.words}")
    return None


def missing(memory: Memory, seen: Observation, now: datetime, limits: Limits) -> tuple[Memory, list[Transition]]:
    """The Job is not there, or another has its name."""
    if seen.exists:
        return end(memory, State.LOST, Reason(Why.OTHER, "another Job has its name: its own was deleted"), seen, now, [])
    if not seen.fresh:
        return memory, []
    if memory.seen:
        return end(memory, State.LOST, Reason(Why.OTHER, "its Job was deleted by somebody else"), seen, now, [])
    doubt = memory.doubt_since or now
    memory = replace(memory, doubt_since=doubt)
    if seconds(now, doubt) >= limits.lost.total_seconds():
        return end(memory, State.LOST, Reason(Why.OTHER, "its Job never appeared"), seen, now, [])
    return memory, []


def after_success(memory: Memory, seen: Observation, now: datetime, limits: Limits) -> tuple[Memory, list[Transition]]:
    """Whoever still asks has not got the step's own last event: it died between its work and its word."""
    if seen.fresh and seconds(now, memory.since) >= limits.lost.total_seconds():
        words = f"its Job succeeded {duration_words(seconds(now, memory.since))} ago and the step never said that it ended"
        return end(memory, State.LOST, Reason(Why.OTHER, words), seen, now, [])
    return memory, []


def end(
    memory: Memory, state: State, reason: Reason, seen: Observation, now: datetime, told: list[Transition]
) -> tuple[Memory, list[Transition]]:
    memory = settle(memory, state, now)
    told = [*told, tell(memory, state, reason, seen, now)]
    return replace(memory, state=state, why=reason.why, since=now, flavors=seen.flavors or memory.flavors), told
