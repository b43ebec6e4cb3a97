"""Kueue as a process of this machine: its own installation, pointed at 127.0.0.1, and its configuration."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from deploy.devcluster.home import Home, Wishes

__all__ = ["configuration", "gates", "kueue", "local_installation"]

# Kueue's visibility server keeps its certificate here whatever it is told
VISIBILITY_FOLDER = Path("/visibility")
LABELS_TO_COPY = (
    *("dagster/run-id", "dagster/job", "dagster/op", "dagster/code-location"),
    *("tiffin.dev/team", "tiffin.dev/step", "tiffin.dev/asset"),
)


def local_installation(manifests: str, *, webhook_port: int, visibility_port: int) -> str:
    """Kueue's rendered manifests for a controller that is no Deployment.

    All that Kueue manages itself (certificate, CA bundles, conversion) stays as it is. The API server asks a
    Service for the place of a webhook; one of type ExternalName with an explicit port leads to this machine,
    and the certificate is still checked for the Service's name.
    """
    kept = (there(one, webhook_port, visibility_port) for one in yaml.load_all(manifests, Loader=yaml.CSafeLoader) if one)
    text: str = yaml.dump_all((one for one in kept if one is not None), Dumper=yaml.CSafeDumper, sort_keys=False)
    return text


def there(manifest: dict[str, Any], webhook_port: int, visibility_port: int) -> dict[str, Any] | None:
    """One manifest with our ports in it; None for what a process does not need."""
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    if kind == "Deployment" or (kind == "Service" and name.endswith("-metrics-service")):
        return None
    if kind == "Service":
        port = webhook_port if name.endswith("-webhook-service") else visibility_port
        spec = {"type": "ExternalName", "externalName": "localhost", "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}
        return {**manifest, "spec": spec}
    for service in asked_services(manifest):
        service["port"] = webhook_port if kind != "APIService" else visibility_port
    return manifest


def asked_services(manifest: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every reference to a Service through which the API server calls Kueue."""
    yield from (hook["clientConfig"]["service"] for hook in manifest.get("webhooks", ()))
    spec = manifest.get("spec") or {}
    if manifest["kind"] == "CustomResourceDefinition" and (spec.get("conversion") or {}).get("strategy") == "Webhook":
        yield spec["conversion"]["webhook"]["clientConfig"]["service"]
    if manifest["kind"] == "APIService" and spec.get("service"):
        yield spec["service"]


def configuration(home: Home, ports: Mapping[str, int], wishes: Wishes) -> str:
    """Kueue's configuration file."""
    here = "127.0.0.1"
    system = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "kueue-system"]}
    requeuing = {"timestamp": "Eviction", "backoffBaseSeconds": 5, "backoffMaxSeconds": 60, "backoffLimitCount": 5}
    content: dict[str, Any] = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": "kueue-system",
        "health": {"healthProbeBindAddress": f"{here}:{ports['health']}"},
        "metrics": {"bindAddress": f"{here}:{ports['metrics']}", "enableClusterQueueResources": True},
        "webhook": {"host": here, "port": ports["webhook"], "certDir": str(home.webhook_certificates)},
        "visibilityServer": {"bindAddress": here, "bindPort": ports["visibility"]},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": True},
        "clientConnection": {"qps": 300, "burst": 500},
        # in production half an hour: too long to be seen by a test
        "waitForPodsReady": {"timeout": f"{wishes.pods_ready_s}s", "blockAdmission": False, "requeuingStrategy": requeuing},
        "manageJobsWithoutQueueName": False,
        "managedJobsNamespaceSelector": {"matchExpressions": [system]},
        # not "pod": it would queue every pod of a team's namespace that has no Job, code servers among them
        "integrations": {"frameworks": ["batch/job"], "labelKeysToCopy": list(LABELS_TO_COPY)},
        "objectRetentionPolicies": {"workloads": {"afterFinished": "24h"}},
    }
    text: str = yaml.safe_dump({**content, **wishes.kueue}, sort_keys=False)
    return text


def gates(*, visibility: bool) -> str:
    """Which of Kueue's features are switched: reasons a person understands, and the visibility API only where it can run."""
    chosen = {"UnadmittedWorkloadsObservability": True, "UnadmittedWorkloadsExplicitStatus": True}
    if not visibility:
        chosen["VisibilityOnDemand"] = False
    return ",".join(f"{name}={str(on).lower()}" for name, on in chosen.items())


def visibility_possible() -> bool:
    """Whether the folder of the visibility server's certificate is there, or could be made, for this user."""
    try:
        VISIBILITY_FOLDER.mkdir(exist_ok=True)
    except OSError:
        return False
    return os.access(VISIBILITY_FOLDER, os.W_OK)


def kueue(programs: Path, home: Home, *, visibility: bool) -> list[str]:
    """The controller. Its visibility server reads the flag, not the variable, to find the cluster."""
    flags: Iterable[str] = (
        f"--kubeconfig={home.kubeconfig}",
        f"--config={home.folder / 'kueue-config.yaml'}",
        f"--feature-gates={gates(visibility=visibility)}",
        "--zap-log-level=2",
    )
    return [str(programs / "kueue"), *flags]
