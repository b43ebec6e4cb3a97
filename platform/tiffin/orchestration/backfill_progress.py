"""How far a ranged run is: one line in the run log that people read and `tiffin backfill` reads back."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["EVERY_S", "Meter", "Progress"]

EVERY_S = 5.0
LINE = re.compile(r"progress: (\d+) of (\d+) partitions, (\d+) rows, (\d+) rows/s, (\d+) s left")


@dataclass(frozen=True, slots=True)
class Progress:
    """So far and still to do.

    Args:
        rows: rows made so far.
        elapsed_s: since the first partition was begun.
    """

    done: int
    total: int
    rows: int
    elapsed_s: float

    @property
    def rows_per_s(self) -> float:
        """Rows made per second so far."""
        return self.rows / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def left_s(self) -> float:
        """Seconds for the partitions that are left, at the pace so far."""
        return (self.total - self.done) * self.elapsed_s / self.done if self.done else 0.0

    def line(self) -> str:
        """For the run log.

        Example:
            >>> Progress(done=73, total=365, rows=36_500, elapsed_s=2.0).line()
            'progress: 73 of 365 partitions, 36500 rows, 18250 rows/s, 8 s left'
        """
        pace, left = f"{self.rows_per_s:.0f} rows/s", f"{self.left_s:.0f} s left"
        return f"progress: {self.done} of {self.total} partitions, {self.rows} rows, {pace}, {left}"

    @classmethod
    def read(cls, line: str) -> Progress | None:
        """What a line of the log says, to the digits that it shows; None for any other line."""
        found = LINE.search(line)
        if found is None:
            return None
        done, total, rows, pace, _ = map(int, found.groups())
        return cls(done, total, rows, rows / pace if pace else 0.0)


class Meter:
    """Turns each partition's end into a line every few seconds, and at the end.

    Args:
        tell: where lines go: `context.log.info`.
        now_s: a clock that never goes back.
    """

    def __init__(self, tell: Callable[[str], None], *, now_s: Callable[[], float], every_s: float = EVERY_S) -> None:
        self.tell, self.now_s, self.every_s = tell, now_s, every_s
        self.started_s = self.told_s = now_s()

    def __call__(self, done: int, total: int, rows: int) -> None:
        """A partition was made: so many of so many, and all their rows."""
        now = self.now_s()
        if done == total or now - self.told_s >= self.every_s:
            self.told_s = now
            self.tell(Progress(done, total, rows, now - self.started_s).line())
