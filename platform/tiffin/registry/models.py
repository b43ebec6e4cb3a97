"""Records and model versions in a bucket: written once by digest, named by a pointer."""

from __future__ import annotations

from collections.abc import Mapping

from tiffin.core.clock import Clock, wall_clock
from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Invalid
from tiffin.manifests.records import FileRef, ModelRecord
from tiffin.registry.exact import read_exact
from tiffin.registry.pickles import refuse_pickle
from tiffin.registry.pointers import current, move
from tiffin.registry.references import RECORD_TYPES, AnyRecord, check_path, home_of, kind_of, title_of
from tiffin.storage.fencing import Fence
from tiffin.storage.layout import RecordKind, blob_key, manifest_key
from tiffin.storage.objects import ObjectStore, put_blob

__all__ = ["current", "file_refs", "load_model", "load_record", "publish_record", "save_model", "save_record"]


def file_refs(files: Mapping[str, bytes]) -> tuple[FileRef, ...]:
    """What a record says about its files, in the order of their paths."""
    return tuple(FileRef(path=path, digest=digest_bytes(files[path]), size_bytes=len(files[path])) for path in sorted(files))


def save_record(store: ObjectStore, record: AnyRecord) -> str:
    """Write a record under its address; writing it twice is harmless. No pointer moves."""
    try:
        data = record.to_bytes()
    except ValueError as err:
        raise Invalid(
            f"{title_of(record)} cannot be written: {err}",
            fix="replace NaN and infinite numbers in metrics, params and gate evidence, or leave them out",
        ) from err
    digest = digest_bytes(data)
    store.put(manifest_key(kind_of(record), digest), data)
    return digest


def publish_record(
    dev: ObjectStore, record: AnyRecord, *, now: Clock = wall_clock, since: int | None = None, fence: Fence | None = None
) -> str:
    """Write a record and make dev's pointer of its team and name say so: what `tiffin promote` takes by default.

    Args:
        since, fence: see `tiffin.registry.pointers.move`; a lost race leaves the record there under its address.
    """
    digest = save_record(dev, record)
    move(dev, kind_of(record), *home_of(record), digest, now=now, since=since, fence=fence)
    return digest


def load_record(store: ObjectStore, kind: RecordKind, digest: str) -> AnyRecord:
    """Read a record by address, without asking for a signature (dev has none).

    Raises:
        NotFound, Corrupt.
    """
    key, fix = manifest_key(kind, digest), "check the digest, or materialise the asset that writes it again"
    data = read_exact(store, key, digest, name=f"{kind} manifest {digest}", where="this bucket", fix=fix)
    return RECORD_TYPES[kind].from_bytes(data, name=key)


def save_model(
    dev: ObjectStore,
    record: ModelRecord,
    files: Mapping[str, bytes],
    *,
    now: Clock = wall_clock,
    since: int | None = None,
    fence: Fence | None = None,
) -> str:
    """Write a model version: its files, its record, then the dev pointer of `team/name`.

    Args:
        files: by path, exactly those that `record.files` lists (`file_refs(files)`).
        since, fence: see `tiffin.registry.pointers.move`.

    Returns:
        The digest of the record.

    Raises:
        Invalid: files and record disagree. Denied: a file could be a pickle. Conflict: another version was saved after
            `since`.
    """
    of = title_of(record)
    listed = {file.path: file for file in record.files}
    for path in sorted(listed.keys() ^ files.keys()):
        where = "the record lists but was not given" if path in listed else "was given but the record does not list"
        raise Invalid(f"saving {of}: file {path!r} {where}", fix="build the record with files=file_refs(files)")
    for path, data in files.items():
        check_path(path, of=of)
        refuse_pickle(path, data, name=f"file {path!r} of {of}")
        if listed[path].digest != digest_bytes(data):
            raise Invalid(
                f"saving {of}: file {path!r} hashes to {digest_bytes(data)}, the record says {listed[path].digest}",
                fix="build the record with files=file_refs(files)",
            )
    for data in files.values():
        put_blob(dev, data)
    return publish_record(dev, record, now=now, since=since, fence=fence)


def load_model(store: ObjectStore, digest: str) -> tuple[ModelRecord, dict[str, bytes]]:
    """A model version and its files by path, every byte checked against the record."""
    record = load_record(store, "model", digest)
    if not isinstance(record, ModelRecord):
        raise Invalid(f"manifest {digest} is not a model's", fix="give the digest of a model manifest")
    of, fix = title_of(record), "train the model again, or restore the object"
    return record, {
        file.path: read_exact(store, blob_key(file.digest), file.digest, name=f"file {file.path!r} of {of}", where="this bucket", fix=fix)
        for file in record.files
    }
