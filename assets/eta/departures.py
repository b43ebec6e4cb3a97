"""What is asked at a scheduled departure, and what the labels are: by how much, and whether, a flight arrives late."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tiffin.features import Bool, Feature, Int8, Int16, Source
from tiffin.training import Spine, TrainingTable

__all__ = ["LATE_MINUTES", "departures", "eta_table", "late_departures", "late_table", "with_late"]

LATE_MINUTES = 30

flights = Source("raw/flights", time="landed_at", description="landed by the network team")

KEYS = "carrier: string, origin: string, dest: string, tailnum: string"
FIELDS = (
    Feature("distance", Int16(), nullable=False, description="miles"),
    Feature("sched_dep_minute", Int16(), nullable=False, description="minute of the New York day, 0 to 1439"),
    Feature("month", Int8(), nullable=False, description="1 to 12, of the New York day"),
    Feature("weekday", Int8(), nullable=False, description="1 is Monday, 7 is Sunday, of the New York day"),
)
VIEWS = (
    "network/airport_hours",
    "network/airport_traffic",
    "network/airport_weather",
    "network/route_delays",
    "network/route_carriers",
    "fleet/carrier_delays",
    "fleet/carrier_profile",
    "fleet/plane_days",
    "fleet/planes",
)
PERIOD: dict[str, Any] = {"start": date(2013, 1, 2), "end": None}  # the first partitions' features are known from here on
AFTER = ("network/*", "fleet/*")  # switch the sensor rebuild_after_fleet_network on, and both tables and models follow each landed day


def with_late(rows: pa.Table) -> pa.Table:
    """Flights with the label `late`; null, so no label, for one that was cancelled or diverted."""
    return rows.append_column("late", pc.greater(rows["arr_delay"], LATE_MINUTES))


departures = Spine(
    "departures",
    source=flights,
    keys=KEYS,
    time="sched_dep_at",
    fields=FIELDS,
    label=Feature("arr_delay", Int16(), description="minutes late at the gate; negative is early"),
)

late_departures = Spine(
    "late_departures",
    source=flights,
    keys=KEYS,
    time="sched_dep_at",
    fields=FIELDS,
    label=Feature("late", Bool(), description=f"arrived more than {LATE_MINUTES} minutes late"),
    rows=with_late,
)

eta_table = TrainingTable(
    "eta_table",
    spine=departures,
    features=VIEWS,
    **PERIOD,
    after=AFTER,
    description="Departures with what was known of airport, route, carrier and plane at that moment, and how late they arrived.",
)

late_table = TrainingTable(
    "late_table",
    spine=late_departures,
    features=VIEWS,
    **PERIOD,
    after=AFTER,
    description=f"The same departures, and whether they arrived more than {LATE_MINUTES} minutes late.",
)
