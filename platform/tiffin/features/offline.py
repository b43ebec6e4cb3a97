"""Offline partitions of a view: written in one commit, read back at a version, made ready for publishing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tiffin.asof.join import key_codes, times_us
from tiffin.asof.kernel import pick
from tiffin.core.errors import Invalid, NotFound
from tiffin.core.units import to_us
from tiffin.features.arrow_values import to_values
from tiffin.features.compute import EVENT_TIME, KEY_ENCODING, KNOWN_AT, ViewEngine, compute
from tiffin.features.partitions import Window, daily, hourly
from tiffin.features.source_rows import ViewRows, window_rows
from tiffin.features.view import FeatureView
from tiffin.manifests.records import ViewRecord
from tiffin.storage.content import PARTITION
from tiffin.storage.tables import Replaced, TableStore
from tiffin.wire.encodings import Ragged, Values, canonical
from tiffin.wire.keys import encode_keys
from tiffin.wire.schema import Column, RowSchema

__all__ = ["WRITTEN_AT", "compute", "latest_rows", "materialise", "read_view", "stored_columns", "to_online", "window_rows"]

WRITTEN_AT = "written_at"
INSTANT = pa.timestamp("us", tz="UTC")


def materialise(
    view: FeatureView,
    windows: Sequence[Window],
    *,
    team: str,
    tables: TableStore,
    written_at: datetime,
    attempt: str | None = None,
    rows: ViewRows | None = None,
    judge: Callable[[pa.Table], None] = lambda data: None,
    progress: Callable[[int, int, int], None] = lambda done, total, made: None,
) -> Replaced:
    """Compute windows and make them the content of their partitions, in one commit or none.

    The source is read once, sorted once, and sliced per window; a window without rows makes its
    partition empty. Partitions whose content is what it was are not written.

    Args:
        written_at: noted in every row that is written; breaks ties between equal event times.
        attempt: fence, see `TableStore.replace`.
        rows: the view's tables, when they have been read already.
        judge: called once with everything that was computed, before anything is written; it may raise.
        progress: called with windows done, their total, and the rows made so far.

    Raises:
        Invalid: see `compute`; or windows repeat or are none. NotFound: the source has not landed.
    """
    names = [window.partition for window in windows]
    if not names:
        raise Invalid(
            f"view {view.name!r}: there is no window to materialise", fix="choose partitions from its start to the last complete day"
        )
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise Invalid(f"view {view.name!r}: partition {twice[0]!r} is asked for twice", fix="name each window once")
    parts: list[pa.Table] = []
    made = 0
    results = ViewEngine(view).compute_all(windows, tables, rows)
    for done, part in enumerate(results, start=1):
        parts.append(part)
        made += part.num_rows
        progress(done, len(windows), made)
    data = pa.concat_tables(parts).combine_chunks()
    data = data.append_column(WRITTEN_AT, pa.array(np.full(data.num_rows, to_us(written_at), np.int64)).cast(INSTANT))
    if names != [""]:
        place = np.repeat(np.arange(len(names)), [part.num_rows for part in parts])
        data = data.append_column(PARTITION, pa.array(names, pa.string()).take(place))
    judge(data)
    return tables.replace(f"{team}/{view.name}", data, partitions=None if names == [""] else names, attempt=attempt)


def stored_columns(record: ViewRecord) -> list[str]:
    """The columns of a view's offline table, without `partition`: keys, features, times."""
    features = [column.name for column in RowSchema.from_json(record.row_schema).columns]
    return [*(field.name for field in record.entity.keys), *features, EVENT_TIME, KNOWN_AT, WRITTEN_AT]


def read_view(
    record: ViewRecord,
    *,
    tables: TableStore,
    version: int | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> pa.Table:
    """A view's offline rows with `start <= event_time <= end`; both ends count, None is no end.

    Only the partitions that can hold such rows are read.

    Returns:
        `stored_columns`, in order of partition, key and event time.

    Raises:
        NotFound: the view was never materialised.
    """
    ref = f"{record.team}/{record.name}"
    try:
        rows = tables.read(ref, columns=stored_columns(record), version=version, partitions=partitions_between(record, start, end))
    except NotFound as err:
        if version is not None:
            raise
        raise NotFound(f"view {ref!r} has no offline rows yet", fix="materialise its partitions first", context={"view": ref}) from err
    keep = [pc.greater_equal(rows[EVENT_TIME], pa.scalar(start, INSTANT))] if start is not None else []
    keep += [pc.less_equal(rows[EVENT_TIME], pa.scalar(end, INSTANT))] if end is not None else []
    for mask in keep[1:]:
        keep[0] = pc.and_(keep[0], mask)
    return rows.filter(keep[0]) if keep else rows


def partitions_between(record: ViewRecord, start: datetime | None, end: datetime | None) -> list[str] | None:
    """Keys of the partitions that can hold event times in `[start, end]`; None is the whole table.

    A partition's rows lie in `(its start, its end]`.
    """
    if end is None or record.partition_kind == "snapshot":
        return None
    tick = timedelta(microseconds=1)
    cut = (daily if record.partition_kind == "daily" else hourly)(record.partition_start)
    return [window.partition for window in cut.windows(until=end - tick + cut.length) if start is None or window.end >= start]


def latest_rows(record: ViewRecord, rows: pa.Table, *, as_of: datetime) -> pa.Table:
    """Per key the row that a label at `as_of` would get: what the online store must answer then.

    Keys whose row has expired by `as_of` are left out: they would read as null.
    """
    names = [field.name for field in record.entity.keys]
    _, codes = key_codes(rows.slice(0, 0), rows, names)
    keys = np.unique(codes)
    chosen = pick(
        keys,
        np.full(len(keys), to_us(as_of), np.int64),
        codes,
        *(times_us(rows, name) for name in (EVENT_TIME, KNOWN_AT, WRITTEN_AT)),
        ttl_us=record.ttl_us,
    )
    return rows.take(np.sort(chosen[chosen >= 0]))


def to_online(record: ViewRecord, rows: pa.Table) -> tuple[list[bytes], dict[str, Values | Ragged], np.ndarray]:
    """Stored rows as the publisher takes them.

    Returns:
        (rows,) key bytes; canonical columns by name, in stored order; (rows,) int64 event times in µs.
    """
    columns = {
        column.name: canonical(column, to_values(rows[column.name], column)) for column in RowSchema.from_json(record.row_schema).columns
    }
    fields = [(field.name, field.type) for field in record.entity.keys]
    parts = {name: to_values(rows[name], Column(name, KEY_ENCODING[kind], nullable=False)) for name, kind in fields}
    keys, valid = encode_keys(fields, parts)
    if not valid.all():
        raise Invalid(f"view '{record.team}/{record.name}': row {int(np.argmin(valid))} has no key", fix="materialise its partition again")
    return keys, columns, times_us(rows, EVENT_TIME)
