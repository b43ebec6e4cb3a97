"""Partitions as Dagster has them are those of the view, and what stands on a view reads what its labels can be given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from tests.flight_views import make_view
from tiffin.features import Online, daily, hourly, snapshot
from tiffin.orchestration.partitions import as_of_mapping, feature_range, partitions_definition

NOW = datetime(2030, 1, 4, 6, tzinfo=UTC)
START, END = datetime(2030, 1, 10, tzinfo=UTC), datetime(2030, 1, 12, tzinfo=UTC)


def record(**options: Any) -> Any:
    return make_view(**options).record(team="ops", owner="team:ops")


@pytest.mark.parametrize("cut", [pytest.param(daily("2030-01-01"), id="daily"), pytest.param(hourly("2030-01-01"), id="hourly")])
def test_dagster_has_the_views_own_keys_and_windows(cut: Any) -> None:
    definition = partitions_definition(cut)
    assert definition is not None

    keys = definition.get_partition_keys(current_time=NOW)

    assert keys == [window.partition for window in cut.windows(until=NOW)]
    shown = definition.time_window_for_partition_key(keys[-1])
    assert (shown.start, shown.end) == (cut.window(keys[-1]).start, cut.window(keys[-1]).end)


def test_a_last_day_is_included_with_all_its_hours() -> None:
    found = partitions_definition(hourly("2013-01-01", "2013-01-02"))
    assert found is not None

    assert (len(found.get_partition_keys()), found.get_last_partition_key()) == (48, "2013-01-02-23:00")


def test_a_snapshot_has_no_partitions() -> None:
    assert partitions_definition(snapshot("2030-01-01")) is None


def test_labels_are_given_features_from_the_start_minus_the_ttl() -> None:
    assert feature_range(record(online=Online(ttl="3d")), START, END) == (START - timedelta(days=3), END)
    assert feature_range(record(), START, END) == (None, END)
    assert feature_range(record(online=Online(ttl="3d")), None, None) == (None, None)


def test_a_table_over_some_days_stands_on_the_partitions_that_can_hold_their_features() -> None:
    """A day's row holds from its end: labels of 10 and 11 January with a TTL of 3 days read the days 6 to 11."""
    mapping = as_of_mapping(record(online=Online(ttl="3d")), daily("2030-01-01", "2030-01-31"), START, END)

    assert isinstance(mapping, dg.SpecificPartitionsPartitionMapping)
    assert list(mapping.partition_keys) == [f"2030-01-{day:02d}" for day in range(6, 12)]


@pytest.mark.parametrize(
    ("cut", "start", "end"),
    [
        pytest.param(None, START, END, id="another team's view"),
        pytest.param(daily("2030-01-01", "2030-01-31"), None, None, id="no period"),
        pytest.param(daily("2030-01-01"), START, None, id="never ends"),
        pytest.param(hourly("2030-01-01", "2030-12-31"), None, datetime(2030, 12, 1, tzinfo=UTC), id="too many to name"),
    ],
)
def test_where_they_cannot_be_named_a_table_stands_on_all(cut: Any, start: Any, end: Any) -> None:
    assert isinstance(as_of_mapping(record(online=Online(ttl="3d")), cut, start, end), dg.AllPartitionMapping)
