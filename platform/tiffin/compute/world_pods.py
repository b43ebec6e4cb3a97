"""The pods a Workload asks for: how many, what each requests, and which nodes it accepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiffin.compute.quantities import Requests, milli

__all__ = ["NodeRule", "PodSet", "Taint", "Toleration", "amount", "amounts", "read_pod_set", "read_taints", "read_tolerations"]

WHOLE = 1000


@dataclass(frozen=True, slots=True)
class Taint:
    """A mark on the nodes of a flavor that only pods with a toleration accept."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class Toleration:
    """What a pod accepts; an empty key with operator Exists accepts everything."""

    key: str
    operator: str
    value: str
    effect: str

    def accepts(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.operator == "Exists" or (bool(self.key) and self.value == taint.value)


@dataclass(frozen=True, slots=True)
class NodeRule:
    """One requirement on a node's label, as in a node affinity term."""

    key: str
    operator: str
    values: tuple[str, ...]

    def holds(self, labels: Mapping[str, str]) -> bool:
        found = labels.get(self.key)
        if self.operator == "In":
            return found in self.values
        if self.operator == "NotIn":
            return found not in self.values
        if self.operator == "Exists":
            return found is not None
        if self.operator == "DoesNotExist":
            return found is None
        if found is None or not found.lstrip("-").isdigit() or not self.values:
            return False
        limit = int(self.values[0])
        return int(found) > limit if self.operator == "Gt" else int(found) < limit


@dataclass(frozen=True, slots=True)
class PodSet:
    """Equal pods of one Workload. All of a Workload's pod sets are admitted together (a gang)."""

    name: str
    count: int
    requests: Requests
    """What ONE pod requests, in thousandths of the resource's unit."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    node_terms: tuple[tuple[NodeRule, ...], ...] = ()
    """Required node affinity: any one term must hold."""
    tolerations: tuple[Toleration, ...] = ()
    min_count: int | None = None

    def total(self) -> Requests:
        """What all its pods request together."""
        return {name: one * self.count for name, one in self.requests.items()}


def amount(resource: str, quantity: str | int | float) -> int:
    """A quantity as Kueue counts it: cpu to the thousandth, all else rounded up to whole units."""
    exact = milli(quantity)
    return exact if resource == "cpu" else -(-exact // WHOLE) * WHOLE


def amounts(quantities: Mapping[str, str | int | float] | None) -> dict[str, int]:
    """A whole resource list in thousandths."""
    return {name: amount(name, quantity) for name, quantity in (quantities or {}).items()}


def read_pod_set(api: Mapping[str, Any], *, reclaimable: int = 0) -> PodSet:
    """From `spec.podSets[]` of a Workload; `reclaimable` pods have finished and ask for nothing more."""
    spec = api.get("template", {}).get("spec", {})
    affinity = spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
    return PodSet(
        name=api.get("name", "main"),
        count=max(0, int(api["count"]) - reclaimable),
        requests=pod_requests(spec),
        node_selector=dict(spec.get("nodeSelector") or {}),
        node_terms=tuple(read_term(term) for term in affinity.get("nodeSelectorTerms") or ()),
        tolerations=read_tolerations(spec.get("tolerations") or ()),
        min_count=api.get("minCount"),
    )


def pod_requests(spec: Mapping[str, Any]) -> dict[str, int]:
    """What one pod holds: its containers and sidecars together, or its hungriest init step, plus overhead."""
    running: dict[str, int] = {}
    for container in spec.get("containers") or ():
        add(running, container_requests(container))
    peak: dict[str, int] = {}
    sidecars: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        asked = container_requests(container)
        if container.get("restartPolicy") == "Always":
            add(sidecars, asked)
            raise_to(peak, sidecars)
        else:
            step = dict(sidecars)
            add(step, asked)
            raise_to(peak, step)
    add(running, sidecars)
    raise_to(running, peak)
    add(running, amounts(spec.get("overhead")))
    return running


def container_requests(container: Mapping[str, Any]) -> dict[str, int]:
    """Requests; a limit stands in where a request is missing."""
    resources = container.get("resources") or {}
    return amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def add(into: dict[str, int], more: Mapping[str, int]) -> None:
    for name, value in more.items():
        into[name] = into.get(name, 0) + value


def raise_to(into: dict[str, int], least: Mapping[str, int]) -> None:
    for name, value in least.items():
        into[name] = max(into.get(name, 0), value)


def read_term(term: Mapping[str, Any]) -> tuple[NodeRule, ...]:
    return tuple(NodeRule(rule["key"], rule["operator"], tuple(rule.get("values") or ())) for rule in term.get("matchExpressions") or ())


def read_taints(taints: Iterable[Mapping[str, Any]]) -> tuple[Taint, ...]:
    return tuple(Taint(taint["key"], taint.get("value", ""), taint.get("effect", "")) for taint in taints)


def read_tolerations(tolerations: Iterable[Mapping[str, Any]]) -> tuple[Toleration, ...]:
    return tuple(Toleration(t.get("key", ""), t.get("operator") or "Equal", t.get("value", ""), t.get("effect", "")) for t in tolerations)
