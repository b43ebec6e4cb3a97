"""Pointers: the only things that move, each by a conditional write."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from tiffin.core.clock import Clock
from tiffin.core.errors import Conflict, Denied, Invalid, NotFound
from tiffin.core.units import to_us
from tiffin.manifests.records import Pointer
from tiffin.registry.references import title
from tiffin.storage.fencing import Fence, refuse_older
from tiffin.storage.layout import RecordKind, pointer_key
from tiffin.storage.objects import ObjectStore

__all__ = ["MAX_PREVIOUS", "advance", "current", "move", "step_back"]

logger = logging.getLogger(__name__)

MAX_PREVIOUS = 20
MAX_RACES = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """A pointer and the tag under which it may be replaced."""

    pointer: Pointer
    etag: str


def advance(pointer: Pointer | None, digest: str, *, at_us: int) -> Pointer:
    """The pointer after promoting `digest`; the manifest it leaves is where a rollback goes."""
    if pointer is None:
        return Pointer(manifest=digest, sequence=1, moved_at_us=at_us)
    return Pointer(
        manifest=digest,
        previous=(pointer.manifest, *pointer.previous)[:MAX_PREVIOUS],
        abandoned=tuple(old for old in pointer.abandoned if old != digest),
        sequence=pointer.sequence + 1,
        moved_at_us=at_us,
    )


def supersede(pointer: Pointer, digest: str, *, at_us: int) -> Pointer:
    """The pointer after a newer attempt takes the place of an older one of the same step: a run leaves one edition behind."""
    restores = pointer.previous[:1] == (digest,)
    return Pointer(
        manifest=digest,
        previous=pointer.previous[1:] if restores else pointer.previous,
        kept=restores,
        abandoned=tuple(old for old in pointer.abandoned if old != digest),
        sequence=pointer.sequence + 1,
        moved_at_us=at_us,
    )


def step_back(pointer: Pointer, steps: int, *, of: str, at_us: int) -> Pointer:
    """The pointer after rolling back; what it leaves is remembered and not gone back to.

    Raises:
        Invalid: fewer than one step. NotFound: no manifest that far back.
    """
    if steps < 1:
        raise Invalid(f"rolling back {of} by {steps} steps makes no sense", fix="give a whole number of steps, 1 or more")
    if steps > len(pointer.previous):
        raise NotFound(
            f"{of} has {len(pointer.previous)} earlier editions to roll back to, {steps} steps were asked",
            fix=f"roll back at most {len(pointer.previous)} steps" if pointer.previous else "promote another edition instead",
        )
    left = (*reversed(pointer.previous[: steps - 1]), pointer.manifest)
    return Pointer(
        manifest=pointer.previous[steps - 1],
        previous=pointer.previous[steps:],
        abandoned=(*left, *(old for old in pointer.abandoned if old not in left))[:MAX_PREVIOUS],
        sequence=pointer.sequence + 1,
        moved_at_us=at_us,
    )


def look(store: ObjectStore, kind: RecordKind, team: str, name: str) -> Seen | None:
    """The pointer with its tag, or None."""
    key = pointer_key(kind, team, name)
    try:
        stored = store.get(key)
    except NotFound:
        return None
    return Seen(Pointer.from_bytes(stored.data, name=key), stored.etag)


def current(store: ObjectStore, kind: RecordKind, team: str, name: str) -> Pointer | None:
    """What a pointer says now, or None when nothing was ever published under it."""
    seen = look(store, kind, team, name)
    return None if seen is None else seen.pointer


def replace(store: ObjectStore, kind: RecordKind, team: str, name: str, seen: Seen | None, new: Pointer) -> None:
    """Write `new` if the pointer is still as it was seen. Raises Conflict."""
    key = pointer_key(kind, team, name)
    if seen is None:
        store.put(key, new.to_bytes(), if_absent=True)
    else:
        store.put(key, new.to_bytes(), if_match=seen.etag)


def move(
    store: ObjectStore,
    kind: RecordKind,
    team: str,
    name: str,
    digest: str,
    *,
    now: Clock,
    asked_at_us: int | None = None,
    since: int | None = None,
    after: str | None = None,
    fence: Fence | None = None,
) -> tuple[Pointer, bool]:
    """Make the pointer name `digest`, whoever else moves it meanwhile.

    Args:
        asked_at_us: when the move was wished; a rollback away from `digest` after that wins.
        since: the pointer's sequence when the mover began, 0 before it existed; a pointer that others moved since is
            left to them. None takes it from whoever.
        after: the manifest that `digest` builds upon; a pointer that names another one by now is left as it is.
        fence: the mover's try at its step, kept in the pointer. What an older attempt at the same step put there is no
            move of somebody else: the newer one takes its place. A try after the first writes the pointer even where it
            names `digest` already, so that an older one's late write no longer fits.

    Returns:
        The pointer, and whether this call moved it: naming the current manifest again is no move.

    Raises:
        Denied: rolled back since it was asked. Conflict: others won every one of many races, or moved it after `since`;
            `context["manifest"]` is then theirs. Or a newer attempt at the fence's step has started.
    """
    doing = f"moving the pointer of {title(kind, team, name)}"
    for _ in range(MAX_RACES):
        seen = look(store, kind, team, name)
        stands = None if seen is None or fence is None or seen.pointer.fence != fence.step else seen.pointer.attempt
        if fence is not None:
            # after the look: a newer attempt that starts from here on moves the pointer away from what was seen
            fence.check(doing)
            refuse_older(doing, fence, stands)
        if seen is not None and seen.pointer.manifest == digest:
            if fence is None or fence.number in (1, stands):
                return seen.pointer, False
            new = fenced(seen.pointer.model_copy(update={"kept": seen.pointer.kept or stands is None}), fence)
            if written(store, kind, team, name, seen, new):
                return new, False
            continue
        overtakes = fence is not None and stands is not None and stands < fence.number
        moved = since is not None and since != (0 if seen is None else seen.pointer.sequence)
        if not overtakes and (moved or (after is not None and after != (None if seen is None else seen.pointer.manifest))):
            raise Conflict(
                f"{doing}: somebody else moved it meanwhile",
                fix="see which edition is wanted, then repeat the step",
                context={"manifest": "" if seen is None else seen.pointer.manifest},
            )
        if (
            seen is not None
            and asked_at_us is not None
            and digest in seen.pointer.abandoned
            and asked_at_us < (seen.pointer.moved_at_us or 0)
        ):
            raise Denied(
                f"{title(kind, team, name)} was rolled back from manifest {digest} after its promotion was asked",
                fix="if it should be live after all, ask for it again",
            )
        at_us = to_us(now())
        if seen is not None and overtakes and not seen.pointer.kept:
            new = supersede(seen.pointer, digest, at_us=at_us)
        else:
            new = advance(None if seen is None else seen.pointer, digest, at_us=at_us)
        new = new if fence is None else fenced(new, fence)
        if written(store, kind, team, name, seen, new):
            return new, True
    raise Conflict(f"{doing}: others moved it {MAX_RACES} times first", fix="find out who else publishes it, then try again")


def fenced(pointer: Pointer, fence: Fence) -> Pointer:
    """The same pointer, showing who put it there, or wanted it there and found it."""
    return pointer.model_copy(update={"fence": fence.step, "attempt": fence.number})


def written(store: ObjectStore, kind: RecordKind, team: str, name: str, seen: Seen | None, new: Pointer) -> bool:
    """Whether `new` was written; False when the pointer moved meanwhile."""
    try:
        replace(store, kind, team, name, seen, new)
    except Conflict:
        logger.info("pointer moved meanwhile, reading it again", extra={"kind": kind, "team": team, "record": name})
        return False
    return True


def move_back(
    store: ObjectStore, kind: RecordKind, team: str, name: str, steps: int, *, now: Clock, check: Callable[[str], None]
) -> Pointer:
    """Roll the pointer back from what it says now; `check` may refuse the manifest it would name.

    Raises:
        NotFound: no pointer, or not that many earlier editions. Conflict: it moved meanwhile, so
        "one back" means something else now.
    """
    of = title(kind, team, name)
    seen = look(store, kind, team, name)
    if seen is None:
        raise NotFound(f"{of} was never promoted", fix="check the team and the name; `tiffin status` lists what is live")
    new = step_back(seen.pointer, steps, of=of, at_us=to_us(now()))
    check(new.manifest)
    try:
        replace(store, kind, team, name, seen, new)
    except Conflict as err:
        raise Conflict(f"rolling back {of}: its pointer moved meanwhile", fix="look at what is live now, then roll back again") from err
    return new
