"""The example teams' view on Spark holds the same bits as the same SQL on DuckDB, over real days."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from assets.network.flights import load_flights
from assets.network.routes import route_delays
from tiffin.features.offline import materialise
from tiffin.storage.delta import DeltaStore

# a blizzard, an ordinary day, the days on which New York's clock moves
DAYS = ("2013-02-09", "2013-03-10", "2013-06-10", "2013-11-03")
NOW = datetime(2014, 1, 1, tzinfo=UTC)


def test_the_routes_on_spark_equal_the_routes_on_duckdb(tmp_path: Path) -> None:
    tables = DeltaStore(str(tmp_path))
    tables.replace("raw/flights", load_flights(), partitions=None)
    windows = route_delays.windows_of(DAYS, until=NOW)

    spark = materialise(route_delays, windows, team="network", tables=tables, written_at=NOW)
    duckdb = materialise(route_delays.with_changes(engine="duckdb"), windows, team="other", tables=tables, written_at=NOW)

    assert route_delays.engine_name == "spark"
    assert spark.digests == duckdb.digests
    assert min(spark.rows.values()) > 150
