"""Publish a view: durable first, then beside the live rows, then one word moves.

The order, for a generation and for a delta alike: segment and manifest to the dev bucket → promote (the durable
pointer now names it) → load → validate → flip → watermark → collect. A crash anywhere leaves the live edition whole;
doing it again ends in the same state.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Invalid
from tiffin.manifests.records import GenerationRecord, SegmentRef, ViewRecord
from tiffin.online.bring import Doer, Listener, silent, unnoticed
from tiffin.online.dense import CROWDED_ROWS
from tiffin.online.editions import Edition, LiveState
from tiffin.online.judge import Limits, Summary, check_decodes, check_ranges, judge, summarise
from tiffin.online.keyed_rows import KeyedRows, event_units, joined
from tiffin.online.plan_publish import publishing, rolling_back
from tiffin.online.plan_steps import perform
from tiffin.online.store import OnlineStore, Progress
from tiffin.storage.fencing import Fence
from tiffin.storage.layout import blob_key, manifest_key
from tiffin.storage.objects import ObjectStore, get_blob
from tiffin.wire.encodings import Ragged, Values
from tiffin.wire.rows import Packed, join_rows, pack
from tiffin.wire.schema import RowSchema
from tiffin.wire.segments import build_segment, read_segment
from tiffin.wire.tombstones import pack_tombstones

__all__ = ["Deletes", "Published", "publish_delta", "publish_generation", "roll_back"]

logger = logging.getLogger(__name__)

LAST_MOMENTS = ("before-promote", "before-flip", "before-watermark")
"""Where an older attempt at the same step is stopped: what follows is seen by others, and is conditional on what stood there."""


@dataclass(frozen=True, slots=True, eq=False)
class Deletes:
    """Entities that have no row any more.

    A deletion is a row like any other: it wins over an older one, loses against a newer, and an older row that comes late
    does not bring the entity back.

    Args:
        keys: one each, from `pack_keys` or `encode_keys`; none of them among the rows published with it.
        event_time_us: `(keys,)` int64: since when.
    """

    keys: Sequence[bytes] | Packed
    event_time_us: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Published:
    """What a publication did.

    Args:
        record: the generation's record, and `manifest` its digest.
        generation: token under which it is live.
        changed: False when the live rows were equal already; nothing was loaded then.
        rows: rows of the published segment.
        written: rows written to the server.
        collected: rows of dead generations removed.
    """

    record: GenerationRecord
    manifest: str
    generation: str
    changed: bool
    rows: int
    written: int
    collected: int


def publish_generation(
    view: ViewRecord,
    *,
    keys: Sequence[bytes] | Packed,
    columns: Mapping[str, Values | Ragged],
    event_time_us: npt.NDArray[Any],
    watermark_us: int,
    as_of_us: int | None,
    dev: ObjectStore,
    promote: Callable[[str], None],
    store: OnlineStore,
    limits: Limits | None = None,
    fence: Fence | None = None,
    at: Listener = silent,
    progress: Progress = unnoticed,
) -> Published:
    """Publish all rows of a view as a new generation.

    Args:
        keys: one per row, from `pack_keys` or `encode_keys`; unique.
        columns: exactly the view's features.
        event_time_us: `(rows,)` int64.
        watermark_us: up to which event time the rows are complete.
        as_of_us: "now", when history is replayed.
        promote: makes the manifest of this digest the durable current one; idempotent.
        limits: what the generation must keep to, compared with the live one; None: nothing is compared.
        fence: the publisher's attempt at its step; once a newer one has started, nothing of this one turns live.
        at: called at each named step; a test kills the process there.
        progress: rows acknowledged by the server, of how many.

    Raises:
        Invalid: a key occurs twice, a value is outside its encoding, or a limit is not kept; nothing is stored then.
        Conflict: another publisher was faster; publish again.
    """
    rows = make_rows(view, keys, columns, event_time_us)
    if limits is not None:
        check_ranges(f"{view.team}/{view.name}", columns, limits)
        judge(f"{view.team}/{view.name}", summarise(schema_of(view), rows.rows), live_summary(view, dev=dev, store=store), limits)
    data, ref = make_segment(view, rows)
    record = GenerationRecord(
        team=view.team,
        view=view.name,
        view_record=view.address,
        entity=view.entity,
        row_schema=view.row_schema,
        base=ref,
        watermark_us=watermark_us,
        as_of_us=as_of_us,
        ttl_us=view.ttl_us,
        layout=view.layout,
    )
    return publish(view, record, {ref.digest: data}, ref.rows, dev=dev, promote=promote, store=store, fence=fence, at=at, progress=progress)


def publish_delta(
    view: ViewRecord,
    *,
    keys: Sequence[bytes] | Packed,
    columns: Mapping[str, Values | Ragged],
    event_time_us: npt.NDArray[Any],
    watermark_us: int,
    as_of_us: int | None,
    dev: ObjectStore,
    promote: Callable[[str], None],
    store: OnlineStore,
    current: GenerationRecord,
    deletes: Deletes | None = None,
    fence: Fence | None = None,
    at: Listener = silent,
    progress: Progress = unnoticed,
) -> Published:
    """Publish some rows on top of `current`, in place: each unless a newer event time stands there.

    A row of equal event time is replaced: the later manifest wins, so a repaired partition is served. The
    watermark never moves back.

    Args:
        current: the durable current record (prod's); its rows that the server lacks are brought along.
        deletes: entities that have no row any more.
        fence: as in `publish_generation`.

    Raises:
        as `publish_generation`.
    """
    data, ref = make_segment(view, make_rows(view, keys, columns, event_time_us, deletes))
    check_room(view, ref.rows, store)
    if view.row_schema != current.row_schema:
        raise Invalid(
            f"view {view.team}/{view.name} has another schema than its live generation",
            fix="publish a whole generation: a delta has no other columns",
        )
    stands = not ref.rows or ref.digest == (current.base, *current.deltas)[-1].digest
    deltas = current.deltas if stands else (*current.deltas, ref)
    changes = {"deltas": deltas, "watermark_us": max(watermark_us, current.watermark_us), "as_of_us": as_of_us}
    record = current.model_copy(update=changes)
    return publish(view, record, {ref.digest: data}, ref.rows, dev=dev, promote=promote, store=store, fence=fence, at=at, progress=progress)


def make_rows(
    view: ViewRecord,
    keys: Sequence[bytes] | Packed,
    columns: Mapping[str, Values | Ragged],
    event_time_us: npt.NDArray[Any],
    deletes: Deletes | None = None,
) -> KeyedRows:
    """Pack rows and tombstones; some rows are decoded again and compared with the columns."""
    schema = schema_of(view)
    packed = pack(schema, columns, np.asarray(event_time_us))
    check_decodes(f"{view.team}/{view.name}", schema, columns, packed)
    made = [KeyedRows(packed_keys(keys), packed)]
    if deletes is not None and len(deletes.keys):
        made.append(KeyedRows(packed_keys(deletes.keys), pack_tombstones(schema, deletes.event_time_us)))
    return joined(made)


def make_segment(view: ViewRecord, rows: KeyedRows) -> tuple[bytes, SegmentRef]:
    """The file of these rows; its span is that of their event times, so that equal rows are equal bytes."""
    schema = schema_of(view)
    start = end = 0
    if len(rows):
        units = event_units(rows.rows)
        start, end = (schema.epoch_us + int(unit) * schema.unit_us for unit in (units.min(), units.max()))
    data = build_segment(schema, rows.keys, rows.rows, team=view.team, view=view.name, start_us=start, end_us=end)
    return data, SegmentRef(digest=digest_bytes(data), size_bytes=len(data), rows=len(rows), start_us=start, end_us=end)


def schema_of(view: ViewRecord) -> RowSchema:
    """How its rows are packed."""
    return RowSchema.from_json(view.row_schema)


def live_summary(view: ViewRecord, *, dev: ObjectStore, store: OnlineStore) -> Summary | None:
    """Figures of the live generation's base; None when nothing comparable is live."""
    live = store.state(view.team, view.name)
    if live is None or live.current.schema != schema_of(view):
        return None
    name = f"base segment of the live generation of {live.current.ref}"
    segment = read_segment(get_blob(dev, live.current.base, name=name), name=name)
    return summarise(segment.schema, segment.packed)


def check_room(view: ViewRecord, rows: int, store: OnlineStore) -> None:
    """Refuse a delta that a dense generation could not take, before it is durable."""
    live = store.state(view.team, view.name)
    if live is None or not live.current.buckets:
        return
    full = (store.count(live.current) + rows) / live.current.buckets
    if full > CROWDED_ROWS:
        raise Invalid(
            f"view {live.current.ref}: this delta would make {full:.0f} rows a bucket, expected {CROWDED_ROWS} at most",
            fix="publish a whole generation: it gets more buckets",
            context={"view": live.current.ref, "rows_per_bucket": full},
        )


def packed_keys(keys: Sequence[bytes] | Packed) -> Packed:
    """Keys as one buffer."""
    return keys if isinstance(keys, Packed) else join_rows(keys)


def publish(
    view: ViewRecord,
    record: GenerationRecord,
    made: Mapping[str, bytes],
    rows: int,
    *,
    dev: ObjectStore,
    promote: Callable[[str], None],
    store: OnlineStore,
    fence: Fence | None = None,
    at: Listener,
    progress: Progress,
) -> Published:
    """The durable part, then the server."""
    target = Edition.of(record)
    at = at if fence is None else guarded(at, fence, target.ref)

    def durable() -> None:
        for digest, data in made.items():
            dev.put(blob_key(digest), data)
        dev.put(manifest_key("view", view.address), view.to_bytes())
        dev.put(manifest_key("generation", record.address), record.to_bytes())

    def fetch(digest: str, name: str) -> bytes:
        return made[digest] if digest in made else get_blob(dev, digest, name=name)

    done = perform(publishing(record, target), Doer(fetch, store, at=at, progress=progress, durable=durable, promote=promote))
    brought = done.brought
    logger.info("published", extra={"view": target.ref, "manifest": record.address, "rows": rows, "written": brought.written})
    generation = brought.state.current.generation
    return Published(record, record.address, generation, brought.changed, rows, brought.written, done.collected)


def guarded(at: Listener, fence: Fence, ref: str) -> Listener:
    """Listens, and stops an attempt that a newer one has overtaken before anybody sees what it does."""

    def listen(step: str) -> None:
        at(step)
        if step in LAST_MOMENTS:
            fence.check(f"publishing view {ref}")

    return listen


def roll_back(store: OnlineStore, team: str, view: str) -> LiveState:
    """Serve the previous generation again; its rows are still there, so only one word moves.

    The live one becomes the previous: doing it twice undoes it.

    Raises:
        NotFound: there is no previous generation.
        Conflict: the previous one holds part of an unfinished delta, or something else went live meanwhile.
    """
    return perform(rolling_back(team, view), Doer(nothing_to_fetch, store))


def nothing_to_fetch(digest: str, name: str) -> bytes:
    """A rollback reads no segment."""
    raise AssertionError(f"{name} was asked for")
