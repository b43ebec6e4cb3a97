"""What is asked of a table before anybody builds on it: plain findings, shown as asset checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tiffin.features.view import Window

__all__ = ["Finding", "sampled", "unique_keys"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one check, with its evidence."""

    passed: bool
    evidence: dict[str, Any]
    description: str


def unique_keys(rows: pa.Table, keys: Sequence[str]) -> Finding:
    """There are rows, and no two of them have the same `keys` (nulls are values)."""
    total = rows.num_rows
    groups = rows.select(list(keys)).group_by(list(keys)).aggregate([([], "count_all")])
    doubles = total - groups.num_rows
    description = f"{total} rows, {doubles} of them repeat another row's {', '.join(keys)}"
    return Finding(passed=total > 0 and doubles == 0, evidence={"rows": total, "duplicates": doubles}, description=description)


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
