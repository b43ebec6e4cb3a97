"""An object store in memory that honours conditions, and wrappers that fail on purpose."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Conflict, NotFound, NotReady
from tiffin.storage.objects import ObjectStore, Stored


@dataclass
class MemoryStore:
    """A bucket in a dictionary."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        held = self.objects.get(key)
        if if_absent and held is not None:
            raise Conflict(f"{key!r} exists", fix="read it")
        if if_match is not None and (held is None or digest_bytes(held) != if_match):
            raise Conflict(f"{key!r} changed", fix="read it again")
        self.objects[key] = bytes(data)
        return digest_bytes(data)

    def get(self, key: str) -> Stored:
        if key not in self.objects:
            raise NotFound(f"no object {key!r}", fix="write it")
        return Stored(self.objects[key], digest_bytes(self.objects[key]))

    def list(self, prefix: str) -> Iterator[str]:
        return iter(sorted(key for key in self.objects if key.startswith(prefix)))

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)


@dataclass
class WatchedStore:
    """Passes everything on to `inner`, after `before(operation, key)` had its say."""

    inner: ObjectStore
    before: Callable[[str, str], None]
    after: Callable[[str, str], None] = lambda operation, key: None

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        self.before("put", key)
        etag = self.inner.put(key, data, if_absent=if_absent, if_match=if_match)
        self.after("put", key)
        return etag

    def get(self, key: str) -> Stored:
        self.before("get", key)
        found = self.inner.get(key)
        self.after("get", key)
        return found

    def list(self, prefix: str) -> Iterator[str]:
        self.before("list", prefix)
        return self.inner.list(prefix)

    def delete(self, key: str) -> None:
        self.before("delete", key)
        self.inner.delete(key)
        self.after("delete", key)


class Killed(BaseException):
    """The process died here: nothing in the library may catch it."""


@dataclass
class DiesAt:
    """Counts operations and kills the process at the `n`-th, before or after it took effect."""

    n: int
    seen: int = 0

    def __call__(self, operation: str, key: str) -> None:
        self.seen += 1
        if self.seen == self.n:
            raise Killed(f"{operation} {key}")


@dataclass
class Outage:
    """Refuses to answer while `down`."""

    down: bool = True

    def __call__(self, operation: str, key: str) -> None:
        if self.down:
            raise NotReady("the object store does not answer", fix="wait")
