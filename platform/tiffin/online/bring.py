"""Bring a server to a generation: load beside the live rows or write deltas into them, validate, flip, watermark.

The publisher and the refill of an empty server share this path. It looks at what the server holds and does what is
missing, so that it is its own retry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tiffin.core.errors import Conflict, Corrupt
from tiffin.manifests.records import GenerationRecord, SegmentRef
from tiffin.online.editions import Edition, LiveState
from tiffin.online.store import OnlineStore, Progress
from tiffin.wire.rows import split_rows
from tiffin.wire.segments import read_segment

__all__ = ["At", "Brought", "Fetch", "bring", "silent", "unnoticed"]

At = Callable[[str], None]
Fetch = Callable[[str, str], bytes]
Rows = tuple[list[bytes], list[bytes]]

TIME = slice(2, 6)


@dataclass(frozen=True, slots=True)
class Brought:
    """What is live now, whether its rows are others than before, and how many were written."""

    state: LiveState
    changed: bool
    written: int


def silent(step: str) -> None:
    """The `at` of those who do not listen."""


def unnoticed(done: int, total: int) -> None:
    """The `progress` of those who do not watch."""


def bring(record: GenerationRecord, *, fetch: Fetch, store: OnlineStore, live: LiveState | None, at: At, progress: Progress) -> Brought:
    """Make the server serve `record`, whatever stands there.

    Args:
        fetch: verified bytes of a segment by digest; the second argument is what errors call it.
        live: the server's state when the publication began: if it moved since, Conflict.

    Raises:
        Conflict: another publisher was faster.
        Corrupt: a segment is not what the record says, or the server does not give back what was written.
    """
    target = Edition.of(record)
    if live is not None and not live.current.applying and live.current.content == target.content:
        return renew(target.with_generation(live.current.generation), store=store, live=live, at=at)
    if live is not None and target.extends(live.current) and live.current.applying in ("", target.content):
        missing = record.deltas[len(live.current.deltas) :]
        return write_deltas(
            target.with_generation(live.current.generation), missing, fetch=fetch, store=store, live=live, at=at, progress=progress
        )
    before = None if live is None else live.previous
    if before is not None and not before.applying and before.content == target.content:
        state = go_live(target.with_generation(before.generation), store=store, live=live, at=at)
        return Brought(state, True, 0)
    keys, rows = merged(target, (record.base, *record.deltas), fetch=fetch)
    edition = store.claim(target)
    store.load(edition, keys, rows, progress=progress)
    at("before-validate")
    validate(edition, keys, rows, store=store, newer=False)
    at("after-validate")
    return Brought(go_live(edition, store=store, live=live, at=at), True, len(keys))


def renew(edition: Edition, *, store: OnlineStore, live: LiveState, at: At) -> Brought:
    """Equal rows: at most the manifest and the watermark move."""
    if edition == live.current:
        return Brought(live, False, 0)
    return Brought(go_live(edition, store=store, live=live, at=at), False, 0)


def write_deltas(
    edition: Edition, missing: Sequence[SegmentRef], *, fetch: Fetch, store: OnlineStore, live: LiveState, at: At, progress: Progress
) -> Brought:
    """Write the deltas that the live generation lacks; it is marked first, so that a half-written one is known as such."""
    keys, rows = merged(edition, missing, fetch=fetch)
    marked = store.flip(live.current.with_applying(edition.content), expected=live)
    written = store.apply(edition, keys, rows, expected=marked, progress=progress)
    at("before-validate")
    validate(edition, keys, rows, store=store, newer=True)
    at("after-validate")
    return Brought(go_live(edition, store=store, live=marked, at=at), True, written)


def go_live(edition: Edition, *, store: OnlineStore, live: LiveState | None, at: At) -> LiveState:
    """Flip, then move the watermark: what it promises is already being served."""
    reached = edition.watermark_us if live is None else min(live.current.watermark_us, edition.watermark_us)
    at("before-flip")
    state = store.flip(edition.with_watermark(reached), expected=live)
    at("after-flip")
    at("before-watermark")
    if reached != edition.watermark_us:
        state = store.flip(edition, expected=state)
    at("after-watermark")
    return state


def validate(edition: Edition, keys: list[bytes], rows: list[bytes], *, store: OnlineStore, newer: bool) -> None:
    """Read every row back and compare; with `newer`, a row of a newer event time may stand in its place."""
    found = store.rows(edition, keys)
    for key, row, held in zip(keys, rows, found, strict=True):
        if held == row or (newer and held is not None and held[TIME][::-1] > row[TIME][::-1]):
            continue
        message = f"view {edition.ref}: the online store does not hold key {key!r} as it was written"
        if held is None:
            raise Conflict(f"{message}: it is gone", fix="publish again; if it happens twice, is the server set to evict?")
        raise Corrupt(f"{message}: {held[:16]!r} instead of {row[:16]!r}", fix="find who else writes there, then publish again")


def merged(edition: Edition, refs: Sequence[SegmentRef], *, fetch: Fetch) -> Rows:
    """Rows of segments in order: per key the newest event time, at a tie the later segment."""
    newest: dict[bytes, bytes] = {}
    for place, ref in enumerate(refs):
        name = f"{place + 1} of {len(refs)} of {edition.ref} ({ref.digest[:12]})"
        segment = read_segment(fetch(ref.digest, f"segment {name}"), name=name)
        whose = (segment.meta.team, segment.meta.view, segment.meta.rows)
        if whose != (edition.team, edition.view, ref.rows) or segment.schema != edition.schema:
            found = f"{segment.meta.rows} rows of {segment.meta.team}/{segment.meta.view}, schema {segment.schema.number}"
            raise Corrupt(f"segment {name} is another one: {found}", fix="publish the view again", context={"digest": ref.digest})
        rows = split_rows(segment.packed)
        if not newest:
            newest = dict(zip(segment.keys, rows, strict=True))
            continue
        for key, row in zip(segment.keys, rows, strict=True):
            old = newest.get(key)
            if old is None or old[TIME][::-1] <= row[TIME][::-1]:
                newest[key] = row
    return list(newest), list(newest.values())
