"""Durations and instants: parsed once, µs and UTC everywhere."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from tiffin.core.errors import Invalid

__all__ = ["from_us", "parse_duration", "parse_instant", "to_us"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(value: str | timedelta) -> timedelta:
    """Read `"90s"`, `"30m"`, `"26h"`, `"7d"`, `"2w"` or a `timedelta`; never negative.

    Example:
        >>> parse_duration("26h")
        datetime.timedelta(days=1, seconds=7200)
    """
    if isinstance(value, timedelta):
        found = value
    else:
        match = re.fullmatch(r"(\d+)([smhdw])", value.strip())
        if match is None:
            raise Invalid(f"duration {value!r} is not readable", fix="write a whole number and one of s, m, h, d, w: '7d'")
        found = timedelta(**{UNITS[match[2]]: int(match[1])})
    if found < timedelta(0):
        raise Invalid(f"duration {value!r} is negative", fix="durations count backwards by themselves: drop the sign")
    return found


def parse_instant(value: str | datetime) -> datetime:
    """Read an ISO 8601 instant; a date is its midnight and a missing zone is UTC.

    Example:
        >>> parse_instant("2013-12-31")
        datetime.datetime(2013, 12, 31, 0, 0, tzinfo=datetime.timezone.utc)
    """
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except ValueError as err:
        raise Invalid(f"instant {value!r} is not ISO 8601", fix="write it like '2013-12-31T06:00:00Z'") from err
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def to_us(instant: datetime) -> int:
    """Microseconds since 1970-01-01 UTC, exactly."""
    return (instant - EPOCH) // timedelta(microseconds=1)


def from_us(us: int) -> datetime:
    """The aware UTC instant of `us` microseconds since 1970."""
    return EPOCH + timedelta(microseconds=us)
