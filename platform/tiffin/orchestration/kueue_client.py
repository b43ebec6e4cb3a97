"""dagster-k8s's client, right for Jobs that Kueue suspends: they have no start time, and may have no pods to wait for.

Deleting a Job through dagster-k8s names no propagation policy, so that the API server orphans pods and Kueue's Workload;
its client then deletes by name the pods that it saw before. Here the garbage collector does it, behind one request.
"""

# no `from __future__ import annotations` here: Dagster reads annotations of configurable classes
import logging
import time
from collections.abc import Callable
from typing import Any

import kubernetes.client
from dagster_k8s.client import DagsterKubernetesClient, PatchedApiClient

__all__ = ["Creator", "KueueClient"]

Creator = Callable[[kubernetes.client.V1Job, str], None]
"""Takes a Job and its namespace in place of an immediate creation."""


class KueueClient(DagsterKubernetesClient):
    """Same calls, other promises. Configured by whoever loaded kubernetes' default configuration.

    Args:
        creator: hands Jobs in; None creates them as dagster-k8s does.
    """

    def __init__(self, batch_api: Any = None, core_api: Any = None, *, creator: Creator | None = None) -> None:
        super().__init__(  # type: ignore[no-untyped-call]  # dagster-k8s's
            batch_api=batch_api or kubernetes.client.BatchV1Api(PatchedApiClient()),
            core_api=core_api or kubernetes.client.CoreV1Api(PatchedApiClient()),
            logger=logging.info,
            sleeper=time.sleep,
            timer=time.time,
        )
        self.creator = creator

    def delete_job(self, job_name: str, namespace: str) -> bool:
        """Delete a Job and, behind it, its pods and its Workload. False when it was gone already."""
        try:
            self.batch_api.delete_namespaced_job(name=job_name, namespace=namespace, propagation_policy="Background")
        except kubernetes.client.rest.ApiException as err:
            if err.status == 404:
                return False
            raise
        return True

    def create_namespaced_job_with_retries(self, body: kubernetes.client.V1Job, namespace: str, *args: Any, **options: Any) -> None:
        """Create it, or hand it to the creator."""
        if self.creator is None:
            super().create_namespaced_job_with_retries(body, namespace, *args, **options)
        else:
            self.creator(body, namespace)

    def _get_job_status_str(self, job: kubernetes.client.V1Job) -> str:
        """As dagster-k8s says it; a suspended Job has not started."""
        if job.status is not None and job.status.start_time is None:
            status = job.status
            suspended = "suspended" if job.spec is not None and job.spec.suspend else "not started"
            return (
                f"Job status:\n - {suspended}\n - active={status.active or 'None'}"
                f"\n - succeeded={status.succeeded or 'None'}\n - failed={status.failed or 'None'}"
            )
        return str(super()._get_job_status_str(job))  # type: ignore[no-untyped-call]  # dagster-k8s's
