"""What a publisher decides, as plans (see `plan_steps`): the order of its steps given what it finds.

For a generation and for a delta alike: segments and manifest to the dev bucket → promote (the durable pointer now names
it) → load → validate → flip → watermark → collect. Every plan looks at what stands and does what is missing, so
that it is its own retry.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiffin.core.errors import Conflict, Corrupt, NotFound
from tiffin.manifests.records import GenerationRecord
from tiffin.online.editions import Edition, LiveState
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
    Plan,
    Promote,
    State,
)

__all__ = ["Brought", "Done", "bringing", "forgetting", "publishing", "refilling", "restoring", "rolling_back"]

RESTORE = "restore"
"""Stands where a delta's content would: a generation so marked is neither published into nor rolled back to."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What is live now, whether its rows are others than before, and how many were written."""

    state: LiveState
    changed: bool
    written: int


@dataclass(frozen=True, slots=True)
class Done:
    """A whole publication."""

    brought: Brought
    collected: int


def publishing(record: GenerationRecord, target: Edition) -> Plan[Done]:
    """Durable first, then the server. `target` is `Edition.of(record)`."""
    live: LiveState | None = yield State(target.team, target.view)
    if live is None or live.current.applying or live.current.manifest != target.manifest:
        yield Durable()
        yield At("before-promote")
        yield Promote(target.manifest)
        yield At("after-promote")
    brought = yield from bringing(record, target, live)
    yield At("before-collect")
    collected: int = yield Collect(target.team, target.view)
    yield At("after-collect")
    return Done(brought, collected)


def refilling(record: GenerationRecord, target: Edition) -> Plan[Brought]:
    """The server only: what is durable already is brought to it."""
    live: LiveState | None = yield State(target.team, target.view)
    brought = yield from bringing(record, target, live)
    yield Collect(target.team, target.view)
    return brought


def bringing(record: GenerationRecord, target: Edition, live: LiveState | None) -> Plan[Brought]:
    """Make the server serve `record`, whatever stands there.

    Args:
        live: the server's state when the publication began: if it moved since, Conflict.

    Raises:
        Conflict: another publisher was faster.
        Corrupt: the server does not give back what was written.
    """
    if live is not None and not live.current.applying and live.current.content == target.content:
        return (yield from renewing(target.standing_as(live.current), live))
    if live is not None and target.extends(live.current) and live.current.applying in ("", target.content):
        return (yield from extending(record, target.standing_as(live.current), live))
    before = None if live is None else live.previous
    if before is not None and not before.applying and before.content == target.content:
        return Brought((yield from going_live(target.standing_as(before), live)), True, 0)
    rows: Gathered = yield Gather(target, (record.base, *record.deltas))
    edition: Edition = yield Claim(target)
    yield Load(edition, rows)
    yield At("before-validate")
    yield from counting(edition, rows)
    yield from validating(edition, rows, newer=False)
    yield At("after-validate")
    return Brought((yield from going_live(edition, live)), True, rows.rows)


def renewing(edition: Edition, live: LiveState) -> Plan[Brought]:
    """Equal rows: at most the manifest and the watermark move."""
    if edition == live.current:
        return Brought(live, False, 0)
    return Brought((yield from going_live(edition, live)), False, 0)


def extending(record: GenerationRecord, edition: Edition, live: LiveState) -> Plan[Brought]:
    """Write the deltas that the live generation lacks; it is marked first, so that a half-written one is known as such."""
    rows: Gathered = yield Gather(edition, record.deltas[len(live.current.deltas) :])
    marked: LiveState = yield Flip(live.current.with_applying(edition.content), expected=live)
    written: int = yield Apply(edition, rows, marked)
    yield At("before-validate")
    yield from validating(edition, rows, newer=True)
    yield At("after-validate")
    return Brought((yield from going_live(edition, marked)), True, written)


def going_live(edition: Edition, live: LiveState | None) -> Plan[LiveState]:
    """Flip, then move the watermark: what it promises is already being served."""
    reached = edition.watermark_us if live is None else min(live.current.watermark_us, edition.watermark_us)
    yield At("before-flip")
    state: LiveState = yield Flip(edition.with_watermark(reached), expected=live)
    yield At("after-flip")
    yield At("before-watermark")
    if reached != edition.watermark_us:
        state = yield Flip(edition, expected=state)
    yield At("after-watermark")
    return state


def counting(edition: Edition, rows: Gathered) -> Plan[None]:
    """As many rows were acknowledged as there are."""
    acknowledged: int = yield Count(edition)
    if acknowledged != rows.rows:
        yield Discard(edition)
        why = "the others are gone" if acknowledged < rows.rows else "an earlier attempt used batches of another size"
        raise Conflict(
            f"view {edition.ref}: the online store acknowledges {acknowledged} of {rows.rows} rows: {why}",
            fix="publish again: it starts afresh; if it happens twice, who else writes there?",
        )


def validating(edition: Edition, rows: Gathered, *, newer: bool) -> Plan[None]:
    """Read rows back and compare them byte for byte.

    What is lost or altered under a token not yet live is discarded with it, so that the next attempt writes all of it.
    """
    for batch in rows.sample():
        found: list[Difference] = yield Compare(edition, batch, newer)
        if found:
            if not newer:
                yield Discard(edition)
            raise differing(edition, batch, found[0])


def differing(edition: Edition, batch: Batch, difference: Difference) -> Conflict | Corrupt:
    """The error for a row that is not there as written."""
    key, expected = batch.describe(difference)
    message = f"view {edition.ref}: the online store does not hold key {key} as it was written"
    if difference.held is None:
        return Conflict(f"{message}: it is gone", fix="publish again; if it happens twice, is the server set to evict?")
    return Corrupt(f"{message}: {difference.held[:16]!r} instead of {expected}", fix="find who else writes there, then publish again")


def rolling_back(team: str, view: str) -> Plan[LiveState]:
    """Serve the previous generation again; its rows are still there, so only one word moves.

    Raises:
        NotFound: there is no previous generation.
        Conflict: the previous one holds part of an unfinished delta, or something else went live meanwhile.
    """
    live: LiveState | None = yield State(team, view)
    if live is None or live.previous is None:
        raise NotFound(f"view {team}/{view} has no previous generation in the online store", fix="publish the edition you want")
    if live.previous.applying:
        raise Conflict(f"view {team}/{view}: a delta of its previous generation was never finished", fix="publish the edition you want")
    state: LiveState = yield Flip(live.previous, expected=live)
    return state


def restoring(record: GenerationRecord, target: Edition) -> Plan[Done]:
    """Make the server serve `record` from its segments, also when it claims to serve it already and its rows were damaged.

    A live generation is never written over: it is marked as not whole, which no reader minds, and the record is loaded
    beside it.
    """
    live: LiveState | None = yield State(target.team, target.view)
    if live is not None and live.current.content == target.content:
        live = yield Flip(live.current.with_applying(RESTORE), expected=live)
    yield Durable()
    yield Promote(target.manifest)
    brought = yield from bringing(record, target, live)
    return Done(brought, (yield Collect(target.team, target.view)))


def forgetting(team: str, view: str) -> Plan[int]:
    """Give the previous generation up, and remove its rows; returns how many rows of dead generations went."""
    live: LiveState | None = yield State(team, view)
    if live is not None and live.previous is not None:
        yield Flip(live.current, expected=live, forget=True)
    collected: int = yield Collect(team, view)
    return collected
