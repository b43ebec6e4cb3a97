"""How busy and how late an origin is: over a day, and within the last hours."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.network.sources import flights
from tiffin.features import Entity, Feature, Float32, Int16, IntList, Online, Window, daily, feature_view, hourly

__all__ = ["airport", "airport_hours", "airport_traffic"]

MINUTES = Float32(step=0.01)
SHARE = Float32(step=0.0001, low=0, high=1)
WORST = 5

airport = Entity("airport", key="origin: string", description="An airport that flights depart from.")


@feature_view(
    entity=airport,
    source=flights,
    partitions=daily("2013-01-01", "2013-12-31"),
    lookback="1d",
    delay="30m",
    online=Online(ttl="3d", publish="daily", freshness="30h"),
    features=[
        Feature("flights_1d", Int16(), description="flights that landed or were cancelled on the day"),
        Feature("dep_delay_mean_1d", MINUTES, description="minutes, over the flights that left"),
        Feature("late_share_1d", SHARE, description="arrivals more than 30 minutes late, of all arrivals"),
        Feature("cancelled_share_1d", SHARE, description="cancelled flights, of all flights"),
        Feature("worst_delays_1d", IntList(max_length=WORST), description="the longest arrival delays of the day, minutes, longest first"),
    ],
)
def airport_traffic(rows: pa.Table, window: Window) -> pa.Table:
    """An origin's day, over flights that have landed or were cancelled."""
    marked = rows.select(["origin", "arr_delay", "dep_delay", "cancelled"]).append_column("late", pc.greater(rows["arr_delay"], 30))
    grouped = marked.group_by("origin", use_threads=False).aggregate(
        [([], "count_all"), ("dep_delay", "mean"), ("late", "mean"), ("cancelled", "mean"), ("arr_delay", "list")]
    )
    return pa.table(
        {
            "origin": grouped["origin"],
            "flights_1d": grouped["count_all"].cast(pa.int16()),
            "dep_delay_mean_1d": grouped["dep_delay_mean"],
            "late_share_1d": grouped["late_mean"],
            "cancelled_share_1d": grouped["cancelled_mean"],
            "worst_delays_1d": longest(grouped["arr_delay_list"], count=WORST),
        }
    )


def longest(delays: pa.ChunkedArray, *, count: int) -> pa.Array:
    """The `count` largest numbers of each list, largest first; nulls are left out."""
    known = [np.sort(one.values.drop_null().to_numpy())[::-1][:count] for one in delays]
    return pa.array([one.tolist() for one in known], pa.list_(pa.int64()))


@feature_view(
    entity=airport,
    source=flights,
    partitions=hourly("2013-01-01", "2013-12-31"),
    lookback="3h",
    delay="5m",
    online=Online(ttl="12h", publish="hourly", freshness="3h"),
    features=[
        Feature("flights_3h", Int16(), description="flights that landed or were cancelled within three hours"),
        Feature("arr_delay_mean_3h", MINUTES, description="minutes, over their arrivals; null without any"),
        Feature("dep_delay_mean_3h", MINUTES, description="minutes, of their departures"),
        Feature("cancelled_3h", Int16(), description="cancelled flights within three hours"),
    ],
)
def airport_hours(rows: pa.Table, window: Window) -> pa.Table:
    """How late an origin's flights of the last three hours were; an hour in which none landed says nothing."""
    grouped = (
        rows.select(["origin", "arr_delay", "dep_delay", "cancelled"])
        .group_by("origin", use_threads=False)
        .aggregate([([], "count_all"), ("arr_delay", "mean"), ("dep_delay", "mean"), ("cancelled", "sum")])
    )
    return pa.table(
        {
            "origin": grouped["origin"],
            "flights_3h": grouped["count_all"],
            "arr_delay_mean_3h": grouped["arr_delay_mean"],
            "dep_delay_mean_3h": grouped["dep_delay_mean"],
            "cancelled_3h": pc.cast(grouped["cancelled_sum"], pa.int64()),
        }
    )
