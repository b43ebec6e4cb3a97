"""From Workloads to usage records: one look after another at the same Workload becomes stretches of held quota.

Kueue forgets what a Workload was given as soon as it takes it away. What it keeps are the seconds of all earlier
admissions together, and the instant of each condition's last change; so a look that came late still finds every second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tiffin.compute.prices import UNSEEN
from tiffin.compute.quantities import milli
from tiffin.core.spec import Record
from tiffin.core.units import from_us, parse_instant, to_us
from tiffin.manifests.usage import AmountRecord, UsageRecord

__all__ = ["Look", "Tracked", "Who", "advance", "amounts_of", "day_of", "gone", "look"]

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
JOB_UID = "kueue.x-k8s.io/job-uid"


class Who(Record):
    """To whom a Workload's usage belongs, as labels and annotations say."""

    team: str
    run_id: str | None = None
    step: str | None = None
    assets: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a Workload tells. Instants in µs; Kueue writes whole seconds.

    Args:
        admitted_us: since when it holds its quota; None while it does not.
        released_us: when it last gave its quota back; None when it never did.
        past_s: seconds of all earlier admissions.
        given: what it holds; while it holds nothing, what it asks, of the flavor `UNSEEN`.
    """

    uid: str
    namespace: str
    name: str
    job_uid: str
    cluster_queue: str | None
    created_us: int
    admitted_us: int | None
    released_us: int | None
    finished_us: int | None
    past_s: int
    given: tuple[AmountRecord, ...]
    reason: str


class Tracked(Record):
    """What has been told of a Workload so far; a collector keeps it between its looks.

    Attributes:
        number: of the next stretch.
        past_s: Kueue's sum of ended admissions, all of it in records.
        since_us: start of the stretch that is open.
        admitted_us: the admission that it belongs to; earlier than `since_us` after a midnight.
    """

    uid: str
    namespace: str
    name: str
    who: Who
    number: int = 0
    past_s: int = 0
    since_us: int | None = None
    admitted_us: int | None = None
    cluster_queue: str | None = None
    given: tuple[AmountRecord, ...] = ()
    over: bool = False

    def but(self, **changes: Any) -> Tracked:
        """A changed copy."""
        return self.model_copy(update=changes)


def look(workload: Mapping[str, Any]) -> Look:
    """Read a Workload as the API writes it (`kueue.x-k8s.io/v1beta2`)."""
    metadata, status = workload["metadata"], workload.get("status", {})
    conditions = {one["type"]: one for one in status.get("conditions", [])}
    admission = status.get("admission")
    admitted, finished = conditions.get("Admitted"), conditions.get("Finished")
    holds = admission is not None and is_true(admitted)
    return Look(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        job_uid=metadata.get("labels", {}).get(JOB_UID, ""),
        cluster_queue=admission.get("clusterQueue") if admission else None,
        created_us=instant_us(metadata["creationTimestamp"]),
        admitted_us=changed_us(admitted) if holds else None,
        released_us=changed_us(admitted) if admitted is not None and not is_true(admitted) else None,
        finished_us=changed_us(finished) if is_true(finished) else None,
        past_s=int(status.get("accumulatedPastExecutionTimeSeconds") or 0),
        given=amounts_of(admission) if admission and holds else asked(workload.get("spec", {})),
        reason=evicted_for(conditions),
    )


def evicted_for(conditions: Mapping[str, Mapping[str, Any]]) -> str:
    """Why it lost its quota last; once it has quota again, only `Requeued` still says so."""
    for name in ("Evicted", "Requeued"):
        if is_true(conditions.get(name)):
            return str(conditions[name].get("reason", ""))
    return ""


def is_true(condition: Mapping[str, Any] | None) -> bool:
    """Conditions stay when they end: only the status says whether one holds."""
    return condition is not None and condition.get("status") == "True"


def changed_us(condition: Mapping[str, Any] | None) -> int:
    """When a condition last changed."""
    return instant_us((condition or {})["lastTransitionTime"])


def instant_us(text: str) -> int:
    """An instant of the API in µs."""
    return to_us(parse_instant(text))


def amounts_of(admission: Mapping[str, Any]) -> tuple[AmountRecord, ...]:
    """What an admission gives, all pod sets together, by flavor and resource."""
    found: dict[tuple[str, str], int] = {}
    for one in admission.get("podSetAssignments", []):
        for resource, quantity in one.get("resourceUsage", {}).items():
            key = one.get("flavors", {}).get(resource, UNSEEN), resource
            found[key] = found.get(key, 0) + milli(quantity)
    return amounts(found)


def asked(spec: Mapping[str, Any]) -> tuple[AmountRecord, ...]:
    """What the pods ask for, where no admission says what they got."""
    found: dict[tuple[str, str], int] = {}
    for pods in spec.get("podSets", []):
        pod = pods.get("template", {}).get("spec", {})
        for container in pod.get("containers", []):
            resources = container.get("resources", {})
            for resource, quantity in {**resources.get("limits", {}), **resources.get("requests", {})}.items():
                key = UNSEEN, resource
                found[key] = found.get(key, 0) + milli(quantity) * int(pods.get("count", 1))
    return amounts(found)


def amounts(found: Mapping[tuple[str, str], int]) -> tuple[AmountRecord, ...]:
    """In one order, without what is nothing."""
    return tuple(AmountRecord(flavor=flavor, resource=resource, milli=size) for (flavor, resource), size in sorted(found.items()) if size)


def advance(before: Tracked | None, seen: Look, who: Who, *, now_us: int) -> tuple[Tracked, list[UsageRecord]]:
    """What a new look adds: the stretches that ended since the one before, the open one cut at the last midnight.

    The seconds in records never exceed what Kueue counts, and reach it when the Workload ends.
    """
    tracked = before or Tracked(uid=seen.uid, namespace=seen.namespace, name=seen.name, who=who)
    if tracked.over:
        return tracked, []
    tracked, made = closed_since(tracked.but(who=who), seen, now_us)
    if seen.admitted_us is not None and tracked.since_us is None:
        start = {"since_us": seen.admitted_us, "admitted_us": seen.admitted_us}
        tracked = tracked.but(**start, cluster_queue=seen.cluster_queue, given=seen.given)
    if seen.finished_us is not None:
        if tracked.since_us is not None:
            tracked, pieces = close(tracked, max(seen.finished_us, tracked.since_us), "finished")
            made += pieces
        # nothing is asked of it any more: what a collector keeps of thousands should be small
        return tracked.but(over=True, given=(), who=Who(team=who.team)), made
    midnight = now_us // DAY_US * DAY_US
    if tracked.since_us is not None and tracked.since_us < midnight:
        admitted_us = tracked.admitted_us
        tracked, pieces = close(tracked, midnight, "midnight")
        tracked = tracked.but(since_us=midnight, admitted_us=admitted_us)
        made += pieces
    return tracked, made


def closed_since(tracked: Tracked, seen: Look, now_us: int) -> tuple[Tracked, list[UsageRecord]]:
    """The admissions that ended since the last look: the one that was open then, and those that nobody saw."""
    made: list[UsageRecord] = []
    past = tracked.past_s if seen.past_s >= tracked.past_s else 0  # Kueue counts from 0 again when the longest run time is over
    if tracked.since_us is not None and tracked.admitted_us is not None and seen.admitted_us != tracked.admitted_us:
        end = ended_at(tracked.admitted_us, seen, seen.past_s - past)
        past += (end - tracked.admitted_us) // SECOND_US
        word = "evicted" if seen.finished_us is None or seen.admitted_us is not None else "finished"
        tracked, made = close(tracked, max(end, tracked.since_us), word, reason=seen.reason)
    missed = seen.past_s - past
    if missed > 0:
        end = seen.admitted_us or seen.released_us or now_us
        # what is held now, or was held before, is the best guess of what was held
        given = seen.given if seen.admitted_us is not None or not tracked.given else tracked.given
        guess = tracked.but(given=given, cluster_queue=seen.cluster_queue or tracked.cluster_queue)
        pieces = records(guess, end - missed * SECOND_US, end, "evicted", reason=seen.reason, guessed=True)
        tracked = tracked.but(number=tracked.number + len(pieces))
        made += pieces
    return tracked.but(past_s=seen.past_s), made


def ended_at(admitted_us: int, seen: Look, grown_s: int) -> int:
    """When an admission that is over ended: after the seconds that Kueue added, and not after the next one began."""
    latest = seen.admitted_us or seen.released_us or admitted_us
    if seen.admitted_us is None and seen.reason == "Deactivated":
        return max(latest, admitted_us)  # Kueue's sum may have begun again at 0 meanwhile
    return max(admitted_us, min(admitted_us + grown_s * SECOND_US, latest))


def gone(tracked: Tracked, *, now_us: int) -> list[UsageRecord]:
    """What a Workload that was deleted while it held quota had: up to now, when it was missed."""
    if tracked.over or tracked.since_us is None:
        return []
    return close(tracked, max(now_us, tracked.since_us), "deleted")[1]


def close(tracked: Tracked, end_us: int, ended: str, *, reason: str = "") -> tuple[Tracked, list[UsageRecord]]:
    """The open stretch as records."""
    assert tracked.since_us is not None
    made = records(tracked, tracked.since_us, end_us, ended, reason=reason)
    return tracked.but(number=tracked.number + len(made), since_us=None, admitted_us=None), made


def records(tracked: Tracked, start_us: int, end_us: int, ended: str, *, reason: str = "", guessed: bool = False) -> list[UsageRecord]:
    """One record per UTC day of a stretch; none for a stretch without length."""
    shared = {
        **tracked.who.model_dump(),
        "kind": "step",
        "source": tracked.uid,
        "name": tracked.name,
        "namespace": tracked.namespace,
        "cluster_queue": tracked.cluster_queue,
        "amounts": tracked.given,
        "guessed": guessed,
    }
    found: list[UsageRecord] = []
    for start, end in days(start_us, end_us):
        last = {"ended": ended, "reason": reason} if end == end_us else {"ended": "midnight"}
        number = tracked.number + len(found)
        found.append(UsageRecord.model_validate({**shared, **last, "number": number, "start_us": start, "end_us": end}))
    return found


def days(start_us: int, end_us: int) -> Iterator[tuple[int, int]]:
    """A stretch cut at each midnight (UTC) within it."""
    while start_us < end_us:
        end = min(end_us, (start_us // DAY_US + 1) * DAY_US)
        yield start_us, end
        start_us = end


def day_of(us: int) -> str:
    """The UTC day of an instant.

    Example:
        >>> day_of(86_400_000_000)
        '1970-01-02'
    """
    return from_us(us).strftime("%Y-%m-%d")
