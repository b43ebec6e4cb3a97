"""The agent's local copies of what it verified: content-addressed, so it serves with the object store down."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Corrupt, Denied, NotFound
from tiffin.manifests.signing import Verifier
from tiffin.storage.objects import ObjectStore, Stored

__all__ = ["CachedStore"]


class CachedStore:
    """Reads immutable objects from a local store first, pointers always from the remote one.

    Only bytes that are what their name says are kept or given from here: a damaged local copy is fetched
    again, and a damaged remote object is handed on unkept, so that whoever verifies it can say its name.
    """

    def __init__(self, remote: ObjectStore, local: ObjectStore, verifier: Verifier) -> None:
        self.remote = remote
        self.local = local
        self.verifier = verifier

    def get(self, key: str) -> Stored:
        """See `ObjectStore.get`."""
        if not key.startswith(("blobs/", "manifests/")):
            return self.remote.get(key)
        try:
            kept = self.local.get(key)
        except NotFound:
            kept = None
        if kept is not None and self.sound(key, kept.data):
            return kept
        fresh = self.remote.get(key)
        if self.sound(key, fresh.data):
            self.local.put(key, fresh.data)
        return fresh

    def sound(self, key: str, data: bytes) -> bool:
        """Whether an immutable object is what its key says."""
        path = PurePosixPath(key)
        if path.suffix != ".sig":
            return digest_bytes(data) == path.name.removesuffix(".json")
        try:
            self.verifier.check(path.parent.name, path.stem, data, name=key)
        except Corrupt:
            return False
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """See `ObjectStore.list`: of the remote store."""
        return self.remote.list(prefix)

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """The agent writes nothing."""
        raise Denied(f"the serving agent only reads, and was asked to write {key!r}", fix="write with the promoter's identity")

    def delete(self, key: str) -> None:
        """The agent writes nothing."""
        raise Denied(f"the serving agent only reads, and was asked to delete {key!r}", fix="delete with the promoter's identity")
