"""A team borrows what an idle team does not use; the owner comes back and has it at once; who had to go goes on later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cluster_case import Cluster, TeamsSpace
from tests.kueue_stage import Ended, Stage
from tiffin.embedded.seaweed import start_seaweed

UNIT_M = 100
"""One unit is a tenth of a core, so that 150 of them fit on the node."""


def units(space: TeamsSpace, team: str) -> tuple[int, int]:
    """What a team has, and how much of it is borrowed, in units, as Kueue tells it."""
    queue = space.cluster.json("get", "clusterqueue", space.cluster_queue[team])
    found = [one for flavor in queue["status"]["flavorsReservation"] for one in flavor["resources"] if one["name"] == "cpu"]
    return sum(milli(one.get("total", "0")) for one in found) // UNIT_M, sum(milli(one.get("borrowed", "0")) for one in found) // UNIT_M


def milli(cpu: str) -> int:
    return int(cpu[:-1]) if cpu.endswith("m") else int(cpu) * 1000


def workloads(cluster: Cluster, namespace: str) -> dict[str, dict[str, Any]]:
    """By the name of their Job."""
    return {one["metadata"]["ownerReferences"][0]["name"]: one for one in cluster.items("workloads", "-n", namespace)}


def condition(workload: dict[str, Any], name: str) -> dict[str, Any]:
    found = [one for one in workload.get("status", {}).get("conditions", ()) if one["type"] == name]
    return dict(found[0]) if found else {"status": "False", "reason": "", "message": ""}


def test_borrowed_quota_returns_to_its_owner_at_once_and_the_borrower_finishes_later(
    cluster: Cluster, teams_space: Callable[..., TeamsSpace], tmp_path: Path
) -> None:
    space = teams_space({"busy": {"cpu": f"{100 * UNIT_M}m"}, "idle": {"cpu": f"{50 * UNIT_M}m"}})
    seaweed = start_seaweed(tmp_path / "seaweed")
    stage = Stage(space, "busy", seaweed, tmp_path / "stage", 3, cpu=f"{50 * UNIT_M}m")
    mine, theirs = space.namespace["busy"], space.namespace["idle"]
    try:
        # 150 units are asked for where 100 are one's own: 50 are borrowed, and all three steps run
        stage.plan({step: ["slice-3"] for step in stage.names})
        run_id, worker = stage.start_run()
        stage.until_reached(dict.fromkeys(stage.names, 1), worker)
        cluster.until("50 of 150 units are borrowed", lambda: units(space, "busy") == (150, 50), namespaces=[mine])

        # the owner comes back: none of the steps can end, so what it gets was taken back
        cluster.create(space.job("idle", "owner", "sleep 600", requests={"cpu": f"{50 * UNIT_M}m", "memory": "64Mi"}))
        cluster.until("the owner has its 50 units", lambda: units(space, "idle") == (50, 0), namespaces=[mine, theirs])
        owner = workloads(cluster, theirs)["owner"]
        assert condition(owner, "Admitted")["status"] == "True"
        assert units(space, "busy") == (100, 0)

        # one victim, named with its reason; nobody else was disturbed, and nobody was admitted in between
        evicted = {name: one for name, one in workloads(cluster, mine).items() if condition(one, "Preempted")["status"] == "True"}
        assert [condition(one, "Preempted")["reason"] for one in evicted.values()] == ["InCohortReclamation"]
        assert owner["metadata"]["uid"] in condition(next(iter(evicted.values())), "Preempted")["message"]
        assert owner["status"].get("schedulingStats", {}).get("evictions") is None
        name = owner["metadata"]["name"]
        cluster.until("Kueue has told it", lambda: "Admitted" in dict(told_about(cluster, theirs, name)))
        # the first cycle that looked at the owner's Workload took the quota back; it was never left to wait for anything else
        told = [(reason, words) for reason, words in told_about(cluster, theirs, name) if reason not in ("QuotaReserved", "Admitted")]
        assert [reason for reason, _ in told].count("PreemptedWorkload") == 1
        waits = [words for reason, words in told if reason != "PreemptedWorkload"]
        assert all("Pending the preemption of 1 workload(s)" in words for words in waits), waits

        # it is past its grace, too: released before that, it would use the rest of it to go on
        pods = ("-l", f"job-name={next(iter(evicted))}")
        cluster.until("the victim's pod is gone", lambda: not cluster.items("pods", "-n", mine, *pods), namespaces=[mine])

        # the other two finish; then the third has room, goes on where it was, and commits once
        for step in stage.names:
            stage.release(step, 1)
        stage.until_ended(worker)
        ended = Ended.of(stage, run_id)
        ended.check(3)
        assert sorted(ended.attempts.values()) == [1, 1, 2]
        assert sorted(ended.resumed.values()) == [0, 0, 3]
        stage.check_no_orphans()
    finally:
        stage.close()
        seaweed.stop()


def told_about(cluster: Cluster, namespace: str, workload: str) -> list[tuple[str, str]]:
    """What Kueue's admission cycles said of a Workload: reason and words."""
    events = cluster.items("events.events.k8s.io", "-n", namespace)
    return [(one["reason"], one.get("note", "")) for one in events if one["regarding"]["name"] == workload]
