"""Notices are observations on the page of what is late; nobody is told the same twice, by whichever sensor."""

from __future__ import annotations

import json
from collections.abc import Set

import dagster as dg
from dagster._core.event_api import EventRecordsFilter

__all__ = ["LATE_SINCE", "pack_told", "told_before", "unpack_told"]

LATE_SINCE = "tiffin/late_since"


def told_before(instance: dg.DagsterInstance, notice: dg.AssetObservation) -> bool:
    """Whether the newest observation of the asset says that it is late since the very same instant."""
    wanted = EventRecordsFilter(dg.DagsterEventType.ASSET_OBSERVATION, asset_key=notice.asset_key)
    for record in instance.event_log_storage.get_event_records(wanted, limit=1):
        event = record.event_log_entry.dagster_event
        if event is not None and event.is_asset_observation:
            return event.asset_observation_data.asset_observation.tags.get(LATE_SINCE) == notice.tags.get(LATE_SINCE)
    return False


def pack_told(told: Set[tuple[str, str]]) -> str:
    """A cursor: what is late, by reference and since when."""
    return json.dumps(dict(sorted(told)))


def unpack_told(cursor: str | None) -> set[tuple[str, str]]:
    """The told of a cursor; a cursor that cannot be read is nothing told, which tells once more at worst."""
    try:
        return set(json.loads(cursor or "{}").items())
    except (ValueError, AttributeError):
        return set()
