"""A view's online edition: the newest row of every key as of an instant, published as a generation."""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
from datetime import datetime
from typing import Any

import dagster as dg

from tiffin.compute.team import Team
from tiffin.core.units import from_us, parse_instant, to_us
from tiffin.features.offline import latest_rows, read_view, to_online
from tiffin.features.view import FeatureView
from tiffin.manifests.records import ViewRecord
from tiffin.online.publisher import Published, publish_generation
from tiffin.online.store import OnlineStore
from tiffin.orchestration.asset_keys import online_path, view_path
from tiffin.orchestration.failures import failures
from tiffin.orchestration.resource_keys import Promotions, StackClock
from tiffin.orchestration.versions import view_version
from tiffin.storage.objects import ObjectStore
from tiffin.storage.tables import TableStore

__all__ = ["PublishConfig", "online_asset", "publish_as_of"]


class PublishConfig(dg.Config):
    """What a publishing run may be told."""

    as_of: str | None = None


def publish_as_of(
    record: ViewRecord,
    *,
    as_of: datetime,
    frozen: bool,
    tables: TableStore,
    dev: ObjectStore,
    store: OnlineStore,
    promotions: Promotions,
) -> Published:
    """Publish what a label at `as_of` would read; equal content loads nothing.

    The watermark is the newest event time among the published rows: nothing later was known.

    Args:
        frozen: `as_of` is a replayed instant, so readers count TTL from it instead of from the wall.
    """

    def make_durable(digest: str) -> None:
        promotions.promote("generation", digest)

    rows = latest_rows(record, read_view(record, tables=tables), as_of=as_of)
    keys, columns, event_time_us = to_online(record, rows)
    return publish_generation(
        record,
        keys=keys,
        columns=columns,
        event_time_us=event_time_us,
        watermark_us=int(event_time_us.max(initial=0)),
        as_of_us=to_us(as_of) if frozen else None,
        dev=dev,
        promote=make_durable,
        store=store,
    )


def published_metadata(published: Published, *, as_of: datetime) -> dict[str, Any]:
    """What was published, and up to when it is complete."""
    return {
        "generation": published.generation,
        "manifest": published.manifest,
        "segment": published.record.base.digest,
        "dagster/row_count": published.rows,
        "size_bytes": published.record.base.size_bytes,
        "watermark": dg.MetadataValue.timestamp(from_us(published.record.watermark_us)),
        "as_of": dg.MetadataValue.timestamp(as_of),
        "changed": published.changed,
        "rows_written": published.written,
    }


def online_asset(team: Team, view: FeatureView) -> dg.AssetsDefinition:
    """`<team>/<view>_online`, unpartitioned: it stands on all partitions that there are."""
    record = view.record(team=team.name, owner=team.owner)
    ref = f"{team.name}/{view.name}"

    @dg.asset(
        key=list(online_path(ref)),
        deps=[dg.AssetDep(list(view_path(ref)), partition_mapping=dg.AllPartitionMapping())],
        group_name=team.name,
        owners=[team.owner],
        kinds={"redis"},
        code_version=view_version(view),
        description=f"The current online edition of {ref}.",
        metadata={"ttl_s": None if record.ttl_us is None else record.ttl_us / 1e6, "view_record": record.address},
    )
    def online(
        config: PublishConfig,
        dev_objects: dg.ResourceParam[ObjectStore],
        tables: dg.ResourceParam[TableStore],
        online_store: dg.ResourceParam[OnlineStore],
        promotions: dg.ResourceParam[Promotions],
        clock: dg.ResourceParam[StackClock],
    ) -> dg.MaterializeResult[None]:
        with failures():
            as_of = clock.now() if config.as_of is None else parse_instant(config.as_of)
            frozen = clock.frozen or config.as_of is not None
            published = publish_as_of(
                record, as_of=as_of, frozen=frozen, tables=tables, dev=dev_objects, store=online_store, promotions=promotions
            )
        return dg.MaterializeResult(
            metadata=published_metadata(published, as_of=as_of),
            data_version=dg.DataVersion(published.manifest),
        )

    return online
