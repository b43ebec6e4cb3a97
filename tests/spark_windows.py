"""One definition on three engines, over landings with whole minutes; for the tests of the Spark engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tests.flight_views import CARRIER, INSTANT, START
from tiffin.core.units import to_us
from tiffin.features import Feature, FeatureView, Float32, Int32, Source, Window, daily, feature_view

FEATURES = (Feature("flights", Int32()), Feature("late", Int32()), Feature("delay_mean", Float32(step=0.01)), Feature("worst", Int32()))
# whole minutes are summed, and divided once: a mean of floats depends on the order in which they are added
SQL = """
    select carrier, count(*) as flights, sum(case when minutes > 15 then 1 else 0 end) as late,
           cast(sum(minutes) as double) / nullif(count(minutes), 0) as delay_mean, max(minutes) as worst
    from landings group by carrier
"""


def on_arrow(rows: pa.Table, window: Window) -> pa.Table:
    late = pc.fill_null(pc.greater(rows["minutes"], 15), False).cast(pa.int64())
    kinds = [([], "count_all"), ("late", "sum"), ("minutes", "sum"), ("minutes", "count"), ("minutes", "max")]
    found = rows.append_column("late", late).group_by("carrier").aggregate(kinds)
    counted = pc.if_else(pc.equal(found["minutes_count"], 0), None, found["minutes_count"]).cast(pa.float64())
    return pa.table(
        {
            "carrier": found["carrier"],
            "flights": found["count_all"],
            "late": found["late_sum"],
            "delay_mean": pc.divide(found["minutes_sum"].cast(pa.float64()), counted),
            "worst": found["minutes_max"],
        }
    )


def on_spark(rows: Any, window: Window) -> Any:
    from pyspark.sql import functions

    minutes = functions.col("minutes")
    return (
        rows.groupBy("carrier")
        .agg(
            functions.count("*").alias("flights"),
            functions.sum((minutes > 15).cast("int")).alias("flights_late"),
            (functions.sum(minutes).cast("double") / functions.nullif(functions.count(minutes), functions.lit(0))).alias("delay_mean"),
            functions.max(minutes).alias("worst"),
        )
        .selectExpr("carrier", "flights", "coalesce(flights_late, 0) as late", "delay_mean", "worst")
    )


def month(seed: int, *, rows: int = 20_000, days: int = 31) -> pa.Table:
    """Landings of a month in no order: carriers with and without delays, some without a time."""
    random = np.random.default_rng(seed)
    minutes = random.integers(-60, 600, rows).astype(np.int16)
    known = to_us(START) + random.integers(0, days * 86_400_000_000, rows)
    carriers = random.choice(["AA", "DL", "UA", "é", "WN "], rows)
    return pa.table(
        {
            "carrier": pa.array(carriers),
            "landed_at": pa.array(known, pa.int64(), mask=random.random(rows) < 0.01).cast(INSTANT),
            "minutes": pa.array(minutes, pa.int16(), mask=(random.random(rows) < 0.1) | (carriers == "WN ")),
        }
    )


def view_on(name: str, **code: Any) -> FeatureView:
    """The definition under a name of its own; `code` is `sql` or `transform`, and `engine`."""
    given = {"entity": CARRIER, "source": Source("raw/landings", time="landed_at"), "features": FEATURES, "lookback": "3d", **code}
    return FeatureView(name, partitions=daily("2030-01-01", "2030-01-31"), **given)


VIEWS = {
    "arrow": view_on("on_arrow", transform=on_arrow),
    "duckdb": view_on("on_duckdb", sql=SQL),
    "spark": view_on("on_spark", transform=on_spark, engine="spark"),
    "spark sql": view_on("on_spark_sql", sql=SQL, engine="spark"),
}
__all__ = ["FEATURES", "SQL", "VIEWS", "feature_view", "month", "on_arrow", "on_spark", "view_on"]
