"""The object store contract: immutable blobs by digest, pointers by conditional write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Corrupt
from tiffin.storage.layout import blob_key

__all__ = ["ObjectStore", "Stored", "get_blob", "put_blob"]


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes and the tag under which they may be replaced."""

    data: bytes
    etag: str


class ObjectStore(Protocol):
    """A bucket, with one identity. Implementations: `S3Store`, `FolderStore`.

    Raises (all methods):
        Denied: this identity may not. NotReady: the store does not answer (retryable).
    """

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Write, and return the new etag.

        Raises:
            Conflict: `if_absent` and the key exists, or `if_match` is not its etag.
        """
        ...

    def get(self, key: str) -> Stored:
        """Read a whole object. Raises NotFound."""
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Keys under `prefix`, sorted."""
        ...

    def delete(self, key: str) -> None:
        """Remove a key; a missing key is no error."""
        ...


def put_blob(store: ObjectStore, data: bytes) -> str:
    """Store bytes under their digest; writing the same bytes twice is harmless."""
    digest = digest_bytes(data)
    store.put(blob_key(digest), data)
    return digest


def get_blob(store: ObjectStore, digest: str, *, name: str) -> bytes:
    """Read a blob and check that it is what its name says.

    Raises:
        Corrupt: the bytes changed; `name` says which file of which thing it was.
    """
    data = store.get(blob_key(digest)).data
    found = digest_bytes(data)
    if found != digest:
        raise Corrupt(
            f"{name} has changed: expected sha256 {digest}, found {found}",
            fix=f"promote it again, or restore {blob_key(digest)!r} from the dev bucket",
            context={"name": name, "expected": digest, "found": found},
        )
    return data
