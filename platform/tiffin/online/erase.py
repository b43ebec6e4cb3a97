"""Erase one entity of a view for good: from the online store, and from every segment in every bucket.

The order makes it its own retry: the current record is rewritten without the entity and published, the generation
before it is given up, and only then do the old segments go, and the manifests that name them. What is interrupted is
completed by doing it again; what is complete changes nothing.

Not touched: offline tables, training tables, models, prediction logs, backups of a bucket. Delete the entity from the
offline table first, or the next publication brings it back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from tiffin.core.clock import Clock, wall_clock
from tiffin.core.digests import digest_bytes
from tiffin.core.errors import NotFound
from tiffin.core.spec import Record
from tiffin.core.units import to_us
from tiffin.manifests.records import GenerationRecord, SegmentRef, ViewRecord
from tiffin.online.bring import Doer, unnoticed
from tiffin.online.editions import Edition
from tiffin.online.keyed_rows import KeyedRows, joined
from tiffin.online.merge import MergedRows, find
from tiffin.online.plan_publish import forgetting
from tiffin.online.plan_steps import perform
from tiffin.online.publisher import make_segment, publish
from tiffin.online.store import OnlineStore, Progress
from tiffin.storage.layout import audit_key, blob_key, manifest_key, signature_key
from tiffin.storage.objects import ObjectStore, get_blob
from tiffin.wire.segments import read_segment

__all__ = ["ErasureRecord", "erase"]

logger = logging.getLogger(__name__)


class ErasureRecord(Record):
    """What an erasure began, or did. It names the entity by a digest only: who knows the key can find it."""

    format: Literal["tiffin.erasure.v1"] = "tiffin.erasure.v1"
    state: Literal["begun", "done"]
    team: str
    view: str
    key_digest: str
    by: str
    at_us: int
    manifest: str
    rewritten: bool = False
    online_rows: int = 0
    segments: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    manifests: dict[str, tuple[str, ...]] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Buckets:
    """Where segments are; the first one holds the dev copies, the last one the audit."""

    by_name: Mapping[str, ObjectStore]

    def segment(self, digest: str, name: str) -> bytes:
        """From the first bucket that has it."""
        for bucket in self.by_name.values():
            try:
                return get_blob(bucket, digest, name=name)
            except NotFound:
                continue
        raise NotFound(f"{name} is in none of the buckets {', '.join(self.by_name)}", fix="publish the view again, then erase")


def erase(
    view: ViewRecord,
    key: bytes,
    *,
    current: GenerationRecord,
    dev: ObjectStore,
    prod: ObjectStore,
    promote: Callable[[str], None],
    store: OnlineStore,
    by: str,
    now: Clock = wall_clock,
    progress: Progress = unnoticed,
) -> ErasureRecord:
    """Erase an entity; see the module for what that covers.

    Args:
        key: the entity's key bytes.
        current: the durable current record; becomes one without the entity and without deltas.
        dev, prod: may be written and deleted from.
        promote: makes a manifest the durable current one.
        by: who asked, for the audit record.

    Returns:
        The audit record as it was written to prod.

    Raises:
        Conflict: somebody published meanwhile; do it again.
        NotFound: a segment of the current record is gone.
    """
    buckets = Buckets({"dev": dev, "prod": prod})
    at_us = to_us(now())
    key_digest = digest_bytes(f"{view.team}/{view.name}/".encode() + key)

    def audit(record: ErasureRecord) -> ErasureRecord:
        prod.put(audit_key("erasures", view.team, view.name, f"{at_us}-{key_digest[:12]}-{record.state}"), record.to_bytes())
        return record

    begun = ErasureRecord(
        state="begun", team=view.team, view=view.name, key_digest=key_digest, by=by, at_us=at_us, manifest=current.address
    )
    audit(begun)
    record, online = rewrite(view, key, current, buckets=buckets, dev=dev, promote=promote, store=store, progress=progress)
    online += forget(view, key, buckets=buckets, store=store)
    kept = {segment.digest for segment in (record.base, *record.deltas)}
    segments: dict[str, tuple[str, ...]] = {}
    manifests: dict[str, tuple[str, ...]] = {}
    for name, bucket in buckets.by_name.items():
        segments[name], manifests[name] = purge(bucket, view, key, kept=kept)
    done = {"state": "done", "manifest": record.address, "rewritten": record.address != current.address, "online_rows": online}
    logger.warning("erased", extra={"view": f"{view.team}/{view.name}", "key_digest": key_digest, "online_rows": online})
    return audit(begun.model_copy(update={**done, "segments": segments, "manifests": manifests}))


def rewrite(
    view: ViewRecord,
    key: bytes,
    current: GenerationRecord,
    *,
    buckets: Buckets,
    dev: ObjectStore,
    promote: Callable[[str], None],
    store: OnlineStore,
    progress: Progress,
) -> tuple[GenerationRecord, int]:
    """Publish the current record without the entity; as it is when it holds none. Also how many live rows that removes."""
    target = Edition.of(current)
    doer = Doer(buckets.segment, store, progress=progress)
    refs = (current.base, *current.deltas)
    rows = [doer.segment(target, ref, place, len(refs)) for place, ref in enumerate(refs, start=1)]
    if all(find(segment, key) is None for segment in rows):
        return current, 0
    live = store.state(view.team, view.name)
    online = 0 if live is None else sum(row is not None for row in store.rows(live.current, [key]))
    data, ref = make_segment(view, joined([without(block, key) for block in MergedRows(rows)]))
    record = current.model_copy(update={"base": ref, "deltas": ()})
    publish(view, record, {ref.digest: data}, ref.rows, dev=dev, promote=promote, store=store, at=lambda step: None, progress=progress)
    return record, online


def without(rows: KeyedRows, key: bytes) -> KeyedRows:
    """All rows but one entity's."""
    place = find(rows, key)
    return rows if place is None else rows.take(np.delete(np.arange(len(rows), dtype=np.int64), place))


def forget(view: ViewRecord, key: bytes, *, buckets: Buckets, store: OnlineStore) -> int:
    """Give the previous generation up when it holds the entity; dead generations are collected in any case."""
    live = store.state(view.team, view.name)
    held = live is not None and live.previous is not None and store.rows(live.previous, [key]) != [None]
    if held:
        perform(forgetting(view.team, view.name), Doer(buckets.segment, store))
        return 1
    store.collect(view.team, view.name, progress=unnoticed)
    return 0


def purge(bucket: ObjectStore, view: ViewRecord, key: bytes, *, kept: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Delete the segments that hold the entity, then the manifests that name them: digests of both.

    A manifest whose segment is gone already is one that an interrupted erasure left.
    """
    segments: dict[str, bool] = {}
    manifests: list[str] = []
    for digest, record in generations(bucket, view):
        refs = [ref for ref in (record.base, *record.deltas) if ref.digest not in kept]
        for ref in refs:
            if ref.digest not in segments:
                segments[ref.digest] = holds(bucket, ref, key)
        if any(segments[ref.digest] for ref in refs):
            manifests.append(digest)
    doomed = tuple(sorted(digest for digest, dead in segments.items() if dead))
    for digest in doomed:
        bucket.delete(blob_key(digest))
    for digest in manifests:
        bucket.delete(manifest_key("generation", digest))
        bucket.delete(signature_key("generation", digest))
    return doomed, tuple(sorted(manifests))


def generations(bucket: ObjectStore, view: ViewRecord) -> Iterator[tuple[str, GenerationRecord]]:
    """Every generation record of the view in a bucket."""
    prefix = manifest_key("generation", "").removesuffix(".json")
    for key in list(bucket.list(prefix)):
        if not key.endswith(".json"):
            continue
        record = GenerationRecord.from_bytes(bucket.get(key).data, name=key)
        if (record.team, record.view) == (view.team, view.name):
            yield key.removeprefix(prefix).removesuffix(".json"), record


def holds(bucket: ObjectStore, ref: SegmentRef, key: bytes) -> bool:
    """Whether a segment holds the entity, or is gone already."""
    name = f"segment {ref.digest[:12]}"
    try:
        segment = read_segment(get_blob(bucket, ref.digest, name=name), name=name)
    except NotFound:
        return True
    return find(KeyedRows(segment.key_bytes, segment.packed), key) is not None
