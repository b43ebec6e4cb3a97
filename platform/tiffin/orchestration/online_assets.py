"""A view's online edition: the newest row of every key as of an instant, as a generation or as a delta on the live one."""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from tiffin.compute.team import Team
from tiffin.core.errors import Conflict, NotFound
from tiffin.core.units import from_us, parse_instant, to_us
from tiffin.features.offline import latest_rows, read_view, to_online
from tiffin.features.view import FeatureView, Online
from tiffin.manifests.records import GenerationRecord, ViewRecord
from tiffin.online.judge import Limits
from tiffin.online.publisher import Published, publish_delta, publish_generation
from tiffin.online.store import OnlineStore
from tiffin.orchestration.asset_keys import online_path, view_path
from tiffin.orchestration.checks_freshness import freshness_check_specs, freshness_results
from tiffin.orchestration.failures import failures
from tiffin.orchestration.kueue_tags import compute_tags
from tiffin.orchestration.metadata_card import fresh
from tiffin.orchestration.metadata_page import Edges, Page, in_bytes
from tiffin.orchestration.resource_keys import ProdReader, Promotions, StackClock
from tiffin.orchestration.run_identity import fence_of, naming_the_publisher
from tiffin.orchestration.schedule_plan import Publication, publication
from tiffin.orchestration.versions import view_version
from tiffin.registry.verified import fetch_current
from tiffin.storage.fencing import Fence
from tiffin.storage.layout import manifest_key
from tiffin.storage.objects import ObjectStore
from tiffin.storage.tables import TableStore

__all__ = ["PublishConfig", "Publisher", "decide", "online_asset", "published_from"]


T = TypeVar("T")


class PublishConfig(dg.Config):
    """What a publishing run may be told."""

    as_of: str | None = None


@dataclass(frozen=True, slots=True)
class Publisher:
    """Puts what a label at `as_of` would read online; equal content loads nothing.

    Args:
        frozen: `as_of` is a replayed instant, so readers count TTL from it instead of from the wall.
        fence: the attempt at the step that publishes.
    """

    record: ViewRecord
    as_of: datetime
    frozen: bool
    tables: TableStore
    dev: ObjectStore
    store: OnlineStore
    promotions: Promotions
    limits: Limits | None = None
    fence: Fence | None = None

    def publish(self, decided: Publication, current: GenerationRecord | None, *, version: int | None) -> Published:
        """The rows of a table version, in the way that was decided.

        The watermark is the newest event time among the published rows: nothing later was known. A race that another
        publisher of the very same manifest won is no conflict.
        """
        between: dict[str, Any] = {} if decided.since is None else {"start": decided.since, "end": self.as_of}
        found = read_view(self.record, tables=self.tables, version=version, **between)
        if decided.since is not None:
            found = found.filter(pc.greater(found["event_time"], pa.scalar(decided.since, found["event_time"].type)))
        rows = latest_rows(self.record, found, as_of=self.as_of)
        keys, columns, event_time_us = to_online(self.record, rows)
        wanted: list[str] = []

        def make_durable(digest: str) -> None:
            wanted.append(digest)
            # a delta that was made upon an edition is no delta upon another one
            upon = current.address if decided.delta and current is not None else None
            self.promotions.promote("generation", digest, after=upon, fence=self.fence)

        given: dict[str, Any] = {
            "keys": keys,
            "columns": columns,
            "event_time_us": event_time_us,
            "watermark_us": int(event_time_us.max(initial=0)),
            "as_of_us": to_us(self.as_of) if self.frozen else None,
            "dev": self.dev,
            "promote": make_durable,
            "store": self.store,
            "fence": self.fence,
        }

        def once() -> Published:
            if decided.delta and current is not None:
                return publish_delta(self.record, current=current, **given)
            return publish_generation(self.record, **given, limits=self.limits)

        try:
            return once()
        except Conflict:
            live = self.store.state(self.record.team, self.record.name)
            if live is None or live.current.manifest not in wanted:
                raise
            return once()  # the winner published exactly this: nothing is left to do but to say so


def decide(
    view: FeatureView,
    record: ViewRecord,
    *,
    as_of: datetime,
    frozen: bool,
    tables: TableStore,
    version: int | None,
    prod: ProdReader,
    last: tuple[str, int] | None,
) -> tuple[Publication, GenerationRecord | None]:
    """Delta or generation, and the generation that is live.

    Args:
        version: the table's, that will be published.
        last: manifest and table version of the last publication that Dagster knows.
    """
    if view.online is None or view.online.publish is None:
        return Publication(None, "the view has no publishing schedule"), None
    ref = f"{record.team}/{record.name}"
    try:
        manifest, current = fetch_current(prod.store, prod.verifier, "generation", record.team, record.name)
    except NotFound:
        return Publication(None, "nothing is published yet"), None
    published = None
    if last is not None and last[0] == manifest:
        try:
            published = tables.contents(ref, version=last[1])
        except NotFound:
            published = None  # another table stands under the name since
    found = publication(
        record,
        view.partitions,
        current=current,
        published=published,
        held=tables.contents(ref, version=version),
        as_of=as_of,
        frozen=frozen,
    )
    return found, current


def published_from(instance: dg.DagsterInstance, key: dg.AssetKey) -> tuple[str, int] | None:
    """Manifest and table version of the asset's last materialisation."""
    event = instance.get_latest_materialization_event(key)
    shown = {} if event is None or event.asset_materialization is None else event.asset_materialization.metadata
    manifest, version = shown.get("manifest"), shown.get("table_version")
    if manifest is None or version is None:
        return None
    return str(manifest.value), int(str(version.value))


def newest_wins(publish: Callable[[], T], fence: Fence | None, ref: str) -> T:
    """Publish; a newer attempt that meets what an older one did in its last instant looks again at what is live.

    Raises:
        Conflict: of an older attempt; or of the newest one, twice: then it is somebody else's.
    """
    try:
        return publish()
    except Conflict:
        if fence is None:
            raise
        fence.check(f"publishing view {ref}")
        if fence.number == 1:
            raise
        return publish()


def published_metadata(published: Published, decided: Publication, *, as_of: datetime, version: int | None) -> dict[str, Any]:
    """What was published, from what, and up to when it is complete."""
    record = published.record
    return {
        "generation": published.generation,
        "manifest": published.manifest,
        "segment": record.base.digest,
        "deltas": len(record.deltas),
        "published_as": "delta" if decided.delta else "generation",
        "why": decided.why,
        "table_version": version,
        "dagster/row_count": published.rows,
        "size_bytes": record.base.size_bytes + sum(delta.size_bytes for delta in record.deltas),
        "watermark": dg.MetadataValue.timestamp(from_us(record.watermark_us)),
        "as_of": dg.MetadataValue.timestamp(as_of),
        "changed": published.changed,
        "rows_written": published.written,
    }


def card_of(published: Published, *, as_of: datetime, promised: timedelta | None, run_id: str) -> dict[str, Any]:
    """What an online edition's card says."""
    record = published.record
    size = in_bytes(record.base.size_bytes + sum(delta.size_bytes for delta in record.deltas))
    return {
        "fresh": fresh(from_us(record.watermark_us) if record.watermark_us else None, now=as_of, promised=promised),
        "content": f"{record.base.rows} rows in the base and {len(record.deltas)} deltas, {size}; generation {published.generation}",
        "where": {"Manifest": f"`{manifest_key('generation', published.manifest)}`", "Run": f"[{run_id[:8]}](/runs/{run_id})"},
    }


def limits_of(view: FeatureView) -> Limits | None:
    """What a whole generation must keep to, as the view declares it; None when it declares nothing."""
    bounds = {feature.name: (feature.expect.low, feature.expect.high) for feature in view.features}
    ranges = {name: bound for name, bound in bounds.items() if bound != (None, None)}
    online = view.online or Online()
    if not ranges and online.fewest_rows_share is None and online.null_rate_rise is None:
        return None
    return Limits(fewest_rows_share=online.fewest_rows_share, null_rate_rise=online.null_rate_rise, ranges=ranges)


def landing_condition(view: FeatureView) -> dg.AutomationCondition[Any] | None:
    """Publish when partitions landed, once for all that landed together, and never beside a run that still writes."""
    return None if view.online is None or view.online.publish is None else when_landed()


@cache
def when_landed() -> dg.AutomationCondition[Any]:
    """One object for all views: making it takes longer than the asset's own spec."""
    landed = dg.AutomationCondition.any_deps_updated().since_last_handled()
    return landed & ~dg.AutomationCondition.any_deps_in_progress() & ~dg.AutomationCondition.in_progress()


def freshness_policy(view: FeatureView) -> dg.FreshnessPolicy | None:
    """Dagster's own mark of an edition that was not published for longer than the view promises."""
    if view.online is None or view.online.freshness is None:
        return None
    return dg.FreshnessPolicy.time_window(fail_window=view.online.freshness)


def online_asset(team: Team, view: FeatureView, record: ViewRecord, *, edges: Edges | None = None) -> dg.AssetsDefinition:
    """`<team>/<view>_online`, unpartitioned: it stands on all partitions that there are."""
    ref = f"{team.name}/{view.name}"
    key = dg.AssetKey(list(online_path(ref)))
    page = Page.of(team, online_path(ref), f"The current online edition of {ref}.", edges)
    promised = None if view.online is None or view.online.freshness is None else view.online.freshness

    @dg.asset(
        key=key,
        deps=[dg.AssetDep(list(view_path(ref)), partition_mapping=dg.AllPartitionMapping())],
        group_name=team.name,
        owners=[team.owner],
        kinds={"redis"},
        code_version=view_version(record),
        op_tags=compute_tags(view.compute),
        description=f"The current online edition of {ref}.",
        metadata={
            "ttl_s": None if record.ttl_us is None else record.ttl_us / 1e6,
            "freshness_s": None if promised is None else promised.total_seconds(),
            "publish": None if view.online is None else view.online.publish,
            "view_record": record.address,
        },
        automation_condition=landing_condition(view),
        freshness_policy=freshness_policy(view),
        check_specs=freshness_check_specs(key, view),
    )
    def online(
        context: dg.AssetExecutionContext,
        config: PublishConfig,
        dev_objects: dg.ResourceParam[ObjectStore],
        prod_objects: dg.ResourceParam[ProdReader],
        tables: dg.ResourceParam[TableStore],
        online_store: dg.ResourceParam[OnlineStore],
        promotions: dg.ResourceParam[Promotions],
        clock: dg.ResourceParam[StackClock],
    ) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        watch = page.watch(context.instance)
        with failures(), naming_the_publisher(context):
            as_of = clock.now() if config.as_of is None else parse_instant(config.as_of)
            frozen = clock.frozen or config.as_of is not None
            # read before anything else is looked at: what lands meanwhile is the next publication's
            version = tables.version(ref)
            last = published_from(context.instance, key)
            fence = fence_of(context, dev_objects)
            publisher = Publisher(record, as_of, frozen, tables, dev_objects, online_store, promotions, limits_of(view), fence)

            def publish() -> tuple[Published, Publication]:
                decided, current = decide(
                    view, record, as_of=as_of, frozen=frozen, tables=tables, version=version, prod=prod_objects, last=last
                )
                context.log.info(f"publishing a {'delta' if decided.delta else 'whole generation'}: {decided.why}")
                return publisher.publish(decided, current, version=version), decided

            published, decided = newest_wins(publish, fence, ref)
        yield from freshness_results(view, from_us(published.record.watermark_us), now=as_of, owner=team.owner)
        cost = watch.metadata()
        shown = page.card(cost, **card_of(published, as_of=as_of, promised=promised, run_id=context.run.run_id))
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={**published_metadata(published, decided, as_of=as_of, version=version), **cost, **shown},
            data_version=dg.DataVersion(published.manifest),
        )

    return online
