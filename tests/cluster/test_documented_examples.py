"""What dagster-k8s documents is so with our launcher and executor: its own examples, on a namespace with queues and one without."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests import documented_jobs
from tests.cluster_case import Cluster, teams_space
from tests.kueue_case import launch, make_instance, make_run, messages, status_of

# as the guide's "Instance-level Kubernetes configuration" and "Kubernetes configuration on individual steps within a run"
STEP_CONFIG = {"container_config": {"env": [{"name": "FROM_STEP", "value": "executor"}]}}
PER_STEP = {"my_op": {"container_config": {"env": [{"name": "FROM_OP", "value": "per step"}], "resources": {"requests": {"cpu": "300m"}}}}}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "documented"}, "stringData": {"FROM_SECRET": "hidden"}}
MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "documented"}, "data": {"FROM_MAP": "mapped"}}


class Example:
    """One documented run in one namespace, after its end."""

    def __init__(self, cluster: Cluster, namespace: str, home: Path, executor: dict[str, Any]) -> None:
        cluster.apply(*({**one, "metadata": {**one["metadata"], "namespace": namespace}} for one in (SECRET, MAP)))
        self.cluster, self.namespace = cluster, namespace
        launcher = {
            "env_secrets": ["documented"],
            "env_config_maps": ["documented"],
            "run_k8s_config": {"job_metadata": {"labels": {"team": "mine"}}},
        }
        self.instance = make_instance(home, cluster, namespace, **launcher)
        config = {"env_vars": ["FROM_VARS=executor"], "step_k8s_config": STEP_CONFIG, "per_step_k8s_config": PER_STEP, **executor}
        run = make_run(self.instance, documented_jobs.my_job, "documented", run_config={"execution": {"config": config}})
        self.run = launch(self.instance, run)

    def wait(self) -> None:
        over = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE)
        self.cluster.until("the run has ended", lambda: status_of(self.instance, self.run) in over, namespaces=[self.namespace])

    def job(self, op: str | None) -> dict[str, Any]:
        """Of a step, or the run worker's."""
        jobs = self.cluster.items("jobs", "-n", self.namespace)
        return next(job for job in jobs if job["metadata"]["labels"].get("dagster/op") == op)

    def container(self, op: str | None) -> dict[str, Any]:
        return dict(self.job(op)["spec"]["template"]["spec"]["containers"][0])

    def environment(self, op: str) -> str:
        return next(one for one in messages(self.instance, self.run.run_id, step=op) if one.startswith("environment: "))


@pytest.fixture(scope="module")
def examples(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Example]]:
    """The same run where Kueue queues its steps, and where it does not."""
    with teams_space(cluster, {"queued": {"cpu": 2}}) as space, ThreadPoolExecutor(2) as pool:
        plain = f"documented-{space.suffix}"
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": plain}})
        folder = tmp_path_factory.mktemp("documented")
        try:
            found = {
                "queued": Example(cluster, space.namespace["queued"], folder / "queued", {}),
                "plain": Example(cluster, plain, folder / "plain", {"queues": False, "pod_security": "none"}),
            }
            list(pool.map(Example.wait, found.values()))
            yield found
            for one in found.values():
                one.instance.dispose()
        finally:
            cluster.kubectl("delete", "namespace", plain, "--wait=false")


WHERE = pytest.mark.parametrize("where", ["queued", "plain"])


@WHERE
def test_the_documented_run_succeeds(examples: dict[str, Example], where: str) -> None:
    one = examples[where]

    assert status_of(one.instance, one.run) is dg.DagsterRunStatus.SUCCESS, messages(one.instance, one.run.run_id)


@WHERE
def test_a_jobs_tag_configures_the_run_worker_and_no_step(examples: dict[str, Example], where: str) -> None:
    worker, step = examples[where].job(None)["spec"]["template"], examples[where].job("plain_op")["spec"]["template"]

    assert worker["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "2560Mi"}}
    assert worker["metadata"]["annotations"]["example.com/run"] == "yes"
    assert [volume["name"] for volume in worker["spec"]["volumes"]] == ["volume1"]
    assert "example.com/run" not in step["metadata"].get("annotations", {})
    assert not step["spec"].get("volumes")


@WHERE
def test_an_ops_tag_goes_before_the_executors_configuration(examples: dict[str, Example], where: str) -> None:
    job = examples[where].job("my_op")
    template = job["spec"]["template"]

    assert job["spec"]["ttlSecondsAfterFinished"] == 7200
    assert job["metadata"]["annotations"]["example.com/owner"] == "op"
    assert template["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "true"


@WHERE
def test_per_step_configuration_goes_before_the_ops_tag(examples: dict[str, Example], where: str) -> None:
    requests = examples[where].container("my_op")["resources"]["requests"]

    assert (requests["cpu"], requests["memory"]) == ("300m", "32Mi")


@WHERE
def test_environment_comes_from_secrets_maps_variables_tags_and_every_layer(examples: dict[str, Example], where: str) -> None:
    mine, plain = examples[where].environment("my_op"), examples[where].environment("plain_op")

    for pair in ("FROM_SECRET=hidden", "FROM_MAP=mapped", "FROM_VARS=executor", "FROM_STEP=executor"):
        assert pair in mine
        assert pair in plain
    assert "FROM_TAG=op" in mine
    assert "FROM_OP=per step" in mine
    assert "FROM_TAG" not in plain
    assert "FROM_OP" not in plain


@WHERE
def test_labels_of_the_instance_and_of_dagster_are_on_every_job(examples: dict[str, Example], where: str) -> None:
    one = examples[where]

    for op in (None, "my_op", "plain_op"):
        labels = one.job(op)["metadata"]["labels"]
        assert labels["team"] == "mine"
        assert (labels["dagster/run-id"], labels["dagster/job"]) == (one.run.run_id, "my_job")
        assert labels["app.kubernetes.io/name"] == "dagster"


def test_steps_without_queues_have_no_label_of_kueues(examples: dict[str, Example]) -> None:
    plain, queued = examples["plain"].job("my_op"), examples["queued"].job("my_op")

    assert not [name for name in plain["metadata"]["labels"] if name.startswith("kueue")]
    assert queued["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "default"
