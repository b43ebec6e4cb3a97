"""Two runs of one asset at the same time: one wins the commit, the other is told who won. Nothing of theirs mixes.

What a run writes lies under names of its own (its id, or the digest of the content) until one atomic step makes it current.
That step is conditional on what the run saw when it began, not on what it sees at the end: a run that began before another
one's commit was computed from the world before it.

One run may try a step twice at the same time, where a cluster preempts it: then the newer attempt is the run, and the older
one is told (`fence_of`; without a cluster there is no fence).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pyarrow as pa

from tiffin.compute.fence import Attempt, resume
from tiffin.core.errors import Conflict, PlatformError
from tiffin.core.settings import Settings
from tiffin.registry.models import current, load_record
from tiffin.storage.fencing import Fence
from tiffin.storage.layout import RecordKind
from tiffin.storage.objects import ObjectStore
from tiffin.storage.tables import Replaced, TableStore

__all__ = ["RunTables", "began_at", "fence_of", "naming_the_publisher", "naming_the_winner"]


class RunTables:
    """A table store for one run: what others wrote into its own tables since the run began is a conflict.

    Args:
        refs: the tables that the run writes.
        fence: the attempt at the step that writes them.
    """

    def __init__(self, tables: TableStore, *refs: str, fence: Fence | None = None) -> None:
        self.tables, self.fence = tables, fence
        versions = {ref: tables.version(ref) for ref in refs}
        self.began = {ref: -1 if version is None else version for ref, version in versions.items()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tables, name)  # what a store can do beyond the contract

    def version(self, ref: str) -> int | None:
        """See `TableStore`."""
        return self.tables.version(ref)

    def contents(self, ref: str, *, version: int | None = None) -> dict[str, str]:
        """See `TableStore`."""
        return self.tables.contents(ref, version=version)

    def read(
        self, ref: str, *, columns: Sequence[str] | None = None, version: int | None = None, partitions: Sequence[str] | None = None
    ) -> pa.Table:
        """See `TableStore`."""
        return self.tables.read(ref, columns=columns, version=version, partitions=partitions)

    def replace(
        self,
        ref: str,
        data: pa.Table,
        *,
        partitions: Sequence[str] | None,
        attempt: str | None = None,
        since: int | None = None,
        fence: Fence | None = None,
    ) -> Replaced:
        """See `TableStore`; `since` is when the run began, and `fence` is the run's."""
        shown = self.fence if fence is None else fence
        return self.tables.replace(ref, data, partitions=partitions, attempt=attempt, since=self.began.get(ref, since), fence=shown)


def fence_of(context: dg.AssetExecutionContext, store: ObjectStore) -> Attempt | None:
    """The attempt that this process makes at its step, as whoever started it said; None where steps are not fenced."""
    number = Settings.from_environment().attempt
    return None if number is None else resume(store, context.run.run_id, str(context.op_execution_context.op_handle), number)


def began_at(store: ObjectStore, kind: RecordKind, team: str, name: str) -> int:
    """The sequence of a pointer now, 0 before it exists: `since` of what is published at the end of the run."""
    pointer = current(store, kind, team, name)
    return 0 if pointer is None else pointer.sequence


@contextmanager
def naming_the_winner(store: ObjectStore, kind: RecordKind) -> Iterator[None]:
    """A conflict about a pointer tells the run whose manifest it names now."""
    try:
        yield
    except Conflict as err:
        manifest = str(err.context.get("manifest", ""))
        try:
            winner = getattr(load_record(store, kind, manifest), "run_id", None) if manifest else None
        except PlatformError:
            winner = None
        raise told(err, winner) from err


@contextmanager
def naming_the_publisher(context: dg.AssetExecutionContext) -> Iterator[None]:
    """A conflict about an online edition tells the run that published the asset meanwhile, or is still about to."""
    try:
        yield
    except Conflict as err:
        raise told(err, rival(context.instance, context.asset_key, own=context.run.run_id)) from err


def told(err: Conflict, winner: str | None) -> Conflict:
    """The same conflict with the winner's run in its words."""
    if winner is None or "winner" in err.context:
        return err
    return Conflict(f"{err.message} (run {winner})", fix=err.fix, context={**err.context, "winner": winner})


def rival(instance: dg.DagsterInstance, key: dg.AssetKey, *, own: str) -> str | None:
    """Another run of the asset: the one that materialised it last, if that was after our start, else one at work."""
    ours = instance.get_run_record_by_id(own)
    last = instance.get_latest_materialization_event(key)
    if last is not None and last.run_id != own and ours is not None and last.timestamp >= (ours.start_time or 0):
        return last.run_id
    at_work = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    others = [run.run_id for run in at_work if run.run_id != own and key in (run.asset_selection or ())]
    return others[0] if others else None
