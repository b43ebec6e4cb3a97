"""How a view's rows are cut by time: keys, windows, what a window sees, and where its rows are stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flight_views import CARRIER, INSTANT, START, hours, landings, make_view
from tiffin.core.errors import Invalid
from tiffin.features import Feature, Int32, Online, Source, Window, daily, feature_view, hourly, snapshot
from tiffin.features.compute import compute
from tiffin.features.leakage import check_window
from tiffin.features.offline import latest_rows, materialise, partitions_between, read_view
from tiffin.features.partitions import Hourly
from tiffin.features.view import FeatureView
from tiffin.manifests.records import ViewRecord
from tiffin.storage.delta import DeltaStore

WRITTEN = datetime(2031, 1, 1, tzinfo=UTC)
SOURCE = landings(("UA", 1.5, 5.0), ("AA", 2, 1.0), ("UA", 3, 7.0), ("UA", 26, 9.0))
FLEET = Source("raw/fleet", time="registered_at")


def fleet(*rows: tuple[str, float, int]) -> pa.Table:
    """Carrier, registered at in hours, planes."""
    return pa.table(
        {
            "carrier": [row[0] for row in rows],
            "registered_at": pa.array([hours(row[1]) for row in rows], INSTANT),
            "planes": pa.array([row[2] for row in rows], pa.int32()),
        }
    )


def reference(sql: str = "select carrier, sum(planes)::int as planes from fleet group by carrier", **options: Any) -> FeatureView:
    """An unpartitioned view of the fleet."""
    given = {"partitions": snapshot("2030-01-01"), "features": [Feature("planes", Int32())], **options}
    return feature_view(name="fleet", entity=CARRIER, source=FLEET, sql=sql, **given)


def stored(tmp_path: Path, **tables: pa.Table) -> DeltaStore:
    store = DeltaStore(str(tmp_path))
    for name, rows in tables.items():
        store.replace(f"raw/{name}", rows, partitions=None)
    return store


def of(view: FeatureView) -> ViewRecord:
    return view.record(team="ops", owner="team:ops")


def test_keys_are_dagsters() -> None:
    assert [window.partition for window in hourly("2030-01-01").windows(until=hours(2.5))] == ["2030-01-01-00:00", "2030-01-01-01:00"]
    assert hourly("2030-01-01").window("2030-01-02-06:00") == Window(start=hours(30), end=hours(31))
    assert daily("2030-01-01").window("2030-01-02") == Window(start=hours(24), end=hours(48), partition="2030-01-02")


def test_a_year_of_hours_ends_with_its_last_day() -> None:
    year = hourly("2030-01-01", "2030-12-31").windows(until=datetime(2040, 1, 1, tzinfo=UTC))

    assert (len(year), year[-1].partition) == (8760, "2030-12-31-23:00")


@pytest.mark.parametrize(
    ("key", "found"),
    [
        pytest.param("2030-01-05", "no partition key of hourly partitions from 2030-01-01 to 2030-01-09", id="a day"),
        pytest.param("2030-01-05-05:30", "no partition key", id="half past"),
        pytest.param("2030-1-05-05:00", "no partition key", id="short month"),
        pytest.param("", "no partition key", id="nothing"),
        pytest.param("2029-12-31-23:00", "outside", id="before the first"),
        pytest.param("2030-01-10-00:00", "outside", id="after the last"),
    ],
)
def test_a_key_that_the_view_does_not_have_is_refused(key: str, found: str) -> None:
    view = make_view(partitions=hourly("2030-01-01", "2030-01-09"))

    with pytest.raises(Invalid, match=f"view 'delays': '?.*{found}"):
        view.window(key)


def test_windows_come_in_time_order() -> None:
    view = make_view(partitions=hourly("2030-01-01"))

    assert [one.start for one in view.windows_of(["2030-01-01-10:00", "2030-01-01-09:00"])] == [hours(9), hours(10)]


def test_an_hour_sees_its_lookback_and_its_rows_hold_from_its_end() -> None:
    view = make_view(partitions=hourly("2030-01-01"))

    assert view.lookback == timedelta(hours=1)
    assert compute(view, view.window("2030-01-01-02:00"), SOURCE).select(["carrier", "event_time"]).to_pylist() == [
        {"carrier": "AA", "event_time": hours(3)}
    ]
    assert compute(make_view(partitions=hourly("2030-01-01"), lookback="2h"), view.window("2030-01-01-02:00"), SOURCE).num_rows == 2


def test_hours_are_stored_read_and_replaced_one_by_one(tmp_path: Path) -> None:
    tables, view = stored(tmp_path, landings=SOURCE), make_view(partitions=hourly("2030-01-01"))
    windows = view.windows(until=hours(27))

    done = materialise(view, windows, team="ops", tables=tables, written_at=WRITTEN)
    again = materialise(view, windows[3:4], team="ops", tables=tables, written_at=WRITTEN)

    assert done.rows["2030-01-01-03:00"] == 1
    assert again.changed == ()
    assert tables.read("ops/delays", columns=["carrier"], partitions=["2030-01-02-02:00"])["carrier"].to_pylist() == ["UA"]
    assert read_view(of(view), tables=tables, start=hours(3), end=hours(4))["event_time"].to_pylist() == [hours(3), hours(4)]


@pytest.mark.parametrize("kind", [daily, hourly])
@given(st.integers(-50, 200), st.integers(0, 200))
def test_the_partitions_of_a_range_are_those_that_can_hold_its_event_times(kind: Any, start: int, length: int) -> None:
    view = make_view(partitions=kind("2030-01-01"))
    bounds = hours(start / 4), hours((start + length) / 4)

    found = partitions_between(of(view), *bounds)

    windows = view.windows(until=hours(24 * 20))
    assert found == [one.partition for one in windows if one.end >= bounds[0] and one.start < bounds[1]]


def test_a_snapshot_is_one_unpartitioned_table(tmp_path: Path) -> None:
    tables, view = stored(tmp_path, fleet=fleet(("UA", -100, 7), ("ZZ", 50, 1))), reference()

    first = materialise(view, view.windows_of([], until=hours(30)), team="ops", tables=tables, written_at=WRITTEN)
    again = materialise(view, view.windows_of([""], until=hours(40)), team="ops", tables=tables, written_at=WRITTEN)

    rows = read_view(of(view), tables=tables, start=hours(0), end=hours(9))
    assert (first.rows, again.changed) == ({"": 1}, ())
    assert rows.select(["carrier", "planes", "event_time", "known_at"]).to_pylist() == [
        {"carrier": "UA", "planes": 7, "event_time": START, "known_at": START}
    ]
    assert latest_rows(of(view), rows, as_of=hours(9999)).num_rows == 1


def test_rows_of_a_snapshot_may_hold_from_an_instant_of_their_own(tmp_path: Path) -> None:
    sql = "select carrier, planes, greatest(registered_at, $start) as event_time from fleet"
    tables, view = stored(tmp_path, fleet=fleet(("UA", -100, 7), ("AA", 30, 3))), reference(sql)

    materialise(view, view.windows(until=hours(48)), team="ops", tables=tables, written_at=WRITTEN)

    rows = read_view(of(view), tables=tables)
    assert rows["event_time"].to_pylist() == [hours(30), START]
    assert latest_rows(of(view), rows, as_of=hours(29))["carrier"].to_pylist() == ["UA"]
    assert check_window(view, view.window(until=hours(48)), tables.read("raw/fleet")) is None


def test_a_snapshot_that_holds_before_its_source_was_known_is_a_leak() -> None:
    finding = check_window(reference(), reference().window(until=hours(48)), fleet(("UA", -100, 7), ("AA", 30, 3)))

    assert finding is not None
    assert "'planes' of 1 rows depend on rows with 'registered_at'" in str(finding)


def test_a_row_before_a_snapshots_start_is_refused() -> None:
    sql = "select carrier, planes, registered_at as event_time from fleet"

    with pytest.raises(Invalid, match=r"view 'fleet': column 'event_time', row 0.* at least the snapshot's start") as caught:
        compute(reference(sql), reference().window(until=hours(1)), fleet(("UA", -1, 7)))
    assert "greatest(time, $start)" in caught.value.fix


@pytest.mark.parametrize(
    ("make", "found"),
    [
        pytest.param(lambda: reference(lookback="7d"), "a snapshot sees the whole source", id="lookback"),
        pytest.param(lambda: reference(online=Online(ttl="7d")), "rows of a snapshot do not expire", id="ttl"),
        pytest.param(lambda: make_view(online=Online(publish="hourly")), "nothing new to publish every hour", id="publish"),
        pytest.param(lambda: make_view(partitions=hourly("2030-01-01"), lookback="59m"), "shorter than one hourly", id="short"),
        pytest.param(lambda: reference().window(), "as of an instant", id="no instant"),
        pytest.param(lambda: reference().window("2030-01-01", until=hours(1)), "is a partition key", id="a key"),
        pytest.param(lambda: reference().window(until=hours(-1)), "has not begun", id="before its start"),
        pytest.param(
            lambda: make_view(inputs=[Source("other/landings", time="at")]), "two of its tables are called 'landings'", id="twice"
        ),
        pytest.param(lambda: make_view(inputs=[Source("raw/rows", time="at")]), "name of another argument", id="rows"),
    ],
)
def test_what_does_not_fit_together_is_refused(make: Any, found: str) -> None:
    with pytest.raises(Invalid, match=found):
        make()


JOINED = "select l.carrier, count(*) as flights, max(f.planes)::float as delay_mean from landings l join fleet f using (carrier) group by 1"


def joined(rows: pa.Table, window: Window, fleet: pa.Table) -> pa.Table:
    found = rows.join(fleet, "carrier", join_type="inner").group_by("carrier").aggregate([([], "count_all"), ("planes", "max")])
    return found.rename_columns(["carrier", "flights", "delay_mean"])


@pytest.mark.parametrize("code", [pytest.param({"sql": JOINED}, id="sql"), pytest.param({"transform": joined}, id="python")])
def test_an_input_is_seen_as_far_as_it_was_known(code: dict[str, Any]) -> None:
    view = make_view(inputs=[FLEET], **code)

    found = compute(view, view.window("2030-01-01"), SOURCE, {"fleet": fleet(("UA", -100, 7), ("AA", 24, 3))})

    assert found.select(["carrier", "flights", "delay_mean"]).to_pylist() == [{"carrier": "UA", "flights": 2, "delay_mean": 7.0}]


def test_an_input_is_read_with_the_source_and_named_when_it_is_not_given(tmp_path: Path) -> None:
    view = make_view(inputs=[FLEET], transform=joined)
    tables = stored(tmp_path, landings=SOURCE, fleet=fleet(("UA", -100, 7)))

    done = materialise(view, view.windows_of(["2030-01-01"]), team="ops", tables=tables, written_at=WRITTEN)

    assert done.rows == {"2030-01-01": 1}
    with pytest.raises(Invalid, match="view 'delays' needs rows of its input 'raw/fleet'"):
        compute(view, view.window("2030-01-01"), SOURCE)


def test_a_row_that_uses_an_input_known_only_later_is_a_leak() -> None:
    """Rows of every hour, each with the fleet of the whole day."""
    sql = """select carrier, count(*) as flights, (select max(planes) from fleet)::float as delay_mean,
                    time_bucket(interval 1 hour, landed_at) + interval 1 hour as event_time from landings group by carrier, event_time"""
    view = make_view(inputs=[FLEET], sql=sql)

    finding = check_window(view, view.window("2030-01-01"), SOURCE, {"fleet": fleet(("UA", -1, 7), ("UA", 20, 9))})

    assert finding is not None
    assert finding.features == ("delay_mean",)


def test_records_of_daily_views_are_the_bytes_that_they_were() -> None:
    sql = "select carrier, count(*) as flights from landings group by carrier"
    view = feature_view(
        name="delays",
        entity=CARRIER.with_changes(description=""),
        source=Source("raw/landings", time="landed_at"),
        partitions=daily("2030-01-01"),
        features=[Feature("flights", Int32())],
        sql=sql,
        lookback="2d",
        online=Online(ttl="3d"),
    )

    assert of(view).address == "a0a7ec7b65de9d9f0dbbf1ebd2b1dee41518da474905c5e2ffa3f82667647f02"
    assert ViewRecord.from_bytes(of(view).to_bytes(), name="it").partition_kind == "daily"
    other = view.with_changes(partitions=hourly("2030-01-01"))
    assert isinstance(other.partitions, Hourly)
    assert of(other).address != of(view).address
    assert ViewRecord.from_bytes(of(other).to_bytes(), name="it").partition_kind == "hourly"
