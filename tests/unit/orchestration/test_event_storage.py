"""Batches of events leave the same content as Dagster's own storage, which reads it back."""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.instance import methods
from dagster._core.storage.event_log import SqliteEventLogStorage

from tiffin.embedded.dagster_server import EVENT_BATCHES, write_instance
from tiffin.orchestration import event_storage
from tiffin.orchestration.event_storage import BATCH_SIZE, BatchedSqliteEventLogStorage

DAYS = dg.DailyPartitionsDefinition("2020-01-01", end_date="2020-01-16")
KEYS = DAYS.get_partition_keys()
RANGE = {"dagster/asset_partition_range_start": KEYS[0], "dagster/asset_partition_range_end": KEYS[-1]}
CHECK = dg.AssetCheckSpec("fine", asset="load")


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run(), check_specs=[CHECK])
def load(context: dg.AssetExecutionContext) -> Iterator[Any]:
    for key in context.partition_keys:
        context.add_asset_metadata({"rows": len(key)}, partition_key=key)
    yield dg.AssetCheckResult(check_name="fine", passed=True)
    yield dg.MaterializeResult(data_version=dg.DataVersion("one"))


@dg.asset(deps=[load])
def whole() -> None: ...


def settings(folder: Path) -> dict[str, Any]:
    write_instance(folder)
    found = yaml.safe_load((folder / "dagster.yaml").read_text())
    assert isinstance(found, dict)
    return found


def told(folder: Path, monkeypatch: pytest.MonkeyPatch, *, size: int, batched: bool) -> dict[str, Any]:
    """What an instance knows after a ranged run, as Dagster's own storage reads it from the files."""
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", str(size))
    folder.mkdir()
    overrides = {"event_log_storage": settings(folder)["event_log_storage"]} if batched else {}
    with dg.instance_for_test(temp_dir=str(folder), overrides=overrides) as instance:
        assert isinstance(instance.event_log_storage, BatchedSqliteEventLogStorage) is batched
        run = dg.materialize([load, whole], selection=[load], instance=instance, tags=RANGE)
        dg.materialize([load, whole], selection=[whole], instance=instance)
        stock = SqliteEventLogStorage(str(folder / "history" / "runs"))
        log = stock.get_logs_for_run(run.run_id)
        records = stock.fetch_materializations(dg.AssetKey("load"), limit=1000).records
        entry = stock.get_asset_records([dg.AssetKey("load")])[0].asset_entry
        tags = stock.get_event_tags_for_asset(dg.AssetKey("load"))
        checks = stock.get_asset_check_execution_history(dg.AssetCheckKey(dg.AssetKey("load"), "fine"), limit=100)
    return {
        "log": [(one.dagster_event_type, one.get_dagster_event().partition) for one in log if one.is_dagster_event],
        "partitions": [
            (one.partition_key, one.asset_materialization and one.asset_materialization.metadata["rows"].value) for one in records
        ],
        "latest": entry.last_materialization and entry.last_materialization.get_dagster_event().partition,
        "materialised": instance_partitions(stock),
        "tags": [sorted(one.items()) for one in tags],
        "checks": [(one.status, one.partition) for one in checks],
        "assets": sorted(key.to_user_string() for key in stock.all_asset_keys()),
    }


def rows_of(record: dg.EventLogRecord) -> Any:
    return record.asset_materialization.metadata["rows"].value if record.asset_materialization else None


def instance_partitions(stock: SqliteEventLogStorage) -> set[str]:
    return set(stock.get_materialized_partitions(dg.AssetKey("load")))


@pytest.mark.parametrize("size", [pytest.param(1000, id="one batch"), pytest.param(7, id="many batches")])
def test_a_ranged_run_leaves_what_dagsters_own_storage_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    stock = told(tmp_path / "stock", monkeypatch, size=0, batched=False)
    found = told(tmp_path / "ours", monkeypatch, size=size, batched=True)

    assert found["materialised"] == set(KEYS)
    plain = {name: value for name, value in stock.items() if name not in ("tags", "log")}
    assert {name: found[name] for name in plain} == plain
    assert sorted(map(str, found["log"])) == sorted(map(str, stock["log"]))
    # run ids are in some tags' values, and differ
    assert [[name for name, _ in one] for one in found["tags"]] == [[name for name, _ in one] for one in stock["tags"]]


def test_a_batch_opens_the_databases_a_few_times_however_many_events_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    batches: list[tuple[int, int]] = []
    connect, store = SqliteEventLogStorage._connect, BatchedSqliteEventLogStorage.store_event_batch

    def counted(self: SqliteEventLogStorage, shard: str) -> Any:
        opened.append(shard)
        return connect(self, shard)

    def noted(self: BatchedSqliteEventLogStorage, events: Any) -> None:
        before = len(opened)
        store(self, events)
        batches.append((len(events), len(opened) - before))

    monkeypatch.setattr(SqliteEventLogStorage, "_connect", counted)
    monkeypatch.setattr(BatchedSqliteEventLogStorage, "store_event_batch", noted)

    told(tmp_path / "ours", monkeypatch, size=1000, batched=True)

    assert sum(events >= len(KEYS) for events, _ in batches) == 2  # planned, then materialised
    assert max(opens for _, opens in batches) < 8


def test_the_stack_asks_dagster_for_the_batches_that_the_storage_is_made_for() -> None:
    assert {"DAGSTER_EVENT_BATCH_SIZE": str(BATCH_SIZE)} == EVENT_BATCHES
    assert "DAGSTER_EVENT_BATCH_SIZE" in Path(methods.event_methods.__file__).read_text()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["_event_to_row", "_store_asset_event", "_store_asset_event_tags", "index_transaction", "run_connection"])
def test_what_we_use_of_dagsters_storage_is_still_there(name: str) -> None:
    assert callable(getattr(SqliteEventLogStorage, name))
    assert name in Path(event_storage.__file__).read_text()
