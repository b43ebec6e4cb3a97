"""A cluster's objects in memory, with the manners of a real API server that `tiffin.compute.apply` rests on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from tiffin.core.errors import Invalid, NotFound

Key = tuple[str, str, str, str]


class MemoryCluster:
    """Applies whole objects, writes defaults of its own, refuses what lies in a namespace that is not there."""

    def __init__(self) -> None:
        self.objects: dict[Key, dict[str, Any]] = {}
        self.writes: list[str] = []
        self.refuses: str | None = None

    def get(self, api_version: str, kind: str, namespace: str | None, name: str) -> dict[str, Any] | None:
        return copy.deepcopy(self.objects.get((api_version, kind, namespace or "", name)))

    def list(self, api_version: str, kind: str, namespace: str | None = None, *, selector: str = "") -> list[dict[str, Any]]:
        wanted = dict(part.split("=") for part in selector.split(",") if part)
        return [
            copy.deepcopy(item)
            for (version, of_kind, place, _), item in self.objects.items()
            if (version, of_kind) == (api_version, kind)
            and namespace in (None, place)
            and wanted.items() <= item["metadata"].get("labels", {}).items()
        ]

    def apply(self, item: Mapping[str, Any], *, field_manager: str, dry_run: bool = False, force: bool = False) -> dict[str, Any]:
        metadata = item["metadata"]
        key = (item["apiVersion"], item["kind"], metadata.get("namespace", ""), metadata["name"])
        if self.refuses == metadata["name"]:
            raise Invalid("the webhook does not like it", fix="change it")
        if key[2] and ("v1", "Namespace", "", key[2]) not in self.objects:
            raise NotFound(f"namespaces {key[2]!r} not found", fix="make it")
        stored = {**copy.deepcopy(dict(item)), "status": {"seen": True}}
        stored["metadata"] |= {"uid": str(key), "resourceVersion": str(len(self.writes)), "managedFields": [{"manager": field_manager}]}
        if key[1] == "ClusterQueue":
            stored["spec"].setdefault("stopPolicy", "None")
        if not dry_run:
            self.objects[key] = stored
            self.writes.append(f"apply {key[1]} {key[3]}")
        return stored

    def delete(self, api_version: str, kind: str, namespace: str | None, name: str) -> bool:
        found = self.objects.pop((api_version, kind, namespace or "", name), None)
        self.writes.append(f"delete {kind} {name}")
        if kind == "Namespace":
            self.objects = {key: item for key, item in self.objects.items() if key[2] != name}
        return found is not None
