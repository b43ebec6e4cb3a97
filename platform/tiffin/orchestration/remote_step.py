"""An asset whose work is done elsewhere: its step is a small pod that starts, follows and, when it is evicted, cancels a remote job."""

from __future__ import annotations

from typing import Any

import dagster as dg

from tiffin.compute.prices import REMOTE
from tiffin.compute.usage import day_of
from tiffin.compute.usage_log import store_batch
from tiffin.compute.usage_measured import remote_usage
from tiffin.core.clock import wall_clock
from tiffin.core.settings import Settings
from tiffin.core.units import to_us
from tiffin.engines.remote import Remote, RemoteJob
from tiffin.engines.remote_drive import Driven, Pace, drive
from tiffin.engines.remote_keep import Keep
from tiffin.manifests.usage import AmountRecord, UsageBatch
from tiffin.orchestration.kueue_tags import partitions_of
from tiffin.storage.layout import checkpoint_prefix
from tiffin.storage.objects import ObjectStore

__all__ = ["keep_of", "run_remote"]


def keep_of(context: dg.AssetExecutionContext, store: ObjectStore) -> Keep:
    """Where this step keeps its remote job: its checkpoint; without a cluster a place of the run's own."""
    settings = Settings.from_environment()
    step = str(context.op_execution_context.op_handle)
    return Keep(store, settings.checkpoint or checkpoint_prefix(f"{context.run.run_id}/{step}"), settings.attempt or 1)


def run_remote(
    context: dg.AssetExecutionContext,
    store: ObjectStore,
    remote: Remote,
    job: RemoteJob,
    *,
    team: str,
    cancel: bool = True,
    pace: Pace | None = None,
) -> dict[str, Any]:
    """Run one remote job for this step; returns metadata for its result.

    Args:
        store: the dev bucket; its usage record goes there too.
        cancel: see `drive`.

    Raises:
        Invalid, NotReady, Conflict: see `drive`.
    """
    keep = keep_of(context, store)
    done = drive(remote, job, keep, cancel=cancel, pace=pace, told=context.log.info)
    record_cost(context, store, done, team=team, provider=remote.provider)
    amounts = {f"remote/{name}_h": amount / 1000 for name, amount in (done.cost.amounts or {}).items()}
    priced = {} if done.cost.usd_micro is None else {"remote/usd": done.cost.usd_micro / 1e6}
    return {
        "remote/provider": remote.provider,
        "remote/id": done.remote_id,
        "remote/resumed": done.adopted,
        "remote/log": dg.MetadataValue.md(f"```\n{done.logs}\n```"),
        **amounts,
        **priced,
    }


def record_cost(context: dg.AssetExecutionContext, store: ObjectStore, done: Driven, *, team: str, provider: str) -> None:
    """The remote job in the bill: what the provider asks, or its amounts at the price of flavor `remote`'s provider."""
    ranged = partitions_of(context.run.tags)
    hours = done.cost.amounts or {} if done.cost.usd_micro is None else {}
    record = remote_usage(
        team=team,
        remote_id=f"{provider}:{done.remote_id}",
        end_us=to_us(wall_clock()),
        usd_micro=done.cost.usd_micro or 0,
        amounts=tuple(AmountRecord(flavor=f"{REMOTE}{provider}", resource=name, milli=size) for name, size in sorted(hours.items())),
        run_id=context.run.run_id,
        step=str(context.op_execution_context.op_handle),
        assets=tuple(sorted("/".join(key.path) for key in context.selected_asset_keys)),
        partitions=(ranged,) if ranged else (),
    )
    store_batch(store, UsageBatch(day=day_of(record.start_us), usages=(record,)))
