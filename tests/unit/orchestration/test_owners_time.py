"""A view may declare an earlier time for a source than its owner: the leakage check goes by the owner's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from tiffin.features import Entity, Feature, Int32, Source, Window, daily, feature_view
from tiffin.orchestration.definitions import owners_times
from tiffin.orchestration.view_assets import find_leak

DAY = datetime(2013, 2, 8, tzinfo=UTC)
CARRIER = Entity("carrier", key="carrier: string")


def landed_flights() -> pa.Table:
    hours = [1, 10, 23]
    instant = pa.timestamp("us", tz="UTC")
    return pa.table(
        {
            "carrier": ["UA", "UA", "UA"],
            "sched_dep_at": pa.array([DAY + timedelta(hours=hour) for hour in hours], instant),
            "landed_at": pa.array([DAY + timedelta(hours=hour + 5) for hour in hours], instant),
            "arr_delay": pa.array([1, 2, 40], pa.int32()),
        }
    )


LANDED = Source("raw/flights", time="landed_at", load=landed_flights)
SCHEDULED = Source("raw/flights", time="sched_dep_at")


def make_view(source: Source):
    @feature_view(entity=CARRIER, source=source, partitions=daily("2013-02-08"), features=[Feature("worst", Int32())])
    def worst_delay(rows: pa.Table, window: Window) -> pa.Table:
        return rows.group_by("carrier").aggregate([("arr_delay", "max")]).rename_columns(["carrier", "worst"])

    return worst_delay


def leak_of(source: Source):
    window = Window(start=DAY, end=DAY + timedelta(days=1))
    return find_leak(make_view(source), [window], landed_flights(), owners_time=owners_times([LANDED]).get(source.name))


def test_a_feature_of_arrivals_after_its_windows_end_is_caught() -> None:
    finding = leak_of(SCHEDULED)

    assert finding is not None
    assert "worst" in str(finding)


def test_the_same_feature_by_the_owners_time_is_honest() -> None:
    assert leak_of(LANDED) is None


def test_another_teams_source_has_no_owner_here() -> None:
    assert owners_times([SCHEDULED]) == {}
