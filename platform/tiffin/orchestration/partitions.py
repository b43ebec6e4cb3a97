"""A view's partitions as Dagster knows them, and which of them what stands on the view reads.

Dagster's mappings decide what the UI shows as upstream of a partition and what a backfill waits for; what is really read
is decided by the library, from the view's TTL and the labels' period.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

import dagster as dg

from tiffin.features.partitions import Daily, Partitions, Snapshot
from tiffin.manifests.records import ViewRecord

__all__ = ["as_of_mapping", "feature_range", "partitions_definition"]

DAY = timedelta(days=1)
MOST_KEYS = 400


@lru_cache(maxsize=1024)  # views of one cut share one object: Dagster then compares and describes it once
def partitions_definition(cut: Partitions) -> dg.TimeWindowPartitionsDefinition | None:
    """Daily or hourly partitions in UTC, the last day included; None for a snapshot."""
    if isinstance(cut, Snapshot):
        return None
    kind = dg.DailyPartitionsDefinition if isinstance(cut, Daily) else dg.HourlyPartitionsDefinition
    after = None if cut.end is None else cut.end + DAY
    return kind(start_date=at_midnight(cut.start), end_date=None if after is None else at_midnight(after), timezone="UTC")


def at_midnight(day: date) -> datetime:
    """Where a UTC day begins, as Dagster takes it: without a zone, in the definition's own."""
    return datetime.combine(day, time())


def feature_range(record: ViewRecord, start: datetime | None, end: datetime | None) -> tuple[datetime | None, datetime | None]:
    """The event times that labels of `[start, end)` can be given: from `start - ttl` on, and known before `end`.

    A row's event time is never after the instant at which it is known. Without a TTL a label may be given the very first row.
    """
    ttl = None if record.ttl_us is None else timedelta(microseconds=record.ttl_us)
    return (None if start is None or ttl is None else start - ttl), end


def as_of_mapping(record: ViewRecord, cut: Partitions | None, start: datetime | None, end: datetime | None) -> dg.PartitionMapping | None:
    """The partitions that an unpartitioned asset over labels of `[start, end)` stands on; None for a snapshot.

    Dagster maps an unpartitioned asset to all upstream partitions, to the last one, or to named ones. The named ones are
    those that can hold a row of `feature_range`: their rows lie in `(start, end]` of each.

    Args:
        cut: of a view that this team declares; None for another team's, whose last partition is not in the catalog.
    """
    if record.partition_kind == "snapshot":
        return None
    first, last = feature_range(record, start, end)
    if cut is None or isinstance(cut, Snapshot) or (first is None and last is None):
        return dg.AllPartitionMapping()
    if cut.end is None and last is None:
        return dg.AllPartitionMapping()
    until = last + cut.length if last is not None else datetime.combine(cut.end or cut.start, time(), tzinfo=UTC) + DAY
    keys = [
        window.partition
        for window in cut.windows(until=until)
        if (first is None or window.end >= first) and (last is None or window.start < last)
    ]
    # each key is a word in the location's payload: where most are wanted anyway, "all" says the same shorter
    return dg.SpecificPartitionsPartitionMapping(keys) if 0 < len(keys) <= MOST_KEYS else dg.AllPartitionMapping()
