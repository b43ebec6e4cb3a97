"""The online store as the agent sees it: a loadable copy of segments, refilled when it is empty."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from tiffin.core.errors import Conflict, NotFound, NotReady
from tiffin.manifests.records import ViewRecord
from tiffin.manifests.signing import Verifier
from tiffin.online.refill import refill
from tiffin.online.store import OnlineStore
from tiffin.registry.verified import fetch_blob, fetch_current
from tiffin.storage.objects import ObjectStore

__all__ = ["OnlineCopy"]

logger = logging.getLogger(__name__)


class OnlineCopy:
    """Sees to it that every view of a deployment has a live generation.

    Args:
        prod: where promoted generations are. It is read only when a view is missing.
    """

    def __init__(self, store: OnlineStore, *, prod: ObjectStore, verifier: Verifier) -> None:
        self.store = store
        self.prod = prod
        self.verifier = verifier

    def missing(self, views: Sequence[ViewRecord]) -> list[ViewRecord]:
        """Views that the server cannot serve."""
        return [view for view in views if self.store.state(view.team, view.name) is None]

    def fill(self, view: ViewRecord) -> None:
        """Load the promoted generation of a view: verified manifest, verified segments.

        When another one was promoted meanwhile, that one too: a newer generation that was live for a moment and lost with
        the server would otherwise stay behind the older one until the next publication.

        Raises:
            NotReady: none was promoted, or another process is loading it. Corrupt: some bytes changed.
        """
        ref, filled = f"{view.team}/{view.name}", ""
        logger.warning("the online store lacks a view, refilling it", extra={"view": ref})
        while True:
            try:
                manifest, record = fetch_current(self.prod, self.verifier, "generation", view.team, view.name)
            except NotFound as err:
                raise NotReady(
                    f"view {ref!r} is not in the online store, and no generation of it was promoted", fix=f"publish view {ref!r}"
                ) from err
            if manifest == filled:
                break
            try:
                refill(record, fetch=lambda digest, name: fetch_blob(self.prod, digest, name=name), store=self.store)
            except Conflict as err:
                raise NotReady(f"view {ref!r} is being loaded by another process: {err.message}", fix="wait a moment") from err
            filled = manifest
        logger.info("refilled", extra={"view": ref, "manifest": filled})

    def ensure(self, views: Sequence[ViewRecord]) -> None:
        """Refill what is missing; nothing is read from prod otherwise."""
        for view in self.missing(views):
            self.fill(view)
