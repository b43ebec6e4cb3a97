"""A feature view's offline partitions: one day or a range of days in one call and one commit."""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
import warnings
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
import pyarrow as pa

from tiffin.compute.team import Team
from tiffin.core.digests import digest_json
from tiffin.core.errors import Invalid
from tiffin.features.leakage import LeakageFinding, check_window
from tiffin.features.offline import materialise, read_view
from tiffin.features.view import FeatureView, Window
from tiffin.orchestration.asset_keys import source_path, view_path
from tiffin.orchestration.checks import Finding, sampled, unique_keys
from tiffin.orchestration.failures import failures
from tiffin.orchestration.metadata import partition_metadata, replaced_metadata, view_columns
from tiffin.orchestration.resource_keys import StackClock
from tiffin.orchestration.versions import view_version
from tiffin.storage.tables import Replaced, TableStore

__all__ = ["find_leak", "run_version", "view_asset", "windows_of"]

NO_LEAKAGE = "no_leakage"
KEYS_UNIQUE = "keys_unique"
LEAKAGE_WINDOWS = 3


def windows_of(partitions: Sequence[str]) -> list[Window]:
    """Daily partition keys, in any order, as windows in time order."""
    days = sorted(datetime.strptime(key, "%Y-%m-%d").replace(tzinfo=UTC) for key in partitions)
    return [Window(start=day, end=day + timedelta(days=1)) for day in days]


def find_leak(view: FeatureView, windows: Sequence[Window], rows: pa.Table, *, owners_time: str | None = None) -> LeakageFinding | None:
    """The first leak among a few of the windows, or None.

    Args:
        rows: the whole source, with rows known after the windows' ends.
        owners_time: column that the source's owner declares as its time; a view that declares an
            earlier one would see facts before they were known.
    """
    for window in sampled(windows, LEAKAGE_WINDOWS):
        finding = check_window(view, window, rows, known=owners_time)
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


def daily_partitions(view: FeatureView) -> dg.DailyPartitionsDefinition:
    """One partition per UTC day; the last one is included."""
    last = view.partitions.end
    after = None if last is None else (last + timedelta(days=1)).isoformat()
    return dg.DailyPartitionsDefinition(start_date=view.partitions.start.isoformat(), end_date=after, timezone="UTC")


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


def check_result(name: str, finding: Finding) -> dg.AssetCheckResult:
    """A plain finding as Dagster shows it."""
    return dg.AssetCheckResult(check_name=name, passed=finding.passed, description=finding.description, metadata=finding.evidence)


def view_asset(team: Team, view: FeatureView, *, owners_time: str | None = None) -> dg.AssetsDefinition:
    """`<team>/<view>`: Delta partitions. Nothing is written by a run whose leakage check fails.

    Args:
        owners_time: see `find_leak`.
    """
    ref = f"{team.name}/{view.name}"
    key = dg.AssetKey(list(view_path(ref)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)  # backfill_policy is beta; dagster is pinned
        return declared(team, view, ref, key, owners_time)


def declared(team: Team, view: FeatureView, ref: str, key: dg.AssetKey, owners_time: str | None) -> dg.AssetsDefinition:
    """The asset itself."""
    record = view.record(team=team.name, owner=team.owner)

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(list(source_path(view.source.name)))],
        partitions_def=daily_partitions(view),
        backfill_policy=dg.BackfillPolicy.single_run(),
        group_name=team.name,
        owners=[team.owner],
        kinds={"sql" if view.sql is not None else "python", "duckdb" if view.sql is not None else "arrow", "deltalake"},
        code_version=view_version(view),
        description=view.description or None,
        metadata={**view_columns(view), "entity": view.entity.name, "view_record": record.address},
        check_specs=[
            dg.AssetCheckSpec(NO_LEAKAGE, asset=key, blocking=True, description="no value depends on rows known after the window's end"),
            dg.AssetCheckSpec(KEYS_UNIQUE, asset=key, blocking=True, description="one row per key and event time"),
        ],
    )
    def offline(
        context: dg.AssetExecutionContext, tables: dg.ResourceParam[TableStore], clock: dg.ResourceParam[StackClock]
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        partitions = sorted(context.partition_keys)
        windows = windows_of(partitions)
        with failures():
            finding = find_leak(view, windows, tables.read(view.source.name), owners_time=owners_time)
            yield leakage_result(finding, min(len(windows), LEAKAGE_WINDOWS))
            if finding is not None:
                raise Invalid(f"feature view {ref!r} uses rows from after its window: {finding}", fix="filter the rows by the window's end")
            replaced = materialise(view, windows, team=team.name, tables=tables, written_at=clock.now(), attempt=context.run.run_id)
            stored = read_view(record, tables=tables, version=replaced.version, start=windows[0].start, end=windows[-1].end)
        for partition in partitions:
            context.add_asset_metadata(partition_metadata(replaced, partition), asset_key=key, partition_key=partition)
        yield check_result(KEYS_UNIQUE, unique_keys(stored, [*view.entity.key_names, "event_time"]))
        yield dg.MaterializeResult(
            asset_key=key, metadata=replaced_metadata(replaced), data_version=dg.DataVersion(run_version(replaced, partitions))
        )

    return offline
