"""The names under which a stack hands its parts to assets, and the two contracts that only assets need.

The library never imports `resources`: whoever runs it binds these names, and an asset asks for
them by parameter name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from tiffin.core.clock import frozen_clock, wall_clock
from tiffin.manifests.records import Pointer
from tiffin.manifests.signing import Verifier
from tiffin.storage.fencing import Fence
from tiffin.storage.layout import RecordKind
from tiffin.storage.objects import ObjectStore

__all__ = ["REQUIRED", "Endpoint", "ProdReader", "Promotions", "StackClock"]

REQUIRED = ("dev_objects", "prod_objects", "tables", "online_store", "clock", "promotions", "endpoint")
"""dev_objects: ObjectStore · prod_objects: ProdReader · tables: TableStore · online_store: OnlineStore ·
clock: StackClock · promotions: Promotions · endpoint: Endpoint."""


@dataclass(frozen=True, slots=True)
class StackClock:
    """The wall, or the instant that a stack replays."""

    instant: datetime | None = None

    @property
    def frozen(self) -> bool:
        """Whether history is replayed: readers then count TTL from the instant, not from the wall."""
        return self.instant is not None

    def now(self) -> datetime:
        """Aware, UTC."""
        return wall_clock() if self.instant is None else frozen_clock(self.instant)()


@dataclass(frozen=True, slots=True)
class ProdReader:
    """The prod bucket under a key that only reads, and the key that its manifests verify against."""

    store: ObjectStore
    verifier: Verifier


class Promotions(Protocol):
    """Makes a manifest of the dev bucket the current one in prod, under an identity of its own."""

    def promote(self, kind: RecordKind, digest: str, *, after: str | None = None, fence: Fence | None = None) -> Pointer:
        """Wait for the promoter's verdict.

        Args:
            after: the manifest that this one builds upon, as a delta does.
            fence: of the step that asks, where steps are fenced.

        Raises:
            Conflict: something else than `after` is current by now, or a newer attempt at the step has started. Else what the
                promoter raised; NotReady when it does not answer.
        """
        ...


class Endpoint(Protocol):
    """What answers predictions."""

    def wait_live(self, team: str, name: str, manifest: str) -> float:
        """Wait until deployment `team/name` serves from `manifest`; returns the seconds it took.

        Raises:
            NotReady: it did not in time. Denied: the manifest was refused for good. Both carry the agent's reasons.
        """
        ...
