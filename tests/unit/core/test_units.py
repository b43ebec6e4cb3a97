"""Durations and instants: exact, UTC, never negative."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.core.errors import Invalid
from tiffin.core.units import from_us, parse_duration, parse_instant, to_us

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=ZONES)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("30m", 1800), ("26h", 93_600), ("7d", 604_800), (" 2w ", 1_209_600)]
)
def test_a_duration_is_a_whole_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "1.5h", "7 d", "7D", "1y", "7d7h", "\u0667x"])
def test_another_text_is_no_duration_and_the_fix_shows_one(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_duration(text)
    assert "7d" in caught.value.fix


def test_a_negative_timedelta_is_refused() -> None:
    with pytest.raises(Invalid, match="negative"):
        parse_duration(timedelta(seconds=-1))


@given(INSTANTS)
def test_microseconds_since_1970_round_trip_exactly(instant: datetime) -> None:
    assert from_us(to_us(instant)) == instant
    assert from_us(to_us(instant)).tzinfo is UTC


@given(INSTANTS)
def test_an_instant_written_in_any_zone_reads_as_the_same_moment_in_utc(instant: datetime) -> None:
    found = parse_instant(instant.isoformat())

    assert found == instant
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("text", "us"),
    [("1970-01-01", 0), ("1970-01-01T00:00:01", 1_000_000), ("1970-01-01T01:00:00+01:00", 0), ("1969-12-31T23:59:59.999999Z", -1)],
)
def test_a_date_is_its_midnight_and_a_missing_zone_is_utc(text: str, us: int) -> None:
    assert to_us(parse_instant(text)) == us


@pytest.mark.parametrize("text", ["", "yesterday", "2013-13-01", "2013-02-30"])
def test_another_text_is_no_instant_and_the_fix_shows_one(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_instant(text)
    assert "2013-12-31T06:00:00Z" in caught.value.fix
