"""Leakage: does a view's value at an event time use rows that were known only later?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tiffin.core.errors import Invalid, nearest
from tiffin.core.units import from_us, to_us
from tiffin.features.compute import EVENT_TIME, ViewEngine, canonical_rows
from tiffin.features.partitions import Window
from tiffin.features.source_rows import ViewRows, times_us
from tiffin.features.view import FeatureView

__all__ = ["LeakageFinding", "check_window"]

INSTANT = pa.timestamp("us", tz="UTC")
CUTS = 3
FAR = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class LeakageFinding:
    """One window whose values depend on rows known after their event time.

    Args:
        features: the features whose values change; all of them when rows come or go.
        keys: how many (key, event time) rows change.
        example: one of them: its key, and the value of the first such feature with and without the later rows.
        why: what was changed to see it.
    """

    view: str
    partition: str
    features: tuple[str, ...]
    keys: int
    example: str
    why: str

    def __str__(self) -> str:
        names = ", ".join(repr(name) for name in self.features)
        return f"view {self.view!r}, partition {self.partition}: {names} of {self.keys} rows depend on {self.why}; e.g. {self.example}"


def check_window(
    view: FeatureView,
    window: Window,
    rows_all: pa.Table | ViewRows,
    inputs: Mapping[str, pa.Table] | None = None,
    *,
    known: str | None = None,
) -> LeakageFinding | None:
    """Compute a window several times, with and without rows that nobody had yet, and compare.

    1. **Rows known after an event time.** What the store would hold must not change when the rows that
       were not known by a row's own event time are taken away. This finds an hourly row that uses the
       whole day and, with `known`, a source whose declared time is earlier than its facts.
    2. **Rows known after the window.** The transform is offered later rows too. One that takes
       whatever rows it is given relies on the platform to give the right ones, which is allowed: it
       answers alike wherever in time the later rows lie. One that looks at the time and still lets
       rows from after the end change its values has the wrong bound, and is reported.
    3. **Rows that it was not given.** A function that gives the same rows when it is given none has its
       data from elsewhere, where no window was cut.

    Args:
        rows_all: the source with rows from after the window's end; or all of the view's tables, sorted already.
        inputs: the view's other tables by name. They too are cut at the event times of 1.
        known: column with the instant at which a row's facts are really complete, when the view
            declares another one as its source's time; e.g. the time that the table's owner declares.

    Raises:
        Invalid: the view cannot be computed for this window at all; or `known` is not a column.
    """
    engine = ViewEngine(view)
    rows = rows_all if isinstance(rows_all, ViewRows) else ViewRows.of(view, rows_all, inputs)
    given, beside = rows.given(window), rows.beside(window)
    found = engine.compute(window, given, beside)
    return (
        earlier_facts(engine, window, rows, found, known or view.source.time)
        or later_rows(engine, window, rows, found)
        or rows_from_elsewhere(engine, window, given, beside, found)
    )


def earlier_facts(engine: ViewEngine, window: Window, rows: ViewRows, found: pa.Table, known: str) -> LeakageFinding | None:
    """Take away what was not known by some of the event times, and compare the rows of those times.

    A partition's row may use what was known before its event time; a snapshot's row, which holds from an
    instant on, also what became known at that instant.
    """
    given = rows.given(window)
    if known not in given.column_names:
        raise Invalid(
            f"leakage check of view {engine.view.name!r}: the source has no column {known!r}", fix=nearest(known, given.column_names)
        )
    known_us = times_us(given, known, f"source {engine.view.source.name!r}").copy()
    known_us[given[known].is_null().to_numpy()] = np.iinfo(np.int64).max  # not known yet
    times = np.unique(np.asarray(found[EVENT_TIME].cast(pa.int64())))
    for cut in times[np.unique(np.linspace(0, len(times) - 1, CUTS).astype(int))].tolist() if len(times) else []:
        first_late = cut if window.partition else cut + 1
        late = known_us >= first_late
        beside = {name: table.between(None, from_us(first_late)) for name, table in rows.inputs.items()}
        if not late.any() and all(beside[name].num_rows == full.num_rows for name, full in rows.beside(window).items()):
            continue
        try:
            without: pa.Table | Invalid = at(in_window(engine, window, given.filter(pa.array(~late)), beside), cut)
        except Invalid as err:
            without = err
        finding = difference(engine.view, window, at(found, cut), without, f"rows with {known!r} at or after their event time")
        if finding is not None:
            return finding
    return None


def later_rows(engine: ViewEngine, window: Window, view_rows: ViewRows, found: pa.Table) -> LeakageFinding | None:
    """Offer rows from after the end; excuse a transform that never looks at when they are."""
    source, given, beside = view_rows.source, view_rows.given(window), view_rows.beside(window)
    later = source.between(window.end, window.end + engine.view.lookback)
    if not later.num_rows:
        return None

    def offered(when: Callable[[np.ndarray], np.ndarray]) -> pa.Table | Invalid:
        # appended in one order, so that sums of floats are comparable
        moved = when(times_us(later, source.time, "later rows"))
        place = later.column_names.index(source.time)
        column = pa.array(moved, pa.int64()).cast(INSTANT).cast(later.schema.field(place).type)
        rows = pa.concat_tables([given, later.set_column(place, later.schema.field(place), column)])
        try:
            return in_window(engine, window, rows, beside)
        except Invalid as err:
            return err  # more rows than any window has may not fit a type

    why = "rows known after the window's end"
    with_later = offered(lambda us: us)
    finding = difference(engine.view, window, with_later, found, why)
    if finding is None:
        return None
    last = to_us(window.end) - 1
    inside, far = offered(lambda us: np.full(len(us), last)), offered(lambda us: us + FAR // timedelta(microseconds=1))
    blind = all(difference(engine.view, window, with_later, other, why) is None for other in (inside, far))
    return None if blind else finding


def rows_from_elsewhere(
    engine: ViewEngine, window: Window, given: pa.Table, beside: Mapping[str, pa.Table], found: pa.Table
) -> LeakageFinding | None:
    """Give it nothing: what it still answers it did not compute from its source."""
    if not found.num_rows:
        return None
    try:
        without = in_window(engine, window, given.slice(0, 0), {name: rows.slice(0, 0) for name, rows in beside.items()})
    except Invalid:
        return None
    if not without.equals(found):
        return None
    names = tuple(feature.name for feature in engine.view.features)
    why = "data that the function was not given"
    return LeakageFinding(engine.view.name, window.partition, names, found.num_rows, "the same rows come out when none go in", why)


def in_window(engine: ViewEngine, window: Window, rows: pa.Table, beside: Mapping[str, pa.Table]) -> pa.Table:
    """Compute from any rows; results for times outside the window are not the window's and are dropped."""
    result = engine.transformed(window, rows, beside)
    if EVENT_TIME in result.column_names and pa.types.is_timestamp(result.schema.field(EVENT_TIME).type):
        bounds = [pa.scalar(instant, result.schema.field(EVENT_TIME).type) for instant in (window.start, window.end)]
        begun = pc.greater if window.partition else pc.greater_equal
        result = result.filter(pc.and_(begun(result[EVENT_TIME], bounds[0]), pc.less_equal(result[EVENT_TIME], bounds[1])))
    return canonical_rows(engine.view, window, result)


def at(rows: pa.Table, us: int) -> pa.Table:
    """The rows of one event time."""
    return rows.filter(pc.equal(rows[EVENT_TIME].cast(pa.int64()), us))


def difference(view: FeatureView, window: Window, leaky: pa.Table | Invalid, honest: pa.Table | Invalid, why: str) -> LeakageFinding | None:
    """Compare two computations row by row; both are sorted by key and event time."""
    names = [feature.name for feature in view.features]
    if isinstance(leaky, Invalid) or isinstance(honest, Invalid):
        if isinstance(leaky, Invalid) and isinstance(honest, Invalid):
            return None
        failed = leaky if isinstance(leaky, Invalid) else honest
        assert isinstance(failed, Invalid)
        return LeakageFinding(view.name, window.partition, tuple(names), 0, failed.message, why)
    if leaky.equals(honest):
        return None
    identity = [*view.entity.key_names, EVENT_TIME]
    before, after = (by_identity(rows, identity, names) for rows in (honest, leaky))
    changed = {
        key: [name for name in names if key not in before or key not in after or before[key][name] != after[key][name]]
        for key in before | after
    }
    changed = {key: found for key, found in changed.items() if found}
    if not changed:
        return None
    key, found = next(iter(changed.items()))
    values = [f"{side[key][found[0]]!r}" if key in side else "no row" for side in (after, before)]
    return LeakageFinding(
        view=view.name,
        partition=window.partition,
        features=tuple(name for name in names if any(name in found for found in changed.values())),
        keys=len(changed),
        example=f"{named(identity, key)}: {found[0]} is {values[0]} with them and {values[1]} without",
        why=why,
    )


def by_identity(rows: pa.Table, identity: list[str], names: list[str]) -> dict[tuple[object, ...], dict[str, object]]:
    """Feature values by key and event time."""
    # instants as numbers: Python's datetime ends at the year 9999
    numbers = {field.name: rows[field.name].cast(pa.int64()) for field in rows.schema if pa.types.is_timestamp(field.type)}
    plain = pa.table({name: numbers.get(name, rows[name]) for name in [*identity, *names]})
    return {tuple(row[name] for name in identity): {name: row[name] for name in names} for row in plain.to_pylist()}


def named(identity: list[str], key: tuple[object, ...]) -> str:
    """A row as people read it."""
    shown = [from_us(int(str(value))).isoformat() if name == EVENT_TIME else repr(value) for name, value in zip(identity, key, strict=True)]
    return ", ".join(f"{name}={value}" for name, value in zip(identity, shown, strict=True))
