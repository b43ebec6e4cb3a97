"""Jobs that Kueue suspends: they are described before they start, and deleted with all that is theirs."""

from __future__ import annotations

from typing import Any

import kubernetes.client
import pytest

from tiffin.orchestration.kueue_client import KueueClient
from tiffin.orchestration.kueue_instance import LONG_AGO_S, cluster_instance, kills_the_queued


class BatchApi:
    """Remembers what it was asked to delete."""

    def __init__(self, *, there: bool = True) -> None:
        self.there = there
        self.asked: list[dict[str, Any]] = []

    def delete_namespaced_job(self, **asked: Any) -> None:
        self.asked.append(asked)
        if not self.there:
            raise kubernetes.client.rest.ApiException(status=404)


@pytest.mark.parametrize("there", [True, False])
def test_a_job_is_deleted_in_one_request_with_its_pods_behind_it(there: bool) -> None:
    api = BatchApi(there=there)

    assert KueueClient(batch_api=api, core_api=object()).delete_job("job", "space") is there

    assert api.asked == [{"name": "job", "namespace": "space", "propagation_policy": "Background"}]


def test_a_suspended_job_is_described_without_a_start_time() -> None:
    job = kubernetes.client.V1Job(
        spec=kubernetes.client.V1JobSpec(suspend=True, template=kubernetes.client.V1PodTemplateSpec()),
        status=kubernetes.client.V1JobStatus(),
    )

    said = KueueClient(batch_api=object(), core_api=object())._get_job_status_str(job)

    assert "suspended" in said
    assert "active=None" in said


def test_a_job_goes_to_the_creator_where_there_is_one() -> None:
    given: list[tuple[Any, str]] = []
    job = kubernetes.client.V1Job()

    client = KueueClient(batch_api=object(), core_api=object(), creator=lambda body, space: given.append((body, space)))
    client.create_namespaced_job_with_retries(body=job, namespace="space")

    assert given == [(job, "space")]


@pytest.mark.parametrize(
    ("enabled", "start_timeout_s", "queue", "expected"),
    [
        pytest.param(True, 180, "runs", True, id="Dagster's default with a queue"),
        pytest.param(True, LONG_AGO_S, "runs", False, id="as cluster_instance writes it"),
        pytest.param(True, 180, None, False, id="run workers that do not queue"),
        pytest.param(False, 180, "runs", False, id="no monitor"),
        pytest.param(True, 0, "runs", True, id="zero makes Dagster's monitor fail every round"),
    ],
)
def test_a_monitor_that_would_fail_whoever_waits_is_known(enabled: bool, start_timeout_s: float, queue: str | None, expected: bool) -> None:
    assert kills_the_queued(enabled=enabled, start_timeout_s=start_timeout_s, queue=queue) is expected


def test_an_instance_of_a_cluster_keeps_logs_in_the_object_store_and_no_key_in_its_file() -> None:
    found = cluster_instance(launcher={"run_worker_queue": "run-workers"}, bucket="dev", endpoint="http://s3:8333")

    logs = found["compute_logs"]["config"]
    assert (logs["bucket"], logs["prefix"], logs["endpoint_url"], logs["use_ssl"]) == ("dev", "logs", "http://s3:8333", False)
    assert not kills_the_queued(enabled=True, start_timeout_s=found["run_monitoring"]["start_timeout_seconds"], queue="run-workers")
    assert "key" not in str(found["compute_logs"]).lower()
