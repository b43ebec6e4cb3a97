"""Refill an empty server from durable segments: the online store is a loadable copy of them."""

from __future__ import annotations

from tiffin.manifests.records import GenerationRecord
from tiffin.online.bring import Doer, Fetch, Listener, silent, unnoticed
from tiffin.online.editions import Edition
from tiffin.online.plan_publish import refilling
from tiffin.online.plan_steps import perform
from tiffin.online.store import OnlineStore, Progress

__all__ = ["refill"]


def refill(record: GenerationRecord, *, fetch: Fetch, store: OnlineStore, at: Listener = silent, progress: Progress = unnoticed) -> None:
    """Make the server serve `record`: all of it on an empty server, what is missing on another.

    Until it is done readers get NotReady (empty server) or the edition that is live; never a part of this one.

    Args:
        record: the durable current generation, verified.
        fetch: `fetch(digest, name)` returns a segment's bytes, verified (`get_blob`).

    Raises:
        Conflict: the server changed meanwhile; call it again.
        Corrupt: a segment is not what the record says.
    """
    perform(refilling(record, Edition.of(record)), Doer(fetch, store, at=at, progress=progress))
