"""What is asked of a table before anybody builds on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.features import Window
from tiffin.orchestration.checks import sampled, unique_keys

START = datetime(2013, 1, 1, tzinfo=UTC)


def make_windows(count: int) -> list[Window]:
    return [Window(start=START + timedelta(days=day), end=START + timedelta(days=day + 1)) for day in range(count)]


@pytest.mark.parametrize(
    ("carriers", "passed", "duplicates"),
    [
        pytest.param(["UA", "AA"], True, 0, id="distinct"),
        pytest.param(["UA", "UA", "AA"], False, 1, id="repeated"),
        pytest.param([None, None], False, 1, id="two nulls are equal"),
        pytest.param([], True, 0, id="no rows"),
    ],
)
def test_rows_have_distinct_keys(carriers: list[str | None], passed: bool, duplicates: int) -> None:
    finding = unique_keys(pa.table({"carrier": pa.array(carriers, pa.string())}), ["carrier"])

    assert finding.passed is passed
    assert finding.evidence == {"rows": len(carriers), "duplicates": duplicates}


def test_all_parts_of_a_key_count() -> None:
    rows = pa.table({"carrier": ["UA", "UA"], "origin": ["EWR", "JFK"]})

    assert unique_keys(rows, ["carrier", "origin"]).passed
    assert not unique_keys(rows, ["carrier"]).passed


@given(days=st.integers(1, 400), count=st.integers(1, 10))
def test_a_sample_is_spread_ordered_and_not_larger_than_asked(days: int, count: int) -> None:
    windows = make_windows(days)

    chosen = sampled(windows, count)

    assert len(chosen) == min(days, count)
    assert chosen == sorted(chosen, key=lambda window: window.start)
    assert chosen[0] == windows[0]
    assert count == 1 or chosen[-1] == windows[-1]
