"""What the Job controller would write into Workloads, written by a driver: ends, and quota given back. And cleaning up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from bench.kueue_api import Api, ApiError
from bench.kueue_scenarios import GROUP, LABEL

__all__ = ["change_status", "clean_up", "end", "is_true", "put_back"]


def is_true(thing: Mapping[str, Any], condition: str) -> bool:
    return any(one["type"] == condition and one["status"] == "True" for one in (thing.get("status") or {}).get("conditions") or ())


def with_conditions(thing: Mapping[str, Any], **changes: tuple[str, str]) -> list[dict[str, Any]]:
    """All conditions with these set to (status, reason), now."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    kept = [one for one in (thing.get("status") or {}).get("conditions") or () if one["type"] not in changes]
    new = [
        {"type": kind, "status": status, "reason": reason, "message": "by the benchmark's driver", "lastTransitionTime": now}
        for kind, (status, reason) in changes.items()
    ]
    return [*kept, *new]


def put_back(thing: Mapping[str, Any]) -> dict[str, Any]:
    """The status of an evicted Workload whose pods are gone, as the Job controller writes it."""
    pending = {"QuotaReserved": ("False", "Pending"), "Admitted": ("False", "NoReservation"), "Requeued": ("True", "Preempted")}
    return {"admission": None, "conditions": with_conditions(thing, **pending)}


def end(thing: Mapping[str, Any]) -> dict[str, Any]:
    """The status of a Workload that has succeeded."""
    return {"conditions": with_conditions(thing, Finished=("True", "Succeeded"))}


def change_status(api: Api, namespace: str, name: str, status: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Patch the newest version; Kueue may be writing to it too."""
    for _ in range(20):
        thing = api.get("Workload", GROUP, namespace, name)
        try:
            api.patch_status(thing, status(thing))
        except ApiError as err:
            if err.status != 409:
                raise
            continue
        return
    raise RuntimeError(f"{name} is written to by somebody else all the time")


def clean_up(api: Api, tag: str, namespace: str) -> None:
    for kind, space in (
        ("Workload", namespace),
        ("LocalQueue", namespace),
        ("ClusterQueue", None),
        ("Cohort", None),
        ("ResourceFlavor", None),
    ):
        api.delete_all(kind, GROUP, space, f"{LABEL}={tag}")
