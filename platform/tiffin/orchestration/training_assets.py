"""A training table and the model versions that are learnt from it."""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
import inspect
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import dagster as dg

from tiffin.compute.team import Team
from tiffin.core.errors import Invalid, NotFound, PlatformError
from tiffin.features.view import FeatureView
from tiffin.manifests.records import FeatureRef, ModelRecord, TableRef, ViewRecord
from tiffin.orchestration.asset_keys import model_path, source_path, table_path, view_path
from tiffin.orchestration.checks_run import TableJudge, accepted_checks
from tiffin.orchestration.checks_training import LABEL_LEAKAGE
from tiffin.orchestration.failures import failures
from tiffin.orchestration.kueue_tags import compute_tags
from tiffin.orchestration.lineage import landed_columns, table_lineage
from tiffin.orchestration.metadata import model_metadata, replaced_metadata, table_columns
from tiffin.orchestration.metadata_page import Edges, Page, landed_by
from tiffin.orchestration.partitions import as_of_mapping
from tiffin.orchestration.plot import importance_markdown
from tiffin.orchestration.plot_held_out import held_out_markdown
from tiffin.orchestration.resource_keys import ProdReader, StackClock
from tiffin.orchestration.run_identity import RunTables, began_at, fence_of, naming_the_winner
from tiffin.orchestration.sensors import UPSTREAM_RUNS
from tiffin.orchestration.versions import model_version, table_version
from tiffin.registry.models import file_refs, save_model, save_record
from tiffin.registry.promoted import live_model
from tiffin.registry.snapshot import snapshot
from tiffin.serving.team_code import team_code
from tiffin.storage.content import content_digest
from tiffin.storage.fencing import Fence
from tiffin.storage.layout import manifest_key
from tiffin.storage.layout import table_path as table_location
from tiffin.storage.objects import ObjectStore
from tiffin.storage.tables import TableStore
from tiffin.training.build import Built, build
from tiffin.training.fit import Trained, is_classifier, train
from tiffin.training.model import Model
from tiffin.training.table import TrainingTable

__all__ = ["feature_refs", "gates_result", "live_metrics", "model_asset", "package_folder", "table_asset", "train_version"]

GATES = "gates"
# beside other busy processes two OpenMP threads wait for each other: 60 s instead of 5 s on two shared cores
TRAINING_THREADS = 1


def package_folder(model: Model) -> Path:
    """The package whose code a model is: the folder of the module that holds its preprocess function.

    Raises:
        Invalid: the function was typed into a shell, so that there is nothing to snapshot.
    """
    path = inspect.getsourcefile(inspect.unwrap(model.preprocess))
    if path is None or not Path(path).is_file():
        raise Invalid(
            f"the preprocess function of model {model.name!r} has no source file", fix="move it into a module of the team's package"
        )
    return Path(path).resolve().parent


def live_metrics(prod: ProdReader, *, team: str, model: str) -> dict[str, float] | None:
    """Metrics of the version that is live now; None before the first one."""
    found = live_model(prod.store, prod.verifier, team, model)
    return None if found is None else dict(found[1].metrics)


def midnight(day: date | None) -> datetime | None:
    """Where a declared day begins."""
    return None if day is None else datetime.combine(day, time(), tzinfo=UTC)


def table_asset(team: Team, table: TrainingTable, views: Mapping[str, ViewRecord], *, edges: Edges | None = None) -> dg.AssetsDefinition:
    """`<team>/<table>`, unpartitioned."""
    page = Page.of(team, table_path(team.name, table.name), table.description, edges)
    key = dg.AssetKey(list(table_path(team.name, table.name)))
    cuts = {f"{team.name}/{view.name}": view.partitions for view in table.features if isinstance(view, FeatureView)}
    period = midnight(table.start), midnight(table.end)
    mappings = {ref: as_of_mapping(record, cuts.get(ref), *period) for ref, record in views.items()}

    @dg.asset(
        key=key,
        deps=[
            dg.AssetKey(list(source_path(table.spine.source.name))),
            *(dg.AssetDep(list(view_path(ref)), partition_mapping=mapping) for ref, mapping in mappings.items()),
        ],
        group_name=team.name,
        owners=[team.owner],
        kinds={"python", "arrow", "deltalake"},
        code_version=table_version(table, views),
        op_tags=compute_tags(table.compute),
        description=table.description or None,
        metadata={**table_columns(table, views), "views": ", ".join(views)},
        check_specs=[dg.AssetCheckSpec(LABEL_LEAKAGE, asset=key, blocking=True, description="no column alone gives the label away")],
    )
    def training_table(
        context: dg.AssetExecutionContext,
        tables: dg.ResourceParam[TableStore],
        dev_objects: dg.ResourceParam[ObjectStore],
        clock: dg.ResourceParam[StackClock],
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        ref = f"{team.name}/{table.name}"
        watch = page.watch(context.instance)
        with failures():
            own = RunTables(tables, ref, fence=fence_of(context, dev_objects))
            judge = TableJudge(table, ref=ref, accepted=accepted_checks(context.run.tags))
            try:
                built = build(
                    table, team=team.name, views=views, tables=own, written_at=clock.now(), attempt=context.run.run_id, judge=judge
                )
            except PlatformError:
                yield from judge.results()
                raise
        yield from judge.results()
        cost = watch.metadata()
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                **replaced_metadata(built.replaced),
                **table_lineage(table, views, landed_columns(context.instance, table.spine.source)),
                **landed_by(context.run.tags, tag=UPSTREAM_RUNS),
                **cost,
                **page.card(cost, **table_card(ref, built, views, context.run.run_id)),
                "dagster/row_count": built.table.rows,
                "null_share": dg.MetadataValue.json(built.null_share),
            },
            data_version=dg.DataVersion(built.table.digest),
        )

    return training_table


def train_version(
    model: Model,
    *,
    team: Team,
    views: Mapping[str, ViewRecord],
    tables: TableStore,
    dev: ObjectStore,
    prod: ProdReader,
    run_id: str | None,
    fence: Fence | None = None,
) -> tuple[str, ModelRecord, Trained]:
    """Train on the table's current version and save the result in dev, whatever its gates say.

    A version that fails a gate is kept so that it can be looked at; promotion refuses it.

    Returns:
        The record's digest, the record, and what training found.
    """
    ref = f"{team.name}/{model.table.name}"
    version = tables.version(ref)
    if version is None:
        raise NotFound(f"model {model.name!r}: its training table {ref!r} does not exist yet", fix=f"materialise {ref!r} first")
    since = began_at(dev, "model", team.name, model.name)
    rows = tables.read(ref, version=version)
    live = live_metrics(prod, team=team.name, model=model.name)
    trained = train(model, rows, views=views, live_metrics=live, seed=0, threads=TRAINING_THREADS)
    record = ModelRecord(
        team=team.name,
        name=model.name,
        owner=team.owner,
        trainer=model.trainer,
        files=file_refs(trained.files),
        params=trained.params,
        metrics=trained.metrics,
        gates=tuple(gate.to_json() for gate in trained.gates),
        inputs=trained.inputs,
        output=model.table.spine.label.name,
        features=feature_refs(views),
        table=TableRef(ref=ref, version=version, rows=rows.num_rows, digest=content_digest(rows)),
        code=snapshot(package_folder(model)).save(dev),
        preprocess=team_code(model.preprocess, role=f"model {model.name!r}: preprocess").digest,
        image=None,
        run_id=run_id,
        parent=None,
    )
    for view in views.values():
        save_record(dev, view)  # what the record's features name by address is there before the record
    with naming_the_winner(dev, "model"):
        return save_model(dev, record, trained.files, since=since, fence=fence), record, trained


def feature_refs(views: Mapping[str, ViewRecord]) -> tuple[FeatureRef, ...]:
    """Every joined column and the exact view definition it comes from."""
    return tuple(
        FeatureRef(view=ref, column=column["name"], view_record=record.address)
        for ref, record in views.items()
        for column in record.row_schema["columns"]
    )


def gates_result(record: ModelRecord) -> dg.AssetCheckResult:
    """All gates in one check, each with its evidence."""
    failed = [str(gate["gate"]) for gate in record.gates if gate["passed"] is not True]
    return dg.AssetCheckResult(
        check_name=GATES,
        passed=not failed,
        description=f"failed: {'; '.join(failed)}" if failed else f"{len(record.gates)} gates passed",
        metadata={str(gate["gate"]): dg.MetadataValue.json({**gate["evidence"], "passed": gate["passed"]}) for gate in record.gates},
    )


def table_card(ref: str, built: Built, views: Mapping[str, ViewRecord], run_id: str) -> dict[str, Any]:
    """What a training table's card says."""
    worst = max(built.null_share, key=lambda name: built.null_share[name], default="")
    nulls = f"; most nulls in {worst} ({built.null_share[worst]:.1%})" if worst else ""
    return {
        "fresh": "built by this run" if built.replaced.changed else "rebuilt by this run, with the same content",
        "content": f"{built.table.rows} labels beside features of {len(views)} views, version {built.table.version}{nulls}",
        "where": {"Delta table": f"`{table_location(ref)}`", "Run": f"[{run_id[:8]}](/runs/{run_id})"},
    }


def model_card(record: ModelRecord, digest: str, run_id: str) -> dict[str, Any]:
    """What a model version's card says."""
    passed = sum(gate["passed"] is True for gate in record.gates)
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in record.metrics.items())
    return {
        "fresh": f"trained by this run on {record.table.ref} version {record.table.version}",
        "content": f"{metrics}; {passed} of {len(record.gates)} gates passed",
        "where": {"Manifest": f"`{manifest_key('model', digest)}`", "Run": f"[{run_id[:8]}](/runs/{run_id})"},
    }


def model_asset(team: Team, model: Model, views: Mapping[str, ViewRecord], *, edges: Edges | None = None) -> dg.AssetsDefinition:
    """`<team>/<model>`, unpartitioned."""
    page = Page.of(team, model_path(team.name, model.name), model.description, edges)
    key = dg.AssetKey(list(model_path(team.name, model.name)))

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(list(table_path(team.name, model.table.name)))],
        group_name=team.name,
        owners=[team.owner],
        kinds={model.trainer, "python"},
        code_version=model_version(model, views),
        op_tags=compute_tags(model.compute),
        description=model.description or None,
        check_specs=[dg.AssetCheckSpec(GATES, asset=key, blocking=True, description="what a version must show before promotion")],
    )
    def model_versions(
        context: dg.AssetExecutionContext,
        tables: dg.ResourceParam[TableStore],
        dev_objects: dg.ResourceParam[ObjectStore],
        prod_objects: dg.ResourceParam[ProdReader],
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        watch = page.watch(context.instance)
        with failures():
            digest, record, trained = train_version(
                model,
                team=team,
                views=views,
                tables=tables,
                dev=dev_objects,
                prod=prod_objects,
                run_id=context.run.run_id,
                fence=fence_of(context, dev_objects),
            )
        yield gates_result(record)
        cost = watch.metadata()
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                **model_metadata(record, digest, importance_markdown(trained.importance)),
                "held_out": dg.MetadataValue.md(held_out_markdown(trained.held_out, classifier=is_classifier(model))),
                **landed_by(context.run.tags, tag=UPSTREAM_RUNS),
                **cost,
                **page.card(cost, **model_card(record, digest, context.run.run_id)),
            },
            data_version=dg.DataVersion(digest),
        )

    return model_versions
