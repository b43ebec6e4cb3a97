"""Which namespace a run's Jobs go to: its team's, whatever the run's tags or the team's code say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiffin.core.errors import Denied

__all__ = ["foreign_namespaces", "namespace_for", "refuse_foreign"]

PARTS = ("job_metadata", "pod_template_spec_metadata", "job_config")


def namespace_for(location: str | None, namespaces: Mapping[str, str], *, otherwise: str) -> str:
    """A code location's namespace.

    Args:
        namespaces: by code location, as the platform says.
        otherwise: for a location that it does not name.
    """
    return namespaces.get(location or "", otherwise)


def foreign_namespaces(config: Mapping[str, Any]) -> set[str]:
    """Namespaces that a `dagster-k8s/config` names somewhere, in either spelling of its keys."""
    found: set[str] = set()
    for part, value in config.items():
        if part in PARTS and isinstance(value, Mapping):
            metadata = value.get("metadata") if part == "job_config" else value
            named = metadata.get("namespace") if isinstance(metadata, Mapping) else None
            if named:
                found.add(str(named))
    return found


def refuse_foreign(named: set[str], *, namespace: str, where: str) -> None:
    """Who names the own namespace says nothing new; who names another one is refused.

    Raises:
        Denied: with both names.
    """
    others = sorted(named - {namespace})
    if others:
        raise Denied(
            f"{where} names namespace {others[0]!r}; Jobs of this code location go to {namespace!r}",
            fix="leave the namespace out: it is the team's, and the platform sets it (run launcher, `namespaces`)",
            context={"namespace": namespace, "named": others[0]},
        )
