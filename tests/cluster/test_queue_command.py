"""`tiffin queue` on the real Kueue: what it tells, and what its changes do."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from tests.cluster_case import Cluster, TeamsSpace
from tiffin.cli.app import app

KUEUE = "kueue.x-k8s.io/v1beta2"


def job(space: TeamsSpace, team: str, name: str, cpu: str, *, priority: str = "default", seconds: int = 600) -> dict[str, Any]:
    """A Job of a team that sleeps."""
    container = {"name": "main", "image": "none", "command": ["sleep", str(seconds)], "resources": {"requests": {"cpu": cpu}}}
    labels = {
        "kueue.x-k8s.io/queue-name": "default",
        "kueue.x-k8s.io/priority-class": space.priority[priority],
        "dagster/run-id": f"run-{name}",
        "dagster/op": name,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": space.namespace[team], "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "template": {"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}},
        },
    }


def ask(cluster: Cluster, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["queue", *arguments, "--kubeconfig", str(cluster.kubeconfig)], catch_exceptions=False)


def steps(cluster: Cluster, space: TeamsSpace, *arguments: str) -> dict[str, dict[str, Any]]:
    """The rows of this test's namespaces, by Job."""
    shown = json.loads(ask(cluster, "--json", *arguments).stdout)
    return {row["job"]: row for row in shown["steps"] if row["namespace"] in space.namespace.values()}


def state(cluster: Cluster, space: TeamsSpace, name: str) -> str:
    found = steps(cluster, space).get(name)
    return found["state"] if found else "gone"


def test_who_waits_is_told_why_behind_whom_and_what_would_help(cluster: Cluster, teams_space: Callable[..., TeamsSpace]) -> None:
    space = teams_space({"a": {"cpu": 2}, "b": {"cpu": 1}})
    cluster.create(job(space, "a", "busy", "3"))
    cluster.until("the first Job to run", lambda: state(cluster, space, "busy") == "running", namespaces=[space.namespace["a"]])
    cluster.create(job(space, "a", "second", "2"))
    cluster.until("the second to wait", lambda: state(cluster, space, "second") == "waiting", namespaces=[space.namespace["a"]])
    time.sleep(1.1)  # Kueue orders by the second of creation; within one second it tosses
    cluster.create(job(space, "a", "third", "1"))
    cluster.until("the third to wait", lambda: state(cluster, space, "third") == "waiting", namespaces=[space.namespace["a"]])

    rows = steps(cluster, space)

    assert rows["busy"]["flavors"]["cpu"] == space.flavor
    assert (rows["second"]["position"], rows["third"]["position"]) == (1, 2)
    assert rows["third"]["behind"] == ["run-seco/second"]
    assert rows["second"]["held_by"] == ["run-busy/busy"]
    assert "more of cpu in flavor" in rows["second"]["why"]
    assert {one["kind"] for one in rows["second"]["unblocks"]} == {"priority", "quota"}


def test_a_what_if_comes_true_when_it_is_done(cluster: Cluster, teams_space: Callable[..., TeamsSpace]) -> None:
    """The quota that `tiffin queue` proposes is given to the real queue, and the step is admitted."""
    space = teams_space({"a": {"cpu": 2}})
    cluster.create(job(space, "a", "busy", "2"))
    cluster.until("the first Job to run", lambda: state(cluster, space, "busy") == "running", namespaces=[space.namespace["a"]])
    cluster.create(job(space, "a", "second", "1"))
    cluster.until("the second to wait", lambda: state(cluster, space, "second") == "waiting", namespaces=[space.namespace["a"]])
    proposed = next(one["what_if"] for one in steps(cluster, space)["second"]["unblocks"] if one["kind"] == "quota")

    shown = json.loads(ask(cluster, "--json", "--what-if", proposed).stdout)
    before = next(row for row in shown["before"]["steps"] if row["job"] == "second" and row["namespace"] == space.namespace["a"])
    after = next(row for row in shown["after"]["steps"] if row["job"] == "second" and row["namespace"] == space.namespace["a"])
    assert after["expected_start_s"] == 0.0
    assert before["expected_start_s"] is None or before["expected_start_s"] > 0
    assert state(cluster, space, "second") == "waiting"

    queue = f"clusterqueues.{KUEUE.partition('/')[0]}"
    quotas = cluster.json("get", queue, space.cluster_queue["a"])["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    place = next(place for place, one in enumerate(quotas) if one["name"] == "cpu")
    path = f"/spec/resourceGroups/0/flavors/0/resources/{place}/nominalQuota"
    patch = [{"op": "replace", "path": path, "value": proposed.rpartition("=")[2]}]
    cluster.kubectl("patch", queue, space.cluster_queue["a"], "--type=json", "-p", json.dumps(patch))
    cluster.until("the second to run", lambda: state(cluster, space, "second") == "running", namespaces=[space.namespace["a"]])


def test_priority_changes_the_turn_and_preempts_as_told(cluster: Cluster, teams_space: Callable[..., TeamsSpace]) -> None:
    space = teams_space({"a": {"cpu": 2}})
    cluster.create(job(space, "a", "busy", "2"))
    cluster.until("the first Job to run", lambda: state(cluster, space, "busy") == "running", namespaces=[space.namespace["a"]])
    cluster.create(job(space, "a", "urgent", "2", priority="backfill"))
    cluster.until("the second to wait", lambda: state(cluster, space, "urgent") == "waiting", namespaces=[space.namespace["a"]])
    told = next(one for one in steps(cluster, space)["urgent"]["unblocks"] if one["kind"] == "priority")
    assert told["evicts"] == 1

    done = ask(cluster, "priority", "run-urgent", space.priority["prod"])

    assert done.exit_code == 0, done.output
    cluster.until("the urgent one to run", lambda: state(cluster, space, "urgent") == "running", namespaces=[space.namespace["a"]])
    cluster.until("the other to wait again", lambda: state(cluster, space, "busy") == "waiting", namespaces=[space.namespace["a"]])
    victim = steps(cluster, space)["busy"]
    assert (victim["preempted_by"], victim["evictions"]) == ("run-urge/urgent", 1)


def test_a_paused_step_leaves_its_quota_to_others_and_resumes(cluster: Cluster, teams_space: Callable[..., TeamsSpace]) -> None:
    space = teams_space({"a": {"cpu": 2}})
    cluster.create(job(space, "a", "first", "2", priority="prod"))
    cluster.until("the first Job to run", lambda: state(cluster, space, "first") == "running", namespaces=[space.namespace["a"]])
    cluster.create(job(space, "a", "other", "2", seconds=1))

    assert ask(cluster, "pause", "run-first/first").exit_code == 0
    cluster.until("the other to end", lambda: state(cluster, space, "other") == "gone", namespaces=[space.namespace["a"]])
    assert state(cluster, space, "first") == "paused"
    assert ask(cluster, "resume", "run-first").exit_code == 0
    cluster.until("the first to run again", lambda: state(cluster, space, "first") == "running", namespaces=[space.namespace["a"]])


def test_an_unknown_run_is_refused_with_a_fix(cluster: Cluster, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["queue", "pause", "no-such-run", "--kubeconfig", str(cluster.kubeconfig)])

    assert done.exit_code == 1
    assert "no step of 'no-such-run' waits or runs" in str(done.exception)
