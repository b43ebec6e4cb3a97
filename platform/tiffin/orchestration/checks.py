"""What is asked of a table before anybody builds on it: plain findings, shown as asset checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from tiffin.features.partitions import Window

__all__ = ["Finding", "sampled", "too_old", "unique_keys"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one check, with its evidence.

    Args:
        description: what was found, in one sentence.
        fix: what to do when it did not pass.
        partitions: those at fault, in time order.
        picture: PNG of the figures, when a picture says more.
    """

    passed: bool
    evidence: dict[str, Any]
    description: str
    fix: str = ""
    partitions: tuple[str, ...] = ()
    picture: bytes | None = None


def unique_keys(rows: pa.Table, keys: Sequence[str]) -> Finding:
    """No two rows have the same `keys` (nulls are values)."""
    total = rows.num_rows
    groups = rows.select(list(keys)).group_by(list(keys)).aggregate([([], "count_all")])
    doubles = total - groups.num_rows
    description = f"{total} rows, {doubles} of them repeat another row's {', '.join(keys)}"
    fix = f"group by {', '.join(keys)}, and see whether the source landed twice"
    return Finding(passed=doubles == 0, evidence={"rows": total, "duplicates": doubles}, description=description, fix=fix)


def too_old(newest: datetime | None, *, now: datetime, max_age: timedelta, owner: str) -> Finding:
    """The newest published event time is not older than the declared freshness.

    Args:
        newest: None before anything was published.
    """
    if newest is None:
        return Finding(False, {"max_age_s": max_age.total_seconds()}, "nothing is published yet", fix="materialise and publish it")
    age = now - newest
    evidence = {"age_s": age.total_seconds(), "max_age_s": max_age.total_seconds(), "newest": newest.isoformat()}
    description = f"complete up to {newest:%Y-%m-%d %H:%M}, {in_hours(age)} ago; allowed are {in_hours(max_age)}"
    fix = f"see why the partitions after {newest:%Y-%m-%d %H:%M} are missing, or ask {owner}"
    return Finding(age <= max_age, evidence, description, fix=fix)


def in_hours(length: timedelta) -> str:
    """A length as people say it."""
    return f"{length / timedelta(hours=1):.4g} h"


def sampled(windows: Sequence[Window], count: int) -> list[Window]:
    """At most `count` windows spread over all of them: first and last always.

    Example:
        >>> from datetime import datetime, timedelta, UTC
        >>> day = [Window(start=datetime(2030, 1, d, tzinfo=UTC), end=datetime(2030, 1, d + 1, tzinfo=UTC)) for d in range(1, 8)]
        >>> [window.partition[-2:] for window in sampled(day, 3)]
        ['01', '04', '07']
    """
    if len(windows) <= count:
        return list(windows)
    chosen = np.unique(np.linspace(0, len(windows) - 1, count).round().astype(int))
    return [windows[index] for index in chosen]
