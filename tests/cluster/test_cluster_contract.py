"""`KubernetesCluster` passes the kit on the real controllers, and its watch survives what happens to API servers."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cluster_case import Cluster, TeamsSpace, teams_space
from tiffin.compute.kubernetes import KubernetesCluster
from tiffin.compute.messages import Why
from tiffin.compute.observation import observe
from tiffin.compute.preflight import refusal_of_job
from tiffin.compute.states import Memory, State, Transition, step
from tiffin.compute.watching import Watching
from tiffin.compute.world import World
from tiffin.testing.cluster import CASES, Stage, check_cluster, playing, random_program, run_program

RUN = "dagster/run-id"
ALONE = {"withinClusterQueue": "LowerPriority"}


@pytest.fixture(scope="module")
def space(cluster: Cluster) -> Iterator[TeamsSpace]:
    """One team whose queue has two cores."""
    with teams_space(cluster, {"kit": {"cpu": 2}}, preemption=ALONE) as found:
        yield found


@pytest.fixture(scope="module")
def door(cluster: Cluster) -> Iterator[KubernetesCluster]:
    with KubernetesCluster.connect(cluster.kubeconfig) as found:
        yield found


def stage(space: TeamsSpace) -> Stage:
    return Stage(space.namespace["kit"], "default", cpu=2, low=space.priority["backfill"], high=space.priority["prod"], image="none")


@pytest.mark.parametrize("case", list(CASES))
def test_the_real_one_passes_the_kit(door: KubernetesCluster, space: TeamsSpace, case: str) -> None:
    with playing(door, stage(space)) as play:
        CASES[case](play)


@pytest.mark.parametrize("seed", [1, 2])
def test_random_programs_end_as_their_scripts_say(door: KubernetesCluster, space: TeamsSpace, seed: int) -> None:
    with playing(door, stage(space)) as play:
        run_program(play, random_program(seed, 2))


def test_the_kit_runs_programs_from_files_and_names_the_one_that_fails(door: KubernetesCluster, space: TeamsSpace, tmp_path: Path) -> None:
    class Deaf(KubernetesCluster):
        """Never hears that a Job of the same name is another one."""

        def submit(self, job: Any) -> Any:
            there = self.get("batch/v1", "Job", job["metadata"]["namespace"], job["metadata"]["name"])
            return there or super().submit(job)

    (tmp_path / "two.json").write_text(json.dumps([{"name": "good"}, {"name": "bad", "exit": 4, "priority": "high"}]))
    first = {"one job however often": CASES["one job however often"]}

    check_cluster(door, stage(space), rounds=0, cases=tmp_path, named={})
    with pytest.raises(AssertionError, match="one job however often: another Job of that name: expected Conflict"):
        check_cluster(Deaf(door.api), stage(space), rounds=0, named=first)


def labelled(job: dict[str, Any]) -> dict[str, Any]:
    """With the label that the watch selects by."""
    job["metadata"]["labels"][RUN] = "one"
    job["spec"]["template"].setdefault("metadata", {})["labels"] = {RUN: "one"}
    return job


def test_preflight_refuses_exactly_what_kueue_never_admits(
    cluster: Cluster, door: KubernetesCluster, teams_space: Callable[..., TeamsSpace]
) -> None:
    """a owns 3 cores and may borrow 2; b owns 3 and lends 1: a can hold 4."""
    made = teams_space({"a": {"cpu": 3}, "b": {"cpu": 3}}, borrowing={"a": {"cpu": 2}}, lending={"b": {"cpu": 1}})
    world = World.parse(door.queue_objects([made.namespace["a"]]))
    asked = {
        "fits": {"cpu": "4", "memory": "32Mi"},
        "too-many-cores": {"cpu": "4001m", "memory": "32Mi"},
        "too-much-memory": {"cpu": "1", "memory": "3Ti"},
        "uncovered": {"cpu": "1", "memory": "32Mi", "nvidia.com/gpu": "1"},
    }
    jobs = {name: labelled(made.job("a", name, "true", requests=requests)) for name, requests in asked.items()}
    for job in jobs.values():
        resources = job["spec"]["template"]["spec"]["containers"][0]["resources"]
        resources["limits"] = {name: amount for name, amount in resources["requests"].items() if name == "nvidia.com/gpu"}

    refused = {name for name, job in jobs.items() if refusal_of_job(job, world=world) is not None}
    with door.watch([made.namespace["a"]], f"{RUN}=one") as watched:
        for job in jobs.values():
            watched.expect(door.submit(job))
        follow = Follow(watched, made.namespace["a"], list(jobs))
        cluster.until("Kueue has judged all four", lambda: all(follow.judged(name) for name in jobs))
        waiting = {name for name in jobs if follow.memories[name].state is State.QUEUED}
    for name in jobs:
        door.stop(made.namespace["a"], name)

    assert refused == waiting == {"too-many-cores", "too-much-memory", "uncovered"}


@pytest.mark.parametrize("seed", [1, 2])
def test_preflight_agrees_with_kueue_on_quotas_that_nobody_chose(
    cluster: Cluster, door: KubernetesCluster, teams_space: Callable[..., TeamsSpace], seed: int
) -> None:
    """Three teams with random quotas, borrowing and lending limits; each asks for the most that it can ever hold, and for one core more."""
    chance = random.Random(seed)
    quotas = {team: {"cpu": chance.randint(1, 4)} for team in "abc"}
    limits = [{team: {"cpu": chance.choice([None, 0, 1, 2])} for team in "abc"} for _ in range(2)]
    lending = {team: {"cpu": None if of["cpu"] is None else min(of["cpu"], quotas[team]["cpu"])} for team, of in limits[1].items()}
    made = teams_space(quotas, borrowing=limits[0], lending=lending)
    world = World.parse(door.queue_objects(list(made.namespace.values())))
    jobs, refused = {}, set()
    for team in quotas:
        sizes = [made.job(team, f"cpu-{cpu}", "true", requests={"cpu": str(cpu), "memory": "32Mi"}) for cpu in range(1, 14)]
        most = sum(refusal_of_job(job, world=world) is None for job in sizes)
        jobs |= {(team, f"cpu-{cpu}"): labelled(sizes[cpu - 1]) for cpu in (most, most + 1)}
        refused.add((team, f"cpu-{most + 1}"))

    with door.watch(list(made.namespace.values()), f"{RUN}=one") as watched:
        for job in jobs.values():
            watched.expect(door.submit(job))
        follows = {where: Follow(watched, made.namespace[where[0]], [where[1]]) for where in jobs}
        cluster.until("Kueue has judged them all", lambda: all(one.judged(name) for (_, name), one in follows.items()))
        waiting = {where for where, one in follows.items() if one.memories[where[1]].state is State.QUEUED}
        cluster.until("what was not refused ends", lambda: all(follows[where].all_succeeded() for where in jobs.keys() - refused))
    for team, name in jobs:
        door.stop(made.namespace[team], name)

    assert refused <= waiting


class Follow:
    """Some Jobs, looked at again and again."""

    def __init__(self, watched: Watching, namespace: str, names: list[str]) -> None:
        self.watched, self.namespace = watched, namespace
        self.memories = {name: Memory.begin("", datetime.now(UTC)) for name in names}
        self.told: list[Transition] = []
        self.stale = 0

    def look(self) -> None:
        for name, memory in self.memories.items():
            seen = observe(self.watched.see(self.namespace, name))
            self.stale += not seen.fresh
            self.memories[name], told = step(memory, seen, datetime.now(UTC))
            self.told += told

    def judged(self, name: str) -> bool:
        self.look()
        memory = self.memories[name]
        # of a verdict that Kueue wrote over, only that it was given is left
        return memory.hopeless is not None or memory.why is Why.EQUAL or memory.state in (State.ADMITTED, State.RUNNING, State.SUCCEEDED)

    def all_succeeded(self) -> bool:
        self.look()
        return all(memory.state is State.SUCCEEDED for memory in self.memories.values())


def test_a_watch_and_a_submission_survive_the_loss_of_the_api_server_and_of_kueue(new_cluster: Callable[..., Cluster]) -> None:
    cluster = new_cluster()
    with (
        teams_space(cluster, {"a": {"cpu": 1}}) as made,
        KubernetesCluster.connect(cluster.kubeconfig) as door,
        door.watch([made.namespace["a"]], f"{RUN}=one") as watched,
        ThreadPoolExecutor() as beside,
    ):
        for name, script in (("runs", "sleep 8"), ("queues", "true")):
            watched.expect(door.submit(labelled(made.job("a", name, script))))
        follow = Follow(watched, made.namespace["a"], ["runs", "queues"])
        cluster.until("one runs and one waits", lambda: follow.look() or follow.memories["runs"].state is State.RUNNING)

        cluster.kill("kube-apiserver")
        cluster.until("the watch knows that it is broken", lambda: follow.look() or follow.stale > 0)
        meanwhile = beside.submit(door.submit, labelled(made.job("a", "meanwhile", "true")))
        cluster.start()
        watched.expect(meanwhile.result(timeout=120))
        follow.memories["meanwhile"] = Memory.begin("", datetime.now(UTC))

        cluster.kill("kueue")
        without = beside.submit(door.submit, labelled(made.job("a", "without-kueue", "true")))
        follow.look()
        cluster.start()
        watched.expect(without.result(timeout=120))
        follow.memories["without-kueue"] = Memory.begin("", datetime.now(UTC))

        cluster.until("all four succeed", follow.all_succeeded)
        names = sorted(one["metadata"]["name"] for one in door.list("batch/v1", "Job", made.namespace["a"]))

    assert [one.words for one in follow.told if one.failed] == []
    assert names == ["meanwhile", "queues", "runs", "without-kueue"]


def test_steps_cost_no_request_beyond_their_creation(cluster: Cluster, teams_space: Callable[..., TeamsSpace]) -> None:
    """Twelve steps followed to their end: twelve creations, three lists, three watches, whatever the number of looks."""
    made = teams_space({"a": {"cpu": 12}})
    with KubernetesCluster.connect(cluster.kubeconfig) as door, door.watch([made.namespace["a"]], f"{RUN}=one") as watched:
        names = [f"step-{number}" for number in range(12)]
        for name in names:
            watched.expect(door.submit(labelled(made.job("a", name, "true"))))
        follow = Follow(watched, made.namespace["a"], names)
        cluster.until("all succeed", follow.all_succeeded)
        counted = dict(door.api.counted)

    assert counted == {"GET": 3, "WATCH": 3, "POST": 12}
