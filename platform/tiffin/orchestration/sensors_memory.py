"""What a cross-team sensor remembers between two ticks: its cursor, as JSON that a person can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiffin.core.errors import Invalid
from tiffin.orchestration.sensors_days import pack_days, unpack_days

__all__ = ["Memory", "backlog"]

FORMAT = "tiffin.landings.v1"


@dataclass(frozen=True, slots=True)
class Memory:
    """Everything is by `"team/view"`; days are `YYYY-MM-DD`.

    Args:
        after: storage id of the newest event that was read: each event is read once.
        sequence: how many runs were asked for.
        landed: days that have ever landed whole; of a snapshot `{""}` once it has.
        hours: of an hourly view the hours of days that are not whole yet.
        waiting: days that landed and are in no run yet.
        since_s: by day, when the first landing that waits was seen, seconds since 1970.
        runs: upstream runs whose landings wait, oldest first.
        late: views that a notice has named and that are still missing.
    """

    after: int = 0
    sequence: int = 0
    landed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    hours: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)
    waiting: Mapping[str, frozenset[str]] = field(default_factory=dict)
    since_s: Mapping[str, float] = field(default_factory=dict)
    runs: tuple[str, ...] = ()
    late: frozenset[str] = frozenset()

    def to_text(self) -> str:
        """The cursor."""
        by_instant: dict[float, set[str]] = {}
        for day, instant in self.since_s.items():
            by_instant.setdefault(instant, set()).add(day)
        content = {
            "format": FORMAT,
            "after": self.after,
            "sequence": self.sequence,
            "landed": {ref: [""] if "" in days else pack_days(days) for ref, days in sorted(self.landed.items())},
            "hours": {ref: {day: sorted(hours) for day, hours in sorted(days.items())} for ref, days in sorted(self.hours.items()) if days},
            "waiting": {ref: [""] if "" in days else pack_days(days) for ref, days in sorted(self.waiting.items()) if days},
            "since": [{"s": instant, "days": pack_days(days)} for instant, days in sorted(by_instant.items())],
            "runs": list(self.runs),
            "late": sorted(self.late),
        }
        return json.dumps(content, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str | None) -> Memory:
        """A cursor's memory; nothing before the first tick.

        Raises:
            Invalid: it is no cursor of this sensor.
        """
        if not text:
            return cls()
        try:
            content = json.loads(text)
            if content["format"] != FORMAT:
                raise ValueError(content["format"])
            return cls(
                after=int(content["after"]),
                sequence=int(content["sequence"]),
                landed={ref: days_of(days) for ref, days in content["landed"].items()},
                hours={ref: {day: frozenset(hours) for day, hours in days.items()} for ref, days in content["hours"].items()},
                waiting={ref: days_of(days) for ref, days in content["waiting"].items()},
                since_s={day: float(one["s"]) for one in content["since"] for day in unpack_days(one["days"])},
                runs=tuple(content["runs"]),
                late=frozenset(content["late"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            fix = "reset the sensor's cursor: it then reads every landing again, and starts one run"
            raise Invalid(f"the sensor's cursor is not of the form {FORMAT}: {text[:80]!r}", fix=fix) from err


def days_of(ranges: list[str]) -> frozenset[str]:
    """Packed days; a snapshot's only partition stays as it is."""
    return frozenset([""]) if ranges == [""] else frozenset(unpack_days(ranges))


def backlog(cursor: str | None) -> dict[str, Any]:
    """A cursor for people and `--json`: what has been read, what waits, who is late."""
    memory = Memory.from_text(cursor)
    waiting = {ref: ["(snapshot)"] if "" in days else pack_days(days) for ref, days in sorted(memory.waiting.items()) if days}
    return {
        "read_up_to": memory.after,
        "runs_started": memory.sequence,
        "waiting": waiting,
        "partitions_waiting": sum(len(days) for days in memory.waiting.values()),
        "hours_of_unfinished_days": {ref: {day: len(hours) for day, hours in sorted(days.items())} for ref, days in memory.hours.items()},
        "late": sorted(memory.late),
    }
