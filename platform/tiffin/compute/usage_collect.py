"""One tick of the collector: everything that Kueue knows now, beside what was told before, becomes new usage records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from tiffin.compute.quantities import milli
from tiffin.compute.usage import Tracked, Who, advance, day_of, gone, look
from tiffin.core.spec import Record
from tiffin.manifests.usage import AmountRecord, QuotaRecord, UsageBatch, UsageRecord

__all__ = ["ASSETS", "MODELS", "PARTITIONS", "RUN_ID", "STEP", "TEAM", "Memory", "collect", "single", "who_of"]

TEAM, STEP = "tiffin.dev/team", "tiffin.dev/step"
ASSETS, PARTITIONS, MODELS = "tiffin.dev/assets", "tiffin.dev/partitions", "tiffin.dev/models"
"""Annotations of the pod template, which Kueue keeps in the Workload: words with commas between."""
RUN_ID, OP = "dagster/run-id", "dagster/op"
NAMESPACE_PREFIX = "team-"

Resolve = Callable[[Who], Who]


class Memory(Record):
    """What the collector has told already. It is kept beside the records, and replaced only by who read it."""

    format: Literal["tiffin.usage_memory.v1"] = "tiffin.usage_memory.v1"
    day: str = ""
    tracked: dict[str, Tracked] = Field(default_factory=dict)
    quotas: dict[str, QuotaRecord] = Field(default_factory=dict)


def collect(
    memory: Memory, objects: Iterable[Mapping[str, Any]], *, now_us: int, resolve: Resolve = lambda who: who
) -> tuple[Memory, list[UsageBatch]]:
    """What is new since the last tick: the memory to keep, and one batch a day to store before it.

    Args:
        objects: all Workloads, ClusterQueues and Cohorts of the cluster, as the API writes them, singly or in lists; others are
            passed over. A Workload that is not among them is taken for deleted.
        resolve: fills in what labels do not say, such as a run's partitions.
    """
    by_kind: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for one in single(objects):
        by_kind[str(one.get("kind"))].append(one)
    quotas = {record.cluster_queue: record for record in quotas_of(by_kind["ClusterQueue"], by_kind["Cohort"], now_us)}
    teams = {record.cluster_queue: record.team for record in quotas.values()}
    made: list[UsageRecord] = []
    tracked: dict[str, Tracked] = {}
    for workload in by_kind["Workload"]:
        seen = look(workload)
        before = memory.tracked.get(seen.uid)
        who = before.who if before is not None else resolve(who_of(workload, teams.get(seen.cluster_queue or "")))
        tracked[seen.uid], new = advance(before, seen, who, now_us=now_us)
        made += new
    for uid, before in memory.tracked.items():
        if uid not in tracked:
            made += gone(before, now_us=now_us)
    today = day_of(now_us)
    kept = {name: record if changed(memory.quotas.get(name), record) else memory.quotas[name] for name, record in quotas.items()}
    news = [record for name, record in kept.items() if today != memory.day or memory.quotas.get(name) is not record]
    days: dict[str, list[UsageRecord]] = defaultdict(list, {today: []} if news else {})
    for record in made:
        days[day_of(record.start_us)].append(record)
    # every day has the quotas that its usage is judged by, also one whose records come late
    batches = [
        UsageBatch(day=day, usages=tuple(records), quotas=tuple(news if day == today else memory.quotas.values() or kept.values()))
        for day, records in sorted(days.items())
    ]
    return Memory(day=today, tracked=tracked, quotas=kept), batches


def single(objects: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Every object by itself; the API leaves the kind out of a list's items."""
    for one in objects:
        kind = str(one.get("kind", ""))
        if kind.endswith("List") and "items" in one:
            for item in one["items"]:
                yield {"kind": kind.removesuffix("List"), **item}
        else:
            yield one


def changed(before: QuotaRecord | None, now: QuotaRecord) -> bool:
    """Whether a quota is another than the one that was told."""
    return before is None or before.model_copy(update={"from_us": now.from_us}) != now


def who_of(workload: Mapping[str, Any], team: str | None) -> Who:
    """To whom labels and annotations say that a Workload belongs.

    Args:
        team: of its ClusterQueue, for a Job without the team's label.
    """
    metadata = workload["metadata"]
    templates = [pods.get("template", {}).get("metadata", {}) for pods in workload.get("spec", {}).get("podSets", [])]
    labels = {**(templates[0].get("labels") or {} if templates else {}), **metadata.get("labels", {})}
    annotations = templates[0].get("annotations") or {} if templates else {}
    return Who(
        team=labels.get(TEAM) or team or str(metadata["namespace"]).removeprefix(NAMESPACE_PREFIX),
        run_id=labels.get(RUN_ID),
        step=annotations.get(STEP) or labels.get(STEP) or labels.get(OP),
        assets=words(annotations.get(ASSETS)),
        partitions=words(annotations.get(PARTITIONS)),
        models=words(annotations.get(MODELS)),
    )


def words(text: str | None) -> tuple[str, ...]:
    """`"a,b"` as two words."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def quotas_of(queues: Iterable[Mapping[str, Any]], cohorts: Iterable[Mapping[str, Any]], now_us: int) -> list[QuotaRecord]:
    """What every ClusterQueue owns and would lend."""
    parents = {one["metadata"]["name"]: one.get("spec", {}).get("parentName") for one in cohorts}
    found: list[QuotaRecord] = []
    for queue in queues:
        name, spec = queue["metadata"]["name"], queue.get("spec", {})
        nominal: list[AmountRecord] = []
        lends: list[AmountRecord] = []
        for group in spec.get("resourceGroups", []):
            for flavor in group["flavors"]:
                for one in flavor["resources"]:
                    place = {"flavor": flavor["name"], "resource": one["name"]}
                    nominal.append(AmountRecord(**place, milli=milli(one.get("nominalQuota", 0))))
                    if one.get("lendingLimit") is not None:
                        lends.append(AmountRecord(**place, milli=milli(one["lendingLimit"])))
        team = queue["metadata"].get("labels", {}).get(TEAM) or name.removeprefix(NAMESPACE_PREFIX)
        cohort = root_of(spec.get("cohortName"), parents)
        found.append(QuotaRecord(cluster_queue=name, team=team, cohort=cohort, from_us=now_us, nominal=tuple(nominal), lends=tuple(lends)))
    return found


def root_of(cohort: str | None, parents: Mapping[str, str | None]) -> str | None:
    """The cohort at the top of the tree; a cohort that nobody declared stands alone."""
    seen: set[str] = set()
    while cohort and cohort not in seen and parents.get(cohort):
        seen.add(cohort)
        cohort = parents[cohort]
    return cohort or None
