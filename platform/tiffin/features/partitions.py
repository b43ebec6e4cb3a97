"""How a view's rows are cut by time: one partition a day, one an hour, or the whole table as one."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from tiffin.core.errors import Invalid
from tiffin.core.spec import Spec

__all__ = ["Daily", "Hourly", "Partitions", "Snapshot", "Window", "daily", "hourly", "snapshot"]

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
# Dagster's own key formats: the UI's keys are ours
FORMATS = {DAY: "%Y-%m-%d", HOUR: "%Y-%m-%d-%H:%M"}


class Window(Spec):
    """One partition: features of `[start, end)`; a row's facts are complete at `end`.

    `partition` is the partition's key; left out, it is the daily or hourly one of `start`. The window of a
    snapshot has the key `""`: it starts at the declared instant and ends when it is computed.
    """

    start: datetime
    end: datetime
    partition: str

    def __init__(self, *, start: datetime, end: datetime, partition: str | None = None) -> None:
        # spelled out because the key is derived, and a year has 8,760 hours
        key = start.strftime(FORMATS[HOUR if end - start == HOUR else DAY]) if partition is None else partition
        super().__init__(start=start, end=end, partition=key)

    @property
    def event_time(self) -> datetime:
        """When a row's facts are complete, unless the row says so itself: the end; of a snapshot, the declared instant."""
        return self.end if self.partition else self.start


class Stepped(Spec):
    """Partitions of one length, one after the other, from the first midnight (UTC) of `start` to the end of `end`."""

    kind: ClassVar[Literal["daily", "hourly"]]
    length: ClassVar[timedelta]
    start: date
    end: date | None = Field(default=None, description="last day, for a table that has ended")

    @model_validator(mode="after")
    def days_are_ordered(self) -> Stepped:
        if self.end is not None and self.end < self.start:
            raise ValueError(f"end {self.end} is before start {self.start}")
        return self

    def window(self, key: str) -> Window:
        """The window of a partition key.

        Raises:
            Invalid: text that is no such key, or a partition before the first or after the last.
        """
        form = FORMATS[self.length]
        try:
            start = datetime.strptime(key, form).replace(tzinfo=UTC)
        except ValueError:
            start = None
        # strptime also reads 2013-1-5, and half past as an hour
        if start is None or start.strftime(form) != key or (start - midnight(start.date())) % self.length:
            example = midnight(self.start).strftime(form)
            raise Invalid(f"{key!r} is no partition key of {self.described}", fix=f"write it like {example!r}")
        if start.date() < self.start or (self.end is not None and start.date() > self.end):
            raise Invalid(f"partition {key!r} is outside {self.described}", fix="choose one within, or change the view's partitions")
        return Window(start=start, end=start + self.length, partition=key)

    def windows(self, *, until: datetime) -> list[Window]:
        """Every complete partition up to `until`, in time order."""
        start = midnight(self.start)
        end = until if self.end is None else min(until, midnight(self.end) + DAY)
        starts = [start + place * self.length for place in range(max(0, (end - start) // self.length))]
        return [Window(start=one, end=one + self.length) for one in starts]

    @property
    def described(self) -> str:
        """`daily partitions from 2013-01-01 to 2013-12-31`."""
        return f"{type(self).__name__.lower()} partitions from {self.start}{'' if self.end is None else f' to {self.end}'}"


class Daily(Stepped):
    """One partition per UTC day; keys `2013-01-05`."""

    kind = "daily"
    length = DAY


class Hourly(Stepped):
    """One partition per hour; keys `2013-01-05-06:00`. 8,760 a year: keep such a view small."""

    kind = "hourly"
    length = HOUR


class Snapshot(Spec):
    """No partitions: reference data, replaced as a whole.

    Its rows hold from midnight (UTC) of `start` on, unless they bring an `event_time` of their own, from `start` up to
    now: a label before that instant does not see them. The source is seen whole, up to now.
    """

    kind: ClassVar[Literal["snapshot"]] = "snapshot"
    sees: ClassVar[timedelta] = timedelta(days=36_525)  # a hundred years: everything
    start: date

    def window(self, key: str, *, until: datetime) -> Window:
        """The only one; its key is empty."""
        if key:
            raise Invalid(f"{key!r} is a partition key, and {self.described} has none", fix="leave partitions out")
        if until < midnight(self.start):
            raise Invalid(f"{self.described} has not begun at {until:%Y-%m-%d %H:%M}", fix="wait for it, or choose an earlier start")
        return Window(start=midnight(self.start), end=until, partition="")

    def windows(self, *, until: datetime) -> list[Window]:
        """One, or none before it begins."""
        return [self.window("", until=until)] if until >= midnight(self.start) else []

    @property
    def described(self) -> str:
        """`a snapshot from 2013-01-01`."""
        return f"a snapshot from {self.start}"


Partitions = Daily | Hourly | Snapshot


def daily(start: str | date, end: str | date | None = None) -> Daily:
    """Daily partitions: `daily("2013-01-01")`, or up to and including a last day."""
    given: dict[str, Any] = {"start": start, "end": end}  # pydantic reads ISO text
    return Daily(**given)


def hourly(start: str | date, end: str | date | None = None) -> Hourly:
    """Hourly partitions: `hourly("2013-01-01")`, from that day's first hour, or up to a last day's last hour."""
    given: dict[str, Any] = {"start": start, "end": end}
    return Hourly(**given)


def snapshot(start: str | date) -> Snapshot:
    """No partitions: the whole table is one, and its rows hold from `start` on."""
    given: dict[str, Any] = {"start": start}
    return Snapshot(**given)


def midnight(day: date) -> datetime:
    """Where a UTC day begins."""
    return datetime.combine(day, time(), tzinfo=UTC)
