"""Carry out a publisher's plan against a real store: rows out of segments, steps into calls.

The publisher and the refill of an empty server share this; `plan_publish` decides what is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiffin.core.errors import Corrupt
from tiffin.manifests.records import GenerationRecord, SegmentRef
from tiffin.online.editions import Edition, LiveState
from tiffin.online.keyed_rows import KeyedRows
from tiffin.online.merge import MergedRows
from tiffin.online.pace import Pace
from tiffin.online.plan_publish import Brought, bringing
from tiffin.online.plan_steps import (
    Apply,
    At,
    Batch,
    Claim,
    Collect,
    Compare,
    Count,
    Difference,
    Discard,
    Durable,
    Flip,
    Gather,
    Gathered,
    Load,
    Promote,
    State,
    Step,
    perform,
)
from tiffin.online.store import OnlineStore, Progress
from tiffin.wire.segments import read_segment

__all__ = ["Brought", "Doer", "Fetch", "Listener", "bring", "silent", "unnoticed"]

Listener = Callable[[str], None]
Fetch = Callable[[str, str], bytes]

TIME = slice(2, 6)


def silent(step: str) -> None:
    """The `at` of those who do not listen."""


def unnoticed(done: int, total: int) -> None:
    """The `progress` of those who do not watch."""


def nothing_durable() -> None:
    """The `durable` of a refill: all of it is there already."""


def nothing_promoted(digest: str) -> None:
    """The `promote` of a refill: it is the current one already."""


def bring(
    record: GenerationRecord, *, fetch: Fetch, store: OnlineStore, live: LiveState | None, at: Listener, progress: Progress
) -> Brought:
    """Make the server serve `record`, whatever stands there.

    Args:
        fetch: verified bytes of a segment by digest; the second argument is what errors call it.
        live: the server's state when the publication began: if it moved since, Conflict.

    Raises:
        Conflict: another publisher was faster.
        Corrupt: a segment is not what the record says, or the server does not give back what was written.
    """
    return perform(bringing(record, Edition.of(record), live), Doer(fetch, store, at=at, progress=progress))


@dataclass(slots=True)
class Doer:
    """Does the steps of a plan.

    Args:
        durable: segments and records to the dev bucket.
        promote: makes the manifest of this digest the durable current one.
        pace: how the publication yields to readers; None: it does not.
    """

    fetch: Fetch
    store: OnlineStore
    at: Listener = silent
    progress: Progress = unnoticed
    durable: Callable[[], None] = nothing_durable
    promote: Callable[[str], None] = nothing_promoted
    pace: Pace | None = field(default_factory=Pace)
    began_at: float = field(default_factory=time.monotonic)

    def __call__(self, step: Step) -> Any:
        store = self.store
        match step:
            case At(name):
                return self.at(name)
            case State(team, view):
                return store.state(team, view)
            case Durable():
                return self.durable()
            case Promote(manifest):
                return self.promote(manifest)
            case Gather(edition, refs):
                return MergedRows([self.segment(edition, ref, place, len(refs)) for place, ref in enumerate(refs, start=1)])
            case Claim(edition):
                return store.claim(edition)
            case Load(edition, rows):
                return store.load(edition, merged(rows), total=rows.rows, progress=self.paced(edition))
            case Apply(edition, rows, expected):
                return store.apply(edition, merged(rows), expected=expected, total=rows.rows, progress=self.paced(edition))
            case Count(edition):
                return store.count(edition)
            case Compare(edition, batch, newer):
                return self.compare(edition, batch, newer=newer)
            case Flip(edition, before, forget):
                return store.flip(edition, expected=before, forget=forget)
            case Collect(team, view):
                return store.collect(team, view, progress=lambda done, total: self.at("collecting"))
            case Discard(edition):
                return store.discard(edition)

    def segment(self, edition: Edition, ref: SegmentRef, place: int, of: int) -> KeyedRows:
        """The rows of one segment, which must be what the record says."""
        name = f"{place} of {of} of {edition.ref} ({ref.digest[:12]})"
        segment = read_segment(self.fetch(ref.digest, f"segment {name}"), name=name)
        whose = (segment.meta.team, segment.meta.view, segment.meta.rows)
        if whose != (edition.team, edition.view, ref.rows) or segment.schema != edition.schema:
            found = f"{segment.meta.rows} rows of {segment.meta.team}/{segment.meta.view}, schema {segment.schema.number}"
            raise Corrupt(f"segment {name} is another one: {found}", fix="publish the view again", context={"digest": ref.digest})
        return KeyedRows(segment.key_bytes, segment.packed)

    def paced(self, edition: Edition) -> Progress:
        """Progress that makes the pauses: the store calls it when nothing of ours is under way."""
        pace = self.pace
        if pace is None:
            return self.progress

        def acknowledged(done: int, total: int) -> None:
            self.progress(done, total)
            now = time.monotonic()
            worked_s = now - self.began_at
            if done < total and worked_s >= pace.every_s:
                self.store.state(edition.team, edition.view)
                pause_s = pace.after(time.monotonic() - now, worked_s=worked_s)
                if pause_s:
                    time.sleep(pause_s)
                self.began_at = time.monotonic()

        return acknowledged

    def compare(self, edition: Edition, batch: Batch, *, newer: bool) -> list[Difference]:
        """Rows that do not stand as given."""
        assert isinstance(batch, KeyedRows)
        rows = batch.row_list()
        held = self.store.rows(edition, batch.key_list())
        return [] if held == rows else differences(rows, held, newer=newer)


def merged(rows: Gathered) -> MergedRows:
    """What `Gather` was answered with."""
    assert isinstance(rows, MergedRows)
    return rows


def differences(rows: Sequence[bytes], held: Sequence[bytes | None], *, newer: bool) -> list[Difference]:
    """Where `held` is not `rows`; with `newer`, a row of a newer event time may stand there."""
    found = []
    for place, (row, other) in enumerate(zip(rows, held, strict=True)):
        if other != row and not (newer and other is not None and other[TIME][::-1] > row[TIME][::-1]):
            found.append(Difference(place, other))
    return found
