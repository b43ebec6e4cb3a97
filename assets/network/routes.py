"""How punctual a route is, over all of its carriers and for each of them."""

from __future__ import annotations

from assets.network.sources import flights
from tiffin.features import Entity, Feature, Float32, Int16, Online, daily, feature_view

__all__ = ["route", "route_carrier", "route_carriers", "route_delays"]

YEAR = daily("2013-01-01", "2013-12-31")
MINUTES = Float32(step=0.01)
SHARE = Float32(step=0.0001, low=0, high=1)

route = Entity("route", key="origin: string, dest: string", description="From an origin to a destination.")
route_carrier = Entity("route_carrier", key="origin: string, dest: string, carrier: string", description="A carrier on one of its routes.")

route_delays = feature_view(
    name="route_delays",
    description="How late and how long a route's flights were over two weeks.",
    entity=route,
    source=flights,
    partitions=YEAR,
    lookback="14d",
    delay="30m",
    engine="spark",
    online=Online(ttl="28d", publish="daily", freshness="30h"),
    features=[
        Feature("flights_14d", Int16(), description="flights that landed or were cancelled"),
        Feature("arr_delay_mean_14d", MINUTES, description="minutes, over arrivals; null without any"),
        Feature("air_time_mean_14d", MINUTES, description="minutes in the air"),
        Feature("late_share_14d", SHARE, description="arrivals more than 30 minutes late, of all arrivals"),
    ],
    # means of whole numbers: sums are exact, so Spark and DuckDB give the same bits in whatever order they add
    sql="""
        select
            origin,
            dest,
            count(*) as flights_14d,
            avg(arr_delay) as arr_delay_mean_14d,
            avg(air_time) as air_time_mean_14d,
            avg(case when arr_delay > 30 then 1 when arr_delay is not null then 0 end) as late_share_14d
        from flights
        group by origin, dest
    """,
)

route_carriers = feature_view(
    name="route_carriers",
    description="How late a carrier was on a route over four weeks.",
    entity=route_carrier,
    source=flights,
    partitions=YEAR,
    lookback="28d",
    delay="30m",
    online=Online(ttl="28d", publish="daily", freshness="30h"),
    features=[
        Feature("flights_28d", Int16(), description="flights that landed or were cancelled"),
        Feature("arr_delay_p50_28d", Int16(), description="lower median of arrival delays, minutes; null without arrivals"),
        Feature("arr_delay_p80_28d", Int16(), description="four of five arrivals were at most this late, minutes"),
        Feature("cancelled_share_28d", SHARE, description="cancelled flights, of all flights"),
    ],
    sql="""
        select
            origin,
            dest,
            carrier,
            count(*) as flights_28d,
            quantile_disc(arr_delay, 0.5) as arr_delay_p50_28d,
            quantile_disc(arr_delay, 0.8) as arr_delay_p80_28d,
            avg(cancelled::integer) as cancelled_share_28d
        from flights
        group by origin, dest, carrier
    """,
)
