"""Reading one object by its digest: the very bytes, or an error that names what changed."""

from __future__ import annotations

from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Corrupt, NotFound
from tiffin.storage.objects import ObjectStore

__all__ = ["read_exact"]


def read_exact(store: ObjectStore, key: str, digest: str, *, name: str, where: str, fix: str) -> bytes:
    """The object under `key`, if it is what `digest` says.

    Args:
        name: what errors call it: `"file 'model.txt' of model 'eta/eta'"`.
        where: the bucket, for people: `"the dev bucket"`.
        fix: what to do when it is missing or changed.

    Raises:
        NotFound, Corrupt: naming it, and what was expected and found.
    """
    try:
        data = store.get(key).data
    except NotFound as err:
        raise NotFound(f"{name} is not in {where}: no object {key!r}", fix=fix) from err
    found = digest_bytes(data)
    if found != digest:
        raise Corrupt(
            f"{name} has changed in {where}: expected sha256 {digest}, found {found}",
            fix=fix,
            context={"name": name, "key": key, "expected": digest, "found": found},
        )
    return data
