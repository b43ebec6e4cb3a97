"""A training table and the model versions that are learnt from it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from tiffin.compute.team import Team
from tiffin.core.errors import Invalid, NotFound
from tiffin.manifests.records import CodeRef, ModelRecord, TableRef, ViewRecord
from tiffin.manifests.signing import Verifier
from tiffin.orchestration.asset_keys import AssetPath, model_path, source_path, table_path, view_path
from tiffin.orchestration.checks import unique_keys
from tiffin.orchestration.failures import failures
from tiffin.orchestration.metadata import model_metadata, replaced_metadata, table_columns
from tiffin.orchestration.plot import importance_markdown
from tiffin.orchestration.resource_keys import StackClock
from tiffin.orchestration.versions import model_version, table_version
from tiffin.registry.models import save_model
from tiffin.registry.snapshot import snapshot
from tiffin.registry.verified import fetch_current
from tiffin.storage.objects import ObjectStore
from tiffin.storage.tables import TableStore
from tiffin.training.build import build
from tiffin.training.fit import train
from tiffin.training.model import Model
from tiffin.training.table import TrainingTable

__all__ = ["live_metrics", "model_asset", "package_folder", "table_asset"]

GATES = "gates"


def package_folder(model: Model) -> Path:
    """The package whose code a model is: the folder of the module that holds its preprocess function.

    Raises:
        Invalid: the function was typed into a shell, so that there is nothing to snapshot.
    """
    path = inspect.getsourcefile(inspect.unwrap(model.preprocess))
    if path is None or not Path(path).is_file():
        raise Invalid(f"the preprocess function of model {model.name!r} has no source file", fix="move it into a module of the team's package")
    return Path(path).resolve().parent


def live_metrics(prod: ObjectStore, verifier: Verifier, *, team: str, model: str) -> dict[str, float] | None:
    """Metrics of the version that is live now; None before the first one."""
    try:
        _, record = fetch_current(prod, verifier, "model", team, model)
    except NotFound:
        return None
    return dict(record.metrics)


def table_asset(team: Team, table: TrainingTable, views: Mapping[str, ViewRecord]) -> dg.AssetsDefinition:
    """`<team>/<table>`, unpartitioned."""
    key = dg.AssetKey(list(table_path(team.name, table.name)))
    upstream = [source_path(table.spine.source.name), *map(view_path, views)]

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(list(path)) for path in upstream],
        group_name=team.name,
        owners=[team.owner],
        kinds={"python", "arrow", "deltalake"},
        code_version=table_version(table, views),
        description=table.description or None,
        metadata={**table_columns(table, views), "views": ", ".join(views)},
    )
    def training_table(
        context: dg.AssetExecutionContext, tables: dg.ResourceParam[TableStore], clock: dg.ResourceParam[StackClock]
    ) -> dg.MaterializeResult[None]:
        with failures():
            built = build(table, team=team.name, views=views, tables=tables, written_at=clock.now())
        return dg.MaterializeResult(
            metadata={**replaced_metadata(built.replaced), "dagster/row_count": built.table.rows},
            data_version=dg.DataVersion(built.table.digest),
        )

    return training_table
