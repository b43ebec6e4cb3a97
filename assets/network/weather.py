"""What the sky did above an origin, one row per UTC day."""

from __future__ import annotations

from assets.network.airports import airport
from assets.network.sources import weather
from tiffin.features import Feature, Float32, Int16, Online, daily, feature_view

__all__ = ["airport_weather"]

MEASURE = Float32(step=0.01)

airport_weather = feature_view(
    name="airport_weather",
    description="Last observed weather at an origin and the day's extremes.",
    entity=airport,
    source=weather,
    partitions=daily("2013-01-01", "2013-12-31"),
    lookback="1d",
    online=Online(ttl="3d", publish="daily", freshness="30h"),
    features=[
        Feature("hours_observed", Int16(), description="observations reported within the day"),
        Feature("temp_last", MEASURE, description="degrees Fahrenheit, newest observation that has one"),
        Feature("wind_speed_last", MEASURE, description="miles per hour"),
        Feature("visib_last", MEASURE, description="miles"),
        Feature("pressure_last", MEASURE, description="millibar"),
        Feature("precip_sum", MEASURE, description="inches over the day"),
        Feature("gust_max", MEASURE, description="strongest gust of the day, miles per hour; null when none was reported"),
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
