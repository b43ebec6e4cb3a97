"""How good the expected starts are: waits of the real Kueue beside what was expected when they began.

Three teams in one cohort hand in bursts of steps of six assets, with three priorities. Each asset has past run times,
and its steps run as long as others from the same distribution: nobody knows beforehand how long. After each burst the
starts of all that wait in it are forecast, from the API's objects and the past run times alone. Then they wait: Kueue
admits, a driver ends each Workload after its run time and gives back the quota of who is preempted; no pod runs.
Later bursts disturb the forecasts of earlier ones, as in life.
"""

from __future__ import annotations

import queue as queues
import random
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench.kueue_api import Api, Board
from bench.kueue_driving import change_status, clean_up, end, is_true, put_back
from bench.kueue_scenarios import GROUP, LABEL, pod_sets
from tiffin.compute.forecast import Expected, History, forecast, history_of
from tiffin.compute.world import World

__all__ = ["BURSTS", "measure_waits"]

TEAMS, PAST = ("a", "b", "c"), "past"
QUOTA = 4
SPREAD = 0.3
ASSETS = {f"asset-{place}": mean for place, mean in enumerate((8.0, 10.0, 12.0, 14.0, 17.0, 20.0))}
BURSTS, BURST_S = (116, 12, 12), 45.0  # more and later ones nobody can foresee
PRIORITIES = (100, 500, 500, 500, 1000)
PAST_RUNS = 12
LONGEST_S = 900.0
CALM_S = 1.5


@dataclass
class Wait:
    """One Workload's story."""

    seconds: float
    told_at: float = 0.0
    expected: Expected | None = None
    started: float | None = None
    holds: bool = False
    evicting: bool = False
    leaving: bool = False
    finished: bool = False
    due: float = float("inf")


def draw(chance: random.Random, asset: str) -> float:
    return ASSETS[asset] * chance.lognormvariate(0.0, SPREAD)


class Play:
    """The queues, their Workloads and who drives them."""

    def __init__(self, api: Api, seed: int) -> None:
        self.api, self.chance = api, random.Random(seed)
        self.tag = f"eta-{uuid.uuid4().hex[:6]}"
        self.namespace = self.tag
        self.waits: dict[str, Wait] = {}
        self.news: queues.SimpleQueue[dict[str, Any]] = queues.SimpleQueue()
        self.lock = threading.Lock()
        self.history = History()

    def thing(self, kind: str, name: str, spec: Mapping[str, Any], **labels: str) -> dict[str, Any]:
        meta: dict[str, Any] = {"name": name, "labels": {LABEL: self.tag, **labels}}
        if kind in {"LocalQueue", "Workload"}:
            meta["namespace"] = self.namespace
        return {"apiVersion": GROUP, "kind": kind, "metadata": meta, "spec": dict(spec)}

    def build(self) -> None:
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        self.api.create(self.thing("ResourceFlavor", self.tag, {}))
        for team in (*TEAMS, PAST):
            cpu = str(QUOTA if team in TEAMS else 2 * PAST_RUNS * len(ASSETS))
            quota = {"name": self.tag, "resources": [{"name": "cpu", "nominalQuota": cpu}]}
            spec = {
                **({"cohortName": self.tag} if team in TEAMS else {}),
                "namespaceSelector": {},
                "preemption": {"withinClusterQueue": "LowerPriority", "reclaimWithinCohort": "Any"},
                "resourceGroups": [{"coveredResources": ["cpu"], "flavors": [quota]}],
            }
            self.api.create(self.thing("ClusterQueue", f"{self.tag}-{team}", spec))
            self.api.create(self.thing("LocalQueue", team, {"clusterQueue": f"{self.tag}-{team}"}))

    def hand_in(self, queue: str, asset: str, *, priority: int = 0, cpu: int = 1) -> dict[str, Any]:
        """A step to come, whose run time only its driver knows."""
        name = f"{self.tag}-{len(self.waits)}"
        with self.lock:
            self.waits[name] = Wait(draw(self.chance, asset))
        spec = {"queueName": queue, "priority": priority, "podSets": pod_sets({"cpu": str(cpu)}, 1, None)}
        return self.thing("Workload", name, spec, **{"tiffin.dev/asset": asset})

    def create(self, things: list[dict[str, Any]]) -> list[str]:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self.api.create, things))
        return [thing["metadata"]["name"] for thing in things]

    def world(self) -> World:
        objects = []
        for kind in ("ResourceFlavor", "ClusterQueue", "LocalQueue", "Workload"):
            space = self.namespace if kind in {"LocalQueue", "Workload"} else None
            objects += self.api.list(kind, GROUP, space, f"{LABEL}={self.tag}")
        return World.parse(objects)

    def past(self) -> None:
        """Runs of every asset that did not have to wait: what the forecasts know."""
        self.create([self.hand_in(PAST, asset) for asset in ASSETS for _ in range(PAST_RUNS)])

    def burst(self, count: int) -> None:
        """Hand in some steps, let Kueue look at them, and forecast the starts of those that wait."""
        chance, things = self.chance, []
        for _ in range(count):
            asset, team, priority = chance.choice(sorted(ASSETS)), chance.choice(TEAMS), chance.choice(PRIORITIES)
            things.append(self.hand_in(team, asset, priority=priority, cpu=chance.choice([1, 1, 2])))
        names = self.create(things)
        self.settle()
        at, world = time.monotonic(), self.world()
        found = forecast(world, self.history, now=datetime.now(UTC)).starts
        mine = {workload.name: workload.uid for workload in world.workloads.values() if workload.name in names}
        with self.lock:
            for name, uid in mine.items():
                if uid in found:
                    self.waits[name].told_at, self.waits[name].expected = at, found[uid]

    def settle(self) -> None:
        """Until Kueue has given out what is free: nobody new holds quota for a moment."""
        limit, before, calm = time.monotonic() + 15.0, -1, time.monotonic()
        while time.monotonic() < limit and time.monotonic() - calm < CALM_S:
            with self.lock:
                started = sum(wait.started is not None for wait in self.waits.values())
            if started != before:
                before, calm = started, time.monotonic()
            time.sleep(0.1)

    def drive(self, stop: threading.Event) -> None:
        """End what is due and give back what was taken, until told to stop."""
        with ThreadPoolExecutor(8) as pool:
            while not stop.is_set():
                self.listen()
                now = time.monotonic()
                with self.lock:
                    gone = [name for name, wait in self.waits.items() if wait.evicting]
                    due = [name for name, wait in self.waits.items() if wait.holds and not wait.evicting and wait.due <= now]
                    for name in due:
                        self.waits[name].finished, self.waits[name].holds = True, False
                    for name in gone:
                        self.waits[name].evicting = self.waits[name].holds = False
                        self.waits[name].leaving = True
                changes = [(name, end) for name in due] + [(name, put_back) for name in gone]
                list(pool.map(lambda one: change_status(self.api, self.namespace, *one), changes))

    def listen(self) -> None:
        """All news, or a twentieth of a second of none."""
        try:
            self.note(self.news.get(timeout=0.05), time.monotonic())
            while True:
                self.note(self.news.get_nowait(), time.monotonic())
        except queues.Empty:
            return

    def note(self, thing: Mapping[str, Any], now: float) -> None:
        """What Kueue says; news from before our own last word is passed over."""
        with self.lock:
            wait, reserved = self.waits[thing["metadata"]["name"]], is_true(thing, "QuotaReserved")
            if wait.finished or (wait.leaving and reserved):
                return
            wait.leaving = False
            if reserved and not wait.holds:
                wait.holds, wait.due = True, now + wait.seconds
                wait.started = wait.started or now
            wait.evicting = reserved and is_true(thing, "Evicted")

    def done(self) -> bool:
        with self.lock:
            return all(wait.finished for wait in self.waits.values())


def measure_waits(kubeconfig: Path, *, seed: int, bursts: Sequence[int] = BURSTS) -> tuple[dict[str, float], list[tuple[float, float]]]:
    """The figures, and (expected, real) seconds of each wait that was forecast.

    Args:
        bursts: how many steps come at once, every `BURST_S`.
    """
    api = Api(kubeconfig, connections=20)
    play = Play(api, seed)
    play.build()
    board = Board(api, play.namespace)
    board.listeners[play.tag] = play.news.put
    time.sleep(1.0)
    stop = threading.Event()
    driver = threading.Thread(target=play.drive, args=(stop,), daemon=True)
    driver.start()
    try:
        play.past()
        until_done(play, board, driver)
        play.history = history_of(play.world().workloads.values())
        began = time.monotonic()
        for place, count in enumerate(bursts):
            time.sleep(max(0.0, began + place * BURST_S - time.monotonic()))
            play.burst(count)
        until_done(play, board, driver)
    finally:
        stop.set()
        driver.join(timeout=15)
        board.close()
        clean_up(api, play.tag, play.namespace)
        api.call("DELETE", api.path("Namespace", "v1", None, play.namespace))
    return figures_of(list(play.waits.values()))


def until_done(play: Play, board: Board, driver: threading.Thread) -> None:
    limit = time.monotonic() + LONGEST_S
    while not play.done():
        if time.monotonic() > limit or board.error is not None or not driver.is_alive():
            raise RuntimeError("the waits did not end") from board.error
        time.sleep(0.2)


def figures_of(waits: list[Wait]) -> tuple[dict[str, float], list[tuple[float, float]]]:
    told = [wait for wait in waits if wait.expected is not None and wait.started is not None and wait.started > wait.told_at]
    pairs = [(wait.expected.start_s or 0.0, wait.started - wait.told_at) for wait in told if wait.expected and wait.started]
    errors = sorted(abs(expected - real) / real for expected, real in pairs)
    inside = [
        wait.expected.early_s <= wait.started - wait.told_at <= wait.expected.late_s
        for wait in told
        if wait.expected and wait.started and wait.expected.early_s is not None and wait.expected.late_s is not None
    ]
    figures = {
        "eta_median_error": median(errors),
        "eta_p90_error": errors[int(0.9 * len(errors))],
        "eta_waits": float(len(pairs)),
        "eta_expected_over_real": median(expected / real for expected, real in pairs),
        "eta_in_band": sum(inside) / len(told),
        "eta_median_wait_s": median(real for _, real in pairs),
    }
    return figures, pairs
