"""What Dagster's own `dagster.yaml` says of the teams: which namespace each code location's runs go to, and as whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tiffin.compute.allotment import Allotment
from tiffin.compute.platform_file import RUN_WORKERS, PlatformFile
from tiffin.compute.render_labels import labelled
from tiffin.compute.render_network import POSTGRES_PORT

__all__ = ["DAGSTER_HOME", "INSTANCE", "PLATFORM_LOCATION", "STACK_SECRET", "instance_map", "launcher", "storage"]

INSTANCE = "dagster-instance"
"""ConfigMap with `dagster.yaml`, one in each namespace in which something of Dagster's runs."""
STACK_SECRET = "stack"  # noqa: S105 - a Secret's name; the operator writes it, nothing here reads it
DAGSTER_HOME = "/opt/dagster/home"
PLATFORM_LOCATION = "platform"
"""The code location with janitor, usage collector and bill; its runs stay in Dagster's own namespace."""


def launcher(found: Sequence[Allotment], platform: PlatformFile) -> dict[str, Any]:
    """Configuration of `KueueRunLauncher`."""
    home = platform.prefix + platform.namespace
    return {
        "load_incluster_config": True,
        "instance_config_map": INSTANCE,
        "dagster_home": DAGSTER_HOME,
        "job_namespace": home,
        "namespaces": {PLATFORM_LOCATION: home, **{one.team: one.namespace for one in found}},
        "service_account_name": "run-worker",
        "run_worker_queue": RUN_WORKERS,
        "run_worker_priority": f"{platform.prefix}run-worker",
        "pod_security": platform.pod_security if platform.pod_security == "restricted" else "none",
        "env_secrets": [STACK_SECRET],
        "env_vars": ["TIFFIN_CLUSTER=in-cluster"],
        # a run worker only conducts: its steps are Jobs of their own
        "run_k8s_config": {
            "container_config": {"resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}}}
        },
    }


def storage(platform: PlatformFile) -> dict[str, Any]:
    """Dagster's storage section; user and password come from the environment."""
    host = f"dagster-postgres.{platform.prefix}{platform.namespace}.svc.{platform.cluster_domain}"
    user = {"username": {"env": "DAGSTER_PG_USERNAME"}, "password": {"env": "DAGSTER_PG_PASSWORD"}}
    return {"postgres": {"postgres_db": {**user, "hostname": host, "port": POSTGRES_PORT, "db_name": "dagster"}}}


def instance_map(namespace: str, text: str, platform: PlatformFile, *, team: str | None = None) -> dict[str, Any]:
    """`dagster.yaml` for what runs in a namespace; it holds no secret."""
    metadata = {"name": INSTANCE, "namespace": namespace}
    return labelled({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"dagster.yaml": text}}, platform, team=team)
