"""Labels by which an installation knows its own objects again."""

from __future__ import annotations

from typing import Any

from tiffin.compute.platform_file import PlatformFile

__all__ = ["INSTALLATION", "MANAGED_BY", "MANAGER", "ROLE", "TEAM", "labelled", "selector_of"]

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "tiffin"
INSTALLATION = "tiffin.dev/installation"
TEAM = "tiffin.dev/team"
ROLE = "tiffin.dev/role"


def labelled(found: dict[str, Any], platform: PlatformFile, *, team: str | None = None) -> dict[str, Any]:
    """The object with its owner's labels; its own stay."""
    labels = {MANAGED_BY: MANAGER, INSTALLATION: platform.name} | ({TEAM: team} if team is not None else {})
    metadata = found["metadata"]
    return {**found, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), **labels}}}


def selector_of(installation: str) -> str:
    """Everything that an installation manages."""
    return f"{MANAGED_BY}={MANAGER},{INSTALLATION}={installation}"
