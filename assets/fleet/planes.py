"""What is known of a single plane: its type, from the register, and what its last day was like."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from assets.fleet.sources import flights
from assets.fleet.sources import planes as register
from tiffin.features import Category, Entity, Expect, Feature, Int8, Int16, Online, Window, daily, feature_view, snapshot

__all__ = ["plane", "plane_days", "planes"]

MAKERS = {
    "airbus": ("AIRBUS", "AIRBUS INDUSTRIE"),
    "boeing": ("BOEING",),
    "bombardier": ("BOMBARDIER INC", "CANADAIR", "CANADAIR LTD"),
    "embraer": ("EMBRAER",),
    "mcdonnell_douglas": ("DOUGLAS", "MCDONNELL DOUGLAS", "MCDONNELL DOUGLAS AIRCRAFT CO", "MCDONNELL DOUGLAS CORPORATION"),
}
OTHER = "other"
GROUNDED = Expect(max_null_share=0.75)  # planes whose flights were all cancelled: 62 % in the snow of 9 February

plane = Entity("plane", key="tailnum: string", description="One airframe, by its tail number.")


@feature_view(
    entity=plane,
    source=register,
    partitions=snapshot("2013-01-01"),
    online=Online(),
    features=[
        Feature("maker", Category((*MAKERS, OTHER)), nullable=False, description="the five large makers by name"),
        Feature("engine", Category(("fan", "jet", "propeller")), nullable=False, description="how it is driven"),
        Feature("seats", Int16(), nullable=False),
        Feature("built", Int16(), description="year; null when the register does not say"),
    ],
)
def planes(rows: pa.Table, window: Window) -> pa.Table:
    """The register as it stands: reference data without partitions. A row holds from when it was registered."""
    makers = {name: maker for maker, names in MAKERS.items() for name in names}
    engines = {"Turbo-fan": "fan", "Turbo-jet": "jet"}
    return pa.table(
        {
            "tailnum": rows["tailnum"],
            "maker": pa.array([makers.get(name, OTHER) for name in rows["manufacturer"].to_pylist()], pa.string()),
            "engine": pa.array([engines.get(name, "propeller") for name in rows["engine"].to_pylist()], pa.string()),
            "seats": rows["seats"],
            "built": rows["year"],
            "event_time": rows["registered_at"],
        }
    )


@feature_view(
    entity=plane,
    source=flights,
    partitions=daily("2013-01-01", "2013-12-31"),
    lookback="1d",
    delay="30m",
    online=Online(ttl="7d", publish="daily", freshness="30h"),
    features=[
        Feature("legs_1d", Int8(), description="flights out of New York that landed or were cancelled on the day"),
        Feature("arr_delay_last", Int16(), description="minutes, of the last one that landed", expect=GROUNDED),
        Feature("air_time_1d", Int16(), description="minutes in the air on those flights", expect=GROUNDED),
    ],
)
def plane_days(rows: pa.Table, window: Window) -> pa.Table:
    """A plane's last day of flights out of New York. Flights without a tail number are of no plane."""
    landed = pc.less(rows["landed_at"], pa.scalar(window.end, rows["landed_at"].type))
    known = rows.filter(pc.and_(landed, rows["tailnum"].is_valid()))
    known = known.select(["tailnum", "arr_delay", "air_time", "landed_at", "flight", "carrier"])
    counted = known.group_by("tailnum", use_threads=False).aggregate([([], "count_all"), ("air_time", "sum")])
    last = last_landings(known.filter(known["arr_delay"].is_valid()))
    joined = counted.join(last, "tailnum", join_type="left outer", use_threads=False)
    return pa.table(
        {
            "tailnum": joined["tailnum"],
            "legs_1d": joined["count_all"],
            "arr_delay_last": joined["arr_delay"],
            "air_time_1d": joined["air_time_sum"],
        }
    )


def last_landings(landed: pa.Table) -> pa.Table:
    """`tailnum` and `arr_delay` of each plane's last landing.

    A few planes land twice in one minute, by their records: the flight's number and carrier decide, so that
    the answer does not depend on the order of rows.
    """
    ordered = landed.sort_by([(name, "ascending") for name in ("tailnum", "landed_at", "flight", "carrier")])
    names = np.asarray(ordered["tailnum"].to_numpy(zero_copy_only=False), dtype=object)
    last = np.append(names[1:] != names[:-1], True) if len(names) else np.zeros(0, dtype=bool)
    return ordered.filter(pa.array(last)).select(["tailnum", "arr_delay"])
