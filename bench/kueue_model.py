"""The admission model beside the real Kueue: `python -m bench.kueue_model` or, with the rest, `make bench BENCH=kueue`.

`eta_median_error`: see bench/kueue_eta.py.

`whatif_agreement`: random small worlds (bench/kueue_scenarios.py) are built in the real API. Workloads are made
directly, no pod ever runs; their run time is virtual: a driver ends whichever Workload would end next and, as the Job
controller would, gives back the quota of an evicted one. After each step it waits until Kueue has looked at everything
again (a probe Workload in the same tree tells), and notes who was admitted and who was evicted. The model gets the same
world and the same virtual times. A scenario agrees if all steps agree: same admissions, same evictions, same order.
"""

from __future__ import annotations

import argparse
import collections
import queue as queues
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.kueue_api import Api, Board
from bench.kueue_driving import change_status, clean_up, end, is_true, put_back
from bench.kueue_eta import BURSTS, measure_waits
from bench.kueue_scenarios import GROUP, LABEL, PROBE, Job, Scenario, make_scenario, pod_sets
from bench.report import print_json, print_table
from tiffin.compute.admission_cycle import Rules
from tiffin.compute.admission_simulate import Timeline, simulate
from tiffin.compute.world import World

__all__ = ["Outcome", "Step", "compare_one", "measure_agreement", "measure_model", "predict", "predicted_steps"]

CALM_S = 0.3
START = datetime(2030, 1, 1, tzinfo=UTC)
PATIENCE_S = 90.0


@dataclass(frozen=True)
class Step:
    """What one moment brought: names of Workloads admitted and evicted."""

    at: float
    admitted: frozenset[str]
    evicted: frozenset[str]

    def names(self) -> tuple[frozenset[str], frozenset[str]]:
        return self.admitted, self.evicted


@dataclass(frozen=True)
class Outcome:
    """One scenario: what Kueue did, what the model said."""

    seed: int
    real: tuple[Step, ...]
    model: tuple[Step, ...]
    flavors_differ: int
    seconds: float

    @property
    def agrees(self) -> bool:
        return [step.names() for step in self.real] == [step.names() for step in self.model]


@dataclass
class Seen:
    """A Workload as the driver knows it."""

    admitted: bool = False
    evicted: bool = False
    finished: bool = False
    ends: float = float("inf")
    flavors: dict[str, str] = field(default_factory=dict)


class Ticker:
    """Counts Kueue's admission cycles from outside: one Workload in a queue of its own is admitted, put back, admitted.

    Each admission is the work of another cycle, and a cycle looks at one head of every queue: so many ticks after
    something, every queue has had so many heads tried. It ticks only while somebody waits.
    """

    def __init__(self, api: Api, board: Board, namespace: str) -> None:
        self.api, self.board, self.namespace = api, board, namespace
        self.tag = f"tick-{uuid.uuid4().hex[:6]}"
        self.count, self.wanted = 0, 0
        self.moved = threading.Condition()
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self.holds = False
        board.listeners[self.tag] = self.see
        for thing in self.objects():
            api.create(thing)
        self.thread = threading.Thread(target=self.tick, daemon=True)
        self.thread.start()

    def objects(self) -> list[dict[str, Any]]:
        meta = {"name": self.tag, "labels": {LABEL: self.tag}}
        here = {**meta, "namespace": self.namespace}
        quota = {"name": self.tag, "resources": [{"name": PROBE, "nominalQuota": "1"}]}
        groups = [{"coveredResources": [PROBE], "flavors": [quota]}]
        pods = pod_sets({PROBE: "1"}, 1, None)
        return [
            {"apiVersion": GROUP, "kind": "ResourceFlavor", "metadata": meta, "spec": {}},
            {"apiVersion": GROUP, "kind": "ClusterQueue", "metadata": meta, "spec": {"namespaceSelector": {}, "resourceGroups": groups}},
            {"apiVersion": GROUP, "kind": "LocalQueue", "metadata": here, "spec": {"clusterQueue": self.tag}},
            {"apiVersion": GROUP, "kind": "Workload", "metadata": here, "spec": {"queueName": self.tag, "podSets": pods}},
        ]

    def see(self, thing: dict[str, Any]) -> None:
        with self.moved:
            holds = is_true(thing, "QuotaReserved")
            self.count += holds and not self.holds
            self.holds = holds
            self.moved.notify_all()

    def tick(self) -> None:
        try:
            while not self.stop.is_set():
                with self.moved:
                    self.moved.wait_for(lambda: self.stop.is_set() or (self.holds and self.wanted > self.count), timeout=1)
                    if not (self.holds and self.wanted > self.count):
                        continue
                change_status(self.api, self.namespace, self.tag, put_back)
        except BaseException as err:  # noqa: BLE001 - handed to whoever waits
            self.error = err

    def wait(self, cycles: int) -> None:
        """Until Kueue has begun and ended so many more cycles."""
        with self.moved:
            target = self.count + cycles + 1
            self.wanted = max(self.wanted, target)
            self.moved.notify_all()
            if not self.moved.wait_for(lambda: self.count >= target or self.error is not None, timeout=PATIENCE_S):
                raise TimeoutError(f"Kueue did not make {cycles} cycles in {PATIENCE_S} s")
        if self.error is not None:
            raise RuntimeError("the ticker broke") from self.error

    def close(self) -> None:
        self.stop.set()
        self.thread.join(timeout=15)
        self.board.listeners.pop(self.tag, None)
        clean_up(self.api, self.tag, self.namespace)


class Driver:
    """Plays one scenario on the real Kueue under virtual time."""

    def __init__(self, api: Api, board: Board, ticker: Ticker, scenario: Scenario) -> None:
        self.api, self.board, self.ticker, self.scenario = api, board, ticker, scenario
        self.news: queues.SimpleQueue[dict[str, Any]] = queues.SimpleQueue()
        self.jobs = {job.name: job for job in scenario.jobs}
        self.made: dict[str, dict[str, Any]] = {}
        self.seen: dict[str, Seen] = {job.name: Seen() for job in scenario.jobs}
        self.probes: set[str] = set()
        self.probe_admitted: set[str] = set()
        self.next_probe = 0
        self.admitted: set[str] = set()
        self.evicted: set[str] = set()
        self.flavors: dict[str, list[str]] = collections.defaultdict(list)
        self.evictions = 0

    def play(self) -> tuple[tuple[Step, ...], World]:
        self.board.listeners[self.scenario.tag] = self.news.put
        try:
            before = self.build()
            steps = self.run()
            return steps, opened(World.parse([*before, *self.made.values()]), self.scenario)
        finally:
            self.board.listeners.pop(self.scenario.tag, None)

    def build(self) -> list[dict[str, Any]]:
        scenario = self.scenario
        for thing in [*scenario.flavor_objects(), *scenario.cohort_objects(), *scenario.queue_objects(), scenario.probe_queue()]:
            self.api.create(thing)
        for thing in scenario.local_queue_objects():
            self.api.create(thing)
        self.create(*(job for job in scenario.jobs if not job.arrives))
        self.probe()
        self.hear(lambda: all(self.tried(name) for name in [*self.made, *self.probes]), "Kueue to look at the Workloads")
        objects = []
        for kind in ("ResourceFlavor", "Cohort", "ClusterQueue", "LocalQueue"):
            space = scenario.namespace if kind == "LocalQueue" else None
            objects += self.api.list(kind, GROUP, space, f"{LABEL}={scenario.tag}")
        self.api.create(scenario.gate())
        return [*objects, scenario.gate()]

    def create(self, *jobs: Job) -> None:
        for job in jobs:
            self.made[job.name] = self.api.create(self.scenario.workload(job))

    def tried(self, name: str) -> bool:
        thing = self.board.objects.get(name)
        return thing is not None and any(one["type"] == "QuotaReserved" for one in (thing.get("status") or {}).get("conditions") or ())

    def probe(self) -> None:
        """One more probe into the line."""
        thing = self.api.create(self.scenario.probe(self.next_probe))
        self.probes.add(thing["metadata"]["name"])
        self.next_probe += 1

    def run(self) -> tuple[Step, ...]:
        self.hear(lambda: f"{self.scenario.tag}-p0" in self.probe_admitted, "the queues to open")
        self.probe()
        self.calm()
        steps = [self.settle(0.0, freed=True)]
        coming = sorted((job.arrives, job.name) for job in self.scenario.jobs if job.arrives)
        while True:
            running = [(one.ends, name) for name, one in self.seen.items() if one.admitted and not one.finished]
            if not running and not coming:
                return tuple(step for step in steps if step.admitted or step.evicted)
            now, name = min([*running, *coming[:1]])
            if coming and (now, name) == coming[0]:
                coming.pop(0)
                self.create(self.jobs[name])
            else:
                self.change(name, end)
                self.seen[name].finished = True
            steps.append(self.settle(now, freed=self.seen[name].finished))

    def settle(self, now: float, *, freed: bool) -> Step:
        """Until Kueue has nothing more to say. Freed quota asks for a round: a probe ends, and the next one is admitted."""
        if freed:
            self.round()
        else:
            self.calm()
        while self.release():
            self.round()
        for name in self.admitted:
            self.seen[name].ends = now + self.jobs[name].duration
        step = Step(now, frozenset(self.admitted), frozenset(self.evicted))
        self.admitted, self.evicted = set(), set()
        return step

    def round(self) -> None:
        holder = f"{self.scenario.tag}-p{self.next_probe - 2}"
        waiting = f"{self.scenario.tag}-p{self.next_probe - 1}"
        self.change(holder, end)
        self.hear(lambda: waiting in self.probe_admitted, f"probe {waiting}")
        self.probe()
        self.calm()

    def release(self) -> bool:
        """Give back the quota of whoever was evicted, as the Job controller does when the pods are gone."""
        gone = sorted(name for name, one in self.seen.items() if one.evicted)
        for name in gone:
            self.change(name, put_back)
            self.seen[name] = Seen()
        return bool(gone)

    def change(self, name: str, status: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
        change_status(self.api, self.scenario.namespace, name, status)

    def hear(self, done: Any, what: str) -> None:
        limit = time.monotonic() + PATIENCE_S
        while not done():
            if self.board.error is not None:
                raise RuntimeError("the watch ended") from self.board.error
            if time.monotonic() > limit:
                raise TimeoutError(f"{self.scenario.tag} (seed {self.scenario.seed}): waited {PATIENCE_S} s for {what}")
            self.note(0.5)

    def calm(self) -> None:
        """Until every Workload has been a head once more, and nothing has changed for a moment."""
        lines = collections.Counter(
            job.queue for name, job in self.jobs.items() if not (self.seen[name].admitted or self.seen[name].finished)
        )
        self.ticker.wait(2 + max(lines.values(), default=0))
        while self.note(CALM_S):
            pass

    def note(self, timeout: float) -> bool:
        try:
            thing = self.news.get(timeout=timeout)
        except queues.Empty:
            return False
        name = thing["metadata"]["name"]
        if name in self.probes:
            if is_true(thing, "QuotaReserved"):
                self.probe_admitted.add(name)
            return True
        one, holds = self.seen[name], is_true(thing, "QuotaReserved") and not is_true(thing, "Finished")
        if holds and not one.admitted and not one.finished:
            one.admitted = True
            self.admitted.add(name)
            assignment = thing["status"]["admission"]["podSetAssignments"][0]
            self.flavors[name].append(assignment["flavors"]["cpu"].rsplit("-", 1)[1])
        if holds and is_true(thing, "Evicted") and one.admitted and not one.evicted:
            one.evicted = True
            self.evicted.add(name)
        return True


def opened(world: World, scenario: Scenario) -> World:
    """The world at the moment when the gate opens: every queue active; without the probes."""
    active = {
        name: replace(queue, active=True, why_inactive="")
        for name, queue in world.cluster_queues.items()
        if name != f"{scenario.tag}-probe"
    }
    return replace(world, cluster_queues=active)


def predict(world: World, scenario: Scenario, *, rules: Rules | None = None) -> Timeline:
    """The model's run of a scenario under the same virtual time; Kueue's pause before a second look takes none of it."""
    by_name = {workload.name: workload for workload in world.workloads.values()}
    durations = {by_name[job.name].uid: job.duration for job in scenario.jobs}
    arrivals = {job.arrives: [by_name[job.name]] for job in scenario.jobs if job.arrives}
    first = {by_name[job.name].uid: by_name[job.name] for job in scenario.jobs if not job.arrives}
    rules = replace(rules or Rules.of(world), retry_s=0.0)
    return simulate(replace(world, workloads=first), durations, now=START, rules=rules, arrivals=arrivals)


def predicted_steps(world: World, timeline: Timeline) -> tuple[Step, ...]:
    """The timeline by moments."""
    names = {uid: workload.name for uid, workload in world.workloads.items()}
    found: dict[float, tuple[set[str], set[str]]] = {}
    for event in timeline.events:
        if event.what != "finished":
            admitted, evicted = found.setdefault(event.at_s, (set(), set()))
            (admitted if event.what == "admitted" else evicted).add(names[event.uid])
    return tuple(Step(at, frozenset(admitted), frozenset(evicted)) for at, (admitted, evicted) in sorted(found.items()))


def flavor_differences(driver: Driver, world: World, timeline: Timeline) -> int:
    """Admissions in another flavor than the model's."""
    model: dict[str, list[str]] = collections.defaultdict(list)
    for event in timeline.events:
        if event.what == "admitted":
            model[world.workloads[event.uid].name].append(event.flavors["cpu"].rsplit("-", 1)[1])
    return sum(driver.flavors[name] != model[name] for name in driver.jobs)


def compare_one(api: Api, board: Board, ticker: Ticker, seed: int, namespace: str) -> Outcome:
    """Play one seed on both sides, and clean up."""
    began = time.monotonic()
    tag = f"m{seed}-{uuid.uuid4().hex[:6]}"
    scenario = make_scenario(seed, tag, namespace)
    driver = Driver(api, board, ticker, scenario)
    try:
        real, world = driver.play()
    finally:
        clean_up(api, tag, namespace)
    timeline = predict(world, scenario)
    return Outcome(seed, real, predicted_steps(world, timeline), flavor_differences(driver, world, timeline), time.monotonic() - began)


def measure_agreement(kubeconfig: Path, *, seed: int, scenarios: int, parallel: int = 24) -> tuple[dict[str, float], list[Outcome]]:
    """Play `scenarios` seeds from `seed` on; a scenario that could not be played counts as a disagreement."""
    api = Api(kubeconfig, connections=parallel + 4)
    namespace = f"model-{uuid.uuid4().hex[:6]}"
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    board = Board(api, namespace)
    time.sleep(1)
    ticker = Ticker(api, board, namespace)
    failed = 0
    outcomes: list[Outcome] = []
    lock = threading.Lock()

    def play(one: int) -> None:
        nonlocal failed
        try:
            outcome = compare_one(api, board, ticker, one, namespace)
        except (RuntimeError, OSError):
            traceback.print_exc()
            with lock:
                failed += 1
            return
        with lock:
            outcomes.append(outcome)

    began = time.monotonic()
    try:
        with ThreadPoolExecutor(parallel) as pool:
            list(pool.map(play, range(seed, seed + scenarios)))
    finally:
        ticker.close()
        board.close()
        api.call("DELETE", api.path("Namespace", "v1", None, namespace))
    outcomes.sort(key=lambda one: one.seed)
    agreed = sum(one.agrees for one in outcomes)
    figures = {
        "whatif_agreement": agreed / scenarios,
        "whatif_scenarios": float(scenarios),
        "whatif_failed": float(failed),
        "whatif_admissions": float(sum(len(step.admitted) for one in outcomes for step in one.real)),
        "whatif_evictions": float(sum(len(step.evicted) for one in outcomes for step in one.real)),
        "whatif_other_flavor": float(sum(one.flavors_differ for one in outcomes if one.agrees)),
        "whatif_seconds": time.monotonic() - began,
    }
    return figures, outcomes


def measure_model(
    kubeconfig: Path, seed: int, *, scenarios: int = 200, parallel: int = 24, bursts: Sequence[int] = BURSTS
) -> dict[str, float]:
    """All figures of the model: `whatif_*` and `eta_*`. Wants the cluster for itself; 6-8 minutes on two idle cores."""
    waits, _ = measure_waits(kubeconfig, seed=seed, bursts=bursts)
    agreement, outcomes = measure_agreement(kubeconfig, seed=seed, scenarios=scenarios, parallel=parallel)
    explain(outcomes)
    return {**agreement, **waits}


def explain(outcomes: Sequence[Outcome]) -> None:
    """Where the model and Kueue part."""
    for one in outcomes:
        if one.agrees:
            continue
        print(f"seed {one.seed} disagrees:")
        for place in range(max(len(one.real), len(one.model))):
            real = one.real[place] if place < len(one.real) else None
            model = one.model[place] if place < len(one.model) else None
            if real is None or model is None or real.names() != model.names():
                print("  step", place, "\n   kueue", short(real), "\n   model", short(model))
                break


def short(step: Step | None) -> str:
    if step is None:
        return "nothing"
    admitted, evicted = (sorted(name.rsplit("-", 1)[1] for name in names) for names in step.names())
    return f"at {step.at:.1f} admitted {admitted} evicted {evicted}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenarios", type=int, default=200)
    parser.add_argument("--parallel", type=int, default=24)
    parser.add_argument("--only", choices=["agreement", "waits"])
    given = parser.parse_args()
    figures: dict[str, float] = {}
    if given.only != "agreement":
        figures |= measure_waits(given.kubeconfig, seed=given.seed)[0]
    if given.only != "waits":
        agreement, outcomes = measure_agreement(given.kubeconfig, seed=given.seed, scenarios=given.scenarios, parallel=given.parallel)
        explain(outcomes)
        figures |= agreement
    print_table("The model beside Kueue", ["figure", "value"], [[name, f"{value:g}"] for name, value in figures.items()])
    print_json("kueue_model", figures=figures, detail={"seed": given.seed}, packages=["urllib3"])


if __name__ == "__main__":
    main()
