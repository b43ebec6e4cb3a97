"""What Kueue says, read into a reason that programs decide by and a sentence for people.

Kueue's reason alone misleads: an accelerator that no queue offers is `NoMatchingFlavor` beside a node selector that
fits nowhere. So its message is read too; the shapes are those of Kueue 0.19. What is not understood is passed on as
it stands and counts as waiting: only what is known to be hopeless may end a step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["NO_NEWS", "Preemptor", "Reason", "Why", "duration_words", "read_eviction", "read_preemptor", "read_waiting"]


class Why(StrEnum):
    """Why a step does not run. The words are stored in events: never rename one."""

    NEW = "new"
    QUOTA = "quota"
    PREEMPTING = "preempting"
    EVALUATED = "to-be-evaluated"
    EQUAL = "like-an-equal-step"
    TOO_BIG = "too-big"
    NO_FLAVOR = "no-flavor"
    UNCOVERED = "uncovered"
    MISCONFIGURED = "misconfigured"
    STOPPED = "queue-stopped"
    GATED = "approval"
    CHECKS = "admission-checks"
    TOPOLOGY = "topology"
    PODS_READY = "others-not-ready"
    PREEMPTED = "preempted"
    NOT_READY = "pods-not-ready"
    NODE_FAILURE = "node-failure"
    PAUSED = "paused"
    RETRIES = "too-many-retries"
    TOO_LONG = "ran-too-long"
    DEACTIVATED = "deactivated"
    MOVED = "moved"
    OTHER = "other"


NO_NEWS = frozenset({Why.NEW, Why.EVALUATED, Why.EQUAL})
"""Kueue has not judged this step itself since: what it said before still holds."""
HOPELESS = frozenset({Why.TOO_BIG, Why.NO_FLAVOR, Why.UNCOVERED, Why.MISCONFIGURED})


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason, its sentence, and Kueue's own words."""

    why: Why
    words: str
    said: str = ""

    @property
    def hopeless(self) -> bool:
        """Waiting does not help unless somebody changes the queues."""
        return self.why in HOPELESS


@dataclass(frozen=True, slots=True)
class Preemptor:
    """Who took the quota. The Job's uid leads to its run through the Job's labels."""

    workload_uid: str
    job_uid: str
    due_to: str
    queue: str


MORE = re.compile(r"insufficient unused quota for (\S+) in flavor (\S+?), (\S+?) more needed")
CAPACITY = re.compile(
    r"insufficient quota for (\S+) in flavor (\S+?), previously considered podsets requests \((\S+)\)"
    r" \+ current podset request \((\S+)\) > maximum capacity \((\S+)\)"
)
UNCOVERED = re.compile(r"resource (\S+) unavailable in ClusterQueue")
AFFINITY = re.compile(r"flavor (\S+) doesn't match node affinity")
TAINT = re.compile(r"untolerated taint (.+?) in flavor ([^\s,;.]+)")
PENDING_PREEMPTION = re.compile(r"[Pp]ending the preemption of (\d+) workload")
QUEUE = re.compile(r"(LocalQueue|ClusterQueue) (\S+) (doesn't exist|is inactive|is stopped)")
GATE = re.compile(r"[Aa]dmission is gated by:? *(.*)")
BYPASSED = "an equivalent workload recently failed"
NO_LONGER = "no longer fits after processing another workload"
PREEMPTOR = re.compile(
    r"Preempted to accommodate a workload \(UID: ([^,\s]+), JobUID: ([^)\s]+)\) due to ([^;]*)(?:; preemptor path: ([^;\s]*))?"
)


def read_waiting(reason: str, message: str) -> Reason:
    """Why a Workload has no quota, from its condition QuotaReserved=False.

    Example:
        >>> read_waiting("Pending", "insufficient unused quota for cpu in flavor big, 2 more needed").words
        'waits for 2 more of cpu in flavor big'
        >>> read_waiting("NoMatchingFlavor", "resource nvidia.com/gpu unavailable in ClusterQueue").hopeless
        True
    """
    for read in (read_queue, read_gate, read_equal, read_quota):
        found = read(reason, message)
        if found is not None:
            return found
    if reason in EVICTED:  # it stands there until Kueue has looked again
        return Reason(Why.EVALUATED, "waits for Kueue to look at it again", message)
    why, words = BY_REASON.get(reason, (Why.OTHER, ""))
    return Reason(why, words or message or reason or "waits for Kueue to look at it", message)


def read_queue(reason: str, message: str) -> Reason | None:
    """A queue that is missing or stopped."""
    match = QUEUE.search(message)
    if match is None:
        return None
    kind, name, state = match.groups()
    return Reason(Why.MISCONFIGURED if state == "doesn't exist" else Why.STOPPED, f"{kind} {name} {state}", message)


def read_gate(reason: str, message: str) -> Reason | None:
    """Somebody's approval is missing."""
    match = GATE.search(message)
    if match is None and reason != "AdmissionGated":
        return None
    gates = match[1].strip(" .") if match else ""
    return Reason(Why.GATED, f"waits for the approval {gates}".rstrip(), message)


def read_equal(reason: str, message: str) -> Reason | None:
    """Of many equal steps Kueue judges one; the others get its reason and not its details, this one perhaps among them."""
    if BYPASSED not in message:
        return None
    if reason == "WaitingForQuota":
        return Reason(Why.QUOTA, "waits for quota, as an equal step before it", message)
    said = {"ExceedsMaxQuota": ": it asks for more than the queue can hold", "NoMatchingFlavor": ": no flavor accepts it"}.get(reason, "")
    return Reason(Why.EQUAL, f"waits as an equal step that could not be admitted before it{said}", message)


def read_quota(reason: str, message: str) -> Reason | None:
    """What the flavors lack. One flavor where waiting helps is enough to wait."""
    beyond = CAPACITY.findall(message)
    never = {flavor for _, flavor, *_ in beyond}
    more = [one for one in MORE.findall(message) if one[1] not in never]
    preempting = PENDING_PREEMPTION.search(message)
    if preempting is not None:
        return Reason(Why.PREEMPTING, f"waits until {preempting[1]} preempted step(s) have given their quota back", message)
    if more:
        return Reason(Why.QUOTA, "waits for " + joined(f"{lack} more of {what} in flavor {flavor}" for what, flavor, lack in more), message)
    if NO_LONGER in message:
        return Reason(Why.QUOTA, "another step was admitted first and took the room", message)
    uncovered = UNCOVERED.findall(message)
    if uncovered:
        return Reason(Why.UNCOVERED, f"no flavor of this queue offers {joined(uncovered)}", message)
    if beyond:
        lacks = joined(f"{asked} of {what} where flavor {flavor} has at most {most}" for what, flavor, _, asked, most in beyond)
        return Reason(Why.TOO_BIG, f"asks for {lacks}", message)
    mismatched = [f"flavor {name} is for other nodes than the step's" for name in AFFINITY.findall(message)]
    tainted = [f"flavor {name} needs a toleration of {taint}" for taint, name in TAINT.findall(message)]
    if mismatched or tainted:
        return Reason(Why.NO_FLAVOR, joined(mismatched + tainted), message)
    return None


def joined(parts: Iterable[str]) -> str:
    """Each once, in order."""
    return "; ".join(dict.fromkeys(parts))


BY_REASON = {
    "WaitingForQuota": (Why.QUOTA, ""),
    "ExceedsMaxQuota": (Why.TOO_BIG, ""),
    "NoMatchingFlavor": (Why.NO_FLAVOR, ""),
    "TopologyPlacementFailed": (Why.TOPOLOGY, ""),
    "WaitingForPreemptedWorkloads": (Why.PREEMPTING, "waits until preempted steps have given their quota back"),
    "Misconfigured": (Why.MISCONFIGURED, ""),
    "Suspended": (Why.STOPPED, ""),
    "PendingEvaluation": (Why.EVALUATED, "waits for Kueue to look at it"),
    "WaitingForPodsReady": (Why.PODS_READY, "waits until the pods of steps admitted before it are ready"),
    "Deactivated": (Why.PAUSED, "is paused"),
}


def read_eviction(reason: str, message: str) -> Reason:
    """Why a Workload lost its quota, from its condition Evicted; without a reason, from the message that is left of it."""
    if reason.startswith("Deactivated"):
        cause = reason.removeprefix("Deactivated").removeprefix("DueTo")
        why, words = DEACTIVATED.get(cause, (Why.DEACTIVATED, f"Kueue took it out for good: {message}"))
        return Reason(why, words, message)
    preemptor = read_preemptor(message)
    if preemptor is not None:
        return Reason(Why.PREEMPTED, f"preempted: {preemptor.due_to}", message)
    why, words = EVICTED.get(reason, (Why.NOT_READY if "PodsReady timeout" in message else Why.OTHER, ""))
    return Reason(why, words or message.removeprefix("Previously: ") or reason or "lost its quota", message)


DEACTIVATED = {
    "": (Why.PAUSED, "is paused: somebody deactivated its Workload"),
    "RequeuingLimitExceeded": (Why.RETRIES, "its pods never became ready, as often as Kueue tried"),
    "MaximumExecutionTimeExceeded": (Why.TOO_LONG, "it held quota for longer than its max_run"),
}
EVICTED = {
    "Preempted": (Why.PREEMPTED, "preempted"),
    "PodsReadyTimeout": (Why.NOT_READY, "its pods did not become ready in time"),
    "AdmissionCheck": (Why.CHECKS, "an admission check asked for another try"),
    "ClusterQueueStopped": (Why.STOPPED, "its ClusterQueue was stopped and drained"),
    "LocalQueueStopped": (Why.STOPPED, "its LocalQueue was stopped and drained"),
    "NodeFailures": (Why.NODE_FAILURE, "its nodes failed"),
    "FlavorMigration": (Why.MOVED, "it moves to a better flavor"),
    "EvictedOnManagerCluster": (Why.MOVED, "it moves to another cluster"),
    "WorkloadSliceReplaced": (Why.MOVED, "it changes its size"),
}


def read_preemptor(message: str) -> Preemptor | None:
    """Who took the quota, from the condition Preempted, true or a thing of the past.

    Example:
        >>> said = "Previously: Preempted to accommodate a workload (UID: w1, JobUID: j1) due to reclamation within the cohort; x"
        >>> read_preemptor(said).job_uid
        'j1'
    """
    match = PREEMPTOR.search(message)
    if match is None:
        return None
    known = ["" if part in (None, "UNKNOWN") else part.strip() for part in match.groups()]
    return Preemptor(known[0], known[1], known[2], known[3].rpartition("/")[2])


def duration_words(seconds: float) -> str:
    """A wait as people say it.

    Example:
        >>> duration_words(7.4), duration_words(150), duration_words(7260), duration_words(200_000)
        ('7 s', '2 min 30 s', '2 h 1 min', '2 d 7 h')
    """
    whole = max(0, int(seconds))
    for size, unit, rest, less in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            more = whole % size // rest
            return f"{whole // size} {unit}" + (f" {more} {less}" if more else "")
    return f"{whole} s"
