"""What an asset shows in Dagster: columns, counts, digests, metrics. Values in, metadata out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from tiffin.features.view import Feature, FeatureView
from tiffin.manifests.records import Limits, ModelRecord, ViewRecord
from tiffin.orchestration.versions import short
from tiffin.storage.tables import Replaced
from tiffin.training.table import TrainingTable, feature_column

__all__ = [
    "COMPLETE_TO",
    "arrow_columns",
    "limits_metadata",
    "model_metadata",
    "partition_metadata",
    "replaced_metadata",
    "table_columns",
    "view_columns",
]

TIMES = (("event_time", "the instant at which the row's facts are complete"), ("known_at", "when the business could have had the row"))
STAMPS = "timestamp[us, UTC]"
COMPLETE_TO = "complete_to"
"""Up to which event time an asset is complete."""
ColumnShown = tuple[str, str, str, bool]
"""Name, type, description, nullable."""


def columns(found: Iterable[ColumnShown]) -> dict[str, Any]:
    """`dagster/column_schema` of the columns shown."""
    listed = [
        dg.TableColumn(name, kind, description=text or None, constraints=dg.TableColumnConstraints(nullable=nullable))
        for name, kind, text, nullable in found
    ]
    return {"dagster/column_schema": dg.TableSchema(columns=listed)}


def described(feature: Feature, name: str | None = None) -> ColumnShown:
    """A feature under its own or another column name; the type shown is its declared encoding."""
    return name or feature.name, feature.type.encoding, feature.description, feature.nullable


def arrow_columns(schema: pa.Schema) -> dict[str, Any]:
    """The columns of a raw table."""
    return columns((field.name, str(field.type), "", field.nullable) for field in schema)


def view_columns(view: FeatureView) -> dict[str, Any]:
    """Keys, features in their declared encoding, and the row's times."""
    keys: list[ColumnShown] = [(field.name, field.type, f"key of {view.entity.name}", False) for field in view.entity.fields]
    times: list[ColumnShown] = [(name, STAMPS, text, False) for name, text in TIMES]
    return columns([*keys, *map(described, view.features), *times])


def table_columns(table: TrainingTable, views: Mapping[str, ViewRecord]) -> dict[str, Any]:
    """Keys, label time, request-time fields, label and joined features."""
    spine = table.spine
    found: list[ColumnShown] = [(field.name, field.type, "key", False) for field in spine.key_fields]
    found += [(spine.time, STAMPS, "when the prediction would have been asked", False)]
    found += [described(field) for field in spine.fields]
    found += [(spine.label.name, spine.label.type.encoding, spine.label.description or "label", False)]
    for ref, record in views.items():
        found += [(feature_column(ref, c["name"]), c["encoding"], f"from {ref}", True) for c in record.row_schema["columns"]]
    return columns(found)


def replaced_metadata(replaced: Replaced) -> dict[str, Any]:
    """Of the whole write: version, what changed, how much."""
    return {
        "table_version": replaced.version,
        "partitions_changed": len(replaced.changed),
        "size_bytes": replaced.size_bytes,
    }


def partition_metadata(replaced: Replaced, partition: str) -> dict[str, Any]:
    """Of one partition of that write."""
    return {
        "dagster/partition_row_count": replaced.rows.get(partition, 0),
        "digest": replaced.digests.get(partition, ""),
        "changed": partition in replaced.changed,
    }


def model_metadata(record: ModelRecord, digest: str, plot: str) -> dict[str, Any]:
    """Metrics as numbers that can be plotted over versions; the rest as words."""
    numbers: dict[str, Any] = {f"metric/{name}": float(value) for name, value in record.metrics.items()}
    return {
        **numbers,
        "manifest": digest,
        "training_table": f"{record.table.ref} version {record.table.version}, {record.table.rows} rows, {short(record.table.digest)}",
        "inputs": dg.MetadataValue.json(list(record.inputs)),
        "gates": dg.MetadataValue.json(list(record.gates)),
        "size_bytes": sum(file.size_bytes for file in record.files),
        "code": record.code.archive.digest,
        "importance": dg.MetadataValue.md(plot),
    }


def limits_metadata(limits: Limits, outputs: Sequence[str]) -> dict[str, Any]:
    """What a client of an endpoint may ask and gets."""
    return {"max_rows": limits.max_rows, "max_bytes": limits.max_bytes, "outputs": ", ".join(outputs)}
