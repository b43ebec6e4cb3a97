"""A value that depends on rows known after its event time is caught; an honest view is not accused."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tests.flight_views import INSTANT, counted, day, hours, landings, make_view
from tiffin.core.errors import Invalid
from tiffin.features import Feature, Float32, Int8, Int32, Window
from tiffin.features.leakage import LeakageFinding, check_window

SOURCE = landings(("UA", 1, 5.0), ("AA", 2, 1.0), ("UA", 23, 7.0), ("UA", 25, 300.0), ("AA", 29, 9.0), ("DL", 40, 1.0), ("UA", 60, 2.0))


def before(rows: pa.Table, limit: object) -> pa.Table:
    return rows.filter(pc.less(rows["landed_at"], pa.scalar(limit, INSTANT)))


def filters_properly(rows: pa.Table, window: Window) -> pa.Table:
    return counted(before(rows, window.end), window)


def takes_what_it_is_given(rows: pa.Table, window: Window) -> pa.Table:
    return counted(rows, window)


def bounds_only_the_start(rows: pa.Table, window: Window) -> pa.Table:
    return counted(rows.filter(pc.greater_equal(rows["landed_at"], pa.scalar(window.start, INSTANT))), window)


def hour_ends(rows: pa.Table) -> pa.Table:
    floor = pc.floor_temporal(rows["landed_at"], unit="hour")
    return rows.append_column("event_time", pc.add(floor, pa.scalar(timedelta(hours=1), pa.duration("us"))))


def hourly(rows: pa.Table, window: Window) -> pa.Table:
    grouped = hour_ends(rows).group_by(["carrier", "event_time"], use_threads=False).aggregate([([], "count_all"), ("delay", "mean")])
    return grouped.rename_columns(["carrier", "event_time", "flights", "delay_mean"])


HONEST = [filters_properly, takes_what_it_is_given, bounds_only_the_start, hourly]


@pytest.mark.parametrize("transform", HONEST, ids=lambda transform: transform.__name__)
def test_an_honest_view_is_not_accused(transform: object) -> None:
    assert check_window(make_view(transform), day(), SOURCE) is None


def test_honest_sql_is_not_accused() -> None:
    for bound in ("", "where landed_at < $end", "where landed_at >= $start"):
        view = make_view(sql=f"select carrier, count(*) as flights, avg(delay) as delay_mean from landings {bound} group by carrier")
        assert check_window(view, day(), SOURCE) is None


def arrivals_of_the_next_hours(rows: pa.Table, window: Window) -> pa.Table:
    return counted(before(rows, window.end + timedelta(hours=6)), window)


def arrivals_after_the_end(rows: pa.Table, window: Window) -> pa.Table:
    late = rows.filter(pc.greater_equal(rows["landed_at"], pa.scalar(window.end, INSTANT)))
    return counted(rows, window) if late.num_rows == 0 else counted(late, window)


def the_days_mean_in_every_hour(rows: pa.Table, window: Window) -> pa.Table:
    table = hourly(rows, window)
    return table.set_column(3, "delay_mean", pa.array([pc.mean(rows["delay"]).as_py()] * table.num_rows, pa.float64()))


def rows_from_elsewhere(rows: pa.Table, window: Window) -> pa.Table:
    return counted(before(SOURCE, window.end + timedelta(hours=6)), window)


@pytest.mark.parametrize(
    ("transform", "features", "why"),
    [
        pytest.param(arrivals_of_the_next_hours, ("flights", "delay_mean"), "after the window's end", id="six hours too many"),
        pytest.param(arrivals_after_the_end, ("flights", "delay_mean"), "after the window's end", id="only later rows"),
        pytest.param(the_days_mean_in_every_hour, ("delay_mean",), "at or after their event time", id="the day in every hour"),
        pytest.param(rows_from_elsewhere, ("flights", "delay_mean"), "was not given", id="rows from elsewhere"),
    ],
)
def test_a_planted_leak_is_caught_by_feature(transform: object, features: tuple[str, ...], why: str) -> None:
    finding = check_window(make_view(transform, name="planted"), day(), SOURCE)

    assert isinstance(finding, LeakageFinding)
    assert finding.features == features
    assert why in finding.why
    assert str(finding).startswith("view 'planted', partition 2030-01-01: ")


def test_sql_with_the_wrong_bound_is_caught() -> None:
    view = make_view(
        sql="""select carrier, count(*) as flights, avg(delay) as delay_mean
               from landings where landed_at < $end + interval 6 hour group by carrier"""
    )

    finding = check_window(view, day(), SOURCE)

    assert finding is not None
    assert "flights is 2 with them and 1 without" in str(finding)


def test_a_feature_that_uses_arrivals_after_its_windows_end_is_caught_by_the_owners_time() -> None:
    departures = SOURCE.append_column("left_at", pc.subtract(SOURCE["landed_at"], pa.scalar(timedelta(hours=3), pa.duration("us"))))
    view = make_view(time="left_at")

    finding = check_window(view, day(), departures, known="landed_at")

    assert finding is not None
    assert finding.features == ("flights", "delay_mean")
    assert "'landed_at'" in finding.why
    assert check_window(make_view(), day(), departures, known="landed_at") is None


def test_a_row_that_nobody_knows_yet_is_a_later_row() -> None:
    rows = SOURCE.append_column("known", pa.array([hours(1), hours(2), None, *[hours(60)] * 4], INSTANT))

    finding = check_window(make_view(), day(), rows, known="known")

    assert finding is not None
    assert "carrier='UA'" in finding.example


def test_more_rows_than_a_type_holds_are_no_accusation() -> None:
    view = make_view(features=[Feature("flights", Int8()), Feature("delay_mean", Float32())])
    many = landings(("UA", 1, 1.0), *[("UA", 25.0, 1.0)] * 200)

    assert check_window(view, day(), many) is None


def test_a_source_without_later_rows_has_nothing_to_leak() -> None:
    assert check_window(make_view(arrivals_of_the_next_hours), day(), SOURCE.slice(0, 3)) is None


def test_an_unknown_time_column_is_told_with_the_nearest() -> None:
    with pytest.raises(Invalid, match="'landd_at'") as caught:
        check_window(make_view(), day(), SOURCE, known="landd_at")

    assert caught.value.fix == "did you mean 'landed_at'?"


def test_a_view_that_cannot_be_computed_says_so() -> None:
    view = make_view(lambda rows, window: rows, features=[Feature("flights", Int32())])

    with pytest.raises(Invalid, match="view 'delays', partition 2030-01-01"):
        check_window(view, day(), SOURCE)
