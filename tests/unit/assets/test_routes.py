"""The routes' SQL, beside a slow and obvious count over a real week."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from assets.network.routes import route_carriers, route_delays
from tiffin.features import FeatureView, Window
from tiffin.features.compute import compute

END = datetime(2013, 2, 10, tzinfo=UTC)  # after a blizzard: carriers with nothing but cancelled flights
WINDOW = Window(start=END - timedelta(days=1), end=END)
ROUTES = route_delays.with_changes(engine="duckdb")  # no JVM in a unit test: tests/integration/test_spark_routes.py compares the two


def groups(year: pa.Table, view: FeatureView) -> dict[tuple[Any, ...], list[dict[str, Any]]]:
    at = year["landed_at"]
    seen = year.filter(pc.and_(pc.greater_equal(at, pa.scalar(END - view.lookback, at.type)), pc.less(at, pa.scalar(END, at.type))))
    found: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    names = view.entity.key_names
    for one in seen.select([*names, "arr_delay", "air_time", "cancelled"]).to_pylist():
        found[tuple(one[name] for name in names)].append(one)
    return found


def rounded(value: float | None, step: float) -> Any:
    return None if value is None else pytest.approx(value, abs=step / 2 + 1e-4)  # and what float32 rounds


def mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


def test_a_routes_two_weeks_equal_a_count_by_hand(year: pa.Table) -> None:
    by_hand = groups(year, ROUTES)

    found = compute(ROUTES, WINDOW, year).to_pylist()

    assert {(one["origin"], one["dest"]) for one in found} == set(by_hand)
    for one in found:
        flights = by_hand[one["origin"], one["dest"]]
        delays = [flight["arr_delay"] for flight in flights if flight["arr_delay"] is not None]
        assert one["flights_14d"] == len(flights)
        assert one["arr_delay_mean_14d"] == rounded(mean(delays), 0.01)
        assert one["air_time_mean_14d"] == rounded(mean([f["air_time"] for f in flights if f["air_time"] is not None]), 0.01)
        assert one["late_share_14d"] == rounded(mean([float(delay > 30) for delay in delays]), 0.0001)


def test_a_carriers_four_weeks_on_a_route_equal_a_count_by_hand(year: pa.Table) -> None:
    by_hand = groups(year, route_carriers)

    found = compute(route_carriers, WINDOW, year).to_pylist()

    assert {(one["origin"], one["dest"], one["carrier"]) for one in found} == set(by_hand)
    for one in found:
        flights = by_hand[one["origin"], one["dest"], one["carrier"]]
        delays = sorted(flight["arr_delay"] for flight in flights if flight["arr_delay"] is not None)
        assert one["flights_28d"] == len(flights)
        assert one["arr_delay_p50_28d"] == (delays[math.ceil(len(delays) * 0.5) - 1] if delays else None)
        assert one["arr_delay_p80_28d"] == (delays[math.ceil(len(delays) * 0.8) - 1] if delays else None)
        assert one["cancelled_share_28d"] == rounded(mean([float(flight["cancelled"]) for flight in flights]), 0.0001)
