"""Partitions beside the ones before them: what is unusual, and what only looks so."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.orchestration.checks_history import EARLIER, Series, null_shares, row_counts, season_of, sizes
from tiffin.orchestration.checks_profile import FeatureProfile, Profile, profile

KEYS = 40
DAYS = tuple((date(2030, 1, 1) + timedelta(days=day)).isoformat() for day in range(60))
BAD = 45


def make_rows(values: np.ndarray, partitions: tuple[str, ...] = DAYS) -> pa.Table:
    """`(partitions, keys)` values of one feature, NaN for null."""
    keys = values.shape[1]
    return pa.table(
        {
            "partition": pa.array(np.repeat(np.array(partitions[: len(values)], object), keys), pa.string()),
            "delay": pa.array(values.ravel(), mask=np.isnan(values.ravel())),
        }
    )


def make_profile(values: np.ndarray, partitions: tuple[str, ...] = DAYS) -> Profile:
    return profile(make_rows(values, partitions), ["delay"], partitions[: len(values)])


def usual_values(*, seed: int = 1, days: int = len(DAYS), keys: int = KEYS, null_share: float = 0.02) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.normal(12, 4, (days, keys)) + random.normal(0, 1.5, (days, 1))
    values[random.random((days, keys)) < null_share] = np.nan
    return values


def outside(series: Series) -> list[str]:
    return [series.partitions[place] for place in np.flatnonzero(series.outside)]


def test_usual_days_raise_nothing() -> None:
    found = make_profile(usual_values())

    assert [outside(one) for one in (row_counts(found), *null_shares(found, {}), *sizes(found))] == [[], [], []]


def test_nulls_up_ten_times_are_caught_on_their_day_alone() -> None:
    values = usual_values(keys=100)
    values[BAD, np.random.default_rng(2).permutation(100)[:20]] = np.nan

    assert outside(null_shares(make_profile(values), {})[0]) == [DAYS[BAD]]


def with_nulls(nulls: list[int], *, rows: int = 400) -> Profile:
    """Days with so many nulls of `rows`."""
    nothing = np.full((len(nulls), 4), np.nan)
    one = FeatureProfile(np.array(nulls), np.zeros(len(nulls), np.int64), nothing, nothing[:, 0], nothing[:, 0])
    return Profile(tuple(DAYS[: len(nulls)]), np.full(len(nulls), rows), {"delay": one})


@pytest.mark.parametrize(
    ("nulls", "alarm"),
    [
        pytest.param([*[1, 2, 1, 0] * 7, 12], True, id="ten times a third of a percent"),
        pytest.param([*[1, 2, 1, 0] * 7, 4], False, id="chance"),
        pytest.param([*[0] * 28, 3], False, id="a few after none"),
        pytest.param([*[0] * 28, 8], True, id="many after none"),
        pytest.param([*[0, 8] * 14, 23], False, id="of days that vary by more than chance"),
        pytest.param([*[4] * 28, 26], True, id="of days that do not"),
        pytest.param([*[1, 2, 1, 0] * 6, 1, 40, 1, 1, 45], False, id="as many as in the storm of that week"),
    ],
)
def test_a_rise_of_nulls_is_told_from_chance_and_storms(nulls: list[int], alarm: bool) -> None:
    assert bool(null_shares(with_nulls(nulls), {})[0].outside[-1]) == alarm


def test_a_declared_share_of_nulls_replaces_history() -> None:
    values = usual_values(keys=100)
    values[BAD, :30] = np.nan
    values[3, :60] = np.nan  # before there is any history

    found = make_profile(values)

    assert outside(null_shares(found, {"delay": 0.5})[0]) == [DAYS[3]]


@pytest.mark.parametrize("factor", [pytest.param(60, id="seconds for minutes"), pytest.param(1 / 60, id="hours for minutes")])
def test_another_unit_is_caught(factor: float) -> None:
    values = usual_values()
    values[BAD] *= factor

    assert outside(sizes(make_profile(values))[0]) == [DAYS[BAD]]


def test_a_storm_that_stretches_the_upper_values_is_no_other_unit() -> None:
    values = usual_values()
    values[BAD, KEYS // 3 :] *= 10  # a third of the keys had a quiet day

    assert outside(sizes(make_profile(values))[0]) == []


def test_a_handful_of_values_that_are_all_small_is_weather() -> None:
    values = usual_values(keys=3, null_share=0)
    values[BAD] /= 60

    assert outside(sizes(make_profile(values))[0]) == []


def test_a_handful_of_values_that_are_all_large_is_another_unit() -> None:
    values = usual_values(keys=3, null_share=0)
    values[BAD] *= 60

    assert outside(sizes(make_profile(values))[0]) == [DAYS[BAD]]


@pytest.mark.parametrize(("kept", "found"), [pytest.param(18, [DAYS[BAD]], id="lost half"), pytest.param(24, [], id="a slow day")])
def test_a_partition_that_lost_half_of_its_rows_is_caught(kept: int, found: list[str]) -> None:
    rows = make_rows(usual_values())
    place = np.arange(rows.num_rows)
    rows = rows.filter(pa.array((place // KEYS != BAD) | (place % KEYS < kept)))

    assert outside(row_counts(profile(rows, ["delay"], DAYS))) == found


def test_an_empty_partition_is_outside_and_does_not_spoil_the_next() -> None:
    rows = make_rows(usual_values())
    rows = rows.filter(pa.array(np.arange(rows.num_rows) // KEYS != BAD))

    assert outside(row_counts(profile(rows, ["delay"], DAYS))) == [DAYS[BAD]]


def test_the_first_days_are_never_judged() -> None:
    values = usual_values(days=7)
    values[-1] *= 1000

    found = make_profile(values)

    assert outside(sizes(found)[0]) == []
    assert sizes(found)[0].earlier.tolist() == list(range(7))


def test_an_hour_is_compared_with_the_same_hour_of_other_days() -> None:
    hours = tuple(f"{day}-{hour:02d}:00" for day in DAYS for hour in (3, 9))
    values = np.repeat(usual_values(null_share=0), 2, axis=0)
    values[1::2] *= 100  # nine o'clock is another world every day

    found = sizes(make_profile(values, hours))[0]

    assert season_of(hours[0]) == "03:00"
    assert outside(found) == []
    assert found.earlier[-1] == EARLIER


@given(seed=st.integers(0, 1000), day=st.integers(0, 59), factor=st.sampled_from([1.0, 60.0, 0.01]), lost=st.integers(0, KEYS))
def test_a_range_is_judged_like_its_days_one_by_one(seed: int, day: int, factor: float, lost: int) -> None:
    values = usual_values(seed=seed)
    values[day] *= factor
    values[day, :lost] = np.nan
    whole = make_profile(values)
    alone = make_profile(values[max(0, day - EARLIER) : day + 1], DAYS[max(0, day - EARLIER) :])

    for judged in (lambda one: [row_counts(one)], lambda one: null_shares(one, {}), sizes):
        (of_range,), (of_day,) = judged(whole), judged(alone)
        assert bool(of_range.outside[day]) == bool(of_day.outside[-1])
        assert np.array_equal(of_range.high[day], of_day.high[-1], equal_nan=True)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        pytest.param(pa.array([3, None, 0], pa.int16()), [3.0, np.nan, 0.0], id="numbers"),
        pytest.param(pa.array(["ab", None, ""], pa.string()), [2.0, np.nan, 0.0], id="length of text"),
        pytest.param(pa.array([[1, 2, 3], None, []], pa.list_(pa.int64())), [3.0, np.nan, 0.0], id="length of a list"),
        pytest.param(pa.array([[3.0, 4.0], None, [0.0, 0.0]], pa.list_(pa.float32())), [5.0, np.nan, 0.0], id="norm of a vector"),
        pytest.param(pa.array([True, None, False]), [1.0, np.nan, 0.0], id="flags"),
    ],
)
def test_every_kind_of_value_has_a_reading(column: pa.Array, expected: list[float]) -> None:
    rows = pa.table({"value": column, "partition": pa.array([DAYS[0]] * 3, pa.string())})

    found = profile(rows, ["value"], [DAYS[0]]).features["value"]

    assert found.nulls.tolist() == [1]
    assert (found.low[0], found.high[0]) == (min(expected[0], 0.0), expected[0])
    assert found.present.tolist() == [1]
    assert found.sizes[0] == pytest.approx(np.full(4, np.log(expected[0])))
