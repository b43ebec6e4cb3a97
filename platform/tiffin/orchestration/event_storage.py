"""Dagster's local event log with real batches: the events of a ranged run in two transactions instead of two an event.

Dagster collects the planned and the materialised events of a range when `DAGSTER_EVENT_BATCH_SIZE` is set, and
hands them over as one batch; its SQLite storage then stores them one by one, opening two databases for each. A
year of hours has 8,760 of both. Named in the `dagster.yaml` that `tiffin up` writes.
"""

# no `from __future__ import annotations` here: Dagster reads annotations of configurable classes
from collections.abc import Mapping, Sequence
from typing import Any

from dagster import DagsterEventType
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import ASSET_EVENTS
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, SqlEventLogStorageTable
from dagster._serdes import ConfigurableClassData, serialize_value

__all__ = ["BATCH_SIZE", "BatchedSqliteEventLogStorage"]

BATCH_SIZE = 1_000
"""For `DAGSTER_EVENT_BATCH_SIZE`: what one transaction holds."""


class BatchedSqliteEventLogStorage(SqliteEventLogStorage):
    """Equal content to `SqliteEventLogStorage`, in fewer transactions; both read each other's files."""

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> "BatchedSqliteEventLogStorage":
        """Called by Dagster with what `dagster.yaml` says."""
        return cls(inst_data=inst_data, **config_value)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events of one run. Asset events go together; every other kind as Dagster does it, in its place among them."""
        waiting: list[EventLogEntry] = []
        for event in events:
            if event.is_dagster_event and event.dagster_event_type in ASSET_EVENTS:
                waiting.append(event)
                continue
            self.store_asset_events(waiting)
            waiting = []
            self.store_event(event)
        self.store_asset_events(waiting)

    def store_asset_events(self, events: Sequence[EventLogEntry]) -> None:
        """Rows of the run's own database and of the index over all runs, each in one transaction.

        The asset's entry names the newest event of each kind, so that only the last one is written there.
        """
        if not events:
            return
        rows = [self._event_to_row(event) for event in events]
        with self.run_connection(events[0].run_id) as conn:
            conn.execute(SqlEventLogStorageTable.insert(), rows)
        newest: dict[tuple[Any, DagsterEventType | None], int] = {}
        with self.index_transaction() as conn:
            ids = [int(conn.execute(SqlEventLogStorageTable.insert().values(**row)).lastrowid) for row in rows]
            self._store_asset_event_tags(conn, events, ids)
            for place, event in enumerate(events):
                newest[event.get_dagster_event().asset_key, event.dagster_event_type] = place
            for place in newest.values():
                self._store_asset_event(conn, events[place], ids[place])

    def _store_asset_check_evaluation_planned(self, event: EventLogEntry, event_id: int | None) -> None:
        """A row per partition of a planned check; Dagster serialises the event anew for each (8 checks of a year: 5 s)."""
        planned = event.get_dagster_event().event_specific_data
        assert isinstance(planned, AssetCheckEvaluationPlanned)
        subset = planned.partitions_subset
        row = {
            "asset_key": planned.asset_key.to_string(),
            "check_name": planned.check_name,
            "run_id": event.run_id,
            "execution_status": AssetCheckExecutionRecordStatus.PLANNED.value,
            "evaluation_event": serialize_value(event),
            "evaluation_event_timestamp": self._event_insert_timestamp(event),  # type: ignore[no-untyped-call]  # Dagster's
            "evaluation_event_storage_id": event_id,
        }
        rows = [{**row, "partition": key} for key in (subset.get_partition_keys() if subset else [None])]
        with self.index_connection() as conn:
            conn.execute(AssetCheckExecutionsTable.insert(), rows)
