"""The whole story on a cluster: `docs/how-to/kubernetes/run-on-kubernetes.md` word for word, and in the middle of it `eta` is rebuilt."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
import tritonclient.grpc as grpc

from deploy.devcluster.home import Home
from tests.cluster_case import Cluster
from tests.docs.conftest import Reader
from tests.docs.pages import Step, steps_of
from tests.e2e.house import AS_OF, BIN, ROOT, House, ask
from tests.mutants.run import scratch_copy

PAGE = ROOT / "docs" / "how-to" / "kubernetes" / "run-on-kubernetes.md"
RANGE = {"dagster/asset_partition_range_start": "2013-12-29", "dagster/asset_partition_range_end": "2013-12-30"}
# one run per code location: its assets, and which partitions of them
RUNS = {
    "network": (["airport_weather", "airport_traffic"], RANGE),
    "fleet": (["carrier_delays", "plane_days"], RANGE),
    "eta": (["eta_table", "eta_model", "eta"], {}),
}
FLIGHTS = pa.table(
    {
        "carrier": ["UA", "DL", "B6"],
        "origin": ["EWR", "JFK", "LGA"],
        "dest": ["SFO", "ATL", "FLL"],
        "tailnum": ["N14228", "N300DE", None],
        "distance": [2565, 760, 1076],
        "sched_dep_minute": [315, 600, 1141],
        "month": [12, 12, 12],
        "weekday": [2, 2, 2],
    }
)


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A reader's copy of the checkout, whose stack holds the year and serves `eta` before anybody spoke of clusters."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    scratch_copy(checkout)
    (checkout / ".venv").symlink_to(BIN.parent)
    reader = Reader(checkout)
    home = checkout / ".tiffin"
    try:
        fill = ".venv/bin/python scripts/materialise.py --latest 365"
        for command in ("git init -q", f".venv/bin/tiffin up --as-of {AS_OF}", fill):
            reader.do(Step("sh", command, None, 0))
        yield reader
    finally:
        House(home).tiffin("down", check=False)
        reader.sh("test ! -e .tiffin/cluster || .venv/bin/python -m deploy.devcluster down")


def jobs_of(cluster: Cluster, run: str) -> list[dict[str, Any]]:
    """The Jobs of a run, its worker among them, wherever they are."""
    return cluster.items("jobs", "--all-namespaces", "-l", f"dagster/run-id={run}")


def admitted_by(cluster: Cluster, job: dict[str, Any]) -> str | None:
    """The ClusterQueue through which Kueue admitted a Job."""
    metadata = job["metadata"]
    found = cluster.items("workloads", "-n", metadata["namespace"], "-l", f"kueue.x-k8s.io/job-uid={metadata['uid']}")
    assert len(found) == 1, f"Job {metadata['name']} has {len(found)} Workloads"
    admission = found[0]["status"].get("admission")
    finished = [one for one in found[0]["status"]["conditions"] if one["type"] == "Finished" and one["status"] == "True"]
    return str(admission["clusterQueue"]) if admission and finished else None


def rebuild(reader: Reader, house: House, cluster: Cluster) -> None:
    """A changed model: one run per code location, every step a Job of its team that Kueue admitted."""
    told = reader.sh('sed -i \'s/"num_iterations": 60/"num_iterations": 40/\' assets/eta/endpoints.py && .venv/bin/tiffin reload')
    assert told.returncode == 0, told.stdout + told.stderr
    for team, (assets, tags) in RUNS.items():
        run = house.materialise(team, assets, tags=tags, patience_s=900)
        jobs = jobs_of(cluster, run)
        workers = [job for job in jobs if job["metadata"]["labels"]["app.kubernetes.io/component"] == "run_worker"]
        steps = [job for job in jobs if job["metadata"]["labels"]["app.kubernetes.io/component"] == "step_worker"]
        assert {job["metadata"]["namespace"] for job in jobs} == {f"team-{team}"}
        assert [len(workers), len(steps)] == [1, len(assets)]
        for job, queue in [(workers[0], "run-workers"), *((step, f"team-{team}") for step in steps)]:
            # Kueue writes the end of a Workload a moment after the Job's
            cluster.until(f"{job['metadata']['name']} ended in {queue}", lambda job=job, queue=queue: admitted_by(cluster, job) == queue)  # type: ignore[misc]
            assert cluster.json("get", "job", job["metadata"]["name"], "-n", f"team-{team}")["status"]["succeeded"] == 1


@pytest.mark.timeout(2400)  # 4 minutes on two quiet cores; a busy machine is no finding
def test_eta_rebuilds_with_steps_of_three_teams_through_kueue(reader: Reader) -> None:
    steps = list(steps_of(PAGE))
    back = PAGE.read_text().split("## Back")[0].count("\n")
    house = House(reader.checkout / ".tiffin")
    with grpc.InferenceServerClient(house.settings.need("triton_grpc")) as triton:
        before = ask(triton, FLIGHTS)

        for step in (step for step in steps if step.line < back):
            reader.do(step)
        home = Home(house.home / "cluster")
        cluster = Cluster(home.kubeconfig, Path(home.read().programs) / "kubectl", home)
        unchanged = ask(triton, FLIGHTS)
        rebuild(reader, house, cluster)
        after = ask(triton, FLIGHTS)

        assert unchanged.tolist() == before.tolist()
        assert after.tolist() != before.tolist()
        assert abs(after - before).max() < 30
        pids = [process.pid for process in home.read().processes.values()]
        for step in (step for step in steps if step.line >= back):
            reader.do(step)
        assert not home.folder.exists()
        assert not [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]
        assert ask(triton, FLIGHTS).tolist() == after.tolist()
        assert json.loads(house.tiffin("up", "--json").stdout)["cluster"] is None
