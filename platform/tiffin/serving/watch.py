"""Reads prod in its own thread: which manifests the pointers name, and whether what is live is still whole there.

A store that is down or slow must never keep the agent from looking after what it serves.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from tiffin.core.errors import Corrupt, NotFound, PlatformError
from tiffin.manifests.signing import Verifier
from tiffin.registry.pointers import current
from tiffin.registry.references import title
from tiffin.registry.verified import fetch_blob, fetch_current, fetch_file, fetch_record
from tiffin.serving.health import Edition
from tiffin.storage.objects import ObjectStore

__all__ = ["Seen", "Watch"]

logger = logging.getLogger(__name__)

POINTERS = "pointers/deployment/"


@dataclass(frozen=True, slots=True)
class Seen:
    """What prod said when it was last asked.

    Args:
        manifests: digest that each deployment's pointer names, by `(team, name)`.
        damaged: pointers that cannot be read, by `(team, name)`.
        error: why it could not be asked; `manifests` are then those seen before.
    """

    manifests: dict[tuple[str, str], str] = field(default_factory=dict)
    damaged: dict[tuple[str, str], PlatformError] = field(default_factory=dict)
    error: str | None = None


class Watch:
    """One reader of the prod bucket.

    Args:
        live: what is served now; its objects in prod are checked every `audit_s`.
    """

    def __init__(
        self, prod: ObjectStore, verifier: Verifier, *, live: Callable[[], Iterable[Edition]], every_s: float = 0.5, audit_s: float = 60.0
    ) -> None:
        self.prod = prod
        self.verifier = verifier
        self.live = live
        self.every_s = every_s
        self.audit_s = audit_s
        self.seen: Seen | None = None
        self.findings: tuple[str, ...] = ()

    def look(self) -> Seen:
        """Read every deployment's pointer once; an error is kept, not raised."""
        before = self.seen or Seen()
        manifests: dict[tuple[str, str], str] = {}
        damaged: dict[tuple[str, str], PlatformError] = {}
        try:
            for key in self.prod.list(POINTERS):
                path = PurePosixPath(key)
                place = (path.parent.name, path.stem)
                try:
                    pointer = current(self.prod, "deployment", *place)
                except ValueError as err:
                    damaged[place] = Corrupt(f"the pointer of {title('deployment', *place)} is damaged: {err}", fix="promote it again")
                    continue
                if pointer is not None:
                    manifests[place] = pointer.manifest
            self.seen = Seen(manifests, damaged)
        except PlatformError as err:
            if before.error is None:
                logger.warning("the object store cannot be read", extra={"reason": err.message})
            self.seen = Seen(before.manifests, before.damaged, err.message)
        return self.seen

    def audit(self) -> tuple[str, ...]:
        """Check, in prod, every object that what is live would need again: for a restart, a rollback or a refill."""
        found: list[str] = []
        try:
            for edition in self.live():
                found += self.audit_edition(edition)
        except PlatformError:
            return self.findings  # the store does not answer; `look` says so
        self.findings = tuple(sorted(set(found)))
        for finding in self.findings:
            logger.error("damaged in prod", extra={"finding": finding})
        return self.findings

    def audit_edition(self, edition: Edition) -> list[str]:
        """What is wrong with one deployment's objects and its views' generations."""
        of, record = edition.title, edition.record
        checks: list[Callable[[], object]] = [
            lambda: fetch_record(self.prod, self.verifier, "deployment", edition.digest, name=of),
            *(lambda file=file: fetch_file(self.prod, file, of=of) for file in (*record.files, record.golden)),
            *(lambda view=view: self.audit_view(view.team, view.name) for view in record.views),
        ]
        found: list[str] = []
        for check in checks:
            try:
                check()
            except (Corrupt, NotFound) as err:
                found.append(err.message)
        return found

    def audit_view(self, team: str, name: str) -> None:
        """The promoted generation of a view and its segments."""
        _, record = fetch_current(self.prod, self.verifier, "generation", team, name)
        for place, segment in enumerate((record.base, *record.deltas)):
            fetch_blob(self.prod, segment.digest, name=f"segment {place} of {title('generation', team, name)}")

    def start(self, stop: threading.Event) -> threading.Thread:
        """Look and audit until `stop`."""

        def run() -> None:
            audit_at = 0.0
            while not stop.is_set():
                try:
                    self.look()
                    if time.monotonic() >= audit_at:
                        audit_at = time.monotonic() + self.audit_s
                        self.audit()
                except Exception:  # the thread's edge: pointers must go on being followed
                    logger.exception("looking at prod failed")
                stop.wait(self.every_s)

        thread = threading.Thread(target=run, name="watch", daemon=True)
        thread.start()
        return thread
