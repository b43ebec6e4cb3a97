"""Steps of several pods on the real Kueue: admitted together or not at all; PyTorch's DDP, and Spark without a deadlock."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import cluster_gang_jobs, kueue_jobs
from tests.cluster_case import Cluster, TeamsSpace
from tests.kueue_case import kinds, make_instance, messages, run_job
from tiffin.compute.gang import as_gang

ROOT = Path(__file__).resolve().parents[2]
DEBIAN = "/usr/bin/python3"
SPACE = {"eta": {"cpu": 2}}


def free_port() -> int:
    """Pods of these nodes share one network, so each gang needs a port of its own."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def gang(space: TeamsSpace, name: str, script: str, size: int = 2, **over: Any) -> dict[str, Any]:
    return as_gang(space.job("eta", name, script, **over), size, host="127.0.0.1", port=free_port())


def ended(cluster: Cluster, space: TeamsSpace, name: str) -> str:
    """`Complete`, `Failed`, or nothing yet."""
    status = cluster.json("get", "job", name, "-n", space.namespace["eta"]).get("status", {})
    over = [one["type"] for one in status.get("conditions", []) if one["status"] == "True"]
    return next((kind for kind in ("Complete", "Failed") if kind in over), "")


def words(cluster: Cluster, space: TeamsSpace, name: str) -> list[dict[str, Any]]:
    """What the pods said in JSON, by pod."""
    pods = cluster.items("pods", "-n", space.namespace["eta"], "-l", f"job-name={name}")
    texts = [cluster.kubectl("logs", one["metadata"]["name"], "-n", space.namespace["eta"]) for one in pods]
    return [json.loads(line) for text in texts for line in text.splitlines() if line.startswith("{")]


def finish(cluster: Cluster, space: TeamsSpace, name: str, *, patience: int = 1) -> list[dict[str, Any]]:
    """Wait for the Job's end; `patience` times as long as for anything else."""
    for left in reversed(range(patience)):
        try:
            cluster.until(f"{name} ends", lambda: ended(cluster, space, name) != "", namespaces=list(space.namespace.values()))
            break
        except AssertionError:
            if not left:
                raise
    assert ended(cluster, space, name) == "Complete", cluster.kubectl(
        "logs", "-n", space.namespace["eta"], "-l", f"job-name={name}", "--prefix", "--tail=20"
    )
    return words(cluster, space, name)


def full_batch() -> np.ndarray[Any, Any]:
    """The weights that one process finds on all rows, reckoned with numpy alone."""
    dump = "import json; from cluster_ddp import rows; print(json.dumps([one.tolist() for one in rows()]))"
    said = subprocess.run([DEBIAN, "-c", dump], cwd=ROOT / "tests", check=True, capture_output=True, text=True).stdout
    columns, label = (np.array(one) for one in json.loads(said))
    weights = np.zeros(4)
    for _ in range(60):
        weights -= 0.1 * 2 * columns.T @ (columns @ weights - label) / len(label)
    return weights


def test_pytorch_trains_on_two_ranks_as_one_process_would(cluster: Cluster, teams_space: Callable[..., TeamsSpace]) -> None:
    asked = subprocess.run([DEBIAN, "-c", "import torch"], capture_output=True, check=False)
    assert asked.returncode == 0, "PyTorch for CPU is missing: apt-get install --no-install-recommends python3-torch"
    space = teams_space(SPACE)
    script = f"PYTHONPATH= GLOO_SOCKET_IFNAME=lo OMP_NUM_THREADS=1 exec {DEBIAN} {ROOT / 'tests' / 'cluster_ddp.py'}"
    cluster.create(gang(space, "ddp", script))

    said = finish(cluster, space, "ddp")

    assert sorted((one["rank"], one["size"]) for one in said) == [(0, 2), (1, 2)]
    assert said[0]["weights"] == said[1]["weights"]
    assert said[0]["weights"] == pytest.approx(full_batch(), rel=1e-4)


def test_a_dagster_step_of_two_pods_runs_once_and_trains_on_both(
    cluster: Cluster, teams_space: Callable[..., TeamsSpace], tmp_path: Path
) -> None:
    space = teams_space(SPACE)
    namespace = space.namespace["eta"]
    config = {"execution": {"config": {**kueue_jobs.EXECUTION["config"], "gang_host": "127.0.0.1"}}}
    with make_instance(tmp_path, cluster, namespace) as instance:
        done = run_job(cluster_gang_jobs.trained_by_two, instance, config=config)
        told = messages(instance, done.run_id, step="pair")
        events = kinds(instance, done.run_id, step="pair")

    assert done.success, failure_of_run(cluster, namespace, told)
    assert events.count("STEP_START") == events.count("STEP_SUCCESS") == 1
    (first,) = (json.loads(one) for one in told if one.startswith("{"))
    beside = [
        json.loads(line)
        for pod in cluster.items("pods", "-n", namespace)
        for line in cluster.kubectl("logs", pod["metadata"]["name"], "-n", namespace).splitlines()
        if line.startswith('{"rank": 1')
    ]
    assert first["rank"] == 0
    assert [one["weights"] for one in beside] == [first["weights"]]
    assert first["weights"] == pytest.approx(list(cluster_gang_jobs.TRUE), rel=1e-3)


def failure_of_run(cluster: Cluster, namespace: str, told: list[str]) -> str:
    """All that is known of it."""
    pods = [one["metadata"]["name"] for one in cluster.items("pods", "-n", namespace)]
    return "\n".join([*told, *(cluster.kubectl("logs", pod, "-n", namespace) for pod in pods)])


def test_half_a_gang_is_never_admitted(cluster: Cluster, teams_space: Callable[..., TeamsSpace]) -> None:
    space = teams_space(SPACE)
    namespace = space.namespace["eta"]
    cluster.create(space.job("eta", "first", "sleep 600", priority="prod"))
    cluster.until("the first step runs", lambda: bool(cluster.json("get", "job", "first", "-n", namespace)["status"].get("ready")))
    cluster.create(gang(space, "pair", "true"))

    def reserved() -> dict[str, Any]:
        found = [one for one in cluster.items("workloads", "-n", namespace) if one["metadata"]["name"].startswith("job-pair")]
        conditions = found[0].get("status", {}).get("conditions", []) if found else []
        return {one["type"]: one for one in conditions}

    cluster.until("Kueue has judged the gang", lambda: "QuotaReserved" in reserved(), namespaces=[namespace])

    assert reserved()["QuotaReserved"]["status"] == "False"
    assert "1 more needed" in reserved()["QuotaReserved"]["message"]
    assert cluster.items("pods", "-n", namespace, "-l", "job-name=pair") == []
    cluster.kubectl("delete", "job", "first", "-n", namespace)
    finish(cluster, space, "pair")


def test_a_gang_that_is_preempted_comes_back_as_a_whole(cluster: Cluster, teams_space: Callable[..., TeamsSpace]) -> None:
    space = teams_space(SPACE)
    namespace = space.namespace["eta"]
    cluster.create(gang(space, "pair", "sleep 12", priority="backfill", grace_s=1))
    cluster.until("both run", lambda: cluster.json("get", "job", "pair", "-n", namespace)["status"].get("ready") == 2)
    before = {one["metadata"]["uid"] for one in cluster.items("pods", "-n", namespace)}
    cluster.create(space.job("eta", "urgent", "true", priority="prod"))

    cluster.until("the urgent step ends", lambda: ended(cluster, space, "urgent") == "Complete", namespaces=[namespace])
    finish(cluster, space, "pair")

    job = cluster.json("get", "job", "pair", "-n", namespace)["status"]
    pods = [one for one in cluster.items("pods", "-n", namespace, "-l", "job-name=pair") if one["metadata"]["uid"] not in before]
    assert (job.get("failed", 0), job["succeeded"], job["completedIndexes"]) == (0, 2, "0,1")
    assert len(pods) == 2


def test_sparks_driver_and_executors_are_admitted_together(cluster: Cluster, teams_space: Callable[..., TeamsSpace]) -> None:
    space = teams_space({"eta": {"cpu": 3}})
    entry = "-m tiffin.orchestration.gang_entry tests.cluster_spark_gang:part"
    script = f"PYTHONPATH={ROOT / 'platform'}:{ROOT} exec {ROOT / '.venv' / 'bin' / 'python'} {entry}"
    cluster.create(gang(space, "spark", script, size=3))

    (said,) = finish(cluster, space, "spark", patience=4)  # six JVMs start

    assert said["total"] == 499_500
    assert said["master"].startswith("spark://127.0.0.1:")
    assert said["executors"] == 2
