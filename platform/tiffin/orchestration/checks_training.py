"""What is asked of a training table before it is written: does one column give the label away?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tiffin.orchestration.checks import Finding
from tiffin.orchestration.checks_profile import readings

__all__ = ["LABEL_LEAKAGE", "explained", "label_leakage"]

LABEL_LEAKAGE = "label_leakage"
MOST_ROWS = 50_000
BINS = 100
# Nothing that is known before the event tells this much of it; a copy of the label, its unit changed, tells all.
TOO_MUCH = 0.9
SHOWN = 10


def label_leakage(rows: pa.Table, *, label: str, columns: Sequence[str]) -> Finding:
    """No column alone explains the label too well.

    For every column the label's mean is learnt per value (of a text) or per hundredth of the values (of a
    number) on every other row, and asked about the rows between: a key that occurs once explains nothing.

    Args:
        label: name of the column to be predicted; numbers or flags.
        columns: features and request-time fields.
    """
    step = max(1, -(-rows.num_rows // MOST_ROWS))
    sample = rows.take(np.arange(0, rows.num_rows, step)) if step > 1 else rows
    wanted = readings(sample[label])
    shares = {name: explained(sample[name], wanted) for name in columns}
    ranked = sorted(shares.items(), key=lambda one: (-one[1], one[0]))
    leaks = [name for name, share in ranked if share > TOO_MUCH]
    best = f"{ranked[0][0]} explains {ranked[0][1]:.1%}" if ranked else "there is none"
    return Finding(
        passed=not leaks,
        evidence={"rows": sample.num_rows, "explained": {name: round(share, 4) for name, share in ranked[:SHOWN]}, "allowed": TOO_MUCH},
        description=f"{', '.join(leaks) or 'no column'} gives the label {label!r} away; of its variance {best}, allowed are {TOO_MUCH:.0%}",
        fix="leave the column out: it is the label in other words, or known only after it. If it is real, "
        f"launch again with the run tag tiffin/accept={LABEL_LEAKAGE}",
    )


def explained(column: pa.ChunkedArray, label: np.ndarray) -> float:
    """Share of the label's variance that a column alone explains on rows it was not learnt from, 0 to 1."""
    known = np.isfinite(label)
    groups = groups_of(column)
    learn, ask = known & (np.arange(len(label)) % 2 == 0), known & (np.arange(len(label)) % 2 == 1)
    if learn.sum() < 2 or ask.sum() < 2 or not np.var(label[ask]):
        return 0.0
    size = int(groups.max(initial=0)) + 1
    count = np.bincount(groups[learn], minlength=size)
    total = np.bincount(groups[learn], label[learn], minlength=size)
    overall = label[learn].mean()
    mean = np.divide(total, count, out=np.full(size, overall), where=count > 0)
    left = np.mean(np.square(label[ask] - mean[groups[ask]]))
    return float(max(0.0, 1.0 - left / np.mean(np.square(label[ask] - overall))))


def groups_of(column: pa.ChunkedArray) -> np.ndarray:
    """(rows,) int64: the value of a text or flag, the hundredth that a number lies in; nulls are a group."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_boolean(kind):
        codes: np.ndarray = pc.fill_null(column.combine_chunks().dictionary_encode().indices.cast(pa.int64()), -1).to_numpy() + 1
        return codes
    values = readings(column)
    valid = np.isfinite(values)
    distinct = np.unique(values[valid])
    edges = distinct if len(distinct) <= BINS else np.unique(np.quantile(values[valid], np.linspace(0, 1, BINS + 1)[1:-1]))
    found = np.zeros(len(values), np.int64)
    found[valid] = np.searchsorted(edges, values[valid], side="left") + 1
    return found
