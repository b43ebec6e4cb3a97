"""Sets of days as text that a person can read: a year of them is one range."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

from tiffin.core.errors import Invalid

__all__ = ["pack_days", "unpack_days"]

DAY = timedelta(days=1)


def pack_days(days: Iterable[str]) -> list[str]:
    """Days as ranges, both ends included.

    Example:
        >>> pack_days(["2013-01-03", "2013-01-01", "2013-01-02", "2013-02-01"])
        ['2013-01-01..2013-01-03', '2013-02-01']
    """
    ranges: list[tuple[date, date]] = []
    for day in sorted(date.fromisoformat(one) for one in set(days)):
        if ranges and day - ranges[-1][1] == DAY:
            ranges[-1] = (ranges[-1][0], day)
        else:
            ranges.append((day, day))
    return [first.isoformat() if first == last else f"{first.isoformat()}..{last.isoformat()}" for first, last in ranges]


def unpack_days(ranges: Iterable[str]) -> set[str]:
    """The days of `pack_days`.

    Raises:
        Invalid: text that is no range of days.
    """
    found: set[str] = set()
    for one in ranges:
        try:
            first, last = (date.fromisoformat(part) for part in (one.split("..") if ".." in one else (one, one)))
        except ValueError as err:
            raise Invalid(f"{one!r} is no day and no range of days", fix="write 2013-01-31 or 2013-01-01..2013-01-31") from err
        found.update((first + DAY * step).isoformat() for step in range((last - first).days + 1))
    return found
