"""What each day has cost, as a Delta table with a picture; and the sensor that collects usage before Workloads are gone.

A company puts both into a location of its own: `dg.Definitions(assets=[daily_cost(...)], sensors=[usage_sensor(...)], ...)`.
"""

# no `from __future__ import annotations` here: Dagster refuses a context annotated by a string
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, timedelta
from typing import Any, Protocol

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from tiffin.compute.cost import Bill, bill_of
from tiffin.compute.prices import Prices
from tiffin.compute.usage import Who
from tiffin.compute.usage_log import read_usage, tick
from tiffin.core.clock import Clock, wall_clock
from tiffin.core.errors import Conflict, NotFound, PlatformError
from tiffin.core.units import to_us
from tiffin.manifests.usage import UsageRecord
from tiffin.orchestration.failures import failures
from tiffin.orchestration.kueue_tags import partitions_of
from tiffin.orchestration.plot_cost import cost_markdown
from tiffin.storage.objects import ObjectStore
from tiffin.storage.tables import TableStore

__all__ = ["COST_TABLE", "bill_rows", "cost_schedule", "daily_cost", "run_resolver", "usage_sensor"]

COST_TABLE = "platform/cost"
SHOWN_DAYS = 30
EVERY_S = 30
HOUR_US_MILLI = 3_600_000_000 * 1000
WORDS = ("kind", "team", "asset", "asset_partition", "run", "model", "flavor", "resource", "lender")

logger = logging.getLogger(__name__)


class QueueObjects(Protocol):
    """As much of a cluster as the collector needs: `tiffin.compute.kubernetes.KubernetesCluster`."""

    def queue_objects(self, namespaces: Sequence[str] | None = None) -> Iterable[Mapping[str, Any]]: ...


def bill_rows(bill: Bill, day: str) -> pa.Table:
    """A bill's lines as rows of the day's partition; amounts in unit-hours: core-hours, byte-hours, device-hours."""
    lines = bill.lines
    named = {word: [line.partition if word == "asset_partition" else getattr(line, word) for line in lines] for word in WORDS}
    columns: dict[str, pa.Array] = {"partition": pa.array([day] * len(lines), pa.string())}
    columns |= {word: pa.array(values, pa.string()) for word, values in named.items()}
    columns["borrowed"] = pa.array([line.borrowed for line in lines], pa.bool_())
    columns["amount_h"] = pa.array([line.milli_us / HOUR_US_MILLI for line in lines], pa.float64())
    columns["usd_micro"] = pa.array([line.usd_micro for line in lines], pa.int64())
    return pa.table(columns)


def daily_cost(prices: Callable[[], Prices], *, first_day: date, table: str = COST_TABLE, group: str = "platform") -> dg.AssetsDefinition:
    """One partition a day: every line of its bill. Making a day again, after more was collected, replaces it.

    It asks for the resources `dev_objects` (usage records) and `tables`.

    Args:
        prices: read when a day is made, so that a new price needs no new deployment; old days keep what they were.
        table: `team/name` of the Delta table, and the asset's key.
    """

    @dg.asset(
        key=table.split("/"),
        group_name=group,
        kinds={"python", "deltalake"},
        partitions_def=dg.DailyPartitionsDefinition(start_date=first_day.isoformat(), timezone="UTC", end_offset=1),
        description="What each day has cost: steps by their admitted time, serving, the online store.",
    )
    def cost(
        context: dg.AssetExecutionContext, dev_objects: dg.ResourceParam[ObjectStore], tables: dg.ResourceParam[TableStore]
    ) -> dg.MaterializeResult[None]:
        day = context.partition_key
        with failures():
            usages, quotas = read_usage(dev_objects, [day])
            bill = bill_of(usages, quotas, prices())
            replaced = tables.replace(table, bill_rows(bill, day), partitions=[day], attempt=context.run.run_id)
            lately = earlier(tables, table, day)
        return dg.MaterializeResult(metadata=shown(bill, usages, lately), data_version=dg.DataVersion(replaced.digests.get(day, "")))

    return cost


def cost_schedule(
    asset: dg.AssetsDefinition,
    *,
    cron: str = "20 0 * * *",
    status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.RUNNING,
) -> dg.ScheduleDefinition:
    """Yesterday's bill, some minutes after midnight (UTC): by then the collector has cut what still runs."""

    @dg.schedule(
        name="daily_cost", cron_schedule=cron, execution_timezone="UTC", target=dg.AssetSelection.assets(asset), default_status=status
    )
    def yesterday(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        day = (context.scheduled_execution_time - timedelta(days=1)).strftime("%Y-%m-%d")
        return dg.RunRequest(run_key=day, partition_key=day)

    return yesterday


def shown(bill: Bill, usages: Sequence[UsageRecord], lately: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Numbers that people plot, the dearest assets, and the picture."""
    teams = {f"usd/{team}": micro / 1e6 for (team,), micro in bill.by("team").items()}
    rows = [f"| {team} | {asset} | {micro / 1e6:.6f} |" for (team, asset), micro in list(bill.by("team", "asset").items())[:20]]
    lent = [f"| {borrower} | {lender} | {micro / 1e6:.6f} |" for (borrower, lender), micro in bill.borrowed().items()]
    return {
        "usd": bill.usd_micro / 1e6,
        **teams,
        "usage_records": len(usages),
        "evictions": sum(one.ended == "evicted" for one in usages),
        "guessed_s": sum(one.end_us - one.start_us for one in usages if one.guessed) / 1e6,
        "dearest assets": dg.MetadataValue.md("\n".join(["| team | asset | USD |", "|---|---|---:|", *rows])),
        "borrowed": dg.MetadataValue.md("\n".join(["| borrower pays | of whose quota | USD |", "|---|---|---:|", *lent])),
        "plot": dg.MetadataValue.md(cost_markdown(lately)),
    }


def earlier(tables: TableStore, table: str, day: str) -> dict[str, dict[str, float]]:
    """USD by day and team, of the last days that were made, this one included."""
    last = date.fromisoformat(day)
    wanted = [(last - timedelta(days=back)).isoformat() for back in reversed(range(SHOWN_DAYS))]
    try:
        rows = tables.read(table, columns=["partition", "team", "usd_micro"], partitions=wanted)
    except NotFound:
        return {}
    summed = rows.group_by(["partition", "team"]).aggregate([("usd_micro", "sum")])
    found: dict[str, dict[str, float]] = {}
    ordered = summed.take(pc.sort_indices(summed, sort_keys=[("partition", "ascending"), ("team", "ascending")]))
    for one in ordered.to_pylist():
        found.setdefault(one["partition"], {})[one["team"]] = one["usd_micro_sum"] / 1e6
    return found


def run_resolver(instance: dg.DagsterInstance) -> Callable[[Who], Who]:
    """What a Workload's labels leave out, from its run's tags; a run that Dagster forgot leaves it as it was."""

    def resolve(who: Who) -> Who:
        run = instance.get_run_by_id(who.run_id) if who.run_id else None
        if run is None:
            return who
        changes: dict[str, Any] = {}
        ranged = partitions_of(run.tags)
        if not who.partitions and ranged:
            changes["partitions"] = (ranged,)
        selected = sorted("/".join(key.path) for key in run.asset_selection or ())
        if not who.assets and len(selected) == 1:
            changes["assets"] = tuple(selected)
        return who.model_copy(update=changes)

    return resolve


def usage_sensor(
    open_cluster: Callable[[], AbstractContextManager[QueueObjects]],
    open_store: Callable[[], ObjectStore],
    *,
    name: str = "usage",
    every_s: int = EVERY_S,
    clock: Clock = wall_clock,
    measure: Callable[[int, int], Sequence[UsageRecord]] | None = None,
    status: dg.DefaultSensorStatus = dg.DefaultSensorStatus.RUNNING,
) -> dg.SensorDefinition:
    """Looks at all Workloads twice a minute and keeps what they held; starts no run.

    Kueue must keep a finished Workload for a few ticks (`objectRetentionPolicies`, Jobs' `ttlSecondsAfterFinished`). A tick
    that fails or dies loses nothing: the next one finds the same seconds.

    Args:
        open_cluster, open_store: opened for each tick; the store is the dev bucket.
        measure: usage that no Workload tells, of `[from, to)` in µs: serving pods, online memory.
    """

    @dg.sensor(name=name, minimum_interval_seconds=every_s, default_status=status, description="Collects usage records from Kueue")
    def collect(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now_us = to_us(clock())
        since_us = int(context.cursor) if context.cursor else now_us
        try:
            with open_cluster() as cluster:
                extra = list(measure(since_us, now_us)) if measure is not None and since_us < now_us else []
                batches = tick(open_store(), cluster.queue_objects(), now_us=now_us, resolve=run_resolver(context.instance), extra=extra)
        except Conflict:
            return dg.SkipReason("another collector was first; the next tick goes on from its records")
        except PlatformError as err:
            raise dg.Failure(description=err.message, metadata={"fix": err.fix}) from err
        context.update_cursor(str(now_us))
        told = sum(len(batch.usages) for batch in batches)
        logger.debug("usage collected", extra={"records": told})
        return dg.SkipReason(f"{told} usage records collected")

    return collect
