"""The admission model beside the real Kueue: the same worlds, the same virtual time, the same decisions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.kueue_api import Api, Board
from bench.kueue_driving import clean_up
from bench.kueue_model import Driver, Ticker, predict, predicted_steps
from bench.kueue_scenarios import make_scenario
from tests.cluster_case import Cluster
from tiffin.compute.admission_cycle import Rules

# chosen so that between them they hold: nested cohorts, lending and borrowing limits, two resources, two flavors with
# every kind of fungibility, StrictFIFO, gangs, and evictions of each kind
SEEDS = (7, 23, 31)


class Place:
    """A namespace with a watch and a counter of cycles."""

    def __init__(self, kubeconfig: Path) -> None:
        self.api = Api(kubeconfig, connections=8)
        self.namespace = f"model-{uuid.uuid4().hex[:6]}"
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        self.board = Board(self.api, self.namespace)
        time.sleep(1.0)  # the watch begins at the present
        self.ticker = Ticker(self.api, self.board, self.namespace)

    def close(self) -> None:
        self.ticker.close()
        self.board.close()
        self.api.call("DELETE", self.api.path("Namespace", "v1", None, self.namespace))

    def compare(self, seed: int, rules: Rules | None = None) -> None:
        """Play one scenario on both sides; each step must have the same admissions, in the same flavors, and evictions."""
        tag = f"m{seed}-{uuid.uuid4().hex[:6]}"
        scenario = make_scenario(seed, tag, self.namespace)
        driver = Driver(self.api, self.board, self.ticker, scenario)
        try:
            real, world = driver.play()
        finally:
            clean_up(self.api, tag, self.namespace)
        timeline = predict(world, scenario, rules=rules)

        assert [step.names() for step in real] == [step.names() for step in predicted_steps(world, timeline)]
        flavors: dict[str, list[str]] = {}
        for event in timeline.events:
            if event.what == "admitted":
                flavors.setdefault(world.workloads[event.uid].name, []).append(event.flavors["cpu"].rsplit("-", 1)[1])
        assert dict(driver.flavors) == flavors


@pytest.fixture(scope="module")
def place(cluster: Cluster) -> Iterator[Place]:
    found = Place(cluster.kubeconfig)
    yield found
    found.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_model_decides_as_kueue_does(place: Place, seed: int) -> None:
    place.compare(seed)


def test_the_model_decides_as_kueue_does_with_fair_sharing(new_cluster: Callable[..., Cluster]) -> None:
    """The rules come from the world itself: ClusterQueues of a fair-sharing Kueue report their shares."""
    strategies = ["LessThanOrEqualToFinalShare", "LessThanInitialShare"]
    fair = Place(new_cluster("fair", nodes="none", kueue={"fairSharing": {"preemptionStrategies": strategies}}).kubeconfig)
    try:
        for seed in SEEDS[:2]:
            fair.compare(seed)
    finally:
        fair.close()
