"""A team's code location: the server that Dagster asks what the team has, and Dagster's line about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiffin.compute.allotment import Allotment
from tiffin.compute.platform_file import RUN_WORKERS, PlatformFile
from tiffin.compute.render_instance import PLATFORM_LOCATION, STACK_SECRET
from tiffin.compute.render_namespace import inside
from tiffin.compute.render_network import CODE_LOCATION, CODE_PORT

__all__ = ["CONTAINER_SECURITY", "POD_SECURITY", "team_location", "workspace"]

POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
NAME = "code-location"


def team_location(one: Allotment, platform: PlatformFile) -> list[dict[str, Any]]:
    """Deployment and Service."""
    server = one.code_server
    container = {
        "name": NAME,
        "image": one.image,
        "args": ["dagster", "code-server", "start", "--host", "0.0.0.0", "--port", str(CODE_PORT), "--module-name", one.module],  # noqa: S104 - in its own pod, behind the NetworkPolicy
        "env": [
            # what Dagster takes the run workers' image from
            {"name": "DAGSTER_CURRENT_IMAGE", "value": one.image},
            {"name": "TIFFIN_CLUSTER", "value": "in-cluster"},
            {"name": "HOME", "value": "/tmp"},  # noqa: S108 - the one folder of the pod that can be written
        ],
        # addresses and keys of this team alone; the platform's operator writes it
        "envFrom": [{"secretRef": {"name": STACK_SECRET}}],
        "ports": [{"name": "grpc", "containerPort": CODE_PORT, "protocol": "TCP"}],
        "readinessProbe": {
            "exec": {"command": ["dagster", "api", "grpc-health-check", "-p", str(CODE_PORT)]},
            "periodSeconds": 20,
            "timeoutSeconds": 10,
            "failureThreshold": 3,
        },
        "resources": {"requests": {"cpu": server.cpu, "memory": server.memory}, "limits": {"memory": server.memory}},
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - as above
    }
    # Where Kueue also manages pods, a pod without a queue falls into `default` and is preempted (docs/adr/0040);
    # where it does not, these two mean nothing.
    queue = {"kueue.x-k8s.io/queue-name": RUN_WORKERS, "kueue.x-k8s.io/priority-class": f"{platform.prefix}run-worker"}
    pod = {
        "metadata": {"labels": {**CODE_LOCATION, **queue}},
        "spec": {
            "serviceAccountName": NAME,
            "automountServiceAccountToken": False,
            "securityContext": POD_SECURITY,
            "containers": [container],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }
    deployment = {"replicas": server.replicas, "selector": {"matchLabels": CODE_LOCATION}, "template": pod}
    service = {"selector": CODE_LOCATION, "ports": [{"name": "grpc", "port": CODE_PORT, "targetPort": CODE_PORT, "protocol": "TCP"}]}
    found = inside(one, platform, "apps/v1", "Deployment", NAME, deployment)
    found["metadata"]["labels"] |= queue
    return [found, inside(one, platform, "v1", "Service", NAME, service)]


def workspace(found: Sequence[Allotment], platform: PlatformFile) -> dict[str, Any]:
    """Dagster's `workspace.yaml`: one entry a team."""
    servers = [
        {
            "grpc_server": {
                "host": f"{NAME}.{one.namespace}.svc.{platform.cluster_domain}",
                "port": CODE_PORT,
                "location_name": one.team,
            }
        }
        for one in found
    ]
    own = {"host": f"dagster-platform.{platform.prefix}{platform.namespace}.svc.{platform.cluster_domain}", "port": CODE_PORT}
    return {"load_from": [*servers, {"grpc_server": {**own, "location_name": PLATFORM_LOCATION}}]}
