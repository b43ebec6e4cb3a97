"""The columns of a training table, in order: ids, request-time fields, joined features."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.core.errors import Invalid, NotFound, nearest
from tiffin.features.compute import KEY_ENCODING
from tiffin.features.view import FeatureView
from tiffin.manifests.records import ViewRecord
from tiffin.training.table import Spine, TrainingTable, feature_column
from tiffin.wire.schema import Column, RowSchema

__all__ = ["batch_columns", "joined_views", "key_columns"]


def key_columns(spine: Spine) -> tuple[Column, ...]:
    """The ids of a spine, as the wire holds them."""
    return tuple(Column(field.name, KEY_ENCODING[field.type]) for field in spine.key_fields)


def batch_columns(table: TrainingTable, views: Mapping[str, ViewRecord] | None = None) -> tuple[Column, ...]:
    """What a preprocess function is given, in order: ids, fields, `view__feature`.

    Args:
        views: records by `"team/view"`; needed for views that the table names as text.
    """
    columns = [*key_columns(table.spine), *(field.column for field in table.spine.fields)]
    for view in table.features:
        if isinstance(view, FeatureView):
            name, schema = view.name, view.row_schema
        else:
            name, schema = view, RowSchema.from_json(find_view(view, views or {}).row_schema)
        columns += [Column(feature_column(name, one.name), one.encoding) for one in schema.columns]
    return tuple(columns)


def joined_views(table: TrainingTable, *, team: str, views: Mapping[str, ViewRecord]) -> tuple[ViewRecord, ...]:
    """The record of each joined view, in the table's order.

    Raises:
        NotFound: a view has no record; with the nearest one.
        Invalid: the spine lacks a part of a view's key, or has it as another type.
    """
    ids = {field.name: field.type for field in table.spine.key_fields}
    records = []
    for view in table.features:
        ref = view if isinstance(view, str) else f"{team}/{view.name}"
        record = find_view(ref, views)
        for part in record.entity.keys:
            doing = f"training table {table.name!r} joins {ref!r} by {part.name!r}"
            if part.name not in ids:
                raise Invalid(f"{doing}, which is no key of spine {table.spine.name!r}", fix=f"add '{part.name}: {part.type}' to its keys")
            found = ids[part.name]
            if found != part.type:
                raise Invalid(f"{doing} of type {part.type}, the spine has {found}", fix=f"write '{part.name}: {part.type}' in the spine")
        records.append(record)
    return tuple(records)


def find_view(ref: str, views: Mapping[str, ViewRecord]) -> ViewRecord:
    """One record by reference."""
    if ref not in views:
        raise NotFound(f"feature view {ref!r} is not in the catalog", fix=nearest(ref, views))
    return views[ref]
