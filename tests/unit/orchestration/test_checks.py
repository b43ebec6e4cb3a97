"""What is asked of a table before anybody builds on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flight_views import make_view
from tiffin.features import Online, Window
from tiffin.orchestration.checks import sampled, too_old, unique_keys
from tiffin.orchestration.checks_freshness import freshness_check_specs, freshness_results

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


@pytest.mark.parametrize(
    ("age_h", "passed"),
    [pytest.param(26, True, id="just in time"), pytest.param(27, False, id="late"), pytest.param(None, False, id="never")],
)
def test_a_view_is_late_when_its_newest_event_time_is_older_than_declared(age_h: float | None, passed: bool) -> None:
    newest = None if age_h is None else START - timedelta(hours=age_h)

    finding = too_old(newest, now=START, max_age=timedelta(hours=26), owner="team:network")

    assert finding.passed is passed
    assert finding.evidence["max_age_s"] == 26 * 3600
    assert passed or finding.fix


def test_only_a_view_that_declares_freshness_has_the_check_and_it_is_a_warning() -> None:
    key = dg.AssetKey(["network", "delays_online"])
    silent, declared = make_view(online=Online(ttl="3d")), make_view(online=Online(ttl="3d", freshness="26h"))

    (result,) = freshness_results(declared, START - timedelta(hours=30), now=START, owner="team:network")

    assert freshness_check_specs(key, silent) == freshness_results(silent, START, now=START, owner="team:network") == []
    assert [spec.blocking for spec in freshness_check_specs(key, declared)] == [False]
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "30 h ago; allowed are 26 h" in str(result.description)
    assert "team:network" in str(result.metadata["fix"].value)
