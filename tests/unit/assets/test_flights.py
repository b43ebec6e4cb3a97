"""Clock times of three and more time zones become the instants that they mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from assets.network.flights import flight_rows, load_weather, zone_of
from assets.nycflights13 import data_folder, read_csv
from tiffin.core.errors import NotFound

NEW_YORK = ZoneInfo("America/New_York")
MINUTE_US = 60_000_000


@pytest.fixture(scope="session")
def zones() -> dict[str, str]:
    return zone_of(read_csv(data_folder() / "airports.csv"))


def csv_row(departure: datetime, **given: object) -> dict[str, object]:
    """One row as flights.csv has it; `departure` is New York's clock."""
    instant = departure.replace(tzinfo=NEW_YORK).astimezone(UTC)
    clock = departure.hour * 100 + departure.minute
    row: dict[str, object] = {
        "month": departure.month,
        "dep_time": clock,
        "sched_dep_time": clock,
        "dep_delay": 0,
        "arr_time": 0,
        "sched_arr_time": 0,
        "arr_delay": 0,
        "carrier": "UA",
        "flight": 1,
        "tailnum": "N1",
        "origin": "EWR",
        "dest": "IAH",
        "air_time": 60,
        "distance": 500,
        "minute": departure.minute,
        "time_hour": instant.replace(minute=0),
    }
    return {**row, **given}


def shape(zones: dict[str, str], *rows: dict[str, object]) -> list[dict[str, object]]:
    numbers = ("dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay", "air_time")
    names = list(rows[0])
    columns = {name: pa.array([row[name] for row in rows], pa.int64() if name in numbers else None) for name in names}
    columns["time_hour"] = pa.array([row["time_hour"] for row in rows], pa.timestamp("s", tz="UTC"))
    return flight_rows(pa.table(columns), zones).to_pylist()


def us(table: pa.Table, name: str) -> np.ndarray:
    return table[name].cast(pa.int64()).to_numpy(zero_copy_only=False)


def test_every_row_of_the_year_is_there(year: pa.Table) -> None:
    assert year.num_rows == 336_776
    assert year["arr_delay"].null_count == 9_430
    assert pc.sum(year["cancelled"]).as_py() == 8_255


def test_the_scheduled_departure_agrees_with_new_yorks_clock_on_every_row(year: pa.Table) -> None:
    local = pc.local_timestamp(pc.cast(year["sched_dep_at"], pa.timestamp("us", tz="America/New_York")))
    clock = pc.add(pc.multiply(pc.hour(local), 100), pc.minute(local))

    assert pc.all(pc.equal(clock, pc.cast(year["sched_dep_time"], pa.int64()))).as_py()
    assert pc.all(pc.equal(pc.month(local), pc.cast(year["month"], pa.int64()))).as_py()
    assert pc.all(pc.equal(pc.day_of_week(local, count_from_zero=False), pc.cast(year["weekday"], pa.int64()))).as_py()


def test_gate_to_gate_exceeds_air_time_by_5_to_235_minutes_on_every_labelled_flight(year: pa.Table) -> None:
    labelled = year.filter(year["arr_delay"].is_valid())

    ground = (us(labelled, "arr_at") - us(labelled, "dep_at")) / MINUTE_US - labelled["air_time"].to_numpy()

    assert ground.min() >= 5
    assert ground.max() <= 235
    assert np.median(ground) == 28


def test_the_actual_departure_agrees_with_new_yorks_clock_on_every_row(year: pa.Table) -> None:
    left = year.filter(pc.invert(year["cancelled"]))
    local = pc.local_timestamp(pc.cast(left["dep_at"], pa.timestamp("us", tz="America/New_York")))
    clock = pc.add(pc.multiply(pc.hour(local), 100), pc.minute(local))
    agrees = pc.equal(pc.if_else(pc.equal(clock, 0), 2400, clock), pc.cast(left["dep_time"], pa.int64()))

    assert pc.all(agrees).as_py()


def test_an_overnight_arrival_lands_on_the_next_day(zones: dict[str, str]) -> None:
    row = shape(zones, csv_row(datetime(2013, 6, 10, 22, 30), dest="BOS", sched_arr_time=15, arr_delay=10))[0]

    assert row["sched_arr_at"] == datetime(2013, 6, 11, 0, 15, tzinfo=NEW_YORK)
    assert row["landed_at"] == datetime(2013, 6, 11, 4, 25, tzinfo=UTC)


def test_a_flight_that_lands_after_midnight_utc_is_not_known_on_its_departure_day(year: pa.Table) -> None:
    midnight = datetime(2013, 6, 11, tzinfo=UTC)
    aloft = year.filter(
        pc.and_(
            pc.less(year["dep_at"], pa.scalar(midnight, year["dep_at"].type)),
            pc.greater_equal(year["arr_at"], pa.scalar(midnight, year["arr_at"].type)),
        )
    )
    aloft = aloft.filter(pc.greater(aloft["sched_dep_at"], pa.scalar(midnight - timedelta(days=1), aloft["sched_dep_at"].type)))

    assert aloft.num_rows > 100
    assert pc.all(pc.greater_equal(aloft["landed_at"], pa.scalar(midnight, aloft["landed_at"].type))).as_py()


def test_a_westward_flight_may_land_by_the_clock_before_it_left(zones: dict[str, str]) -> None:
    row = shape(zones, csv_row(datetime(2013, 6, 10, 17, 0), dest="HNL", sched_arr_time=2130))[0]

    assert row["sched_arr_at"] == datetime(2013, 6, 11, 7, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("departure", "dest", "clock", "arrival"),
    [
        pytest.param(datetime(2013, 3, 9, 23, 30), "BOS", 45, datetime(2013, 3, 10, 5, 45), id="before spring forward"),
        pytest.param(datetime(2013, 3, 10, 6, 0), "IAH", 915, datetime(2013, 3, 10, 14, 15), id="after spring forward"),
        pytest.param(datetime(2013, 3, 9, 23, 0), "LAX", 230, datetime(2013, 3, 10, 10, 30), id="into the missing hour"),
        pytest.param(datetime(2013, 11, 2, 23, 0), "BOS", 130, datetime(2013, 11, 3, 5, 30), id="into the doubled hour, first time"),
        pytest.param(datetime(2013, 11, 3, 6, 0), "IAH", 915, datetime(2013, 11, 3, 15, 15), id="after fall back"),
        pytest.param(datetime(2013, 3, 10, 7, 0), "PHX", 1005, datetime(2013, 3, 10, 17, 5), id="a zone without daylight saving"),
    ],
)
def test_days_on_which_the_clock_moves_keep_their_instants(
    zones: dict[str, str], departure: datetime, dest: str, clock: int, arrival: datetime
) -> None:
    row = shape(zones, csv_row(departure, dest=dest, sched_arr_time=clock))[0]

    assert row["sched_arr_at"] == arrival.replace(tzinfo=UTC)


def test_2400_is_the_midnight_that_ends_the_day(zones: dict[str, str]) -> None:
    row = shape(zones, csv_row(datetime(2013, 7, 1, 21, 0), dest="BOS", sched_arr_time=2400, dep_time=2400, dep_delay=180, arr_delay=0))[0]

    assert row["sched_arr_at"] == datetime(2013, 7, 2, 0, 0, tzinfo=NEW_YORK)
    assert row["dep_at"] == datetime(2013, 7, 2, 0, 0, tzinfo=NEW_YORK)


@pytest.mark.parametrize("dest", ["SJU", "BQN", "PSE", "STT"])
def test_puerto_rico_and_the_virgin_islands_keep_atlantic_time_all_year(zones: dict[str, str], dest: str) -> None:
    winter = shape(zones, csv_row(datetime(2013, 1, 5, 8, 0), dest=dest, sched_arr_time=1250))[0]
    summer = shape(zones, csv_row(datetime(2013, 7, 5, 8, 0), dest=dest, sched_arr_time=1150))[0]

    assert winter["sched_arr_at"] == datetime(2013, 1, 5, 16, 50, tzinfo=UTC)
    assert summer["sched_arr_at"] == datetime(2013, 7, 5, 15, 50, tzinfo=UTC)


def test_a_cancelled_flight_becomes_known_at_its_scheduled_departure(zones: dict[str, str]) -> None:
    row = shape(zones, csv_row(datetime(2013, 2, 8, 18, 0), dep_time=None, dep_delay=None, arr_time=None, arr_delay=None, air_time=None))[0]

    assert row["cancelled"] is True
    assert (row["dep_at"], row["arr_at"], row["arr_delay"]) == (None, None, None)
    assert row["landed_at"] == row["sched_dep_at"]


def test_a_diverted_flight_becomes_known_no_earlier_than_it_was_expected(zones: dict[str, str]) -> None:
    row = shape(zones, csv_row(datetime(2013, 2, 8, 18, 0), sched_arr_time=2100, dep_delay=45, arr_delay=None))[0]

    assert row["landed_at"] == row["sched_arr_at"] + timedelta(minutes=45)


def test_no_row_is_known_before_its_scheduled_departure(year: pa.Table) -> None:
    assert pc.all(pc.greater_equal(year["landed_at"], year["sched_dep_at"])).as_py()


def test_a_destination_without_a_time_zone_is_refused_by_name(zones: dict[str, str]) -> None:
    with pytest.raises(NotFound, match="'XXX'"):
        shape(zones, csv_row(datetime(2013, 2, 8, 18, 0), dest="XXX"))


def test_weather_is_known_when_its_hour_has_ended() -> None:
    weather = load_weather()

    assert weather.num_rows == 26_115
    assert weather.group_by(["origin", "time_hour"]).aggregate([]).num_rows == weather.num_rows
    assert pc.unique(pc.subtract(weather["reported_at"], weather["time_hour"])).to_pylist() == [timedelta(hours=1)]
