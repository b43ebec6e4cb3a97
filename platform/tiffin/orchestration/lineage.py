"""Column lineage as Dagster shows it: which source columns a feature comes from, which features a training column is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from tiffin.engines.sql_tree import select_tree
from tiffin.features.view import FeatureView, Source
from tiffin.lineage.columns import Column, Relation, columns_named, columns_of_select
from tiffin.manifests.records import ViewRecord
from tiffin.orchestration.asset_keys import source_path, view_path
from tiffin.training.table import TrainingTable, feature_column

__all__ = ["landed_columns", "table_lineage", "view_lineage"]

EVENT_TIME = "event_time"


def view_lineage(view: FeatureView, columns: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """`dagster/column_lineage` of a view's offline table.

    SQL is traced column by column. What Python does with a column is not: every feature comes from all columns that
    the function, or what it calls in its module, names.

    Args:
        columns: of every table of the view, as they are today, by the name that its code uses.
    """
    sources = {source.table: source for source in (view.source, *view.inputs)}
    wanted = [*view.entity.key_names, *(feature.name for feature in view.features)]
    found = sql_relation(view, columns) if view.sql is not None else python_relation(view, columns, wanted)
    found = {name: found.get(name, frozenset()) for name in wanted}
    found.setdefault(EVENT_TIME, frozenset([(view.source.table, view.source.time)]))
    return shown({name: dependencies(sources, of) for name, of in found.items()})


def sql_relation(view: FeatureView, columns: Mapping[str, Sequence[str]]) -> Relation:
    """Of parsed SQL; of a dialect that DuckDB does not parse, every column whose name occurs."""
    assert view.sql is not None
    tree = select_tree(view.sql)
    if tree is not None:
        return columns_of_select(tree, columns)
    words = set(re.findall(r"[A-Za-z_][A-Za-z_0-9]*", view.sql))
    named = frozenset((table, name) for table, names in columns.items() for name in names if name in words)
    return {feature.name: named for feature in view.features}


def python_relation(view: FeatureView, columns: Mapping[str, Sequence[str]], wanted: Iterable[str]) -> Relation:
    """Keys come from the column of their name, features from all columns that the code names."""
    assert view.transform is not None
    named: set[Column] = set()
    for table, names in columns.items():
        used = columns_named(view.transform, names)
        named |= {(table, name) for name in (names if used is None else used)}
    everything = frozenset(named)
    keys = {name: frozenset(one for one in everything if one[1] == name) for name in view.entity.key_names}
    return {name: keys.get(name) or everything for name in wanted}


def table_lineage(table: TrainingTable, views: Mapping[str, ViewRecord], columns: Sequence[str]) -> dict[str, Any]:
    """`dagster/column_lineage` of a training table: its spine's source, and the features of the joined views.

    Args:
        columns: of the spine's source, as they are today.
    """
    spine = table.spine
    own = [*(field.name for field in spine.key_fields), spine.time, *(field.name for field in spine.fields), spine.label.name]
    used = columns_named(spine.rows, columns) if spine.rows is not None else frozenset[str]()
    used = frozenset(columns) if used is None else used
    source = {spine.source.table: spine.source}
    found = {
        name: dependencies(source, [(spine.source.table, one) for one in ([name] if name in columns else sorted(used))]) for name in own
    }
    for ref, record in views.items():
        key = dg.AssetKey(list(view_path(ref)))
        for column in record.row_schema["columns"]:
            found[feature_column(ref, column["name"])] = [dg.TableColumnDep(key, column["name"])]
    return shown(found)


def landed_columns(instance: dg.DagsterInstance, source: Source) -> list[str]:
    """The columns of a raw table, as its owner's newest materialisation shows them; none before the first."""
    event = instance.get_latest_materialization_event(dg.AssetKey(list(source_path(source.name))))
    shown = {} if event is None or event.asset_materialization is None else event.asset_materialization.metadata
    schema = shown.get("dagster/column_schema")
    return [column.name for column in schema.value.columns] if isinstance(schema, dg.TableSchemaMetadataValue) else []


def dependencies(sources: Mapping[str, Source], columns: Iterable[Column]) -> list[dg.TableColumnDep]:
    """Columns of raw tables as Dagster names them."""
    return [
        dg.TableColumnDep(dg.AssetKey(list(source_path(sources[table].name))), name) for table, name in sorted(columns) if table in sources
    ]


def shown(found: Mapping[str, Sequence[dg.TableColumnDep]]) -> dict[str, Any]:
    """The metadata entry."""
    return {"dagster/column_lineage": dg.TableColumnLineage({name: list(deps) for name, deps in found.items()})}
