"""Promotion: exact objects from dev to prod, verified, signed; then, last, the pointer.

Every write before the pointer adds an immutable object that nothing names yet, so that a crash
anywhere leaves the old edition whole and a retry has less to do.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tiffin.core.clock import Clock, wall_clock
from tiffin.core.digests import digest_bytes
from tiffin.core.errors import Corrupt, Denied, Invalid, NotFound
from tiffin.manifests.records import DeploymentRecord, ModelRecord, Pointer
from tiffin.manifests.signing import Signer
from tiffin.registry.exact import read_exact
from tiffin.registry.pickles import refuse_pickle
from tiffin.registry.pointers import move, move_back
from tiffin.registry.references import RECORD_TYPES, AnyRecord, Reference, check_kind, home_of, kind_of, references, title, title_of
from tiffin.storage.fencing import Fence
from tiffin.storage.layout import RecordKind, blob_key, manifest_key, pointer_key, signature_key
from tiffin.storage.objects import ObjectStore

__all__ = ["Promotion", "promote", "rollback"]

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a `promote` did.

    Args:
        pointer: as it now stands in prod.
        changed: False when the manifest was the current one already.
        copied: objects written to prod, signatures included; objects that were there whole are not.
        copied_bytes: their size.
    """

    kind: RecordKind
    team: str
    name: str
    digest: str
    pointer: Pointer
    changed: bool
    copied: int
    copied_bytes: int


@dataclass(frozen=True, slots=True)
class Planned:
    """A manifest to promote: read, verified, judged, not yet written."""

    kind: RecordKind
    digest: str
    record: AnyRecord
    data: bytes


@dataclass(slots=True)
class Copier:
    """Reads exact objects and brings them to prod, counting what it writes.

    `whole` says of each key that was read whether prod held it undamaged then.
    """

    dev: ObjectStore
    prod: ObjectStore
    copied: int = 0
    copied_bytes: int = 0
    whole: dict[str, bool] = field(default_factory=dict)

    def exact(self, key: str, digest: str, *, name: str) -> bytes:
        """The bytes of `digest`: from prod when they are whole there, else from dev.

        Raises:
            NotFound: in neither bucket. Corrupt: dev holds other bytes than the digest says.
        """
        in_prod = self.in_prod(key)
        self.whole[key] = in_prod is not None and digest_bytes(in_prod) == digest
        if in_prod is not None and self.whole[key]:
            return in_prod
        fix = "materialise the asset that writes it again; only exact bytes are promoted"
        return read_exact(self.dev, key, digest, name=name, where="the dev bucket", fix=fix)

    def in_prod(self, key: str) -> bytes | None:
        """What prod holds under `key` now."""
        try:
            return self.prod.get(key).data
        except NotFound:
            return None

    def place(self, key: str, data: bytes) -> None:
        """Make prod hold exactly `data`: nothing is written when it does; damage is mended."""
        known = self.whole.get(key)
        if known or (known is None and self.in_prod(key) == data):
            return
        self.prod.put(key, data)
        self.copied += 1
        self.copied_bytes += len(data)


def promote(
    kind: RecordKind,
    digest: str,
    *,
    dev: ObjectStore,
    prod: ObjectStore,
    signer: Signer,
    now: Clock = wall_clock,
    home: tuple[str, str] | None = None,
    asked_at_us: int | None = None,
    after: str | None = None,
    fence: Fence | None = None,
    progress: Progress = lambda done, total: None,
) -> Promotion:
    """Make one exact manifest, with all it names, the current one in prod.

    The pointer that moves is the record's own: a manifest cannot be promoted under another name.
    Doing it again moves nothing, but mends objects that were damaged in prod.

    Args:
        dev: only read.
        home: `(team, name)` that the caller means; a manifest of another is refused and not promoted.
        asked_at_us: when somebody wished it; a rollback of the same manifest after that stands.
        after: the manifest that this one builds upon, as a delta does: it must be the current one still.
        fence: of the step that asks; see `tiffin.registry.pointers.move`.
        progress: called with objects done and objects in all.

    Raises:
        Conflict: something else than `after` is current by now, or a newer attempt at the step has started.
        NotFound: the manifest, or something it names, is not in dev.
        Corrupt: some bytes are not what their digest says; the error names the file.
        Denied: a gate of the model did not pass, a file could be a pickle, or it was rolled back
            after it was asked for.
        Invalid: the record breaks a rule.
    """
    copier = Copier(dev, prod)
    plan = gather(copier, check_kind(kind), digest)
    if home not in (None, home_of(plan[0].record)):
        raise Invalid(
            f"manifest {digest} is that of {title_of(plan[0].record)}, not of {title(kind, *home)}",
            fix="check the digest: it was printed when the asset was materialised",
        )
    blobs: dict[str, list[Reference]] = {}
    for planned in plan:
        for reference in references(planned.record):
            if reference.kind == "blob":
                blobs.setdefault(reference.digest, []).append(reference)

    total = len(blobs) + len(plan)
    for done, (address, names) in enumerate(blobs.items(), start=1):
        data = copier.exact(blob_key(address), address, name=names[0].name)
        for reference in names:
            check_blob(reference, data)
        copier.place(blob_key(address), data)
        progress(done, total)
    # what a record names is there before the record, and a record before its signature
    for done, planned in enumerate(reversed(plan), start=len(blobs) + 1):
        copier.place(manifest_key(planned.kind, planned.digest), planned.data)
        copier.place(signature_key(planned.kind, planned.digest), signer.sign(planned.kind, planned.digest))
        progress(done, total)

    team, name = home_of(plan[0].record)
    pointer, changed = move(prod, kind, team, name, digest, now=now, asked_at_us=asked_at_us, after=after, fence=fence)
    if changed:
        logger.info("promoted", extra={"kind": kind, "team": team, "record": name, "manifest": digest, "copied": copier.copied})
    return Promotion(kind, team, name, digest, pointer, changed, copier.copied, copier.copied_bytes)


def gather(copier: Copier, kind: RecordKind, digest: str) -> list[Planned]:
    """The record and every record below it, the asked one first; nothing is written before all are judged."""
    plan: list[Planned] = []
    waiting: list[tuple[Reference, AnyRecord | None]] = [(Reference(kind, digest, f"{kind} manifest {digest!r}"), None)]
    while waiting:
        reference, parent = waiting.pop(0)
        check_digest(reference)
        if reference.kind == "blob" or any(planned.digest == reference.digest for planned in plan):
            continue
        data = copier.exact(manifest_key(reference.kind, reference.digest), reference.digest, name=reference.name)
        record = RECORD_TYPES[reference.kind].from_bytes(data, name=reference.name)
        judge(record, parent)
        plan.append(Planned(reference.kind, reference.digest, record, data))
        waiting += [(below, record) for below in references(record)]
    return plan


def check_digest(reference: Reference) -> None:
    """A digest is part of a key: it must not be able to name another place."""
    if not DIGEST.fullmatch(reference.digest):
        raise Invalid(
            f"{reference.name}: {reference.digest!r} is not a sha256 digest", fix="give the 64 hex digits that publishing printed"
        )


def judge(record: AnyRecord, parent: AnyRecord | None) -> None:
    """Refuse a record that may not go to prod, alone or under `parent`."""
    of = title_of(record)
    pointer_key(kind_of(record), *home_of(record))  # its names are safe as a key
    if not isinstance(record, ModelRecord):
        return
    for gate in record.gates:
        if gate.get("passed") is not True:
            raise Denied(
                f"{of} did not pass its gate {gate.get('gate')!r}: {gate.get('evidence')}",
                fix="train a version that passes, or change the gate where the model is declared and train again",
                context={"gate": gate.get("gate"), "evidence": gate.get("evidence")},
            )
    if isinstance(parent, DeploymentRecord) and record.name != parent.model_name:
        raise Invalid(
            f"{title_of(parent)} says that its model is {parent.model_name!r}, but the manifest it names is {of}",
            fix="materialise the deployment again",
        )


def check_blob(reference: Reference, data: bytes) -> None:
    """Refuse a file of another size than declared, or one that could be a pickle."""
    if reference.size_bytes is not None and reference.size_bytes != len(data):
        raise Corrupt(
            f"{reference.name} has {len(data)} bytes, its manifest declares {reference.size_bytes}",
            fix="materialise the asset that writes it again",
        )
    refuse_pickle(reference.path or "", data, name=reference.name)


def rollback(kind: RecordKind, team: str, name: str, *, prod: ObjectStore, steps: int = 1, now: Clock = wall_clock) -> Pointer:
    """Point back at the edition that was current `steps` promotions ago; one conditional write.

    What is left is remembered as abandoned: rolling back twice goes two back.

    Raises:
        NotFound: never promoted, or nothing that far back. Corrupt: the older manifest is damaged.
        Conflict: somebody moved the pointer meanwhile.
    """
    kind = check_kind(kind)

    def is_whole(digest: str) -> None:
        called, fix = f"the earlier manifest of {title(kind, team, name)}", "roll back further with --steps, or promote another edition"
        read_exact(prod, manifest_key(kind, digest), digest, name=called, where="the prod bucket", fix=fix)

    pointer = move_back(prod, kind, team, name, steps, now=now, check=is_whole)
    logger.warning("rolled back", extra={"kind": kind, "team": team, "record": name, "manifest": pointer.manifest})
    return pointer
