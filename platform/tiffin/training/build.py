"""Training tables: labels at their times, each beside the features that were known then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from tiffin.asof.join import INSTANT, join
from tiffin.core.errors import Invalid
from tiffin.features.offline import read_view as read_stored_view
from tiffin.manifests.records import TableRef, ViewRecord
from tiffin.storage.tables import Replaced, TableStore
from tiffin.training.columns import joined_views
from tiffin.training.spine import canonical_rows, labelled_rows
from tiffin.training.table import TrainingTable, feature_column
from tiffin.wire.schema import RowSchema

__all__ = ["Built", "ReadView", "build", "join_as_of"]

AS_OF = "__as_of"  # no name that a team may declare holds a double underscore at its start


class ReadView(Protocol):
    """`tiffin.features.offline.read_view`: ids, features, `event_time`, `known_at`, `written_at`."""

    def __call__(self, record: ViewRecord, *, tables: TableStore) -> pa.Table: ...


@dataclass(frozen=True, slots=True)
class Built:
    """What `build` did.

    Args:
        table: the exact version that now holds the rows, for the model's manifest.
        replaced: what the table store did; nothing when the content is equal.
        null_share: by feature column, the share of labels that got no value, 0 to 1.
    """

    table: TableRef
    replaced: Replaced
    null_share: dict[str, float]


def build(
    table: TrainingTable,
    *,
    team: str,
    views: Mapping[str, ViewRecord],
    tables: TableStore,
    written_at: datetime,
    read_view: ReadView = read_stored_view,
    attempt: str | None = None,
    judge: Callable[[pa.Table], None] = lambda rows: None,
) -> Built:
    """Make `"team/<table>"` the labels known at `written_at`, joined to each view as of the label's time.

    Columns: ids, the spine's time, fields, label, `view__feature`, all in their declared encodings.

    Args:
        team: owner of the table and of the views that it holds as objects.
        views: records by `"team/view"`, of every joined view.
        written_at: now, by the stack's clock; source rows known later are not used.
        attempt: fence of the commit, see `TableStore.replace`.
        judge: called once with all rows before anything is written; it may raise.

    Raises:
        Invalid: no label is left, or spine, source and views do not fit together.
        NotFound: a view has no record, or the source has not been landed.
    """
    records = joined_views(table, team=team, views=views)
    labels = labelled_rows(table, tables=tables, now=written_at)
    if not len(labels):
        source, now = table.spine.source.name, f"{written_at:%Y-%m-%d %H:%M}"
        span = f"[{table.start or 'the beginning'}, {table.end or 'the end'})"
        found = f"training table {table.name!r}: source {source!r} has no label in {span} known at {now}"
        raise Invalid(found, fix="widen start and end, land more of the source, or look whether the label is null everywhere")
    joined = join_views(labels, table, records, tables=tables, read_view=read_view, time=table.spine.time)
    judge(joined)
    replaced = tables.replace(f"{team}/{table.name}", joined, partitions=None, attempt=attempt)
    ref = TableRef(ref=f"{team}/{table.name}", version=replaced.version, rows=replaced.rows[""], digest=replaced.digests[""])
    added = joined.column_names[len(labels.column_names) :]
    return Built(ref, replaced, {name: joined[name].null_count / len(joined) for name in added})


def join_as_of(
    table: TrainingTable,
    spine_rows: pa.Table,
    as_of: datetime | None,
    *,
    team: str,
    views: Mapping[str, ViewRecord],
    tables: TableStore,
    read_view: ReadView = read_stored_view,
) -> pa.Table:
    """Rows as a client would send them, joined to the features of one instant: what the endpoint knew then.

    Args:
        spine_rows: ids, the spine's time and fields; a label is not needed and not returned.
        as_of: for every row the instant of the join, from which TTL counts too; None joins each row
            at its own time.

    Returns:
        Ids, time, fields, `view__feature`; rows in the order given.
    """
    records = joined_views(table, team=team, views=views)
    rows, time = canonical_rows(table.spine, spine_rows, label=False), table.spine.time
    if as_of is not None:
        rows, time = rows.append_column(AS_OF, pa.repeat(pa.scalar(as_of, INSTANT), len(rows))), AS_OF
    joined = join_views(rows, table, records, tables=tables, read_view=read_view, time=time)
    return joined.drop_columns([AS_OF]) if as_of is not None else joined


def join_views(
    labels: pa.Table, table: TrainingTable, records: tuple[ViewRecord, ...], *, tables: TableStore, read_view: ReadView, time: str
) -> pa.Table:
    """Add every view's features, view by view."""
    for record in records:
        labels = join(
            labels,
            read_view(record, tables=tables),
            keys=[part.name for part in record.entity.keys],
            label_time=time,
            features=[column.name for column in RowSchema.from_json(record.row_schema).columns],
            ttl_us=record.ttl_us,
            rename=lambda feature, view=record.name: feature_column(view, feature),  # type: ignore[misc]  # mypy does not infer a lambda with a default
        )
    return labels
