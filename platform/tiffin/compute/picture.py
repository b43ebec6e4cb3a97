"""What the watches of some namespaces show, under one lock: who reads it never sees half of a change."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from tiffin.compute.cluster import Objects, Seen

__all__ = ["Picture"]

logger = logging.getLogger(__name__)

Stream = tuple[str, str]
"""(namespace, kind)"""

Owner = tuple[str, str]
"""(namespace, Job's name): what a change is told by."""


class Picture:
    """Objects by stream and uid, and which of them belong to which Job."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.count = 0
        self.items: dict[Stream, dict[str, Objects]] = {}
        self.versions: dict[Stream, int] = {}
        self.broken: set[Stream] = set()
        self.jobs: dict[Owner, Objects] = {}
        self.parts: dict[tuple[str, str], dict[str, Objects]] = {}
        """(Job's uid, kind) -> objects by uid"""
        self.deleted: deque[str] = deque(maxlen=10_000)
        self.callbacks: dict[int, Callable[[str, str], None]] = {}

    def see(self, namespace: str, name: str) -> Seen:
        """A Job's objects now."""
        with self.condition:
            fresh = not any(space == namespace for space, _ in self.broken)
            job = self.jobs.get((namespace, name))
            uid = "" if job is None else job["metadata"]["uid"]
            workloads, pods = (tuple(self.parts.get((uid, kind), {}).values()) for kind in ("Workload", "Pod"))
            return Seen(job, workloads, pods, fresh=fresh)

    def subscribe(self, callback: Callable[[str, str], None]) -> Callable[[], None]:
        """Be told of every change, in the thread that brings it."""
        with self.condition:
            key = max(self.callbacks, default=0) + 1
            self.callbacks = {**self.callbacks, key: callback}

        def stop() -> None:
            with self.condition:
                self.callbacks = {one: kept for one, kept in self.callbacks.items() if one != key}

        return stop

    def wait(self, after: int, timeout_s: float) -> int:
        """Until there were more than `after` changes, or the time is over."""
        with self.condition:
            self.condition.wait_for(lambda: self.count > after, timeout_s)
            return self.count

    def expect(self, job: Objects) -> None:
        """A Job that was just made: here before the watch brings it."""
        meta = job["metadata"]
        stream = (meta["namespace"], "Job")
        with self.condition:
            if meta["uid"] in self.deleted or meta["uid"] in self.items.get(stream, {}):
                return
            owner = self.store(stream, job)
        self.tell([owner])

    def put(self, stream: Stream, item: Objects) -> None:
        """A new or changed object."""
        with self.condition:
            owner = self.store(stream, item)
        self.tell([owner])

    def remove(self, stream: Stream, item: Objects) -> None:
        """An object that is gone."""
        with self.condition:
            self.deleted.append(item["metadata"]["uid"])
            owner = self.drop(stream, item)
        self.tell([owner])

    def replace(self, stream: Stream, items: Iterable[Objects], version: str) -> None:
        """All objects of a stream at one moment. Jobs made after that moment stay."""
        moment = number(version)
        new = {item["metadata"]["uid"]: item for item in items}
        with self.condition:
            owners = []
            for uid, item in list(self.items.get(stream, {}).items()):
                made_since = stream[1] == "Job" and number(item["metadata"].get("resourceVersion", "0")) > moment
                if uid not in new and not made_since:
                    owners.append(self.drop(stream, item))
            owners += [self.store(stream, item) for item in new.values()]
            self.broken.discard(stream)
        self.tell(owners)

    def stale(self, stream: Stream) -> None:
        """Its watch is broken: what is not here may exist."""
        with self.condition:
            self.broken.add(stream)

    def store(self, stream: Stream, item: Objects) -> Owner | None:
        uid = item["metadata"]["uid"]
        self.items.setdefault(stream, {})[uid] = item
        if stream[1] == "Job":
            owner = (stream[0], item["metadata"]["name"])
            self.jobs[owner] = item
            return owner
        owner_uid, name = owner_of(item)
        self.parts.setdefault((owner_uid, stream[1]), {})[uid] = item
        return (stream[0], name)

    def drop(self, stream: Stream, item: Objects) -> Owner | None:
        uid = item["metadata"]["uid"]
        self.items.get(stream, {}).pop(uid, None)
        if stream[1] == "Job":
            owner = (stream[0], item["metadata"]["name"])
            there = self.jobs.get(owner)
            # a namesake made since has taken the place
            if there is not None and there["metadata"]["uid"] == uid:
                del self.jobs[owner]
            return owner
        owner_uid, name = owner_of(item)
        mine = self.parts.get((owner_uid, stream[1]), {})
        mine.pop(uid, None)
        if not mine:
            self.parts.pop((owner_uid, stream[1]), None)
        return (stream[0], name)

    def tell(self, owners: Iterable[Owner | None]) -> None:
        with self.condition:
            self.count += 1
            self.condition.notify_all()
            callbacks = list(self.callbacks.values())
        for owner in dict.fromkeys(one for one in owners if one is not None):
            for callback in callbacks:
                try:
                    callback(*owner)
                except Exception:
                    # one listener's fault must not blind the others: the thread goes on
                    logger.exception("listener failed", extra={"job": "/".join(owner)})


def owner_of(item: Objects) -> tuple[str, str]:
    """Uid and name of the Job that an object belongs to; empty when there is none."""
    refs: list[Any] = item["metadata"].get("ownerReferences") or []
    owner = next((one for one in refs if one.get("controller") and one.get("kind") == "Job"), None)
    return (owner["uid"], owner["name"]) if owner else ("", "")


def number(version: str) -> int:
    """Versions of one API server are numbers that grow."""
    return int(version) if version.isdigit() else 0
