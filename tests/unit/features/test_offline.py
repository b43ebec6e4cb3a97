"""Offline partitions: materialised in one commit, read at a version, ready for publishing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flight_views import INSTANT, START, day, hours, landings, make_view
from tiffin.core.errors import Invalid, NotFound
from tiffin.core.units import to_us
from tiffin.features import Entity, Online
from tiffin.features.compute import compute
from tiffin.features.offline import latest_rows, materialise, read_view, to_online
from tiffin.features.partitions import Window
from tiffin.features.view import FeatureView
from tiffin.manifests.records import ViewRecord
from tiffin.storage.content import content_digest
from tiffin.storage.delta import DeltaStore
from tiffin.storage.tables import Replaced
from tiffin.wire.keys import encode_keys

WRITTEN = datetime(2031, 1, 1, tzinfo=UTC)
SOURCE = landings(("UA", 1, 5.0), ("AA", 2, 1.0), ("UA", 25, 7.0), ("UA", 26, 9.0), ("AA", 49, 2.0))
WEEK = [day(number) for number in range(3)]


@pytest.fixture
def tables(tmp_path: Path) -> DeltaStore:
    store = DeltaStore(str(tmp_path))
    store.replace("raw/landings", SOURCE, partitions=None)
    return store


def write(tables: DeltaStore, windows: list[Window] = WEEK, *, view: FeatureView | None = None, written_at: datetime = WRITTEN) -> Replaced:
    return materialise(view or make_view(), windows, team="ops", tables=tables, written_at=written_at)


def record(**options: object) -> ViewRecord:
    return make_view(**options).record(team="ops", owner="team:ops")


def read(tables: DeltaStore, **bounds: datetime) -> list[tuple[str, int, datetime]]:
    rows = read_view(record(), tables=tables, **bounds).to_pylist()
    return [(row["carrier"], row["flights"], row["event_time"]) for row in rows]


def test_a_range_of_days_is_one_commit_of_what_each_window_computes(tables: DeltaStore) -> None:
    done = write(tables)

    assert (done.version, done.rows) == (0, {"2030-01-01": 2, "2030-01-02": 1, "2030-01-03": 1})
    for window in WEEK:
        stored = tables.read("ops/delays", partitions=[window.partition])
        assert content_digest(stored) == content_digest(compute(make_view(), window, SOURCE)) == done.digests[window.partition]
        assert set(stored["written_at"].to_pylist()) == {WRITTEN}


def test_lookback_reaches_into_the_days_before_the_range(tables: DeltaStore) -> None:
    write(tables, [day(1)], view=make_view(lookback="2d"))

    assert read(tables) == [("AA", 1, hours(48)), ("UA", 3, hours(48))]


def test_rematerialising_an_equal_day_commits_nothing(tables: DeltaStore) -> None:
    first = write(tables)
    files = sorted(Path(tables.url("ops/delays")).rglob("*"))

    again = write(tables, WEEK[1:2], written_at=WRITTEN + timedelta(days=1))

    assert (again.version, again.changed, again.digests["2030-01-02"]) == (first.version, (), first.digests["2030-01-02"])
    assert sorted(Path(tables.url("ops/delays")).rglob("*")) == files


def test_a_changed_day_changes_only_that_day(tables: DeltaStore) -> None:
    first = write(tables)
    tables.replace("raw/landings", pa.concat_tables([SOURCE, landings(("DL", 30, 1.0))]), partitions=None)

    again = write(tables, written_at=WRITTEN + timedelta(days=1))

    assert again.changed == ("2030-01-02",)
    assert {name for name in first.digests if first.digests[name] != again.digests[name]} == {"2030-01-02"}
    written = tables.read("ops/delays", columns=["partition", "written_at"]).to_pylist()
    assert {row["partition"] for row in written if row["written_at"] > WRITTEN} == {"2030-01-02"}


def test_a_day_whose_rows_went_away_becomes_empty(tables: DeltaStore) -> None:
    write(tables)
    tables.replace("raw/landings", SOURCE.slice(0, 2), partitions=None)

    again = write(tables)

    assert again.changed == ("2030-01-02", "2030-01-03")
    assert read(tables) == [("AA", 1, hours(24)), ("UA", 1, hours(24))]


def test_the_order_of_the_source_does_not_reach_the_features(tables: DeltaStore) -> None:
    write(tables)
    tables.replace("raw/landings", pa.concat_tables([SOURCE.take([4, 2, 0, 3, 1]), landings(("XX", None, 1.0))]), partitions=None)

    assert write(tables).changed == ()


def test_an_attempt_commits_once(tables: DeltaStore) -> None:
    view = make_view()
    first = materialise(view, WEEK, team="ops", tables=tables, written_at=WRITTEN, attempt="run-1")
    tables.replace("raw/landings", SOURCE.slice(0, 2), partitions=None)

    again = materialise(view, WEEK, team="ops", tables=tables, written_at=WRITTEN, attempt="run-1")

    assert (again.version, again.changed, again.digests, again.rows) == (first.version, (), first.digests, first.rows)


def test_progress_counts_windows(tables: DeltaStore) -> None:
    seen: list[tuple[int, int]] = []

    materialise(
        make_view(), WEEK, team="ops", tables=tables, written_at=WRITTEN, progress=lambda done, total, made: seen.append((done, total))
    )

    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_no_window_and_one_window_twice_are_refused(tables: DeltaStore) -> None:
    with pytest.raises(Invalid, match="no window to materialise"):
        write(tables, [])
    with pytest.raises(Invalid, match="'2030-01-01' is asked for twice"):
        write(tables, [day(), day()])


def test_a_source_that_has_not_landed_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="'raw/landings'"):
        write(DeltaStore(str(tmp_path)))


def test_a_view_that_was_never_materialised_is_not_found_with_what_to_do(tables: DeltaStore) -> None:
    with pytest.raises(NotFound, match="view 'ops/delays' has no offline rows yet") as caught:
        read(tables)

    assert "materialise" in caught.value.fix


def test_both_ends_of_a_read_count(tables: DeltaStore) -> None:
    write(tables)

    assert [when for *_, when in read(tables, start=hours(48), end=hours(72))] == [hours(48), hours(72)]
    assert read(tables, start=hours(24.1), end=hours(47.9)) == []
    assert [when for *_, when in read(tables, end=hours(24))] == [hours(24), hours(24)]
    assert [when for *_, when in read(tables, start=hours(48.5))] == [hours(72)]


def test_an_old_version_is_read_as_it_was(tables: DeltaStore) -> None:
    first = write(tables, WEEK[:1])
    write(tables)

    assert read_view(record(), tables=tables, version=first.version).num_rows == 2


def test_stored_columns_are_keys_features_and_the_three_times(tables: DeltaStore) -> None:
    write(tables)

    found = read_view(record(), tables=tables)

    assert found.column_names == ["carrier", "flights", "delay_mean", "event_time", "known_at", "written_at"]


def stored(*rows: tuple[str, float, float, int]) -> pa.Table:
    """Rows of a view: carrier, event time and known at in hours, flights."""
    return pa.table(
        {
            "carrier": pa.array([row[0] for row in rows], pa.string()),
            "flights": pa.array([row[3] for row in rows], pa.int32()),
            "delay_mean": pa.array([0.5] * len(rows), pa.float32()),
            "event_time": pa.array([hours(row[1]) for row in rows], INSTANT),
            "known_at": pa.array([hours(row[2]) for row in rows], INSTANT),
            "written_at": pa.array([WRITTEN] * len(rows), INSTANT),
        }
    )


def test_the_latest_row_is_the_newest_that_was_known() -> None:
    rows = stored(("A", 24, 24, 1), ("A", 48, 50, 2), ("B", 24, 24, 3), ("A", 36, 36, 4), ("C", 48, 50, 5))

    found = latest_rows(record(), rows, as_of=hours(49))

    assert sorted(found["flights"].to_pylist()) == [3, 4]


def test_a_row_lives_up_to_and_including_its_ttl() -> None:
    view = record(online=Online(ttl="1d"))

    alive = latest_rows(view, stored(("A", 24, 24, 1)), as_of=hours(48))
    dead = latest_rows(view, stored(("A", 24, 24, 1), ("A", 1, 1, 2)), as_of=hours(48) + timedelta(microseconds=1))

    assert (alive.num_rows, dead.num_rows) == (1, 0)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.integers(0, 6), st.integers(0, 3), st.integers(0, 99)), max_size=12, unique_by=lambda r: r[:3]
    ),
    st.integers(0, 9),
)
def test_latest_rows_agree_with_a_slow_oracle(rows: list[tuple[str, int, int, int]], now: int) -> None:
    table = stored(*((carrier, event, event + wait, flights) for carrier, event, wait, flights in rows))

    found = latest_rows(record(), table, as_of=hours(now))

    best = {}
    for carrier, event, wait, flights in sorted(rows, key=lambda row: (row[1], row[1] + row[2])):
        if event + wait <= now:
            best[carrier] = flights
    assert {row["carrier"]: row["flights"] for row in found.to_pylist()} == best


def test_composite_keys_have_a_latest_row_each() -> None:
    view = make_view(entity=Entity("leg", key="carrier: string, gate: int16")).record(team="ops", owner="team:ops")
    rows = stored(("A", 24, 24, 1), ("A", 24, 24, 2), ("A", 48, 48, 3)).append_column("gate", pa.array([1, 2, 1], pa.int16()))

    assert sorted(latest_rows(view, rows, as_of=hours(99))["flights"].to_pylist()) == [2, 3]


def test_online_rows_are_keys_columns_and_event_times() -> None:
    view = make_view(entity=Entity("leg", key="gate: int16, carrier: string")).record(team="ops", owner="team:ops")
    rows = stored(("é", 24, 24, 7)).append_column("gate", pa.array([3], pa.int16()))

    keys, columns, event_time_us = to_online(view, rows)

    assert keys == encode_keys([("gate", "int16"), ("carrier", "string")], {"gate": [3], "carrier": ["é"]})[0]
    assert list(columns) == ["flights", "delay_mean"]
    assert columns["flights"].data.tolist() == [7]
    assert event_time_us.tolist() == [to_us(hours(24))]


def test_no_rows_go_online_as_no_rows() -> None:
    empty = latest_rows(record(), stored(), as_of=START)

    keys, columns, event_time_us = to_online(record(), empty)

    assert (keys, len(columns["flights"]), len(event_time_us)) == ([], 0, 0)
