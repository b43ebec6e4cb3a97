"""Put things back from durable segments: a whole generation, the state before a delta, one entity."""

from __future__ import annotations

from collections.abc import Callable

from tiffin.core.errors import Conflict, NotFound
from tiffin.manifests.records import GenerationRecord
from tiffin.online.bring import Doer, Fetch, Listener, silent, unnoticed
from tiffin.online.editions import Edition
from tiffin.online.keyed_rows import KeyedRows
from tiffin.online.merge import Block, MergedRows, find
from tiffin.online.plan_publish import Done, restoring
from tiffin.online.plan_steps import Apply, Compare, Difference, Gather, Plan, State, perform
from tiffin.online.store import OnlineStore, Progress

__all__ = ["restore", "restore_entity"]


def restore(
    record: GenerationRecord,
    *,
    fetch: Fetch,
    store: OnlineStore,
    promote: Callable[[str], None],
    at: Listener = silent,
    progress: Progress = unnoticed,
) -> Done:
    """Serve an earlier record again, or the current one when its rows in the server were damaged.

    The record before a delta undoes that delta: its rows come from segments, as a generation beside the live one, so
    that no reader sees half of it.

    Args:
        record: durable; `promote` makes it the current one again.
        fetch: `fetch(digest, name)` returns a segment's bytes, verified.

    Raises:
        Conflict: another publisher was faster. NotFound: a segment is gone, for example erased.
    """
    target = Edition.of(record)
    return perform(restoring(record, target), Doer(fetch, store, at=at, progress=progress, promote=promote))


def restore_entity(record: GenerationRecord, key: bytes, *, fetch: Fetch, store: OnlineStore) -> bool:
    """Write one entity's row again as the live record's segments have it; False when it stood already.

    Args:
        record: the one that is live.

    Raises:
        NotFound: no segment holds the entity.
        Conflict: another record is live, or what stands there says that it is newer: restore the generation then.
    """
    doer = Doer(fetch, store)
    return perform(entity_restoring(record, key), doer)


def entity_restoring(record: GenerationRecord, key: bytes) -> Plan[bool]:
    """The guard of deltas holds here too: nothing newer is ever replaced."""
    ref = f"{record.team}/{record.view}"
    live = yield State(record.team, record.view)
    if live is None or live.current.manifest != record.address or live.current.applying:
        raise Conflict(f"view {ref}: another record is live, or a delta is being written", fix="restore from what is live, or wait")
    rows: MergedRows = yield Gather(live.current, (record.base, *record.deltas))
    row = row_of(rows, key)
    if row is None:
        raise NotFound(f"view {ref} has no row of entity {key!r} in its segments", fix="check the key")
    one = MergedRows([row])
    missing: list[Difference] = yield Compare(live.current, Block(row.keys, row.rows), newer=False)
    if not missing:
        return False
    yield Apply(live.current, one, live)
    if (yield Compare(live.current, Block(row.keys, row.rows), newer=False)):
        raise Conflict(
            f"view {ref}: what stands under entity {key!r} says that it is newer than all that was published",
            fix="find who else writes there, then restore the generation",
        )
    return True


def row_of(rows: MergedRows, key: bytes) -> KeyedRows | None:
    """One entity's merged row."""
    for block in rows:
        place = find(block, key)
        if place is not None:
            return block.part(place, place + 1)
    return None
