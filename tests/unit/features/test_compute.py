"""One window of a view: what goes in, what is refused, and in which form it comes out."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flight_views import INSTANT, counted, day, hours, landings, make_view, returning
from tiffin.core.errors import Invalid
from tiffin.features import Entity, Feature, Float32, Int8, Int16, Int32, String
from tiffin.features.compute import canonical_all, canonical_rows, compute
from tiffin.features.source_rows import SourceRows, window_rows
from tiffin.storage.content import content_digest

SQL = "select carrier, count(*) as flights, avg(delay) as delay_mean from landings group by carrier"
SOURCE = landings(("UA", 1, 5.0), ("AA", 2, 1.004), ("UA", 23, 7.0))


def computed(**columns: Any) -> pa.Table:
    return compute(make_view(returning(**columns)), day(), SOURCE)


def test_rows_come_out_sorted_canonical_and_with_both_times() -> None:
    found = compute(make_view(delay="30m"), day(), SOURCE)

    assert found.to_pylist() == [
        {"carrier": "AA", "flights": 1, "delay_mean": pytest.approx(1.0), "event_time": hours(24), "known_at": hours(24.5)},
        {"carrier": "UA", "flights": 2, "delay_mean": pytest.approx(6.0), "event_time": hours(24), "known_at": hours(24.5)},
    ]
    assert found.schema.types == [pa.string(), pa.int32(), pa.float32(), INSTANT, INSTANT]


def test_sql_and_python_give_the_same_content() -> None:
    assert content_digest(compute(make_view(sql=SQL), day(), SOURCE)) == content_digest(compute(make_view(), day(), SOURCE))


def test_sql_sees_start_and_end() -> None:
    view = make_view(
        sql="""select carrier, (epoch_us($end) - epoch_us($start)) // 3600000000 as flights, null as delay_mean
               from landings limit 1"""
    )

    assert compute(view, day(3), landings(("UA", 80, 1.0)))["flights"].to_pylist() == [24]


def test_a_window_sees_its_lookback_and_nothing_from_its_end_on() -> None:
    rows = landings(("A", 23.9, 1), ("B", 24, 1), ("C", 71.999, 1), ("D", 72, 1), ("E", None, 1))

    found = compute(make_view(lookback="2d"), day(2), rows)

    assert found["carrier"].to_pylist() == ["B", "C"]


def test_an_overnight_arrival_lands_in_the_day_of_its_landing() -> None:
    overnight = landings(("UA", 25, 300.0))

    assert compute(make_view(), day(0), overnight).num_rows == 0
    assert compute(make_view(), day(1), overnight)["flights"].to_pylist() == [1]


def test_an_empty_window_gives_the_views_columns_without_rows() -> None:
    for view in (make_view(), make_view(sql=SQL)):
        assert compute(view, day(9), SOURCE).schema.names == ["carrier", "flights", "delay_mean", "event_time", "known_at"]


def test_nan_becomes_null_and_minus_zero_zero() -> None:
    found = computed(carrier=["A", "B"], flights=[1, 1], delay_mean=[math.nan, -0.0])

    assert [str(value) for value in found["delay_mean"].to_pylist()] == ["None", "0.0"]


def test_keys_are_stored_in_nfc() -> None:
    assert computed(carrier=["e\u0301"], flights=[1], delay_mean=[0.0])["carrier"].to_pylist() == ["é"]


def test_rows_may_have_their_own_event_times() -> None:
    found = computed(carrier=["A", "A"], flights=[1, 2], delay_mean=[0.0, 0.0], event_time=pa.array([hours(24), hours(1)], INSTANT))

    assert found.select(["flights", "event_time"]).to_pylist() == [
        {"flights": 2, "event_time": hours(1)},
        {"flights": 1, "event_time": hours(24)},
    ]


def times(*instants: datetime | None, kind: pa.DataType = INSTANT) -> dict[str, Any]:
    count = len(instants)
    return {
        "carrier": [f"c{place}" for place in range(count)],
        "flights": [1] * count,
        "delay_mean": [0.0] * count,
        "event_time": pa.array(instants, kind),
    }


GOOD: dict[str, Any] = {"carrier": ["A", "B"], "flights": [1, 2], "delay_mean": [0.5, None]}
REFUSED = {
    "missing feature": ({"carrier": ["A"], "flights": [1]}, "no column 'delay_mean'", "return the key and every declared feature"),
    "misspelt feature": (
        {"carrier": ["A"], "flights": [1], "delay_maen": [1.0]},
        "no column 'delay_mean'; it has carrier, flights, delay_maen",
        "did you mean 'delay_maen'?",
    ),
    "missing key": ({"flights": [1], "delay_mean": [1.0]}, "no column 'carrier'", "return the key"),
    "extra column": ({**GOOD, "tail": [1, 2]}, "a column 'tail', which is not declared; allowed are carrier", "drop it, or declare it"),
    "known at": ({**GOOD, "known_at": [1, 2]}, "'known_at'", "known_at is the event time plus the view's delay"),
    "null key": ({**GOOD, "carrier": ["A", None]}, "key 'carrier', row 1: found null, expected string", "where carrier is not null"),
    "number as key": ({**GOOD, "carrier": [1, 2]}, "column 'carrier' holds int64: expected text", "cast it to string"),
    "text as number": ({**GOOD, "flights": ["1", "2"]}, "column 'flights' holds string: expected whole numbers", "round and cast"),
    "float as int": ({**GOOD, "flights": [1.0, 2.0]}, "column 'flights' holds double: expected whole numbers", "round and cast"),
    "number out of range": ({**GOOD, "flights": [1, 2**40]}, f"column 'flights', row 1: value {2**40}", "wider type"),
    "step out of reach": ({**GOOD, "delay_mean": [1e9, 0.0]}, "column 'delay_mean', row 0: value 1000000000.0", "larger step"),
    "infinity": ({**GOOD, "delay_mean": [0.0, math.inf]}, "column 'delay_mean', row 1: value inf", "larger step"),
    "repeated key": ({**GOOD, "carrier": ["A", "A"]}, "two rows for carrier='A', event_time=2030-01-02", "group by carrier"),
    "repeated key after NFC": ({**GOOD, "carrier": ["é", "e\u0301"]}, "two rows for carrier='é'", "group by carrier"),
    "event after the end": (
        times(hours(24), hours(24.001)),
        "row 1: found 2030-01-02T00:00:03.600000Z, expected at most",
        "drop later rows",
    ),
    "event at the start": (times(hours(0)), "found 2030-01-01T00:00:00Z, expected after the window's start", "earlier partition"),
    "event before the start": (times(hours(-5)), "expected after the window's start", "earlier partition"),
    "event between units": (times(hours(1) + timedelta(microseconds=1)), "expected a whole multiple of 1000000 µs", "round up"),
    "null event time": (times(hours(1), None), "column 'event_time', row 1: value null", "give every row its event time"),
    "event time without a zone": (
        times(hours(1), kind=pa.timestamp("us")),
        "column 'event_time' holds timestamp[us]",
        "timestamp[us, tz=UTC]",
    ),
}


@pytest.mark.parametrize(("columns", "found", "fix"), REFUSED.values(), ids=REFUSED.keys())
def test_a_result_that_breaks_a_rule_is_refused_by_name(columns: dict[str, Any], found: str, fix: str) -> None:
    with pytest.raises(Invalid) as caught:
        computed(**columns)

    assert caught.value.message.startswith("view 'delays', partition 2030-01-01: ")
    assert found in caught.value.message
    assert fix in caught.value.fix


def test_a_column_that_comes_twice_is_refused() -> None:
    twice = pa.table(
        [pa.array(["A"]), pa.array([1]), pa.array([1]), pa.array([0.5])], names=["carrier", "flights", "flights", "delay_mean"]
    )

    with pytest.raises(Invalid, match="2 columns 'flights'"):
        compute(make_view(lambda rows, window: twice), day(), SOURCE)


def test_a_null_in_a_feature_that_allows_none_is_refused() -> None:
    view = make_view(returning(carrier=["A", "B"], flights=[1, None]), features=[Feature("flights", Int32(), nullable=False)])

    with pytest.raises(Invalid, match="column 'flights', row 1: value null is not allowed"):
        compute(view, day(), SOURCE)


def test_a_text_longer_than_declared_is_refused() -> None:
    view = make_view(returning(carrier=["A"], note=["abcdef"]), features=[Feature("note", String(max_bytes=5))])

    with pytest.raises(Invalid, match="column 'note', row 0: value starting 'abcdef' has 6 bytes"):
        compute(view, day(), SOURCE)


def test_a_numeric_key_out_of_its_range_is_refused() -> None:
    view = make_view(returning(gate=[200], flights=[1], delay_mean=[0.0]), entity=Entity("gate", key="gate: int8"))

    with pytest.raises(Invalid, match="column 'gate', row 0: value 200"):
        compute(view, day(), SOURCE)


@pytest.mark.parametrize(
    ("rows", "found", "fix"),
    [
        pytest.param(SOURCE.drop_columns(["landed_at"]), "no column 'landed_at'", "use one of: carrier, delay", id="missing"),
        pytest.param(
            SOURCE.set_column(1, "landed_at", SOURCE["landed_at"].cast(pa.timestamp("us"))),
            "holds timestamp[us]",
            "assume_timezone",
            id="local",
        ),
        pytest.param(SOURCE.set_column(1, "landed_at", pa.array([1, 2, 3])), "holds int64", "instants", id="number"),
    ],
)
def test_a_source_without_a_usable_time_is_refused(rows: pa.Table, found: str, fix: str) -> None:
    with pytest.raises(Invalid) as caught:
        compute(make_view(), day(), rows)

    assert found in caught.value.message
    assert fix in caught.value.fix


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.none() | st.integers(0, 5), st.integers(0, 99)), max_size=12),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_slices_of_sorted_rows_agree_with_a_filter(rows: list[tuple[str, int | None, int]], start: int, end: int) -> None:
    source = landings(*rows)

    found = SourceRows(source, "landed_at").between(hours(start), hours(end))

    expected = sorted((row for row in rows if row[1] is not None and start <= row[1] < end), key=lambda row: row[1] or 0)
    assert found.equals(landings(*expected))
    assert window_rows(source, "landed_at", hours(start), hours(end)).equals(found)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 23), st.none() | st.floats(-1e4, 1e4)), max_size=8))
def test_computing_the_stored_rows_again_gives_the_same_bits(rows: list[tuple[str, int, float | None]]) -> None:
    features = [
        Feature("flights", Int16()),
        Feature("small", Int8()),
        Feature("delay_mean", Float32(step=0.01)),
        Feature("half", Float32()),
    ]

    def widened(given: pa.Table, window: object) -> pa.Table:
        table = counted(given, window)
        return table.append_column("small", table["flights"]).append_column("half", table["delay_mean"])

    once = compute(make_view(widened, features=features), day(), landings(*rows))
    again = compute(make_view(lambda _, __: once.drop_columns(["known_at"]), features=features), day(), landings(*rows))

    assert content_digest(again) == content_digest(once)


def test_windows_together_are_the_windows_one_by_one() -> None:
    """Three days, the middle one empty; rows with and without a time of their own."""
    windows = [day(), day(1), day(2)]
    usual = [
        counted(landings(("UA", 1, 5.0), ("AA", 2, None)), None),
        counted(landings(), None),
        counted(landings(("AA", 50, 1.004)), None),
    ]
    own = [
        one.append_column("event_time", pa.array([window.end - timedelta(hours=1)] * len(one), INSTANT))
        for one, window in zip(usual, windows, strict=True)
    ]

    for results in (usual, own):
        together = canonical_all(make_view(), windows, results)

        singly = [canonical_rows(make_view(), window, result) for window, result in zip(windows, results, strict=True)]
        assert [one.to_pylist() for one in together] == [one.to_pylist() for one in singly]


def test_an_error_of_windows_together_names_its_window() -> None:
    """The first day's row lies in the second day: within the span of both, and after its own window."""
    row = counted(landings(("UA", 1, 5.0)), None)
    late = row.append_column("event_time", pa.array([hours(30)], INSTANT))

    with pytest.raises(Invalid, match=r"partition 2030-01-01: column 'event_time', row 0: found 2030-01-02T06:00:00Z") as caught:
        canonical_all(make_view(), [day(), day(1)], [late, late])

    assert caught.value.context["partition"] == "2030-01-01"
