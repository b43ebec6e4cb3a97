"""The local stack with its runs on a cluster: `tiffin up --cluster KUBECONFIG`.

Stores, model server and Dagster's own processes stay here; run workers and steps become Jobs in the teams'
namespaces, admitted by Kueue. The pods must reach this machine's addresses: so it is for the test cluster of
`deploy.devcluster`, whose pods are processes here. A company's cluster runs all of it (`deploy/kubernetes`).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tiffin.compute.kubernetes import KubernetesCluster
from tiffin.compute.team_file import namespace_of
from tiffin.core.errors import Invalid, NotFound
from tiffin.core.settings import Settings

__all__ = ["SECRET", "check", "hand_out", "hidden_folder", "instance", "pod_environment"]

# of each team's namespace: what its run workers and steps are told
SECRET = "tiffin"  # noqa: S105  a name
MANAGER = "tiffin-up"
# as the teams' rendered manifests name them
RUN_WORKERS, RUN_WORKER, RUN_WORKER_PRIORITY = "run-workers", "run-worker", "run-worker"
LOGS = "logs"


def instance(settings: Settings, dagster_home: Path, teams: Iterable[str]) -> dict[str, Any]:
    """What `dagster.yaml` says instead of a local one: who launches runs, and where steps' logs outlive their pods.

    Without Dagster's run monitoring, which builds the launcher in every process: a code server here has no key to the cluster.
    """
    launcher = {
        "dagster_home": str(dagster_home),
        "instance_config_map": "dagster-instance",
        # the file that KUBECONFIG names: the stack's here, its own ServiceAccount's in a pod
        "load_incluster_config": False,
        "job_image": settings.step_image or "none",
        "job_namespace": "default",
        "namespaces": {team: namespace_of(team) for team in teams},
        "service_account_name": RUN_WORKER,
        "run_worker_queue": RUN_WORKERS,
        "run_worker_priority": RUN_WORKER_PRIORITY,
        "env_secrets": [SECRET],
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}},
    }
    logs = {
        "bucket": settings.dev_bucket,
        "prefix": LOGS,
        "endpoint_url": settings.need("s3_endpoint"),
        "use_ssl": settings.need("s3_endpoint").startswith("https:"),
        "region": settings.s3_region,
        "local_dir": str(dagster_home / "logs"),
    }
    return {
        "run_launcher": {"module": "tiffin.orchestration.kueue_launcher", "class": "KueueRunLauncher", "config": launcher},
        "compute_logs": {"module": "dagster_aws.s3.compute_log_manager", "class": "S3ComputeLogManager", "config": logs},
    }


def store_environment(settings: Settings) -> dict[str, str]:
    """The dev key under the names that Dagster's log manager looks for."""
    return {"AWS_ACCESS_KEY_ID": settings.need("dev_access_key"), "AWS_SECRET_ACCESS_KEY": settings.need("dev_secret_key")}


def pod_environment(settings: Settings) -> dict[str, str]:
    """All that a pod is told. Not the stack's kubeconfig: a pod acts as its ServiceAccount, or as nobody."""
    told = settings.model_copy(update={"cluster": "in-cluster"}).to_environment()
    return {**told, **store_environment(settings)}


def check(kubeconfig: Path, teams: Iterable[str]) -> None:
    """Refuse to attach to a cluster on which a team has no place.

    Raises:
        NotFound: the file, a namespace or a queue is missing. NotReady: the cluster does not answer.
    """
    if not kubeconfig.is_file():
        raise NotFound(f"there is no kubeconfig {str(kubeconfig)!r}", fix="give the path of one: --cluster FILE")
    with KubernetesCluster.connect(kubeconfig, agent=MANAGER) as cluster:
        for team in teams:
            namespace = namespace_of(team)
            if cluster.get("kueue.x-k8s.io/v1beta2", "LocalQueue", namespace, RUN_WORKERS) is None:
                raise NotFound(
                    f"team {team!r} has no LocalQueue {RUN_WORKERS!r} in namespace {namespace!r} of the cluster",
                    fix="apply the teams first: `tiffin teams apply`",
                )


def hand_out(kubeconfig: Path, teams: Iterable[str], environment: Mapping[str, str]) -> None:
    """Write what pods are told into a Secret of each team's namespace."""
    data = {name: base64.b64encode(value.encode()).decode() for name, value in environment.items()}
    with KubernetesCluster.connect(kubeconfig, agent=MANAGER) as cluster:
        for team in teams:
            metadata = {"name": SECRET, "namespace": namespace_of(team), "labels": {"app.kubernetes.io/managed-by": "tiffin"}}
            item = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}
            cluster.apply(item, field_manager=MANAGER, force=True)


def hidden_folder(kubeconfig: Path, needed: Iterable[Path]) -> Path:
    """The folder that teams' code must not see: the one that the kubeconfig lies in.

    Args:
        needed: what that code does need.

    Raises:
        Invalid: hiding it would hide something that is needed.
    """
    folder = kubeconfig.resolve().parent
    hidden = [path for path in needed if path.resolve().is_relative_to(folder)]
    if hidden:
        raise Invalid(
            f"kubeconfig {str(kubeconfig)!r} lies in a folder that teams' code needs ({hidden[0]})",
            fix="put it into a folder of its own, so that it can be hidden from them",
        )
    return folder


def as_text(more: Mapping[str, Any]) -> str:
    """A piece of `dagster.yaml`."""
    return str(yaml.safe_dump(dict(more), sort_keys=False))
