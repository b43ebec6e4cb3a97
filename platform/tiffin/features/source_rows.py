"""A source's rows by the time at which they became known: sorted once, sliced per window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self

import numpy as np
import pyarrow as pa

from tiffin.core.errors import Invalid, NotFound, nearest
from tiffin.core.units import to_us
from tiffin.features.partitions import Window
from tiffin.features.view import FeatureView, Source
from tiffin.storage.tables import TableStore

__all__ = ["SourceRows", "ViewRows", "window_rows"]


class SourceRows:
    """Rows sorted by their time, ties in the order given; rows without a time are left out.

    Sums of floats depend on the order of rows, so every way to a window's rows goes through here.

    Args:
        rows: the source, in any order.
        time: its timestamp column, with a zone.
        source: what errors call it.

    Raises:
        Invalid: the column is missing or is no instant.
    """

    def __init__(self, rows: pa.Table, time: str, *, source: str = "the source") -> None:
        known = times_us(rows, time, source)
        valid = np.flatnonzero(rows[time].is_valid().to_numpy())
        order = valid[np.argsort(known[valid], kind="stable")]
        in_place = len(order) == rows.num_rows and np.array_equal(order, np.arange(len(order)))
        self.rows = rows.combine_chunks() if in_place else rows.take(order).combine_chunks()
        self.known_us = known[order]
        self.time = time

    @classmethod
    def of(cls, source: Source, rows: pa.Table) -> Self:
        """The rows of a declared source."""
        return cls(rows, source.time, source=f"source {source.name!r}")

    def between(self, start: datetime | None, end: datetime | None) -> pa.Table:
        """Rows with `start <= time < end`, without a copy; None is no bound."""
        first = 0 if start is None else int(np.searchsorted(self.known_us, to_us(start), side="left"))
        last = len(self.known_us) if end is None else int(np.searchsorted(self.known_us, to_us(end), side="left"))
        return self.rows.slice(first, max(0, last - first))


@dataclass(frozen=True, slots=True)
class ViewRows:
    """What a view is computed from: its source, and further tables by the name that its code uses.

    Args:
        versions: of the tables, by their full names, when they were read from a store.
    """

    view: FeatureView
    source: SourceRows
    inputs: Mapping[str, SourceRows] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, view: FeatureView, rows: pa.Table, inputs: Mapping[str, pa.Table] | None = None) -> Self:
        """From tables in any order of rows; `inputs` by table name. Raises Invalid when one is not given."""
        given = inputs or {}
        for one in view.inputs:
            if one.table not in given:
                raise Invalid(f"view {view.name!r} needs rows of its input {one.name!r}", fix=f"give them as {one.table!r}")
        return cls(view, SourceRows.of(view.source, rows), {one.table: SourceRows.of(one, given[one.table]) for one in view.inputs})

    @classmethod
    def read(cls, view: FeatureView, tables: TableStore) -> Self:
        """From the tables as they are now. Raises NotFound when one has not landed."""
        versions = cls.pinned(view, tables)
        rows = {name: tables.read(name, version=version) for name, version in versions.items()}
        found = cls.of(view, rows[view.source.name], {one.table: rows[one.name] for one in view.inputs})
        return replace(found, versions=versions)

    @staticmethod
    def pinned(view: FeatureView, tables: TableStore) -> dict[str, int]:
        """The current version of each table, by its full name. Raises NotFound when one has not landed."""
        found = {}
        for one in (view.source, *view.inputs):
            version = tables.version(one.name)
            if version is None:
                raise NotFound(
                    f"view {view.name!r} needs table {one.name!r}, which has not landed",
                    fix=f"materialise {one.name!r} first, or correct its name",
                    context={"table": one.name},
                )
            found[one.name] = version
        return found

    def given(self, window: Window) -> pa.Table:
        """The source's rows that a window sees, sorted by time."""
        return self.source.between(window.end - self.view.lookback, window.end)

    def beside(self, window: Window) -> dict[str, pa.Table]:
        """The inputs' rows known before the window's end."""
        return {name: rows.between(None, window.end) for name, rows in self.inputs.items()}


def window_rows(source_rows: pa.Table, time_column: str, start: datetime, end: datetime) -> pa.Table:
    """The rows that became known in `[start, end)`, sorted by that time."""
    return SourceRows(source_rows, time_column).between(start, end)


def times_us(rows: pa.Table, name: str, source: str) -> np.ndarray:
    """(rows,) int64 µs UTC of a timestamp column; 0 where null."""
    if name not in rows.column_names:
        raise Invalid(f"{source} has no column {name!r}, which says when a row became known", fix=nearest(name, rows.column_names))
    column = rows[name]
    if not pa.types.is_timestamp(column.type) or column.type.tz is None:
        raise Invalid(
            f"{source}: column {name!r} holds {column.type}, expected timestamp[us, tz=UTC]",
            fix="land the source with instants: pc.assume_timezone(column, zone), then cast to UTC",
        )
    try:
        whole = column.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    except pa.ArrowInvalid as err:
        raise Invalid(f"{source}: column {name!r} has parts of a microsecond", fix="round it to microseconds when it is landed") from err
    found: np.ndarray = whole.fill_null(0).to_numpy()
    return found
