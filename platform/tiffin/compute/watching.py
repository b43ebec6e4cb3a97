"""One live picture of Jobs, Workloads and pods: a list and a watch per namespace and kind, shared by every step.

No step asks the API server anything. A watch that the server ends goes on where it was; one that breaks (a restart, a
silent connection, events too old) is begun again with a whole list, and until then the picture says that it is not
*fresh*: nobody may conclude from it that something is missing or late.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import urllib3

from tiffin.compute.cluster import Objects, Seen
from tiffin.compute.kubernetes_api import Api, Expired
from tiffin.compute.picture import Picture
from tiffin.core.errors import PlatformError

__all__ = ["Watching"]

logger = logging.getLogger(__name__)

Stream = tuple[str, str]
"""(namespace, kind)"""

WATCH_S = 300  # then the server ends a watch by itself
SILENT_S = 150.0  # bookmarks come every minute: a connection without one is dead
LASTED_S, LONGEST_S = 1.0, 2.0


class Watching:
    """Implements `Watched`. The first lists are made while this is built, so that a missing right is told at once."""

    def __init__(self, api: Api, paths: Mapping[Stream, str], selector: str, *, silent_s: float = SILENT_S) -> None:
        self.api = api
        self.silent_s = silent_s
        self.paths = dict(paths)
        self.selector = selector
        self.picture = Picture()
        self.stopping = threading.Event()
        self.open: dict[Stream, urllib3.HTTPResponse] = {}
        self.lock = threading.Lock()
        begun = {stream: self.relist(stream) for stream in self.paths}
        self.threads = [
            threading.Thread(target=self.follow, args=(stream, version), name=f"watch {'/'.join(stream)}", daemon=True)
            for stream, version in begun.items()
        ]
        for thread in self.threads:
            thread.start()

    def see(self, namespace: str, name: str) -> Seen:
        return self.picture.see(namespace, name)

    def subscribe(self, callback: Callable[[str, str], None]) -> Callable[[], None]:
        return self.picture.subscribe(callback)

    def wait(self, after: int, timeout_s: float) -> int:
        return self.picture.wait(after, timeout_s)

    def expect(self, job: Objects) -> None:
        self.picture.expect(job)

    def close(self) -> None:
        self.stopping.set()
        with self.lock:
            for response in self.open.values():
                # between two requests there is nothing to interrupt
                with contextlib.suppress(ValueError, RuntimeError, OSError):
                    response.shutdown()
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.join(timeout=5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def relist(self, stream: Stream, *, patience_s: float | None = None) -> str:
        """The whole of one kind, at one moment; returns that moment's version."""
        items: list[Objects] = []
        version = ""
        for page in self.api.pages(self.paths[stream], query=[("labelSelector", self.selector)], patience_s=patience_s):
            items += page["items"]
            version = page["metadata"]["resourceVersion"]
        self.picture.replace(stream, items, version)
        return version

    def follow(self, stream: Stream, version: str) -> None:
        """One thread's life: watch, go on, begin again."""
        hurried = 0
        while not self.stopping.is_set():
            began = self.api.monotonic()
            try:
                # patience is this loop's: it must end when it is told to, and be back soon after the server is
                version = version or self.relist(stream, patience_s=0)
                version = self.watch(stream, version)
            except (PlatformError, urllib3.exceptions.HTTPError, ValueError, OSError) as err:
                self.picture.stale(stream)
                version = ""
                logger.info("watch broken", extra={"stream": "/".join(stream), "error": str(err)[:200]})
            hurried = hurried + 1 if self.api.monotonic() - began < LASTED_S else 0
            if hurried > 1:  # what ends at once is not asked for in a circle
                self.stopping.wait(min(LONGEST_S, self.api.pause(hurried, None)))

    def watch(self, stream: Stream, version: str) -> str:
        """One watch, until the server ends it; returns where to go on. Raises when it breaks."""
        query = [
            *[("watch", "1"), ("labelSelector", self.selector), ("resourceVersion", version)],
            *[("allowWatchBookmarks", "true"), ("timeoutSeconds", str(WATCH_S))],
        ]
        response = self.api.once("GET", self.paths[stream], query, None, "application/json", read_s=self.silent_s)
        with self.lock:
            # closed since it was asked for: nobody else would interrupt it
            if self.stopping.is_set():
                response.close()
                return version
            self.open[stream] = response
        try:
            for event in lines(response):
                if self.stopping.is_set():
                    return version
                version = self.take(stream, event)
        finally:
            with self.lock:
                self.open.pop(stream, None)
            response.close()
        return version

    def take(self, stream: Stream, event: Mapping[str, Any]) -> str:
        """One event into the picture; returns its version."""
        item, kind = event["object"], event["type"]
        if kind == "ERROR":
            message = f"watching {'/'.join(stream)}: {item.get('message', '')}"
            raise Expired(message, fix="list again")
        version: str = item["metadata"]["resourceVersion"]
        if kind == "DELETED":
            self.picture.remove(stream, item)
        elif kind != "BOOKMARK":
            self.picture.put(stream, item)
        return version


def lines(response: urllib3.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The events of a watch. A line cut short by a dying server is no event."""
    rest = b""
    for chunk in response.stream(65_536, decode_content=False):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield json.loads(line)
