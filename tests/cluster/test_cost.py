"""Cost on the real Kueue: borrowing, an eviction, and a bill that is reckoned a second time from the API server's own words.

The second reckoning reads kubectl's watch and imports nothing of the library.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cluster_case import Cluster, TeamsSpace
from tiffin.compute.cost import Bill, bill_of
from tiffin.compute.kubernetes import KubernetesCluster
from tiffin.compute.prices import Prices
from tiffin.compute.usage_collect import single
from tiffin.compute.usage_log import days_between, read_usage, tick
from tiffin.core.clock import wall_clock
from tiffin.core.units import from_us, to_us
from tiffin.embedded.cost_report import collect_now
from tiffin.storage.folder import FolderStore

CPU_USD_PER_S, GIB_USD_PER_S = 0.01, 0.002
LENT_CPU = 2


def prices(space: TeamsSpace) -> Prices:
    return Prices(flavors={space.flavor: {"cpu": "36", "memory": "7.2"}})


@contextmanager
def watched(cluster: Cluster, file: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Everything that the API server says about Workloads meanwhile, as kubectl prints it."""
    arguments = [str(cluster.program), "get", "workloads", "-A", "-w", "--output-watch-events", "-o", "json"]
    environ = {"PATH": os.environ["PATH"], "HOME": str(file.parent), "KUBECONFIG": str(cluster.kubeconfig)}
    with file.open("wb") as out:
        process = subprocess.Popen(arguments, stdout=out, env=environ, start_new_session=True)

    def said() -> list[dict[str, Any]]:
        text, found, place = file.read_text(), [], 0
        while (place := text.find("{", place)) >= 0:
            try:
                one, place = json.JSONDecoder().raw_decode(text, place)
            except ValueError:
                break  # the last one is still being written
            found.append(one["object"])
        return found

    try:
        yield said
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def stretches(said: list[dict[str, Any]], queues: set[str]) -> list[dict[str, Any]]:
    """When which Workload held how much, by its conditions' own times, in seconds."""
    held: dict[str, dict[str, Any]] = {}
    found: list[dict[str, Any]] = []
    over: set[str] = set()
    for workload in said:
        status, uid = workload.get("status", {}), workload["metadata"]["uid"]
        conditions = {one["type"]: one for one in status.get("conditions", [])}

        def since(name: str, conditions: dict[str, Any] = conditions) -> int:
            return int(datetime.fromisoformat(conditions[name]["lastTransitionTime"]).timestamp())

        admitted = conditions.get("Admitted", {}).get("status") == "True" and status.get("admission")
        if admitted and uid not in held and uid not in over and status["admission"]["clusterQueue"] in queues:
            usage = status["admission"]["podSetAssignments"][0]["resourceUsage"]
            held[uid] = {"queue": status["admission"]["clusterQueue"], "cpu": int(usage["cpu"]), "start": since("Admitted")}
            held[uid]["mebibytes"] = int(usage["memory"].removesuffix("Mi"))
        if uid in held and conditions.get("Finished", {}).get("status") == "True":
            found.append({**held.pop(uid), "end": since("Finished"), "over": True})
            over.add(uid)
        elif uid in held and not admitted:
            found.append({**held.pop(uid), "end": since("Admitted"), "over": False})
    return found


def reckoned(found: list[dict[str, Any]]) -> tuple[dict[str, float], float]:
    """Dollars by queue, and dollars of cores borrowed, second by second."""
    by_queue: dict[str, float] = {}
    borrowed = 0.0
    for second in range(min(one["start"] for one in found), max(one["end"] for one in found)):
        cores: dict[str, int] = {}
        for one in found:
            if one["start"] <= second < one["end"]:
                usd = one["cpu"] * CPU_USD_PER_S + one["mebibytes"] / 1024 * GIB_USD_PER_S
                by_queue[one["queue"]] = by_queue.get(one["queue"], 0.0) + usd
                cores[one["queue"]] = cores.get(one["queue"], 0) + one["cpu"]
        borrowed += sum(max(used - LENT_CPU, 0) for used in cores.values()) * CPU_USD_PER_S
    return by_queue, borrowed


def test_two_teams_pay_what_they_held_and_borrowing_is_seen_by_both(
    cluster: Cluster, teams_space: Callable[..., TeamsSpace], tmp_path: Path
) -> None:
    space = teams_space({"idle": {"cpu": LENT_CPU}, "busy": {"cpu": LENT_CPU}})
    queues = set(space.cluster_queue.values())
    namespaces = set(space.namespace.values())
    store = FolderStore(tmp_path / "store")
    started = wall_clock()
    chance = random.Random(20261127)

    def condition(team: str, name: str, kind: str) -> bool:
        jobs = cluster.json("get", "job", name, "-n", space.namespace[team]).get("status", {})
        return any(one["type"] == kind and one["status"] == "True" for one in jobs.get("conditions", []))

    def active(team: str, name: str) -> bool:
        return bool(cluster.json("get", "job", name, "-n", space.namespace[team]).get("status", {}).get("ready"))

    with KubernetesCluster.connect(cluster.kubeconfig) as door, watched(cluster, tmp_path / "said.json") as said:

        def collect() -> None:
            ours = [
                one
                for one in single(door.queue_objects(None))
                if one["metadata"].get("namespace") in namespaces or one["metadata"]["name"] in queues
            ]
            tick(store, ours, now_us=to_us(wall_clock()))

        def until(what: str, done: Callable[[], bool]) -> None:
            def looked() -> bool:
                if chance.random() < 0.3:
                    collect()
                return done()

            cluster.until(what, looked, namespaces=sorted(namespaces))

        requests = {"cpu": "2", "memory": "512Mi"}
        cluster.create(space.job("busy", "own", "sleep 22", requests=requests))
        until("the first step runs", lambda: active("busy", "own"))
        cluster.create(space.job("busy", "lent", "sleep 15", requests=requests))
        until("the second step runs on what the other team leaves idle", lambda: active("busy", "lent"))
        collect()
        cluster.create(space.job("idle", "back", "sleep 3", requests=requests))
        until("the owner has its quota back", lambda: active("idle", "back"))
        for team, name in (("idle", "back"), ("busy", "own"), ("busy", "lent")):
            until(f"{name} ends", lambda team=team, name=name: condition(team, name, "Complete"))
        until("Kueue has seen all three end", lambda: sum(one["over"] for one in stretches(said(), queues)) == 3)
        collect()
        collect()
        expected, borrowed = reckoned(stretches(said(), queues))

    usages, quotas = read_usage(store, days_between(started.date(), wall_clock().date()))
    bill: Bill = bill_of(usages, quotas, prices(space))

    teams = {f"{name.removeprefix('team-')}": usd for name, usd in expected.items()}
    assert {team: usd / 1e6 for (team,), usd in bill.by("team").items()} == pytest.approx(teams, rel=1e-4)
    idle, busy = (space.cluster_queue[team].removeprefix("team-") for team in ("idle", "busy"))
    lent = {pair: usd for pair, usd in bill.borrowed().items() if usd}
    assert set(lent) == {(busy, idle)}
    assert lent[busy, idle] / 1e6 == pytest.approx(borrowed, rel=1e-4)
    evicted = [one for one in usages if one.reason == "Preempted"]
    assert [one.name.startswith("job-lent") for one in evicted] == [True]
    assert all(from_us(one.start_us) <= from_us(one.end_us) for one in usages)


def test_whoever_asks_for_the_cost_collects_what_is_new(cluster: Cluster, teams_space: Callable[..., TeamsSpace], tmp_path: Path) -> None:
    space = teams_space({"eta": {"cpu": 1}})
    store = FolderStore(tmp_path)
    job = space.job("eta", "once", "sleep 2")
    job["spec"]["template"]["metadata"] = {
        "annotations": {"tiffin.dev/assets": "eta/table", "tiffin.dev/partitions": "2013-01-01...2013-01-02"}
    }
    cluster.create(job)

    def told() -> list[Any]:
        assert collect_now(str(cluster.kubeconfig), store) is None
        usages, _ = read_usage(store, days_between(wall_clock().date() - timedelta(days=1), wall_clock().date()))
        return [one for one in usages if one.namespace == space.namespace["eta"] and one.ended == "finished"]

    cluster.until("the step is in the records", lambda: bool(told()), namespaces=list(space.namespace.values()))

    (record,) = told()
    assert (record.assets, record.partitions, record.cluster_queue) == (
        ("eta/table",),
        ("2013-01-01...2013-01-02",),
        space.cluster_queue["eta"],
    )
    assert "does not answer" in (collect_now(str(nowhere(tmp_path)), store) or "")


def nowhere(folder: Path) -> Path:
    """A kubeconfig whose API server is not there."""
    file = folder / "kubeconfig"
    server = {"name": "x", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "x",
                "clusters": [server],
                "contexts": [context],
                "users": [{"name": "x", "user": {}}],
            }
        )
    )
    return file
