"""Who is late, and because of whom: a late upstream is named once, to its owner, and not once per downstream."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

__all__ = ["Late", "Promise", "late_upstreams", "news"]


@dataclass(frozen=True, slots=True)
class Promise:
    """How complete something is, and how complete it was promised to be.

    Args:
        owner: who is told.
        upstream: references of what it is made from.
        complete_to: up to which event time it is complete; None: nothing of it exists yet.
        freshness: how old that may get; None: nothing was promised.
    """

    owner: str
    upstream: tuple[str, ...]
    complete_to: datetime | None
    freshness: timedelta | None = None

    def is_late(self, now: datetime) -> bool:
        """Whether a promise is broken."""
        return self.freshness is not None and (self.complete_to is None or now - self.complete_to > self.freshness)


@dataclass(frozen=True, slots=True)
class Late:
    """One cause.

    Args:
        complete_to: how far it got.
        affects: everything that broke its promise because of it, itself included when it made one.
    """

    ref: str
    owner: str
    complete_to: datetime | None
    affects: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str]:
        """The same lateness has the same key until it gets further."""
        return self.ref, "" if self.complete_to is None else self.complete_to.isoformat()


def late_upstreams(promises: Mapping[str, Promise], *, now: datetime) -> list[Late]:
    """The causes of all broken promises, by reference.

    Something late is a victim when an upstream of it got no further than itself: it has used all that there is. Otherwise
    it is the cause. What stands between is walked through, whether it made a promise or not.
    """
    causes: dict[str, set[str]] = {}
    for ref, promise in promises.items():
        if promise.is_late(now):
            for cause in causes_of(ref, promises, frozenset()):
                causes.setdefault(cause, set()).add(ref)
    return [Late(ref, promises[ref].owner, promises[ref].complete_to, tuple(sorted(causes[ref]))) for ref in sorted(causes)]


def causes_of(ref: str, promises: Mapping[str, Promise], seen: Set[str]) -> set[str]:
    """Whoever holds `ref` up: the ends of every path of things that got no further."""
    if ref in seen:
        return set()
    held_up = [up for up in promises[ref].upstream if up in promises and not further(promises[up], promises[ref])]
    found = {cause for up in held_up for cause in causes_of(up, promises, seen | {ref})}
    return found or {ref}


def further(one: Promise, other: Promise) -> bool:
    """Whether `one` holds event times that `other` could have used."""
    return one.complete_to is not None and (other.complete_to is None or one.complete_to > other.complete_to)


def news(found: list[Late], told: Set[tuple[str, str]]) -> tuple[list[Late], set[tuple[str, str]]]:
    """What nobody has been told yet, and what to remember: a cause is told again only after it got further and stopped again."""
    return [one for one in found if one.key not in told], {one.key for one in found}
