"""The carriers' features, beside a slow and obvious count."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.fleet.carriers import EDGES, carrier_delays, medians, shares
from tiffin.features import Window

END = datetime(2013, 3, 6, tzinfo=UTC)
WINDOW = Window(start=END - timedelta(days=1), end=END)
SCHEMA = pa.schema(
    [
        ("carrier", pa.string()),
        ("origin", pa.string()),
        ("arr_delay", pa.int16()),
        ("dep_delay", pa.int16()),
        ("cancelled", pa.bool_()),
        ("landed_at", pa.timestamp("us", tz="UTC")),
    ]
)

row = st.fixed_dictionaries(
    {
        "carrier": st.sampled_from(["UA", "AA"]),
        "origin": st.sampled_from(["EWR", "JFK"]),
        "arr_delay": st.none() | st.integers(-60, 400),
        "dep_delay": st.none() | st.integers(-30, 400),
        "cancelled": st.booleans(),
        "landed_at": st.integers(1, 7 * 24 * 60).map(lambda minutes: END - timedelta(minutes=minutes)),
    }
)


def compute(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    assert carrier_delays.transform is not None
    found = carrier_delays.transform(pa.Table.from_pylist(rows, SCHEMA), WINDOW).to_pylist()
    return {(one["carrier"], one["origin"]): one for one in found}


def mean(values: list[float]) -> float | None:
    return statistics.fmean(values) if values else None


@given(rows=st.lists(row, max_size=40))
def test_every_feature_equals_a_count_by_hand(rows: list[dict[str, Any]]) -> None:
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for one in rows:
        groups[one["carrier"], one["origin"]].append(one)

    found = compute(rows)

    assert set(found) == set(groups)
    for key, flights in groups.items():
        today = [one for one in flights if one["landed_at"] >= WINDOW.start]
        delays = [one["arr_delay"] for one in flights if one["arr_delay"] is not None]
        expected = {
            "flights_1d": len(today),
            "flights_7d": len(flights),
            "arr_delay_mean_1d": mean([one["arr_delay"] for one in today if one["arr_delay"] is not None]),
            "arr_delay_mean_7d": mean(delays),
            "arr_delay_p50_7d": statistics.median(delays) if delays else None,
            "dep_delay_mean_7d": mean([one["dep_delay"] for one in flights if one["dep_delay"] is not None]),
            "late_share_7d": mean([float(delay > 30) for delay in delays]),
            "cancelled_share_7d": mean([float(one["cancelled"]) for one in flights]),
        }
        for name, value in expected.items():
            assert found[key][name] == (None if value is None else pytest.approx(value)), name


def test_a_carrier_whose_flights_were_all_cancelled_has_no_delay_but_a_row() -> None:
    rows = [
        {"carrier": "UA", "origin": "EWR", "arr_delay": None, "dep_delay": None, "cancelled": True, "landed_at": END - timedelta(hours=1)}
    ]

    found = compute(rows)["UA", "EWR"]

    assert found["cancelled_share_7d"] == 1.0
    assert found["flights_1d"] == 1
    assert [found[name] for name in ("arr_delay_mean_1d", "arr_delay_mean_7d", "arr_delay_p50_7d", "late_share_7d")] == [None] * 4


def test_a_week_without_flights_gives_no_rows_in_the_declared_columns() -> None:
    assert carrier_delays.transform is not None

    empty = carrier_delays.transform(SCHEMA.empty_table(), WINDOW)

    assert empty.num_rows == 0
    assert set(empty.column_names) == {"carrier", "origin", *(feature.name for feature in carrier_delays.features)}


@given(lists=st.lists(st.lists(st.none() | st.integers(-100, 100), max_size=8), max_size=8))
def test_a_median_is_exact_and_ignores_nulls(lists: list[list[int | None]]) -> None:
    expected = [statistics.median(known) if (known := [v for v in one if v is not None]) else None for one in lists]

    assert medians(pa.array(lists, pa.list_(pa.int16()))).to_pylist() == expected


@given(lists=st.lists(st.lists(st.none() | st.integers(-100, 400), max_size=8), max_size=8))
def test_a_delay_profile_counts_each_arrival_in_one_bin_whose_end_belongs_to_it(lists: list[list[int | None]]) -> None:
    found = shares(pa.array(lists, pa.list_(pa.int16()))).to_pylist()

    for one, profile in zip(lists, found, strict=True):
        known = [value for value in one if value is not None]
        if not known:
            assert profile is None
            continue
        bounds = [float("-inf"), *EDGES, float("inf")]
        counts = [sum(low < value <= high for value in known) for low, high in itertools.pairwise(bounds)]
        assert profile == pytest.approx([count / len(known) for count in counts])
