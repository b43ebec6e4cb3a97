"""Is a new generation plausible? Judged before anything of it becomes durable, by figures that cost no decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tiffin.core.errors import Corrupt, Invalid, nearest
from tiffin.wire.columns import Ragged, Values
from tiffin.wire.encodings import canonical, take
from tiffin.wire.layouts import HEADER, layout_of
from tiffin.wire.rows import Packed, take_rows, unpack
from tiffin.wire.schema import RowSchema
from tiffin.wire.tombstones import TOMBSTONE

__all__ = ["Limits", "Summary", "check_decodes", "check_ranges", "judge", "summarise"]

SAMPLE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a generation must keep to; None: not looked at.

    Args:
        fewest_rows_share: rows at least, as a share of the previous generation's.
        null_rate_rise: by how much the null rate of any column may rise over the previous generation's.
        ranges: by column, the lowest and the highest value that may occur.
    """

    fewest_rows_share: float | None = None
    null_rate_rise: float | None = None
    ranges: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Summary:
    """A generation in figures: rows, and the share of nulls by nullable column."""

    rows: int
    null_rates: dict[str, float]


def summarise(schema: RowSchema, packed: Packed) -> Summary:
    """Figures of packed rows; tombstones do not count."""
    alive = packed
    if len(packed):
        alive = take_rows(packed, np.flatnonzero(packed.data[packed.offsets[:-1]] != TOMBSTONE))
    rows, layout = len(alive), layout_of(schema)
    if not rows:
        return Summary(0, {})
    bitmap = alive.data[alive.offsets[:-1, None] + np.arange(HEADER, layout.bools_at)]
    counts = np.unpackbits(bitmap, axis=1, bitorder="little").sum(axis=0, dtype=np.int64) if layout.nulls else np.zeros(0, dtype=np.int64)
    return Summary(rows, {slot.column.name: counts[slot.null_bit] / rows for slot in layout.slots if slot.null_bit >= 0})


def judge(view: str, new: Summary, before: Summary | None, limits: Limits) -> None:
    """Refuse a generation that differs too much from the one before.

    Args:
        before: None when there is none, or it has another schema: nothing is compared then.

    Raises:
        Invalid: names the column, the figure, what is allowed, and what to do.
    """
    if before is None:
        return
    fewest = None if limits.fewest_rows_share is None else limits.fewest_rows_share * before.rows
    if fewest is not None and new.rows < fewest:
        raise Invalid(
            f"view {view}: the new generation has {new.rows:,} rows, the previous one {before.rows:,}: "
            f"at least {limits.fewest_rows_share:.0%} of them are expected",
            fix="look whether the source has landed completely; if so many entities are really gone, lower fewest_rows_share",
            context={"rows": new.rows, "before": before.rows},
        )
    for name, rate in new.null_rates.items():
        was = before.null_rates.get(name)
        if limits.null_rate_rise is not None and was is not None and rate - was > limits.null_rate_rise:
            raise Invalid(
                f"view {view}: column {name!r} is null in {rate:.1%} of the new generation's rows, in {was:.1%} of the previous one's: "
                f"a rise of {limits.null_rate_rise:.1%} is allowed",
                fix="look at the transform and its source; if the nulls are right, raise null_rate_rise",
                context={"column": name, "null_rate": rate, "before": was},
            )


def check_ranges(view: str, columns: Mapping[str, Values | Ragged], limits: Limits) -> None:
    """Refuse values outside their declared range; nulls are none.

    Raises:
        Invalid: names column, row, value and range.
    """
    for name, (low, high) in limits.ranges.items():
        column = columns.get(name)
        if column is None or isinstance(column, Ragged):
            raise Invalid(f"view {view} has no number column {name!r} to hold a range", fix=nearest(name, columns))
        bad = np.zeros(column.data.shape, dtype=np.bool_)
        if low is not None:
            bad |= column.data < low
        if high is not None:
            bad |= column.data > high
        outside: npt.NDArray[np.bool_] = np.asarray(bad.reshape(len(bad), -1).any(axis=1))
        if column.valid is not None:
            outside &= column.valid
        if outside.any():
            row = int(np.argmax(outside))
            raise Invalid(
                f"view {view}: column {name!r}, row {row}: value {column.data[row]!r} is outside {low}..{high} "
                f"({int(outside.sum()):,} of {len(outside):,} rows are)",
                fix="correct the transform, or widen the range where it is declared",
                context={"column": name, "row": row, "rows": int(outside.sum())},
            )


def check_decodes(view: str, schema: RowSchema, columns: Mapping[str, Values | Ragged], packed: Packed) -> None:
    """What a reader will decode from some of the packed rows is, bit for bit, what the offline table holds.

    Raises:
        Corrupt: it is not: the library is wrong, and nothing is published.
    """
    rows = len(packed)
    index = np.unique(np.linspace(0, rows - 1, min(rows, SAMPLE)).astype(np.int64)) if rows else np.zeros(0, dtype=np.int64)
    decoded, _ = unpack(schema, take_rows(packed, index))
    for column in schema.columns:
        expected = canonical(column, take(columns[column.name], index))
        if bits(decoded[column.name]) != bits(expected):
            raise Corrupt(
                f"view {view}: column {column.name!r} does not decode to the values of the offline table",
                fix="do not publish; report it with the versions of numpy and of this library",
                context={"column": column.name},
            )


def bits(column: Values | Ragged) -> tuple[bytes, ...]:
    """Everything of a column as bytes, nulls too."""
    valid = np.ones(len(column), dtype=np.bool_) if column.valid is None else column.valid
    offsets = column.offsets.tobytes() if isinstance(column, Ragged) else b""
    return (str(column.data.dtype).encode(), column.data.tobytes(), valid.tobytes(), offsets)
