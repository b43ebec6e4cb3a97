"""A small Kueue Job conducts a job on a Spark cluster elsewhere; it is preempted, and there is one result all the same."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster_case import Cluster, TeamsSpace
from tests.spark_standalone import PROGRAM, SETTINGS, page, spark_standalone
from tiffin.engines.remote_keep import Keep
from tiffin.storage.folder import FolderStore

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("word", "states"),
    [
        pytest.param("keep", ["FINISHED"], id="the job goes on meanwhile"),
        pytest.param("cancel", ["FINISHED", "KILLED"], id="the job is cancelled and another one started"),
    ],
)
def test_a_preempted_jump_off_step_ends_with_one_result(
    cluster: Cluster, teams_space: Callable[..., TeamsSpace], tmp_path: Path, word: str, states: list[str]
) -> None:
    space = teams_space({"eta": {"cpu": 1}})
    namespace = space.namespace["eta"]
    program, go, result = tmp_path / "sum.py", tmp_path / "go", tmp_path / "result"
    program.write_text(PROGRAM)

    def kept() -> str:
        record = Keep(FolderStore(tmp_path / "store"), "checkpoints/run/step/").load()
        return "" if record is None else record.phase

    def complete(name: str) -> bool:
        status = cluster.json("get", "job", name, "-n", namespace)["status"]
        assert not status.get("failed"), cluster.kubectl("logs", "-n", namespace, "-l", f"job-name={name}", "--tail=30")
        return bool(status.get("succeeded"))

    with spark_standalone(tmp_path) as remote:
        (tmp_path / "remote.json").write_text(json.dumps(dict(remote.where)))
        job = {"program": str(program), "arguments": [str(go), str(result)], "settings": SETTINGS, "driver_memory": "512m"}
        environment = f"PYTHONPATH={ROOT / 'platform'}:{ROOT}"
        command = f"{environment} exec {ROOT / '.venv/bin/python'} -m tests.cluster_remote {tmp_path} {word} {shlex.quote(json.dumps(job))}"
        cluster.create(space.job("eta", "jump", command, priority="backfill"))
        cluster.until("the remote job runs", lambda: kept() == "running", namespaces=[namespace])

        cluster.create(space.job("eta", "urgent", "true", priority="prod"))
        cluster.until("the urgent step ends", lambda: complete("urgent"), namespaces=[namespace])
        go.touch()
        for left in (2, 1, 0):  # JVMs start one after the other: more patience than for a pod
            try:
                cluster.until("the preempted step ends", lambda: complete("jump"), namespaces=[namespace])
                break
            except AssertionError as late:
                if not left or "waited" not in str(late):
                    raise
        drivers = page(remote)["completeddrivers"]

    assert sorted(one["state"] for one in drivers) == states
    assert result.read_text() == "499500\n"
    workload = next(one for one in cluster.items("workloads", "-n", namespace) if one["metadata"]["name"].startswith("job-jump"))
    assert workload["status"]["schedulingStats"]["evictions"][0]["reason"] == "Preempted"
