"""A raw table that this team lands."""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
from datetime import datetime
from typing import NamedTuple

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from tiffin.compute.team import Team
from tiffin.core.errors import Invalid, nearest
from tiffin.features.view import Source
from tiffin.orchestration.asset_keys import source_path
from tiffin.orchestration.failures import failures
from tiffin.orchestration.metadata import COMPLETE_TO, arrow_columns, replaced_metadata
from tiffin.orchestration.metadata_page import Edges, Page
from tiffin.orchestration.run_identity import fence_of
from tiffin.orchestration.versions import source_version
from tiffin.storage.fencing import Fence
from tiffin.storage.layout import table_path as table_location
from tiffin.storage.objects import ObjectStore
from tiffin.storage.tables import Replaced, TableStore

__all__ = ["land", "source_asset"]


class Landed(NamedTuple):
    """A raw table as it was landed; `newest` is when its last row became known, None without rows."""

    schema: pa.Schema
    replaced: Replaced
    newest: datetime | None


def land(source: Source, tables: TableStore, *, attempt: str | None = None, fence: Fence | None = None) -> Landed:
    """Load the source and make it the whole content of its table; equal content commits nothing.

    Raises:
        Invalid: the rows lack the column that says when they became known.
    """
    if source.load is None:
        raise Invalid(f"source {source.name!r} is landed by somebody else", fix="give it load=, or leave it out of the team's specs")
    rows = source.load()
    if source.time not in rows.column_names:
        raise Invalid(
            f"source {source.name!r}: load() gave no column {source.time!r}, which says when a row became known",
            fix=nearest(source.time, rows.column_names),
        )
    newest = pc.max(rows[source.time]).as_py()
    return Landed(rows.schema, tables.replace(source.name, rows, partitions=None, attempt=attempt, fence=fence), newest)


def source_asset(team: Team, source: Source, *, edges: Edges | None = None) -> dg.AssetsDefinition:
    """`raw/...`, unpartitioned."""
    page = Page.of(team, source_path(source.name), source.description, edges)

    @dg.asset(
        key=list(source_path(source.name)),
        group_name=team.name,
        owners=[team.owner],
        kinds={"python", "deltalake"},
        code_version=source_version(source),
        description=source.description or None,
    )
    def raw(
        context: dg.AssetExecutionContext, tables: dg.ResourceParam[TableStore], dev_objects: dg.ResourceParam[ObjectStore]
    ) -> dg.MaterializeResult[None]:
        watch = page.watch(context.instance)
        with failures():
            schema, replaced, newest = land(source, tables, attempt=context.run.run_id, fence=fence_of(context, dev_objects))
        cost = watch.metadata()
        content = f"{replaced.rows['']} rows, version {replaced.version}, {'changed now' if replaced.changed else 'as before'}"
        where = {"Delta table": f"`{table_location(source.name)}`", "Run": f"[{context.run.run_id[:8]}](/runs/{context.run.run_id})"}
        if newest is not None:
            cost[COMPLETE_TO] = dg.MetadataValue.timestamp(newest)
        shown = page.card(cost, fresh="landed by this run", content=content, where=where)
        return dg.MaterializeResult(
            metadata={**arrow_columns(schema), **replaced_metadata(replaced), **cost, **shown, "dagster/row_count": replaced.rows[""]},
            data_version=dg.DataVersion(replaced.digests[""]),
        )

    return raw
