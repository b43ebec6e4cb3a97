"""Batched events are the rows that Dagster's own storage would have written."""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
import inspect
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.event_log.base import EventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from tiffin.orchestration.event_log import BatchedSqliteEventLog

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")
DAYS = dg.DailyPartitionsDefinition("2020-01-01", end_date="2020-01-13")
RANGE = {"dagster/asset_partition_range_start": "2020-01-01", "dagster/asset_partition_range_end": "2020-01-12"}
TABLES = {
    "event_logs": "dagster_event_type, step_key, asset_key, partition",
    "asset_keys": "asset_key, last_run_id is not null, last_materialization is not null, last_materialization_timestamp is not null",
    "asset_event_tags": "asset_key, key",
    "asset_check_executions": "asset_key, check_name, execution_status",
}


def make(name: str, *, deps: Sequence[dg.AssetsDefinition] = ()) -> dg.AssetsDefinition:
    key = dg.AssetKey(name)

    @dg.asset(
        key=key,
        deps=deps,
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[dg.AssetCheckSpec("looked_at", asset=key)],
    )
    def made(context: dg.AssetExecutionContext):
        for day in context.partition_keys:
            context.add_asset_metadata({"day": day}, partition_key=day)
        checks = [dg.AssetCheckResult(check_name="looked_at", passed=True)]
        return dg.MaterializeResult(metadata={"rows": 1}, tags={"kind": name}, check_results=checks)

    return made


def instance(folder: Path, storage: type[EventLogStorage]) -> dg.DagsterInstance:
    folder.mkdir()
    overrides = {
        "telemetry": {"enabled": False},
        "event_log_storage": {"module": storage.__module__, "class": storage.__name__, "config": {"base_dir": str(folder / "runs")}},
    }
    return dg.DagsterInstance.local_temp(str(folder), overrides=overrides)


def run(folder: Path, storage: type[EventLogStorage]) -> tuple[str, dict[str, list[Any]]]:
    """Materialise two partitioned assets twice; returns the second run and what all tables hold."""
    first = make("first")
    definitions = dg.Definitions([first, make("second", deps=[first])])
    job = definitions.resolve_implicit_global_asset_job_def()
    with instance(folder, storage) as where:
        for _ in range(2):
            result = job.execute_in_process(instance=where, tags=RANGE)
        shards = [folder / "runs" / "index.db", folder / "runs" / f"{result.run_id}.db"]
        assert isinstance(where.event_log_storage, storage)
    held: dict[str, list[Any]] = {}
    for shard in shards:
        with sqlite3.connect(shard) as connection:
            for table, columns in TABLES.items():
                held[f"{shard.name[:5]} {table}"] = sorted(map(repr, connection.execute(f"select {columns} from {table}")))
    return result.run_id, {name.replace(result.run_id[:5], "run"): rows for name, rows in held.items()}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    folder = tmp_path_factory.mktemp("event_log")
    patch = pytest.MonkeyPatch()
    _, plain = run(folder / "plain", SqliteEventLogStorage)
    patch.setenv("DAGSTER_EVENT_BATCH_SIZE", "10")
    _, batched = run(folder / "batched", BatchedSqliteEventLog)
    patch.undo()
    return plain, batched


@pytest.mark.parametrize("table", [f"{shard} {table}" for shard in ("index", "run") for table in TABLES])
def test_a_batch_leaves_the_rows_that_single_events_leave(both: tuple[dict[str, list[Any]], dict[str, list[Any]]], table: str) -> None:
    plain, batched = both

    assert batched[table] == plain[table]
    if table in ("index event_logs", "run event_logs"):
        assert len(plain[table]) > 40


def test_what_was_stored_in_batches_is_what_dagster_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "10")
    run(tmp_path / "batched", BatchedSqliteEventLog)

    with instance(tmp_path / "again", BatchedSqliteEventLog) as empty:
        assert empty.get_latest_materialization_event(dg.AssetKey("first")) is None
    storage = SqliteEventLogStorage(str(tmp_path / "batched" / "runs"))
    latest = storage.get_latest_materialization_events([dg.AssetKey("first")])[dg.AssetKey("first")]

    assert latest is not None
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.partition == "2020-01-12"
    assert storage.get_materialized_partitions(dg.AssetKey("second")) == set(DAYS.get_partition_keys())


def test_many_events_are_few_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "1000")
    sizes: list[int] = []
    whole = BatchedSqliteEventLog.store_asset_events

    def count(self: BatchedSqliteEventLog, events: Sequence[Any]) -> None:
        sizes.append(len(events))
        whole(self, events)

    monkeypatch.setattr(BatchedSqliteEventLog, "store_asset_events", count)
    run(tmp_path / "batched", BatchedSqliteEventLog)

    # per run: the plan of both assets, and each asset's materialisations
    assert sizes == [24, 12, 12] * 2


def test_the_internals_that_this_stands_on_have_not_moved() -> None:
    assert list(inspect.signature(EventLogStorage.store_event_batch).parameters) == ["self", "events"]
    assert list(inspect.signature(SqliteEventLogStorage._store_asset_event).parameters) == ["self", "conn", "event", "event_id"]
    assert list(inspect.signature(SqliteEventLogStorage._store_asset_event_tags).parameters) == ["self", "conn", "events", "event_ids"]
    assert "store_event_batch" not in vars(SqliteEventLogStorage), "Dagster batches by itself now: is ours still needed?"
