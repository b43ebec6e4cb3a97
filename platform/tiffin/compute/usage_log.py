"""Where usage records are kept: immutable batches by day in the object store, and the collector's memory beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from tiffin.compute.usage import Who, day_of
from tiffin.compute.usage_collect import Memory, collect
from tiffin.core.errors import NotFound
from tiffin.manifests.usage import QuotaRecord, UsageBatch, UsageRecord
from tiffin.storage.layout import USAGE_MEMORY, usage_prefix
from tiffin.storage.objects import ObjectStore

__all__ = ["days_between", "read_usage", "store_batch", "tick"]


def store_batch(store: ObjectStore, batch: UsageBatch) -> str:
    """Keep a batch under its digest; keeping it twice is keeping it once."""
    key = f"{usage_prefix(batch.day)}{batch.address}.json"
    store.put(key, batch.to_bytes())
    return key


def tick(
    store: ObjectStore,
    objects: Iterable[Mapping[str, Any]],
    *,
    now_us: int,
    resolve: Callable[[Who], Who] = lambda who: who,
    extra: Sequence[UsageRecord] = (),
) -> list[UsageBatch]:
    """Collect once. Records are stored before the memory moves: a tick that dies is told again, and counted once.

    Args:
        extra: records of what no Workload tells, stored with the others.

    Raises:
        Conflict: another collector ticked meanwhile; its records stand, the next tick goes on from them.
    """
    try:
        kept = store.get(USAGE_MEMORY)
    except NotFound:
        kept = None
    memory = Memory() if kept is None else Memory.from_bytes(kept.data, name=USAGE_MEMORY)
    after, batches = collect(memory, objects, now_us=now_us, resolve=resolve)
    for day in sorted({day_of(one.start_us) for one in extra}):
        batches.append(UsageBatch(day=day, usages=tuple(one for one in extra if day_of(one.start_us) == day)))
    for batch in batches:
        store_batch(store, batch)
    if after != memory:
        if kept is None:
            store.put(USAGE_MEMORY, after.to_bytes(), if_absent=True)
        else:
            store.put(USAGE_MEMORY, after.to_bytes(), if_match=kept.etag)
    return batches


def read_usage(store: ObjectStore, days: Sequence[str]) -> tuple[list[UsageRecord], list[QuotaRecord]]:
    """Everything that was recorded of these days."""
    usages: list[UsageRecord] = []
    quotas: list[QuotaRecord] = []
    for day in days:
        for key in store.list(usage_prefix(day)):
            batch = UsageBatch.from_bytes(store.get(key).data, name=key)
            usages += batch.usages
            quotas += batch.quotas
    return usages, quotas


def days_between(first: date, last: date) -> list[str]:
    """The days from the first to the last, both included.

    Example:
        >>> days_between(date(2013, 12, 31), date(2014, 1, 1))
        ['2013-12-31', '2014-01-01']
    """
    return [(first + timedelta(days=place)).isoformat() for place in range((last - first).days + 1)]
