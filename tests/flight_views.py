"""Small views over a small source, for the tests of the features room."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from tiffin.features import Entity, Feature, FeatureView, Float32, Int32, Source, Window, daily, feature_view

INSTANT = pa.timestamp("us", tz="UTC")
START = datetime(2030, 1, 1, tzinfo=UTC)
CARRIER = Entity("carrier", key="carrier: string")


def hours(count: float) -> datetime:
    """An instant, in hours since the first day's start."""
    return START + timedelta(hours=count)


def day(number: int = 0) -> Window:
    """The window of one day, counted from the first."""
    return Window(start=hours(24 * number), end=hours(24 * (number + 1)))


def landings(*rows: tuple[str | None, float | None, float | None]) -> pa.Table:
    """A source: `(carrier, landed at in hours, delay)`."""
    return pa.table(
        {
            "carrier": pa.array([row[0] for row in rows], pa.string()),
            "landed_at": pa.array([None if row[1] is None else hours(row[1]) for row in rows], INSTANT),
            "delay": pa.array([row[2] for row in rows], pa.float64()),
        }
    )


def make_view(
    transform: Callable[[pa.Table, Window], pa.Table] | None = None,
    *,
    name: str = "delays",
    features: Sequence[Feature] = (Feature("flights", Int32()), Feature("delay_mean", Float32(step=0.01))),
    entity: Entity = CARRIER,
    time: str = "landed_at",
    **options: Any,
) -> FeatureView:
    """A daily view; without a transform or `sql` it counts and averages per carrier."""
    given = {"partitions": daily("2030-01-01"), **options}
    declare: Any = feature_view(name=name, entity=entity, source=Source("raw/landings", time=time), features=features, **given)
    found: FeatureView = declare if "sql" in options else declare(transform or counted)
    return found


def counted(rows: pa.Table, window: Window) -> pa.Table:
    """Flights and mean delay per carrier, over the rows that are given."""
    grouped = rows.group_by("carrier", use_threads=False).aggregate([([], "count_all"), ("delay", "mean")])
    return grouped.rename_columns(["carrier", "flights", "delay_mean"])


def returning(**columns: Any) -> Callable[[pa.Table, Window], pa.Table]:
    """A transform that gives these columns, whatever goes in."""
    table = pa.table(columns)
    return lambda rows, window: table
