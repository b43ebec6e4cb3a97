"""Dagster's event log on SQLite, with one transaction for a batch of asset events instead of two for each event.

A ranged run over a year plans and then reports every partition of every asset. Dagster hands these events over in batches
when `DAGSTER_EVENT_BATCH_SIZE` is set, and its SQLite storage writes them one by one all the same, each with two commits.
`tiffin up` configures this class; it stores the same rows in the same tables, so either class reads what the other wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from dagster._config import UserConfigSchema
from dagster._core.events import ASSET_EVENTS
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

if TYPE_CHECKING:
    from dagster._core.events.log import EventLogEntry
    from dagster._serdes import ConfigurableClassData

__all__ = ["BatchedSqliteEventLog"]


class BatchedSqliteEventLog(SqliteEventLogStorage):
    """`SqliteEventLogStorage` whose `store_event_batch` is one transaction in the run's file and one in the index."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return SqliteEventLogStorage.config_type()

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> BatchedSqliteEventLog:
        return cls(inst_data=inst_data, **config_value)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events in their order. Raises what SQLAlchemy raises; Dagster then stores them one by one."""
        for batched, group in groupby(events, key=lambda event: event.is_dagster_event and event.dagster_event_type in ASSET_EVENTS):
            if batched:
                self.store_asset_events(list(group))
            else:
                for event in group:
                    self.store_event(event)

    def store_asset_events(self, events: Sequence[EventLogEntry]) -> None:
        """What `store_event` does to each, commit by commit, in two commits altogether."""
        rows = [self._event_to_row(event) for event in events]
        for run_id, group in groupby(rows, key=lambda row: str(row["run_id"])):
            with self.run_connection(run_id) as connection:
                connection.execute(SqlEventLogStorageTable.insert(), list(group))
        with self.index_transaction() as connection:
            insert = SqlEventLogStorageTable.insert()
            ids = [int(connection.execute(insert.values(**row)).lastrowid) for row in rows]
            self._store_asset_event_tags(connection, events, ids)
            # an asset's entry holds its latest event of each kind: the others would be overwritten at once
            latest = {(event.get_dagster_event().asset_key, event.dagster_event_type): place for place, event in enumerate(events)}
            for place in sorted(latest.values()):
                self._store_asset_event(connection, events[place], ids[place])
