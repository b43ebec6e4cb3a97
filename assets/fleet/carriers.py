"""How punctual a carrier is: at each of its origins over a week, and as a whole over four."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assets.fleet.sources import flights
from tiffin.features import Entity, Expect, Feature, Float32, Int16, Int32, Online, Vector, Window, daily, feature_view

__all__ = ["carrier", "carrier_at_origin", "carrier_delays", "carrier_profile"]

YEAR = daily("2013-01-01", "2013-12-31")
MINUTES = Float32(step=0.01)
SHARE = Float32(step=0.0001, low=0, high=1)
EDGES = (-20, -10, 0, 15, 30, 60, 120)
"""Minutes at which one bin of a delay profile ends, itself included; the last bin is open."""

carrier = Entity("carrier", key="carrier: string", description="An airline.")
carrier_at_origin = Entity("carrier_at_origin", key="carrier: string, origin: string", description="A carrier at one of its origins.")


@feature_view(
    entity=carrier_at_origin,
    source=flights,
    partitions=YEAR,
    lookback="7d",
    delay="30m",
    online=Online(ttl="14d", publish="daily", freshness="30h"),
    features=[
        Feature("flights_1d", Int16(), description="flights that landed or were cancelled on the day"),
        Feature("flights_7d", Int32(), description="the same over seven days"),
        Feature(
            "arr_delay_mean_1d",
            MINUTES,
            description="minutes, over the day's arrivals; null without any",
            expect=Expect(max_null_share=0.5),  # a snow storm closes the airports: 19 % on 9 February
        ),
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


@feature_view(
    entity=carrier,
    source=flights,
    partitions=YEAR,
    lookback="28d",
    delay="30m",
    online=Online(ttl="28d", publish="daily", freshness="30h"),
    features=[
        Feature("flights_28d", Int32(), description="flights that landed or were cancelled"),
        Feature("delay_shares_28d", Vector(len(EDGES) + 1, "float16"), description="shares of arrivals by minutes of delay, see EDGES"),
    ],
)
def carrier_profile(rows: pa.Table, window: Window) -> pa.Table:
    """The shape of a carrier's arrival delays: which share of them is early, on time, late, very late."""
    grouped = (
        rows.select(["carrier", "arr_delay"]).group_by("carrier", use_threads=False).aggregate([([], "count_all"), ("arr_delay", "list")])
    )
    return pa.table(
        {
            "carrier": grouped["carrier"],
            "flights_28d": grouped["count_all"].cast(pa.int32()),
            "delay_shares_28d": shares(grouped["arr_delay_list"].combine_chunks()),
        }
    )


def shares(lists: pa.ListArray) -> pa.Array:
    """Of each list, which share of its numbers lies in each bin of `EDGES`; null for a list that has none.

    Args:
        lists: `(rows,)` lists of minutes with nulls.

    Returns:
        `(rows,)` lists of `len(EDGES) + 1` float32 that sum to 1.
    """
    values = lists.flatten()
    keep = np.asarray(values.is_valid())
    group = np.asarray(pc.list_parent_indices(lists))[keep].astype(np.int64)
    bins = len(EDGES) + 1
    place = np.searchsorted(np.asarray(EDGES), np.asarray(pc.fill_null(values, 0))[keep], side="left")
    counts = np.bincount(group * bins + place, minlength=len(lists) * bins).reshape(-1, bins)
    total = counts.sum(axis=1)
    share = (counts / np.maximum(total, 1)[:, None]).astype(np.float32)
    whole = pa.FixedSizeListArray.from_arrays(pa.array(share.reshape(-1)), bins).cast(pa.list_(pa.float32()))
    return pc.if_else(pa.array(total > 0), whole, pa.scalar(None, pa.list_(pa.float32())))
