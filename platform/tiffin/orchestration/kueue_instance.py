"""`dagster.yaml` of an instance whose runs and steps are Kubernetes Jobs; as a value, written by whoever deploys it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["LOG_PREFIX", "LONG_AGO_S", "cluster_instance", "kills_the_queued", "log_manager", "run_monitoring"]

LONG_AGO_S = 10 * 365 * 86_400
"""Ten years. Dagster's own start timeout counts from the launch, so that it kills whoever is queued; zero makes its monitor fail."""
LOG_PREFIX = "logs"
UPLOAD_S = 10


def cluster_instance(
    *,
    launcher: Mapping[str, Any],
    bucket: str,
    endpoint: str,
    region: str = "us-east-1",
    storage: Mapping[str, Any] | None = None,
    poll_s: int = 30,
) -> dict[str, Any]:
    """Launcher, logs that outlive pods, and a monitor that kills nobody who waits.

    Args:
        launcher: configuration of `KueueRunLauncher`; its `start_timeout` is the one that counts, from admission.
        bucket, endpoint: of the object store; its keys come from the environment of whoever reads or writes logs.
        storage: Dagster's `storage` section; None keeps SQLite under DAGSTER_HOME, for one machine.
        poll_s: how often run workers are looked at.
    """
    found: dict[str, Any] = {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
        "run_launcher": {"module": "tiffin.orchestration.kueue_launcher", "class": "KueueRunLauncher", "config": dict(launcher)},
        "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"},
        "run_monitoring": run_monitoring(poll_s=poll_s),
        "compute_logs": log_manager(bucket=bucket, endpoint=endpoint, region=region),
    }
    return found if storage is None else {**found, "storage": dict(storage)}


def run_monitoring(*, poll_s: int) -> dict[str, Any]:
    """A worker that died is replaced by a new one, which finds the run's Jobs where they are; nothing is failed for waiting."""
    return {
        "enabled": True,
        "start_timeout_seconds": LONG_AGO_S,
        "cancel_timeout_seconds": 180,
        "max_resume_run_attempts": 3,
        "poll_interval_seconds": poll_s,
    }


def log_manager(*, bucket: str, endpoint: str, region: str) -> dict[str, Any]:
    """Steps' output in the object store, written while they run: a pod that is killed has left what it said."""
    config = {
        "bucket": bucket,
        "prefix": LOG_PREFIX,
        "endpoint_url": endpoint,
        "use_ssl": endpoint.startswith("https://"),
        "region": region,
        "upload_interval": UPLOAD_S,
        "skip_empty_files": True,
        "show_url_only": False,
    }
    return {"module": "dagster_aws.s3.compute_log_manager", "class": "S3ComputeLogManager", "config": config}


def kills_the_queued(*, enabled: bool, start_timeout_s: float, queue: str | None) -> bool:
    """Whether Dagster's own monitor would fail a run worker for waiting in a queue."""
    return enabled and queue is not None and start_timeout_s < LONG_AGO_S / 10
