"""A spine's rows: read from its source, reshaped by the team, checked and brought to their declared encoding."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.compute as pc

from tiffin.asof.join import INSTANT, instants, times_us
from tiffin.core.errors import Invalid, PlatformError, nearest
from tiffin.core.units import to_us
from tiffin.features.arrow_values import to_arrow, to_values
from tiffin.features.bounds import refuse_outside
from tiffin.features.compute import KEY_ARROW
from tiffin.storage.tables import TableStore
from tiffin.training.batch import called
from tiffin.training.columns import key_columns
from tiffin.training.table import Spine, TrainingTable
from tiffin.wire.encodings import canonical
from tiffin.wire.schema import Column

__all__ = ["canonical_rows", "labelled_rows", "midnight_us"]


def labelled_rows(table: TrainingTable, *, tables: TableStore, now: datetime) -> pa.Table:
    """The labels of `[table.start, table.end)` that were known at `now`.

    Args:
        now: source rows that became known later do not exist yet: a stack that replays history
            learns nothing from its future.

    Returns:
        Ids, time, fields and label in their declared encodings, by time and then by id; rows
        without a label are left out.

    Raises:
        Invalid: the source or `spine.rows` lacks a column, or a value is outside its encoding.
        NotFound: the source has not been landed.
    """
    spine = table.spine
    source = tables.read(spine.source.name)
    need(source, [spine.source.time], where=f"source {spine.source.name!r}")
    source = source.filter(pc.less_equal(instants(source, spine.source.time), pa.scalar(now, INSTANT)))  # null: never known
    if spine.rows is not None:
        source = called(spine.rows, f"spine {spine.name!r}: rows function", source, known=source.column_names)
        if not isinstance(source, pa.Table):
            raise Invalid(f"spine {spine.name!r}: its rows function returned {type(source).__name__}", fix="return a pyarrow.Table")
    need(source, wanted(spine, label=True), where=where(spine))
    source = source.filter(pc.is_valid(source[spine.label.name]))
    source = within(source, spine, table.start, table.end)
    rows = canonical_rows(spine, source, label=True)
    rows = rows.filter(pc.is_valid(rows[spine.label.name]))  # a NaN label is null by now
    return rows.sort_by([(name, "ascending") for name in (spine.time, *(field.name for field in spine.key_fields))])


def canonical_rows(spine: Spine, rows: pa.Table, *, label: bool) -> pa.Table:
    """Ids, time, fields and, if asked for, the label, in this order and in their declared encodings.

    Columns that the spine does not declare are dropped.
    """
    need(rows, wanted(spine, label=label), where=where(spine))
    keys = [(column, KEY_ARROW[field.type]) for column, field in zip(key_columns(spine), spine.key_fields, strict=True)]
    values = [*spine.fields, *([spine.label] if label else [])]
    made = {column.name: encoded(rows, column, arrow, spine) for column, arrow in keys}
    made[spine.time] = pa.array(times_us(rows, spine.time)).cast(INSTANT)
    for feature in values:
        made[feature.name] = encoded(rows, feature.column, feature.type.arrow, spine)
        refuse_outside(feature, made[feature.name], subject=where(spine))
    return pa.table(made)


def encoded(rows: pa.Table, column: Column, arrow: pa.DataType, spine: Spine) -> pa.Array:
    """One column, canonical, in the Arrow type of its declaration."""
    try:
        values = to_values(rows[column.name], column)
        return to_arrow(canonical(column, values), arrow)
    except PlatformError as err:
        raise Invalid(f"{where(spine)}: {err.message}", fix=err.fix, context=err.context) from err


def within(rows: pa.Table, spine: Spine, start: date | None, end: date | None) -> pa.Table:
    """Rows whose label time is in `[start, end)`, whole UTC days."""
    times = times_us(rows, spine.time)
    keep = times == times
    if start is not None:
        keep &= times >= midnight_us(start)
    if end is not None:
        keep &= times < midnight_us(end)
    return rows if keep.all() else rows.filter(pa.array(keep))


def midnight_us(day: date) -> int:
    """The beginning of a UTC day, µs since 1970."""
    return to_us(datetime(day.year, day.month, day.day, tzinfo=UTC))


def wanted(spine: Spine, *, label: bool) -> list[str]:
    """Names of the columns that a spine declares."""
    names = [*(field.name for field in spine.key_fields), spine.time, *(field.name for field in spine.fields)]
    return [*names, spine.label.name] if label else names


def need(rows: pa.Table, names: Sequence[str], *, where: str) -> None:
    """Refuse a table that lacks a column; with the nearest name."""
    for name in names:
        if name not in rows.column_names:
            raise Invalid(f"{where} has no column {name!r}", fix=nearest(name, rows.column_names))


def where(spine: Spine) -> str:
    """What errors call the rows."""
    return f"spine {spine.name!r} ({spine.source.name if spine.rows is None else spine.rows.__name__})"
