"""The names under which a stack hands its parts to assets, and the two contracts that only assets need.

The library never imports `resources`: whoever runs it binds these names, and an asset asks for
them by parameter name.
"""

from __future__ import annotations

from typing import Protocol

from tiffin.manifests.records import Pointer
from tiffin.storage.layout import RecordKind

__all__ = ["REQUIRED", "Endpoint", "Promotions"]

REQUIRED = ("dev_objects", "prod_objects", "tables", "online_store", "clock", "promotions", "endpoint", "verifying_key")
"""dev_objects, prod_objects: ObjectStore · tables: TableStore · online_store: OnlineStore · clock: Clock ·
promotions: Promotions · endpoint: Endpoint · verifying_key: hex text of the key that prod manifests verify against."""


class Promotions(Protocol):
    """Makes a manifest of the dev bucket the current one in prod, under an identity of its own."""

    def promote(self, kind: RecordKind, digest: str) -> Pointer:
        """Wait for the promoter's verdict. Raises its error; NotReady when it does not answer."""
        ...


class Endpoint(Protocol):
    """What answers predictions."""

    def wait_live(self, name: str, manifest: str) -> float:
        """Wait until deployment `name` serves from `manifest`; returns the seconds it took.

        Raises:
            NotReady: it did not in time; the message carries the agent's own reasons.
        """
        ...
