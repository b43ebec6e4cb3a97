"""What one read cost and gave, as a plain value: whoever listens turns it into counters."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tiffin.online.decode import ViewRows
from tiffin.online.source import Answer

__all__ = ["ReadMetrics", "ViewMetrics", "Watched", "measured"]


@dataclass(frozen=True, slots=True)
class ViewMetrics:
    """One view's part of a read.

    Args:
        rows: asked for.
        missing, expired: rows without an entity, and rows too old: all their values are null.
        nulls: values that a found row holds as null.
        defaults: values given as null because their row is missing or expired.
        oldest_us: greatest age of a found row; -1 when none was found.
        lag_us: how far the view's watermark is behind now.
    """

    rows: int
    missing: int
    expired: int
    nulls: int
    defaults: int
    oldest_us: int
    lag_us: int


@dataclass(frozen=True, slots=True)
class ReadMetrics:
    """One read.

    Args:
        views: by `"team/view"`.
        elapsed_s: of the wall.
        round_trips: 1, more after another generation went live.
        reply_bytes: received for rows and pointers.
        cached: keys answered by the client's cache, of `keys` asked for, each counted once.
    """

    views: Mapping[str, ViewMetrics]
    elapsed_s: float
    round_trips: int
    reply_bytes: int
    keys: int
    cached: int

    @property
    def hit_rate(self) -> float:
        """Share of the keys that the client's cache had; 0 without a cache."""
        return self.cached / self.keys if self.keys else 0.0


@dataclass(slots=True)
class Watched:
    """A read while it runs; made only when somebody listens."""

    listener: Callable[[ReadMetrics], None]
    started_s: float = field(default_factory=time.perf_counter)
    round_trips: int = 0
    reply_bytes: int = 0
    keys: int = 0
    cached: int = 0

    @classmethod
    def begin(cls, listener: Callable[[ReadMetrics], None] | None) -> Watched | None:
        """None when nobody listens."""
        return None if listener is None else cls(listener)

    def fetched(self, answers: Sequence[Answer]) -> None:
        """One round trip."""
        self.round_trips += 1
        for answer in answers:
            self.reply_bytes += answer.reply_bytes
            self.keys += answer.asked
            self.cached += answer.cached

    def end(self, views: Mapping[str, ViewMetrics]) -> None:
        """Tell it."""
        elapsed_s = time.perf_counter() - self.started_s
        self.listener(ReadMetrics(views, elapsed_s, self.round_trips, self.reply_bytes, self.keys, self.cached))


def measured(rows: Mapping[str, ViewRows]) -> dict[str, ViewMetrics]:
    """Counts of what was given."""
    return {ref: measure_view(one) for ref, one in rows.items()}


def measure_view(rows: ViewRows) -> ViewMetrics:
    """One view's counts."""
    count, absent = len(rows.found), rows.missing + rows.expired
    null = sum(count - int(column.valid.sum()) for column in rows.columns.values() if column.valid is not None)
    defaults = absent * len(rows.columns)
    oldest = int(rows.age_us.max(initial=-1))
    return ViewMetrics(count, rows.missing, rows.expired, null - defaults, defaults, oldest, rows.now_us - rows.watermark_us)
