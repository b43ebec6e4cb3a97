"""The origins' features, beside a slow and obvious count."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.network.airports import airport_hours, airport_traffic
from tiffin.features import FeatureView, Window

END = datetime(2013, 3, 6, 12, tzinfo=UTC)
SCHEMA = pa.schema(
    [
        ("origin", pa.string()),
        ("arr_delay", pa.int16()),
        ("dep_delay", pa.int16()),
        ("cancelled", pa.bool_()),
        ("landed_at", pa.timestamp("us", tz="UTC")),
    ]
)
row = st.fixed_dictionaries(
    {
        "origin": st.sampled_from(["EWR", "JFK"]),
        "arr_delay": st.none() | st.integers(-60, 400),
        "dep_delay": st.none() | st.integers(-30, 400),
        "cancelled": st.booleans(),
        "landed_at": st.integers(1, 180).map(lambda minutes: END - timedelta(minutes=minutes)),
    }
)


def compute(view: FeatureView, rows: list[dict[str, Any]], hours: int) -> dict[str, dict[str, Any]]:
    assert view.transform is not None
    window = Window(start=END - timedelta(hours=hours), end=END)
    return {one["origin"]: one for one in view.transform(pa.Table.from_pylist(rows, SCHEMA), window).to_pylist()}


def mean(values: list[float]) -> Any:
    return pytest.approx(statistics.fmean(values)) if values else None


def known(rows: list[dict[str, Any]], name: str) -> list[Any]:
    return [one[name] for one in rows if one[name] is not None]


@given(rows=st.lists(row, max_size=30))
def test_an_origins_day_equals_a_count_by_hand(rows: list[dict[str, Any]]) -> None:
    found = compute(airport_traffic, rows, 24)

    assert set(found) == {one["origin"] for one in rows}
    for origin, features in found.items():
        own = [one for one in rows if one["origin"] == origin]
        delays = known(own, "arr_delay")
        assert features["flights_1d"] == len(own)
        assert features["dep_delay_mean_1d"] == mean(known(own, "dep_delay"))
        assert features["late_share_1d"] == mean([float(delay > 30) for delay in delays])
        assert features["cancelled_share_1d"] == mean([float(one["cancelled"]) for one in own])
        assert features["worst_delays_1d"] == sorted(delays, reverse=True)[:5]


@given(rows=st.lists(row, max_size=30))
def test_an_origins_last_hours_equal_a_count_by_hand(rows: list[dict[str, Any]]) -> None:
    found = compute(airport_hours, rows, 1)

    assert set(found) == {one["origin"] for one in rows}
    for origin, features in found.items():
        own = [one for one in rows if one["origin"] == origin]
        assert features["flights_3h"] == len(own)
        assert features["arr_delay_mean_3h"] == mean(known(own, "arr_delay"))
        assert features["dep_delay_mean_3h"] == mean(known(own, "dep_delay"))
        assert features["cancelled_3h"] == sum(one["cancelled"] for one in own)
