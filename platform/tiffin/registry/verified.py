"""Reading prod: signature, address, name and every byte checked before anybody uses them."""

from __future__ import annotations

from typing import Literal, overload

from tiffin.core.errors import Corrupt, Invalid, NotFound
from tiffin.manifests.records import DeploymentRecord, FileRef, GenerationRecord, ModelRecord, ViewRecord
from tiffin.manifests.signing import Verifier
from tiffin.registry.exact import read_exact
from tiffin.registry.pointers import current
from tiffin.registry.references import RECORD_TYPES, AnyRecord, check_path, home_of, title, title_of
from tiffin.storage.layout import RecordKind, blob_key, manifest_key, signature_key
from tiffin.storage.objects import ObjectStore

__all__ = ["fetch_blob", "fetch_current", "fetch_file", "fetch_record"]

WHERE = "the prod bucket"
MEND = "promote it again from the dev bucket; what is live stays live"


@overload
def fetch_record(store: ObjectStore, verifier: Verifier, kind: Literal["view"], digest: str, *, name: str) -> ViewRecord: ...
@overload
def fetch_record(store: ObjectStore, verifier: Verifier, kind: Literal["generation"], digest: str, *, name: str) -> GenerationRecord: ...
@overload
def fetch_record(store: ObjectStore, verifier: Verifier, kind: Literal["model"], digest: str, *, name: str) -> ModelRecord: ...
@overload
def fetch_record(store: ObjectStore, verifier: Verifier, kind: Literal["deployment"], digest: str, *, name: str) -> DeploymentRecord: ...
@overload
def fetch_record(store: ObjectStore, verifier: Verifier, kind: RecordKind, digest: str, *, name: str) -> AnyRecord: ...
def fetch_record(store: ObjectStore, verifier: Verifier, kind: RecordKind, digest: str, *, name: str) -> AnyRecord:
    """A manifest that the promoter signed, byte for byte.

    Args:
        name: what errors call it: `"deployment 'eta/eta'"`.

    Raises:
        NotFound: no such manifest. Corrupt: changed, unsigned, or signed by somebody else.
    """
    data = read_exact(store, manifest_key(kind, digest), digest, name=f"the manifest of {name}", where=WHERE, fix=MEND)
    try:
        signature = store.get(signature_key(kind, digest)).data
    except NotFound as err:
        raise Corrupt(f"the manifest of {name} is not signed: no object {signature_key(kind, digest)!r}", fix=MEND) from err
    verifier.check(kind, digest, signature, name=name)
    return RECORD_TYPES[kind].from_bytes(data, name=f"the manifest of {name}")


@overload
def fetch_current(store: ObjectStore, verifier: Verifier, kind: Literal["view"], team: str, name: str) -> tuple[str, ViewRecord]: ...
@overload
def fetch_current(
    store: ObjectStore, verifier: Verifier, kind: Literal["generation"], team: str, name: str
) -> tuple[str, GenerationRecord]: ...
@overload
def fetch_current(store: ObjectStore, verifier: Verifier, kind: Literal["model"], team: str, name: str) -> tuple[str, ModelRecord]: ...
@overload
def fetch_current(
    store: ObjectStore, verifier: Verifier, kind: Literal["deployment"], team: str, name: str
) -> tuple[str, DeploymentRecord]: ...
@overload
def fetch_current(store: ObjectStore, verifier: Verifier, kind: RecordKind, team: str, name: str) -> tuple[str, AnyRecord]: ...
def fetch_current(store: ObjectStore, verifier: Verifier, kind: RecordKind, team: str, name: str) -> tuple[str, AnyRecord]:
    """What the pointer names now, verified, and made for this very pointer.

    Raises:
        NotFound: never promoted, or the manifest is gone.
        Corrupt: pointer, manifest or signature changed, or the manifest belongs elsewhere.
    """
    of = title(kind, team, name)
    try:
        pointer = current(store, kind, team, name)
    except Invalid as err:
        raise Corrupt(f"the pointer of {of} is damaged: {err.message}", fix=MEND) from err
    if pointer is None:
        raise NotFound(f"{of} was never promoted to this bucket", fix="promote it, or check the team and the name")
    record = fetch_record(store, verifier, kind, pointer.manifest, name=of)
    if home_of(record) != (team, name):
        raise Corrupt(f"the pointer of {of} names the manifest of {title_of(record)}", fix=MEND, context={"manifest": pointer.manifest})
    return pointer.manifest, record


def fetch_blob(store: ObjectStore, digest: str, *, name: str) -> bytes:
    """Exact bytes of a blob. Raises NotFound or Corrupt, both naming `name`."""
    return read_exact(store, blob_key(digest), digest, name=name, where=WHERE, fix=MEND)


def fetch_file(store: ObjectStore, file: FileRef, *, of: str) -> bytes:
    """Exact bytes of a record's file; its path is safe to write below a folder.

    Args:
        of: what errors call the record: `"deployment 'eta/eta'"`.
    """
    check_path(file.path, of=of)
    return fetch_blob(store, file.digest, name=f"file {file.path!r} of {of}")
