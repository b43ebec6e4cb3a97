"""One window of a view: run its transform, check what came out, bring every value to its encoding."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tiffin.core.errors import Invalid, PlatformError, Unsupported, nearest
from tiffin.core.units import from_us, to_us
from tiffin.engines.engine import Cut, Parameters, RangeEngine, TableFiles, find_engine
from tiffin.features.arrow_values import to_arrow, to_values
from tiffin.features.bounds import refuse_outside
from tiffin.features.partitions import Window
from tiffin.features.source_rows import ViewRows
from tiffin.features.view import FeatureView
from tiffin.storage.tables import StagesFiles, TableStore
from tiffin.wire.encodings import Values, canonical
from tiffin.wire.schema import Column

__all__ = ["EVENT_TIME", "KEY_ARROW", "KEY_ENCODING", "KNOWN_AT", "ViewEngine", "compute", "subject_of"]

EVENT_TIME, KNOWN_AT = "event_time", "known_at"
INSTANT = pa.timestamp("us", tz="UTC")
PLACE = "__window"  # no name that a team may declare begins like this
TOGETHER = 64
KEY_ENCODING = {"string": "str:32000", "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64"}
KEY_ARROW = {"string": pa.string(), "int8": pa.int8(), "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64()}


class ViewEngine:
    """A view's transform on its engine; made once for many windows."""

    def __init__(self, view: FeatureView) -> None:
        self.view = view
        self.engine = find_engine(view.engine_name)
        self.code = called(view) if view.sql is None else view.sql

    def transformed(self, window: Window, rows: pa.Table, inputs: Mapping[str, pa.Table]) -> pa.Table:
        """What the team's code makes of `rows` and the view's other tables, unchecked."""
        tables = {self.view.source.table: rows, **inputs}
        return self.engine.transform(self.code, tables, told(self.view, window), subject=subject_of(self.view, window))

    def compute(self, window: Window, rows: pa.Table, inputs: Mapping[str, pa.Table]) -> pa.Table:
        """`compute` over rows that were sliced already."""
        return canonical_rows(self.view, window, self.transformed(window, rows, inputs))

    def compute_all(self, windows: Sequence[Window], tables: TableStore, rows: ViewRows | None) -> Iterator[pa.Table]:
        """Each window's rows, in order: by files where engine and store can, else over Arrow in memory.

        Args:
            rows: the view's tables, when they have been read already; files are then those of the same versions.
        """
        results: Iterator[pa.Table]
        if not isinstance(self.engine, RangeEngine):
            found = rows or ViewRows.read(self.view, tables)
            results = (self.transformed(window, found.given(window), found.beside(window)) for window in windows)
            yield from self.finished(windows, results)
            return
        versions = ViewRows.pinned(self.view, tables) if rows is None else rows.versions
        with tempfile.TemporaryDirectory(prefix="tiffin-") as folder:
            files = staged(self.view, tables, versions, Path(folder))
            results = self.engine.transform_range(self.code, files, [cut(self.view, window) for window in windows])
            yield from self.finished(windows, results)

    def finished(self, windows: Sequence[Window], results: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """Results in their stored form, many at once; an error says in its context which partition it is about."""
        for first in range(0, len(windows), TOGETHER):
            some = windows[first : first + TOGETHER]
            made = []
            for window in some:
                with about(window):
                    made.append(next(results))
            yield from canonical_all(self.view, some, made)


def called(view: FeatureView) -> Callable[[Mapping[str, Any], Parameters], Any]:
    """The team's function as an engine calls it: rows, window, and a keyword for each input."""
    transform = view.transform
    assert transform is not None
    return lambda tables, told: transform(
        tables[view.source.table], told["window"], **{one.table: tables[one.table] for one in view.inputs}
    )


def told(view: FeatureView, window: Window) -> Parameters:
    """What code is told beside its tables: `$start` and `$end` in SQL, the window in Python."""
    return {"window": window} if view.sql is None else {"start": window.start, "end": window.end}


def cut(view: FeatureView, window: Window) -> Cut:
    """A window as an engine that reads files takes it; the same bounds as `ViewRows`."""
    bounds: dict[str, tuple[datetime | None, datetime]] = {one.table: (None, window.end) for one in view.inputs}
    return Cut({view.source.table: (window.end - view.lookback, window.end), **bounds}, told(view, window), subject_of(view, window))


def staged(view: FeatureView, tables: TableStore, versions: Mapping[str, int], folder: Path) -> dict[str, TableFiles]:
    """The files of a view's tables, by the name that its code uses."""
    # asked for by name: a store that wraps another one passes it on without having it
    if not callable(getattr(tables, "local_files", None)):
        raise Unsupported(
            f"view {view.name!r} runs on {view.engine_name!r}, which reads tables by their files, and {tables!r} gives none",
            fix="use a table store that does, or another engine",
        )
    store = cast("StagesFiles", tables)
    found = {}
    for one in (view.source, *view.inputs):
        copies = folder / one.table
        copies.mkdir()
        found[one.table] = TableFiles(store.local_files(one.name, version=versions[one.name], folder=copies), one.time)
    return found


def compute(view: FeatureView, window: Window, rows: pa.Table, inputs: Mapping[str, pa.Table] | None = None) -> pa.Table:
    """Features of one window.

    Args:
        rows: the source's rows; those outside `[window.end - lookback, window.end)` by the source's
            time are left out before the transform sees them.
        inputs: rows of the view's `inputs` by table name; those not known before the window's end are left out.

    Returns:
        Key columns, features, `event_time`, `known_at`, sorted by key and event time. Every value is
        in its declared encoding: computing it again gives the same bits.

    Raises:
        Invalid: the transform failed, or its result breaks a rule: columns, types, null or repeated
            keys, event times, values. Names view, partition, column, found, allowed.
    """
    found = ViewRows.of(view, rows, inputs)
    return ViewEngine(view).compute(window, found.given(window), found.beside(window))


def subject_of(view: FeatureView, window: Window) -> str:
    """What errors call one window of a view."""
    return f"view {view.name!r}, partition {window.partition}" if window.partition else f"view {view.name!r}"


@contextmanager
def about(window: Window) -> Iterator[None]:
    """Note in an error's context which partition it is about: a backfill is cut there."""
    try:
        yield
    except PlatformError as err:
        err.context.setdefault("partition", window.partition)
        raise


def canonical_all(view: FeatureView, windows: Sequence[Window], results: Sequence[pa.Table]) -> list[pa.Table]:
    """`canonical_rows` of many windows in one go; when something is wrong, one by one, so that the error names its window."""
    if all(result.schema.equals(results[0].schema) for result in results):
        try:
            return brought(view, windows, results)
        except Invalid:
            pass  # found again below, in its own window
    found = []
    for window, result in zip(windows, results, strict=True):
        with about(window):
            found.append(canonical_rows(view, window, result))
    return found


def canonical_rows(view: FeatureView, window: Window, result: pa.Table) -> pa.Table:
    """Check a transform's result and bring it to the stored form."""
    return brought(view, [window], [result])[0]


def brought(view: FeatureView, windows: Sequence[Window], results: Sequence[pa.Table]) -> list[pa.Table]:
    """Results of one schema in their stored form; errors speak of the first window."""
    subject = subject_of(view, windows[0])
    counts = [result.num_rows for result in results]
    place = np.repeat(np.arange(len(windows)), counts)
    result = results[0] if len(results) == 1 else pa.concat_tables(results)
    check_columns(view, result, subject)
    columns: dict[str, pa.Array] = {}
    for field in view.entity.fields:
        columns[field.name] = key_column(result[field.name], field.name, field.type, subject)
    for feature in view.features:
        columns[feature.name] = feature_column(result[feature.name], feature.column, feature.type.arrow, subject)
        refuse_outside(feature, columns[feature.name], subject=subject)
    columns[EVENT_TIME] = event_times(view, windows, place, result, subject)
    delay_us = view.delay // timedelta(microseconds=1)
    columns[KNOWN_AT] = pc.add(columns[EVENT_TIME].cast(pa.int64()), delay_us).cast(INSTANT)
    columns[PLACE] = pa.array(place)
    whole = sorted_rows(pa.table(columns), [PLACE, *view.entity.key_names, EVENT_TIME], subject).drop_columns([PLACE])
    ends = np.cumsum(counts)
    return [whole.slice(int(end) - count, count) for end, count in zip(ends, counts, strict=True)]


def check_columns(view: FeatureView, result: pa.Table, subject: str) -> None:
    """Keys and features, each once, and nothing else but an event time."""
    found, needed = result.column_names, [*view.entity.key_names, *(feature.name for feature in view.features)]
    for name in found:
        if found.count(name) > 1:
            raise Invalid(f"{subject}: its result has {found.count(name)} columns {name!r}", fix="return each column once")
    extra = [name for name in found if name not in needed and name != EVENT_TIME]
    for name in needed:
        if name not in found:
            raise Invalid(
                f"{subject}: its result has no column {name!r}; it has {', '.join(found) or 'none'}",
                fix=f"return the key and every declared feature ({nearest(name, extra)})"
                if extra
                else "return the key and every declared feature",
            )
    for name in extra:
        fix = "leave it out: known_at is the event time plus the view's delay" if name == KNOWN_AT else nearest(name, needed)
        raise Invalid(
            f"{subject}: its result has a column {name!r}, which is not declared; allowed are {', '.join(needed)} and {EVENT_TIME}",
            fix=fix if fix.startswith(("did", "leave")) else "drop it, or declare it as a Feature",
        )


def key_column(array: pa.ChunkedArray, name: str, kind: str, subject: str) -> pa.Array:
    """One part of the key: no nulls, text in NFC, numbers in range."""
    if array.null_count:
        row = int(pc.index(pc.is_null(array), True).as_py())
        raise Invalid(
            f"{subject}: key {name!r}, row {row}: found null, expected {kind}",
            fix=f"leave out rows without a key: rows.filter(pc.is_valid(rows[{name!r}])), or `where {name} is not null`",
        )
    return feature_column(array, Column(name, KEY_ENCODING[kind], nullable=False), KEY_ARROW[kind], subject)


def feature_column(array: pa.ChunkedArray, column: Column, kind: pa.DataType, subject: str) -> pa.Array:
    """One column in its declared encoding, as Arrow."""
    try:
        return to_arrow(canonical(column, to_values(array, column)), kind)
    except Invalid as err:
        raise Invalid(f"{subject}: {err.message}", fix=err.fix, context=err.context) from err


def event_times(view: FeatureView, windows: Sequence[Window], place: np.ndarray, result: pa.Table, subject: str) -> pa.Array:
    """The result's own event times, or the window's for every row.

    A row's facts are complete at its event time, so it lies in `(start, end]`: a row complete at the
    start belongs to the window before. Before a snapshot there is none: its rows may lie at the start.

    Args:
        place: `(rows,)` which of the windows a row is of.
    """
    start, end, usual = (np.array([to_us(one) for one in instants]) for instants in zip(*map(instants_of, windows), strict=True))
    if EVENT_TIME not in result.column_names:
        us = usual[place]
    else:
        column = Column(EVENT_TIME, "ts", nullable=False)
        try:
            values = canonical(column, to_values(result[EVENT_TIME], column))
        except Invalid as err:
            raise Invalid(f"{subject}: {err.message}", fix="give every row its event time, timestamp[us, tz=UTC]") from err
        assert isinstance(values, Values)
        us = values.data
        last = f"at most the window's end {shown(int(end[0]))}"
        refuse_times(us, us > end[place], subject, last, "a row may use nothing after the window: drop later rows")
        if windows[0].partition:
            first, fix = f"after the window's start {shown(int(start[0]))}", "an earlier row belongs to an earlier partition"
            refuse_times(us, us <= start[place], subject, first, fix)
        else:
            first, fix = f"at least the snapshot's start {shown(int(start[0]))}", "choose an earlier start, or greatest(time, $start)"
            refuse_times(us, us < start[place], subject, first, fix)
    schema = view.row_schema
    ticks, rest = np.divmod(us - schema.epoch_us, schema.unit_us)
    unit = f"a whole multiple of {schema.unit_us} µs"
    refuse_times(us, rest != 0, subject, unit, f"round up to {unit}: event times are stored in that unit")
    refuse_times(us, (ticks < 0) | (ticks >= 2**32), subject, "in the range of the schema's unit", "use a coarser unit or a later epoch")
    return pa.array(us, pa.int64()).cast(INSTANT)


def instants_of(window: Window) -> tuple[datetime, datetime, datetime]:
    """Start, end, and the event time of rows that bring none."""
    return window.start, window.end, window.event_time


def refuse_times(us: np.ndarray, bad: np.ndarray, subject: str, allowed: str, fix: str) -> None:
    """Raise Invalid for the first bad event time."""
    if bad.any():
        row = int(np.argmax(bad))
        raise Invalid(f"{subject}: column {EVENT_TIME!r}, row {row}: found {shown(int(us[row]))}, expected {allowed}", fix=fix)


def shown(us: int) -> str:
    """An instant as people read it."""
    try:
        return from_us(us).isoformat().replace("+00:00", "Z")
    except (OverflowError, ValueError):
        return f"{us} µs since 1970"


def sorted_rows(table: pa.Table, by: Sequence[str], subject: str) -> pa.Table:
    """Rows in the order of `by`, each combination once; its first column says the window."""
    ordered = table.take(pc.sort_indices(table, sort_keys=[(name, "ascending") for name in by])).combine_chunks()
    if ordered.num_rows > 1:
        same = None
        for name in by:
            column = ordered[name].chunk(0)
            equal = pc.equal(column.slice(1), column.slice(0, len(column) - 1))
            same = equal if same is None else pc.and_(same, equal)
        row = pc.index(same, True).as_py()
        if row >= 0:
            first = ordered.slice(row, 1).to_pylist()[0]
            found = ", ".join(
                f"{name}={first[name].isoformat() if isinstance(first[name], datetime) else repr(first[name])}" for name in by[1:]
            )
            raise Invalid(
                f"{subject}: found two rows for {found}, expected one per key and event time",
                fix=f"group by {', '.join(by[1:-1])}, or give the rows different event times",
                context={"check": "keys_unique", "duplicates": int(pc.sum(same).as_py())},
            )
    return ordered
