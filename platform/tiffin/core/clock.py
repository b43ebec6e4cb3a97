"""The clock is an argument: the wall, or frozen at the instant a stack replays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

__all__ = ["Clock", "frozen_clock", "wall_clock"]

Clock = Callable[[], datetime]


def wall_clock() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)


def frozen_clock(instant: datetime) -> Clock:
    """A clock that stands at `instant`: history replayed as if it were today."""
    return lambda: instant
