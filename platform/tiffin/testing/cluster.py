"""Conformance kit for clusters: what every `Cluster` must do, whoever wrote it; on the real controllers.

    check_cluster(cluster, Stage(namespace="kit", queue="default", cpu=2, low="backfill", high="prod"))

The namespace's queue has `cpu` cores of its own, borrows nothing and preempts the lower priority for the higher one.
Random programs of Jobs are run beside the named cases: whatever was preempted, paused and resumed on the way, each
Job ends as its exit code says, and the quota is never exceeded.
"""

from __future__ import annotations

import json
import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tiffin.compute.cluster import Cluster, Logs, Steering, Watched
from tiffin.compute.messages import Why
from tiffin.compute.observation import observe
from tiffin.compute.states import ENDED, Limits, Memory, State, Transition, step
from tiffin.compute.world import World
from tiffin.core.errors import Conflict, NotFound, PlatformError
from tiffin.testing.object_store import expect, expect_error

__all__ = ["CASES", "Case", "Stage", "check_cluster", "random_program", "run_program"]

RUN = "dagster/run-id"
LIMITS = Limits()


class Whole(Cluster, Logs, Steering, Protocol):
    """A cluster with all optional parts."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the kit may play."""

    namespace: str
    queue: str
    cpu: int
    low: str
    high: str
    image: str = "busybox"
    patience_s: float = 120.0
    """How long something that must happen may take; a quick cluster makes a quick kit."""


@dataclass(slots=True)
class Play:
    """One case: its own Jobs, one watch, and what became of them."""

    cluster: Whole
    stage: Stage
    run: str = field(default_factory=lambda: secrets.token_hex(4))
    memories: dict[str, Memory] = field(default_factory=dict)
    told: dict[str, list[Transition]] = field(default_factory=dict)
    watched: Watched | None = None
    most: int = 0
    """The most thousandths of cores that were admitted at a time."""

    def job(self, name: str, script: str, *, cpu: int = 1, priority: str | None = None, **more: Mapping[str, str]) -> dict[str, Any]:
        """`more`: labels and annotations of the Job."""
        labels = {"kueue.x-k8s.io/queue-name": self.stage.queue, "kueue.x-k8s.io/priority-class": priority or self.stage.low, RUN: self.run}
        resources = {"requests": {"cpu": str(cpu), "memory": "32Mi"}}
        container = {"name": "main", "image": self.stage.image, "command": ["sh", "-c", script], "resources": resources}
        pod = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 2, "containers": [container]}
        spec = {"backoffLimit": 0, "template": {"metadata": {"labels": {RUN: self.run}}, "spec": pod}}
        metadata = {"name": f"{name}-{self.run}", "namespace": self.stage.namespace, "labels": {**labels, **more.get("labels", {})}}
        metadata["annotations"] = dict(more.get("annotations", {}))
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}

    def begin(self, name: str, script: str, **of: Any) -> str:
        """Hand a Job in; returns its uid."""
        stored = self.cluster.submit(self.job(name, script, **of))
        uid: str = stored["metadata"]["uid"]
        self.memories[name], self.told[name] = Memory.begin(uid, datetime.now(UTC)), []
        if self.watched is not None:
            self.watched.expect(stored)
        return uid

    def full(self, name: str) -> str:
        return f"{name}-{self.run}"

    def look(self) -> None:
        """One look at every Job."""
        assert self.watched is not None
        held = 0
        for name, memory in self.memories.items():
            found = observe(self.watched.see(self.stage.namespace, self.full(name)))
            if found.workload is not None and found.workload.reserved and not found.workload.finished:
                held += sum(amount for (_, what), amount in (found.workload.admission or NOTHING).usage().items() if what == "cpu")
            if memory.over:
                continue
            self.memories[name], told = step(memory, found, datetime.now(UTC), LIMITS)
            self.told[name] += told
        self.most = max(self.most, held)

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Look until it is so."""
        assert self.watched is not None
        end, count = time.monotonic() + self.stage.patience_s, -1
        while True:
            self.look()
            if done():
                return
            if time.monotonic() > end:
                raise AssertionError(f"{what}: not within {self.stage.patience_s:.0f} s; {self.story()}")
            count = self.watched.wait(count, 0.5)

    def until_state(self, name: str, *states: State) -> None:
        self.until(lambda: self.memories[name].state in states, f"Job {name!r} is {' or '.join(states)}")

    def states(self, name: str) -> list[State]:
        return [one.state for one in self.told[name]]

    def story(self) -> str:
        return "; ".join(f"{name}: {[one.words for one in told]}" for name, told in self.told.items())


class Nothing:
    """Holds no quota."""

    def usage(self) -> dict[tuple[str, str], int]:
        return {}


NOTHING = Nothing()
Case = Callable[[Play], None]
Program = Sequence[Mapping[str, Any]]
"""Jobs: `{"name": "a", "cpu": 1, "priority": "low" | "high", "seconds": 0.5, "exit": 0, "after": 0.3}`"""


def check_cluster(
    cluster: Whole, stage: Stage, *, seed: int = 0, rounds: int = 1, cases: Path | None = None, named: Mapping[str, Case] | None = None
) -> None:
    """Run the whole kit. Raises AssertionError that names the case.

    Args:
        seed, rounds: of the random programs.
        cases: folder of JSON files, each a program.
        named: some of `CASES`; None for all.
    """
    programs = {f"random program {seed + number}": random_program(seed + number, stage.cpu) for number in range(rounds)}
    if cases is not None:
        programs |= {file.name: json.loads(file.read_text()) for file in sorted(cases.glob("*.json"))}
    ways = dict(CASES if named is None else named)
    for name, case in {**ways, **{name: programmed(program) for name, program in programs.items()}}.items():
        try:
            with playing(cluster, stage) as play:
                case(play)
        except (AssertionError, PlatformError) as err:
            raise AssertionError(f"{name}: {err}") from err


@contextmanager
def playing(cluster: Whole, stage: Stage) -> Iterator[Play]:
    """A case with its watch; its Jobs are removed afterwards."""
    play = Play(cluster, stage)
    try:
        with cluster.watch([stage.namespace], f"{RUN}={play.run}") as watched:
            play.watched = watched
            yield play
    finally:
        for name in play.memories:
            cluster.stop(stage.namespace, play.full(name))


def one_job_however_often(play: Play) -> None:
    job = play.job("twice", "true")
    uid = play.begin("twice", "true")
    expect(play.cluster.submit(job)["metadata"]["uid"] == uid, "the same Job submitted twice is two Jobs")
    expect_error(Conflict, lambda: play.cluster.submit(play.job("twice", "false")), "another Job of that name")
    play.until_state("twice", State.SUCCEEDED)


def no_such_namespace(play: Play) -> None:
    job = play.job("nowhere", "true")
    job["metadata"]["namespace"] = f"no-such-namespace-{play.run}"
    expect_error(NotFound, lambda: play.cluster.submit(job), "submitting to a namespace that is not there")


def runs_and_is_heard(play: Play) -> None:
    play.begin("speaks", "for n in 1 2 3; do echo line $n; done")
    play.begin("breaks", "echo last words; exit 3")
    play.until(lambda: all(memory.over for memory in play.memories.values()), "both Jobs end")
    expect(play.states("speaks")[-1] is State.SUCCEEDED, f"exit code 0 is a success: {play.story()}")
    expect(play.states("breaks")[-1] is State.FAILED, f"exit code 3 is a failure: {play.story()}")
    expect("exit code 3" in play.told["breaks"][-1].words, f"the exit code is told: {play.told['breaks'][-1].words}")
    for name, lines, words in (("speaks", 2, "line 2\nline 3"), ("breaks", 50, "last words")):
        pod = observe(play.cluster.explain(play.stage.namespace, play.full(name))).newest_pod
        expect(pod is not None, f"{name}: no pod is shown")
        found = play.cluster.tail(play.stage.namespace, str(pod), lines=lines)
        expect(found.strip() == words, f"{name}: its last {lines} lines are {found!r}")


def waits_for_quota(play: Play) -> None:
    play.begin("first", "sleep 1", cpu=play.stage.cpu)
    play.until_state("first", State.RUNNING)
    play.begin("second", "true", cpu=play.stage.cpu)
    play.until(lambda: play.memories["second"].why is Why.QUOTA, "the second waits for quota")
    expect(play.memories["second"].state is State.QUEUED, f"it is queued: {play.story()}")
    play.until_state("second", State.SUCCEEDED)
    expect(State.ADMITTED in play.states("second") or State.RUNNING in play.states("second"), f"it ran: {play.story()}")


def what_never_fits_says_so(play: Play) -> None:
    play.begin("huge", "true", cpu=play.stage.cpu * 100)
    play.until(lambda: play.memories["huge"].hopeless is not None or play.memories["huge"].why is Why.EQUAL, "Kueue calls it too big")
    expect(play.memories["huge"].state is State.QUEUED, "it is not called a failure before the grace is over")


def preempted_and_resumed(play: Play) -> None:
    uid = play.begin("victim", "sleep 2", cpu=play.stage.cpu)
    play.until_state("victim", State.RUNNING)
    boss = play.begin("boss", "true", cpu=play.stage.cpu, priority=play.stage.high)
    play.until(lambda: all(memory.over for memory in play.memories.values()), "both end")
    states = play.states("victim")
    expect(State.EVICTING in states, f"the lower priority is evicted: {play.story()}")
    expect(states[-1] is State.SUCCEEDED, f"and finishes: {play.story()}")
    who = next(one.preemptor for one in play.told["victim"] if one.state is State.EVICTING)
    expect(who is not None and who.job_uid == boss, f"who preempted it is told: {who}")
    now = play.cluster.explain(play.stage.namespace, play.full("victim"))
    expect(now.job is not None and now.job["metadata"]["uid"] == uid, "it is the same Job")
    expect(play.memories["victim"].evictions == 1, f"one eviction is counted: {play.memories['victim'].evictions}")


def paused_and_resumed(play: Play) -> None:
    play.begin("patient", "sleep 1")
    play.until_state("patient", State.RUNNING)
    play.cluster.pause(play.stage.namespace, play.full("patient"))
    play.until_state("patient", State.PAUSED)
    play.cluster.resume(play.stage.namespace, play.full("patient"))
    play.until_state("patient", State.SUCCEEDED)
    expect_error(NotFound, lambda: play.cluster.pause(play.stage.namespace, play.full("nobody")), "pausing what is not there")


def what_runs_too_long_is_taken_out(play: Play) -> None:
    play.begin("endless", "sleep 300", labels={"kueue.x-k8s.io/max-exec-time-seconds": "1"})
    play.until(lambda: play.memories["endless"].over, "Kueue takes it out")
    expect(play.memories["endless"].state is State.DEACTIVATED, f"for good: {play.story()}")
    expect(play.memories["endless"].why is Why.TOO_LONG, f"and says why: {play.story()}")


def held_until_approved(play: Play) -> None:
    play.begin("held", "true", annotations={"kueue.x-k8s.io/admission-gated-by": "kit.example/approval"})
    play.until_state("held", State.GATED)
    expect("kit.example/approval" in play.told["held"][-1].words, f"whose approval is told: {play.story()}")


def priority_is_changed(play: Play) -> None:
    play.begin("holder", "sleep 2", cpu=play.stage.cpu, priority=play.stage.high)
    play.until_state("holder", State.RUNNING)
    for name in ("early", "late"):
        play.begin(name, "true", cpu=play.stage.cpu)
    play.until(lambda: all(play.memories[name].why is Why.QUOTA for name in ("early", "late")), "both wait")
    play.cluster.set_priority(play.stage.namespace, play.full("late"), play.stage.high)
    play.until(lambda: all(memory.over for memory in play.memories.values()), "all end")
    started = {name: next(one.at for one in play.told[name] if one.state in (State.ADMITTED, State.RUNNING)) for name in ("early", "late")}
    expect(started["late"] < started["early"], f"the raised one goes first: {play.story()}")
    wrong = f"no-such-class-{play.run}"
    expect_error(NotFound, lambda: play.cluster.set_priority(play.stage.namespace, play.full("late"), wrong), "an unknown priority")


def stopped_is_gone(play: Play) -> None:
    uid = play.begin("stopped", "sleep 60")
    play.until_state("stopped", State.RUNNING)
    expect(not play.cluster.stop(play.stage.namespace, play.full("stopped"), uid="another-uid"), "another uid's Job is left alone")
    expect(play.cluster.stop(play.stage.namespace, play.full("stopped"), uid=uid), "its own is deleted")
    play.until_state("stopped", State.LOST)
    expect(not play.cluster.stop(play.stage.namespace, play.full("stopped"), uid=uid), "twice is no error, and says so")
    play.until(lambda: not play.cluster.explain(play.stage.namespace, play.full("stopped")).pods, "its pods are gone")


def the_queues_are_seen(play: Play) -> None:
    world = World.parse(play.cluster.queue_objects([play.stage.namespace]))
    local = world.local_queues.get((play.stage.namespace, play.stage.queue))
    expect(local is not None and local.active, f"the LocalQueue is there and active: {local}")
    queue = world.cluster_queues[local.cluster_queue] if local else None
    expect(queue is not None and queue.active, f"so is its ClusterQueue: {queue}")
    quota = sum(one.nominal for (_, what), one in queue.quotas.items() if what == "cpu") if queue else 0
    expect(quota == play.stage.cpu * 1000, f"its quota is {play.stage.cpu} cores: {quota}")
    expect(world.priority_classes[play.stage.low] < world.priority_classes[play.stage.high], "the priorities are known")
    expect(play.stage.namespace in world.namespaces, "so is the namespace")


def a_late_watch_sees_what_was_there(play: Play) -> None:
    play.begin("early", "sleep 1")
    with play.cluster.watch([play.stage.namespace], f"{RUN}={play.run}") as late:
        found = observe(late.see(play.stage.namespace, play.full("early")))
    expect(found.exists and found.fresh, "a watch is complete when it begins")
    expect(not observe(play.cluster.explain(play.stage.namespace, "nobody")).exists, "what is not there is not there")
    play.until_state("early", State.SUCCEEDED)


def programmed(program: Program) -> Case:
    return lambda play: run_program(play, program)


def random_program(seed: int, cpu: int, size: int = 8) -> list[dict[str, Any]]:
    """Jobs of every size, priority and end, handed in one after the other."""
    chance = random.Random(seed)  # noqa: S311 - a test's dice
    return [
        {
            "name": f"job{number}",
            "cpu": chance.randint(1, cpu),
            "priority": chance.choice(["low", "low", "high"]),
            "seconds": chance.choice([0, 0.3, 1]),
            "exit": chance.choice([0, 0, 0, 1, 7]),
            "after": chance.choice([0, 0, 0.2, 0.6]),
        }
        for number in range(size)
    ]


def run_program(play: Play, program: Program) -> None:
    """Hand in, look on, and compare each end with what its script says."""
    for one in program:
        until = time.monotonic() + float(one.get("after", 0))
        play.until(lambda until=until: time.monotonic() >= until, "time passes")  # type: ignore[misc]  # bound on purpose
        priority = play.stage.high if one.get("priority") == "high" else play.stage.low
        script = f"sleep {one.get('seconds', 0)}; exit {one.get('exit', 0)}"
        play.begin(str(one["name"]), script, cpu=int(one.get("cpu", 1)), priority=priority)
    play.until(lambda: all(memory.state in ENDED for memory in play.memories.values()), "every Job ends")
    for one in program:
        wanted = State.FAILED if one.get("exit") else State.SUCCEEDED
        expect(play.memories[str(one["name"])].state is wanted, f"{one}: {play.story()}")
    # an eviction gives quota back before the watch of the Workloads shows it, so only too much is a finding
    expect(play.most <= play.stage.cpu * 1000, f"{play.most} thousandths of cores were admitted, the quota is {play.stage.cpu}")


CASES: Mapping[str, Case] = {
    "one job however often": one_job_however_often,
    "no such namespace": no_such_namespace,
    "runs and is heard": runs_and_is_heard,
    "waits for quota": waits_for_quota,
    "what never fits says so": what_never_fits_says_so,
    "preempted and resumed": preempted_and_resumed,
    "paused and resumed": paused_and_resumed,
    "what runs too long is taken out": what_runs_too_long_is_taken_out,
    "held until approved": held_until_approved,
    "priority is changed": priority_is_changed,
    "stopped is gone": stopped_is_gone,
    "the queues are seen": the_queues_are_seen,
    "a late watch sees what was there": a_late_watch_sees_what_was_there,
}
