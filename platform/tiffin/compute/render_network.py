"""Who a team's pods may talk to: nobody, but for what each kind of them needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiffin.compute.allotment import Allotment
from tiffin.compute.platform_file import Destination, PlatformFile
from tiffin.compute.render_labels import ROLE
from tiffin.compute.render_namespace import inside

__all__ = ["CODE_LOCATION", "CODE_PORT", "POSTGRES_PORT", "RUN_WORKER_PODS", "STEP_PODS", "team_network"]

RUN_WORKER_PODS = {"app.kubernetes.io/component": "run_worker"}
STEP_PODS = {"app.kubernetes.io/component": "step_worker"}
"""Labels that dagster-k8s writes on the pods it makes."""
CODE_LOCATION = {ROLE: "code-location"}
CODE_PORT, POSTGRES_PORT = 4000, 5432
EVERY_POD: dict[str, str] = {}


def team_network(one: Allotment, platform: PlatformFile) -> list[dict[str, Any]]:
    """A team's NetworkPolicies. Policies add up: what none allows is closed."""
    dagster = names(platform.prefix + platform.namespace)
    postgres = {**dagster, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "dagster-postgres"}}}
    dns = {**names("kube-system"), "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}
    out = [
        # every process of Dagster's writes its events itself
        {"to": [postgres], "ports": ports([POSTGRES_PORT])},
        {"to": [dns], "ports": [*ports([53], "UDP"), *ports([53])]},
        *(egress(place) for place in platform.network.destinations),
    ]
    steps = [{"podSelector": {"matchLabels": STEP_PODS}}]
    return [
        policy(one, platform, "deny", EVERY_POD, ingress=[], egress=[]),
        policy(one, platform, "reach", EVERY_POD, egress=out),
        policy(one, platform, "run-workers", RUN_WORKER_PODS, egress=[egress(platform.network.api_server)]),
        # the ranks of a gang meet each other, in their own namespace alone
        policy(one, platform, "steps", STEP_PODS, ingress=[{"from": steps}], egress=[{"to": steps}]),
        policy(one, platform, "code-location", CODE_LOCATION, ingress=[{"from": [dagster], "ports": ports([CODE_PORT])}]),
    ]


def policy(one: Allotment, platform: PlatformFile, name: str, pods: dict[str, str], **rules: list[dict[str, Any]]) -> dict[str, Any]:
    """One NetworkPolicy over the pods with these labels; no rule in a direction that it names is no way."""
    selector: dict[str, Any] = {"matchLabels": pods} if pods else {}
    # an empty list would be dropped by the API server and come back as a difference for ever
    kept = {direction: found for direction, found in rules.items() if found}
    spec = {"podSelector": selector, "policyTypes": [direction.capitalize() for direction in rules], **kept}
    return inside(one, platform, "networking.k8s.io/v1", "NetworkPolicy", name, spec)


def egress(place: Destination) -> dict[str, Any]:
    """A way out to one place."""
    to = {"ipBlock": {"cidr": place.cidr}} if place.cidr is not None else names(str(place.namespace))
    return {"to": [to], "ports": ports(place.ports)}


def ports(numbers: Sequence[int], protocol: str = "TCP") -> list[dict[str, Any]]:
    """Ports of a rule."""
    return [{"port": number, "protocol": protocol} for number in numbers]


def names(namespace: str) -> dict[str, Any]:
    """A namespace by the label that the API server itself writes."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
