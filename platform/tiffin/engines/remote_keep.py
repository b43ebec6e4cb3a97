"""What a step keeps of its remote job in its checkpoint, so that the next attempt goes on with the same job.

Every change is a conditional write: of two attempts that overlap only one moves the record, and so only one may cancel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from tiffin.core.digests import digest_json
from tiffin.core.errors import Conflict, NotFound
from tiffin.core.spec import Record
from tiffin.engines.remote import find_remote
from tiffin.storage.objects import ObjectStore

__all__ = ["Keep", "RemoteRecord", "cancel_kept"]

Phase = Literal["asked", "running", "cancelling", "cancelled"]


class RemoteRecord(Record):
    """`<checkpoint>remote.json`."""

    format: Literal["tiffin.remote.v1"] = "tiffin.remote.v1"
    provider: str
    where: dict[str, str]
    generation: int = Field(ge=1, description="how many jobs this step has asked for")
    token: str
    phase: Phase
    attempt: int = Field(ge=1, description="of the step, that looks after it")
    remote_id: str | None = None
    cancel: bool = Field(description="whether an eviction cancels it; else it goes on, and the next attempt waits for it")


@dataclass(slots=True)
class Keep:
    """The record of one step in the object store.

    Args:
        prefix: the step's checkpoint, with the slash.
        attempt: of the process that keeps it.
    """

    store: ObjectStore
    prefix: str
    attempt: int = 1
    etag: str | None = None

    @property
    def key(self) -> str:
        """Where it lies."""
        return f"{self.prefix}remote.json"

    def load(self) -> RemoteRecord | None:
        """As it is now; what is kept later is kept only if nobody has changed it meanwhile."""
        try:
            found = self.store.get(self.key)
        except NotFound:
            self.etag = None
            return None
        self.etag = found.etag
        return RemoteRecord.from_bytes(found.data, name=self.key)

    def put(self, record: RemoteRecord) -> RemoteRecord:
        """Replace what was loaded.

        Raises:
            Conflict: another attempt looks after the job by now.
        """
        if self.etag is None:
            self.etag = self.store.put(self.key, record.to_bytes(), if_absent=True)
        else:
            self.etag = self.store.put(self.key, record.to_bytes(), if_match=self.etag)
        return record

    def ask(self, before: RemoteRecord | None, *, provider: str, where: Mapping[str, str], cancel: bool) -> RemoteRecord:
        """Tell that a job is about to be asked for; its token is the step's, and another one for each job."""
        generation = 1 if before is None else before.generation + 1
        token = digest_json([self.prefix, generation])[:32]
        return self.put(
            RemoteRecord(
                provider=provider,
                where=dict(where),
                generation=generation,
                token=token,
                phase="asked",
                attempt=self.attempt,
                cancel=cancel,
            )
        )

    def move(self, record: RemoteRecord, phase: Phase, *, remote_id: str | None = None) -> RemoteRecord:
        """The same job in another phase, looked after by this attempt."""
        changes = {"phase": phase, "attempt": self.attempt, "remote_id": remote_id or record.remote_id}
        return self.put(record.model_copy(update=changes))


def cancel_kept(store: ObjectStore, prefix: str) -> bool:
    """Cancel the remote job that a step which was just stopped had begun; whether there was one.

    For the outer process of a preempted step, whose inner one is dead. A job that is to go on is left alone, and so is
    one that a newer attempt has taken over meanwhile.

    Raises:
        NotFound, Invalid, NotReady: the provider cannot be made or does not answer; the record says `cancelling`, and
            the next attempt cancels first.
    """
    keep = Keep(store, prefix)
    record = keep.load()
    if record is None or record.remote_id is None or record.phase != "running" or not record.cancel:
        return False
    keep.attempt = record.attempt
    try:
        record = keep.move(record, "cancelling")
    except Conflict:
        return False
    find_remote(record.provider, record.where).cancel(record.remote_id or "")
    keep.move(record, "cancelled")
    return True
