"""The clock: the wall, or the instant that a stack replays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tiffin.core.clock import frozen_clock, wall_clock


def test_the_wall_is_aware_and_in_utc() -> None:
    assert wall_clock().utcoffset() == timedelta(0)


def test_a_frozen_clock_stands_still() -> None:
    instant = datetime(2013, 12, 31, tzinfo=UTC)
    clock = frozen_clock(instant)

    assert (clock(), clock()) == (instant, instant)
