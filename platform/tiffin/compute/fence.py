"""The fence of a step: attempts are numbered, and only the newest one may commit.

A cluster that preempts a step gives its place away as soon as the end is *requested*: the next attempt may start while the
last one still runs. So the number of a step's newest attempt stands in the object store, raised by a conditional write; each
attempt shows its own with every commit (`tiffin.storage.fencing`). It is compared twice: with the record, before a commit,
and with what the commit replaces, in the same atomic step. The first refuses an older attempt as soon as a newer one has
started; the second holds for one that was already past the first.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from tiffin.core.errors import Conflict, Invalid, NotFound
from tiffin.core.spec import Record
from tiffin.storage.fencing import overtaken
from tiffin.storage.layout import checkpoint_prefix, fence_key
from tiffin.storage.objects import ObjectStore

__all__ = ["Attempt", "FenceRecord", "raised", "resume", "take"]

MAX_RACES = 64


class FenceRecord(Record):
    """The newest attempt at a step, and who makes it."""

    format: Literal["tiffin.fence.v1"] = "tiffin.fence.v1"
    number: int = Field(ge=1)
    holder: str = Field(min_length=1, description="whoever asks again under this name is the same attempt, such as a pod's uid")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one step; a `tiffin.storage.fencing.Fence`.

    Args:
        store: holds the record; the dev bucket.
        step: `"<run>/<step>"`.
        number: from 1.
    """

    store: ObjectStore
    step: str
    number: int

    @property
    def checkpoint(self) -> str:
        """Key prefix for what the next attempt may go on from; the same for all attempts."""
        return checkpoint_prefix(self.step)

    def newest(self) -> int:
        """The number of the newest attempt that has started. Raises NotReady."""
        found = look(self.store, self.step)
        return self.number if found is None else max(self.number, found[0].number)

    def check(self, doing: str) -> None:
        """See `Fence.check`."""
        newest = self.newest()
        if newest > self.number:
            raise overtaken(doing, self, newest)


def raised(record: FenceRecord | None, holder: str) -> FenceRecord:
    """The record after `holder` has asked: one higher, unless it holds the newest number already."""
    if record is None:
        return FenceRecord(number=1, holder=holder)
    return record if record.holder == holder else FenceRecord(number=record.number + 1, holder=holder)


def take(store: ObjectStore, run: str, step: str, *, holder: str | None = None) -> Attempt:
    """Start an attempt: from now on every older one is refused.

    Args:
        step: the step's key in the run.
        holder: a name that no other attempt has, such as the pod's uid: whoever asks twice under it gets the same number.
            None makes one up.

    Raises:
        Conflict: others raised it in every one of many races. NotReady: the store does not answer.
    """
    named = f"{run}/{step}"
    key = fence_key(named)
    # equal bytes of two racers would let the loser of a retried write believe that it won
    who = secrets.token_hex(16) if holder is None else holder
    for _ in range(MAX_RACES):
        found = look(store, named)
        new = raised(None if found is None else found[0], who)
        if found is not None and new == found[0]:
            return Attempt(store, named, new.number)
        try:
            if found is None:
                store.put(key, new.to_bytes(), if_absent=True)
            else:
                store.put(key, new.to_bytes(), if_match=found[1])
        except Conflict:
            continue
        return Attempt(store, named, new.number)
    raise Conflict(
        f"starting an attempt at step {named!r}: others started theirs {MAX_RACES} times first",
        fix="find out who starts this step again and again: its Job's events and the janitor's log tell",
    )


def resume(store: ObjectStore, run: str, step: str, number: int) -> Attempt:
    """The attempt of a process that was told its number by whoever took it."""
    if number < 1:
        raise Invalid(f"attempt {number} at step '{run}/{step}' makes no sense", fix="attempts are counted from 1")
    named = f"{run}/{step}"
    fence_key(named)  # a name that could be no key is refused before any work is done
    return Attempt(store, named, number)


def look(store: ObjectStore, step: str) -> tuple[FenceRecord, str] | None:
    """The record and the tag under which it may be replaced; None before the first attempt."""
    key = fence_key(step)
    try:
        stored = store.get(key)
    except NotFound:
        return None
    return FenceRecord.from_bytes(stored.data, name=key), stored.etag
