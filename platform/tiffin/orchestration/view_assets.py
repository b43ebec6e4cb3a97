"""A feature view's offline partitions: one, or a range of them in one call and one commit; or a snapshot as a whole."""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
import time
import warnings
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import dagster as dg
import pyarrow as pa

from tiffin.compute.team import Team
from tiffin.core.digests import digest_json
from tiffin.core.errors import Invalid, PlatformError
from tiffin.features.leakage import LeakageFinding, check_window
from tiffin.features.offline import materialise
from tiffin.features.partitions import Window
from tiffin.features.source_rows import ViewRows
from tiffin.features.view import FeatureView
from tiffin.manifests.records import ViewRecord
from tiffin.orchestration.asset_keys import source_path, view_path
from tiffin.orchestration.backfill_progress import Meter
from tiffin.orchestration.backfill_sensor import keep_backfill_waiting
from tiffin.orchestration.checks import sampled
from tiffin.orchestration.checks_run import Judge, accepted_checks, view_check_specs
from tiffin.orchestration.failures import failures
from tiffin.orchestration.kueue_tags import compute_tags
from tiffin.orchestration.lineage import view_lineage
from tiffin.orchestration.metadata import COMPLETE_TO, partition_metadata, replaced_metadata, view_columns
from tiffin.orchestration.metadata_card import fresh
from tiffin.orchestration.metadata_page import Edges, Page, in_bytes
from tiffin.orchestration.partitions import partitions_definition
from tiffin.orchestration.resource_keys import StackClock
from tiffin.orchestration.run_identity import RunTables, fence_of
from tiffin.orchestration.versions import view_version
from tiffin.storage.layout import table_path as table_location
from tiffin.storage.objects import ObjectStore
from tiffin.storage.tables import Replaced, TableStore

__all__ = ["find_leak", "run_version", "view_asset"]

NO_LEAKAGE = "no_leakage"
LEAKAGE_WINDOWS = 3


def find_leak(
    view: FeatureView, windows: Sequence[Window], rows: pa.Table | ViewRows, *, owners_time: str | None = None
) -> LeakageFinding | None:
    """The first leak among a few of the windows, or None.

    Args:
        rows: the whole source, with rows known after the windows' ends; or all of the view's tables.
        owners_time: column that the source's owner declares as its time; a view that declares an
            earlier one would see facts before they were known.
    """
    for window in sampled(windows, LEAKAGE_WINDOWS):
        try:
            finding = check_window(view, window, rows, known=owners_time)
        except PlatformError as err:
            err.context.setdefault("partition", window.partition)
            raise
        if finding is not None:
            return finding
    return None


def run_version(replaced: Replaced, partitions: Sequence[str]) -> str:
    """What these partitions hold now: a single day's content digest, or the digest of all of them.

    Dagster records one data version for all partitions of a run; each one's own digest is its metadata.
    """
    if len(partitions) == 1:
        return replaced.digests[partitions[0]]
    return digest_json({key: replaced.digests[key] for key in partitions})


def leakage_result(finding: LeakageFinding | None, checked: int) -> dg.AssetCheckResult:
    """The blocking check's answer."""
    if finding is None:
        return dg.AssetCheckResult(check_name=NO_LEAKAGE, passed=True, metadata={"windows_checked": checked})
    return dg.AssetCheckResult(
        check_name=NO_LEAKAGE,
        passed=False,
        severity=dg.AssetCheckSeverity.ERROR,
        description=str(finding),
        metadata={"finding": str(finding)},
    )


def view_asset(
    team: Team, view: FeatureView, record: ViewRecord, *, owners_time: str | None = None, edges: Edges | None = None
) -> dg.AssetsDefinition:
    """`<team>/<view>`: Delta partitions. Nothing is written by a run of which a check fails.

    Args:
        record: of the view, compiled.
        owners_time: see `find_leak`.
        edges: what stands on what, for the card.
    """
    ref = f"{team.name}/{view.name}"
    key = dg.AssetKey(list(view_path(ref)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # backfill_policy is beta; dagster is pinned
        return declared(team, view, record, key, owners_time, Page.of(team, view_path(ref), view.description, edges))


def card_of(view: FeatureView, replaced: Replaced, newest: Window, now: datetime, ref: str, run_id: str) -> dict[str, Any]:
    """What a view's card says: of this run, and how far the table has got (a repaired day makes nothing late)."""
    rows = sum(replaced.rows.values())
    content = (
        f"{rows} rows of {len(replaced.rows)} partitions in this run, {len(replaced.changed)} of them changed; version {replaced.version}"
    )
    return {
        "fresh": fresh(newest.end, now=now, promised=None if view.online is None else view.online.freshness),
        "content": f"{content}, {in_bytes(replaced.size_bytes)} written",
        "where": {"Delta table": f"`{table_location(ref)}`", "Run": f"[{run_id[:8]}](/runs/{run_id})"},
    }


def declared(
    team: Team, view: FeatureView, record: ViewRecord, key: dg.AssetKey, owners_time: str | None, page: Page
) -> dg.AssetsDefinition:
    """The asset itself."""
    ref = key.to_user_string()
    cut = partitions_definition(view.partitions)

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(list(source_path(source.name))) for source in (view.source, *view.inputs)],
        partitions_def=cut,
        backfill_policy=None if cut is None else dg.BackfillPolicy.single_run(),
        group_name=team.name,
        owners=[team.owner],
        kinds={"sql" if view.sql is not None else "python", view.engine_name, "deltalake"},
        code_version=view_version(record),
        op_tags=compute_tags(view.compute),
        description=view.description or None,
        metadata={**view_columns(view), "entity": view.entity.name, "view_record": record.address},
        check_specs=[
            dg.AssetCheckSpec(NO_LEAKAGE, asset=key, blocking=True, description="no value depends on rows known after the window's end"),
            *view_check_specs(key),
        ],
    )
    def offline(
        context: dg.AssetExecutionContext,
        tables: dg.ResourceParam[TableStore],
        dev_objects: dg.ResourceParam[ObjectStore],
        clock: dg.ResourceParam[StackClock],
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        keep_backfill_waiting(context)
        watch, now = page.watch(context.instance), clock.now()
        with failures():
            windows = view.windows_of(context.partition_keys if cut is not None else [""], until=now)
            partitions = [window.partition for window in windows]
            own = RunTables(tables, ref, fence=fence_of(context, dev_objects))
            rows = ViewRows.read(view, tables)
            judge = Judge(view, windows, ref=ref, tables=tables, rows=rows, accepted=accepted_checks(context.run.tags))
            try:
                finding = find_leak(view, windows, rows, owners_time=owners_time)
                yield leakage_result(finding, min(len(windows), LEAKAGE_WINDOWS))
                if finding is not None:
                    found = f"feature view {ref!r} uses rows from after its window: {finding}"
                    raise Invalid(found, fix="filter the rows by the window's end")
                replaced = materialise(
                    view,
                    windows,
                    team=team.name,
                    tables=own,
                    written_at=now,
                    attempt=context.run.run_id,
                    rows=rows,
                    judge=judge,
                    progress=Meter(context.log.info, now_s=time.monotonic),
                )
            except PlatformError as err:
                yield from judge.results(err)
                raise
        cost, newest = watch.metadata(), windows[-1]
        if cut is not None and (held := tables.contents(ref, version=replaced.version)):
            newest = view.window(max(held))
        columns = {view.source.table: rows.source.rows.column_names, **{name: one.rows.column_names for name, one in rows.inputs.items()}}
        told = {
            COMPLETE_TO: dg.MetadataValue.timestamp(newest.end),
            **view_lineage(view, columns),
            **page.card(cost, **card_of(view, replaced, newest, now, ref, context.run.run_id)),
        }
        whole: dict[str, Any] = {}
        if cut is None:
            whole = {"dagster/row_count": replaced.rows[""], "digest": replaced.digests[""], **told}
        else:
            for partition in partitions:
                context.add_asset_metadata(partition_metadata(replaced, partition), asset_key=key, partition_key=partition)
            # the page of the asset shows its newest event: a year of copies would only fill the event log
            context.add_asset_metadata(told, asset_key=key, partition_key=partitions[-1])
        yield from judge.results()
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={**replaced_metadata(replaced), **cost, **whole},
            data_version=dg.DataVersion(run_version(replaced, partitions)),
        )

    return offline
